//! Runs one command on an open connection: both outputs and the input move
//! concurrently, in non-blocking mode, until the end, the deadline or Ctrl-C.
//!
//! Reading one output to its end before the other would deadlock as soon as the
//! other fills its window.

use std::io::{ErrorKind as IoErrorKind, Write as _};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::boot::{Boot, BootEvent};
use super::channel::Channel;
use super::command::{Command, Finished, Ran, Sink, Stdin};
use super::connection::{Connection, GLANCE, LOGIN_TIMEOUT};
use super::errors::{Halt, broken};
use super::gate::{self, Shut};
use super::host::Host;
use super::input::{CHUNK, Fault, Input, Part};
use super::libssh2::{is_refused_request, must_wait};
use super::lines::Lines;
use super::reboots::Boots;
use super::refusal::{not_started, refuses_commands};
use super::shell::{self, Framing, Sudo, Work};
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Reporter, Stream, text};

/// The two outputs of a command.
const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

/// The first size of the buffer for output, in bytes. Most commands print little,
/// and on many hosts at once large buffers would be most of the memory.
const SMALL: usize = 4 << 10;

/// The keepalive interval in seconds, to notice a dead host on an idle
/// connection.
const KEEPALIVE: u32 = 15;

/// The time limit for terminating a remote command, so that Ctrl-C stays quick.
/// It is longer than the loop of [`shell::end_group`].
const ENDS_WITHIN: Duration = Duration::from_millis(650);

/// The time limit for everything before a command starts: the login shell's
/// startup files, or a program that runs in place of commands.
const STARTS_WITHIN: Duration = Duration::from_secs(120);

/// The time limit for closing a channel.
const CLOSES_WITHIN: Duration = Duration::from_secs(2);

/// Runs a command. Returns its result, and whether the connection can be
/// reused. After an error it cannot.
pub(super) fn run(
    connection: &Connection,
    channel: Channel,
    host: &Host,
    command: Command,
    cancel: &CancellationToken,
    report: &Reporter,
    boots: &Boots,
) -> Result<(Ran, bool)> {
    let framing = Framing::new();
    let deadline = command.timeout.map(|timeout| Instant::now() + timeout);
    let sudo = match (&host.sudo_password, command.sudo) {
        (_, false) => Sudo::No,
        (None, true) => Sudo::Free,
        (Some(_), true) => Sudo::Password,
    };
    let work = Work {
        program: &command.program,
        cwd: command.cwd.as_deref(),
        env: &command.env,
        sudo: command.sudo,
    };
    let input = input(&framing, &work, sudo, command.stdin);
    connection.session.set_keepalive(true, KEEPALIVE);
    let live = command.live && report.follows_hosts();
    let mut job = Job {
        connection,
        channel,
        host,
        input,
        outputs: STREAMS.map(|stream| Lines::new(stream, host, report, live)),
        sink: command.stdout,
        boot: Boot::new(&framing, sudo),
        starts_until: Instant::now() + STARTS_WITHIN,
        report,
        boots,
    };
    let command_line = framing.command_line();
    let stop = match job.pump(&command_line, deadline, cancel) {
        Ok(()) => match job.finish(sudo, &command_line) {
            Ok(done) => return Ok(done),
            Err(error) => Stop::Broken(error),
        },
        Err(Stop::Refused(error)) => return Ok((Ran::Refused(error), true)),
        Err(stop) => stop,
    };
    // The reader of the output need not wait until the command is terminated.
    job.sink = None;
    let error = match stop {
        Stop::Broken(error) | Stop::Refused(error) => error,
        Stop::NotStarted => not_started(host, sudo, &job.boot, &command_line, None),
        Stop::Local(error) => {
            end_group(connection, job.boot.group, sudo, host);
            error
        }
        Stop::Deadline => {
            let limit = text::duration(command.timeout.unwrap_or_default());
            let ended = end_group(connection, job.boot.group, sudo, host);
            Error::new(
                ErrorKind::Timeout,
                format!(
                    "the command did not finish within {limit} on {}; {ended}",
                    host.name
                ),
            )
            .hint("pass a longer `timeout`, in seconds")
        }
        Stop::Cancelled => {
            let ended = end_group(connection, job.boot.group, sudo, host);
            report.warn(format!("interrupted a command on {}; {ended}", host.name));
            Error::cancelled()
        }
    };
    connection.cut();
    Err(error)
}

/// Returns the data for the host. The command's own input waits until the
/// command has started: a program that runs in its place must not read it.
fn input(framing: &Framing, work: &Work<'_>, sudo: Sudo, stdin: Stdin) -> Input {
    let text = |text: String| Part::Data(Stdin::Bytes(text.into_bytes()));
    let mut parts = vec![text(framing.first_stage(work, sudo))];
    if sudo == Sudo::Password {
        parts.push(Part::Pause);
    }
    if sudo != Sudo::No {
        parts.push(text(framing.second_stage(work)));
    }
    if !matches!(stdin, Stdin::Empty) {
        parts.extend([Part::Pause, Part::Data(stdin)]);
    }
    Input::new(parts)
}

/// Why the pump stopped early.
enum Stop {
    Deadline,
    Cancelled,
    Broken(Error),
    /// The host refuses to run commands.
    Refused(Error),
    /// Something else runs in place of the command.
    NotStarted,
    /// An error on this machine while reading or writing, or a wrong sudo
    /// password.
    Local(Error),
}

struct Job<'a> {
    connection: &'a Connection,
    channel: Channel,
    host: &'a Host,
    input: Input,
    outputs: [Lines<'a>; 2],
    sink: Option<Sink>,
    boot: Boot,
    /// Until when the command must have started.
    starts_until: Instant,
    report: &'a Reporter,
    boots: &'a Boots,
}

impl Job<'_> {
    /// Starts the command and moves its data until the other side closes the
    /// channel.
    ///
    /// The program follows the request for the command without waiting for its
    /// answer, which would cost a round trip.
    fn pump(
        &mut self,
        command: &str,
        deadline: Option<Instant>,
        cancel: &CancellationToken,
    ) -> std::result::Result<(), Stop> {
        let gate = &self.connection.gate;
        let answers_until = Instant::now() + LOGIN_TIMEOUT;
        let until = deadline.map_or(answers_until, |deadline| deadline.min(answers_until));
        gate.open(Some(until), cancel, gate::ASIDE);
        let mut answered = false;
        let mut buffer = vec![0; SMALL];
        loop {
            match gate.shut() {
                None => {}
                Some(Shut::Cancelled) => return Err(Stop::Cancelled),
                Some(Shut::Late) if answered || deadline == Some(until) => {
                    return Err(Stop::Deadline);
                }
                Some(Shut::Late) => return Err(self.broke("it did not answer in time")),
                Some(Shut::TooMuch) => return Err(self.broke("it sends data without end")),
            }
            if !answered && self.is_answered(command)? {
                answered = true;
                gate.open(deadline, cancel, gate::ASIDE);
            }
            let read = self.read(&mut buffer)?;
            let ended = self.channel.eof();
            if ended && answered && self.closed()? {
                return Ok(());
            }
            let wrote = match self.input.write(&self.channel) {
                Ok(wrote) => wrote,
                // A command may end without reading all its input.
                Err(Fault::Remote(_)) if ended => 0,
                Err(Fault::Remote(e)) => return Err(self.broke(e.message())),
                Err(Fault::Local(e)) => return Err(Stop::Local(input_not_read(self.host, &e))),
            };
            gate.credit(read + wrote);
            if read == 0 && wrote == 0 {
                if self.boot.group.is_none() && Instant::now() > self.starts_until {
                    return Err(Stop::NotStarted);
                }
                self.wait(deadline)?;
                self.outputs.iter_mut().for_each(Lines::flush);
            }
        }
    }

    /// Requests the command. Returns whether the host has accepted it.
    fn is_answered(&self, command: &str) -> std::result::Result<bool, Stop> {
        match self.channel.exec(command) {
            Ok(()) => Ok(true),
            Err(e) if must_wait(&e) => Ok(false),
            Err(e) if is_refused_request(&e) => Err(Stop::Refused(refuses_commands(self.host))),
            Err(e) => Err(self.broke(e.message())),
        }
    }

    /// Returns whether the other side has closed the channel. Both outputs may
    /// end long before the command does, as after `exec >file 2>&1`.
    fn closed(&self) -> std::result::Result<bool, Stop> {
        match self.channel.wait_close() {
            Ok(()) => Ok(true),
            Err(e) if must_wait(&e) => Ok(false),
            Err(e) => Err(self.broke(e.message())),
        }
    }

    /// Reads from both outputs. Returns the number of bytes. The buffer grows if
    /// there is more than fits.
    fn read(&mut self, buffer: &mut Vec<u8>) -> std::result::Result<usize, Stop> {
        let mut moved = 0;
        for id in 0..2 {
            // Read one buffer from each, so that neither output starves the
            // other.
            match self.channel.read(id, buffer) {
                Ok(0) => {}
                Ok(n) => {
                    moved += n;
                    self.take(id, &buffer[..n])?;
                    if n == buffer.len() && n < CHUNK {
                        buffer.resize(2 * n, 0);
                    }
                }
                Err(e) if must_wait(&e) => {}
                Err(e) => return Err(self.broke(e.message())),
            }
        }
        Ok(moved)
    }

    fn take(&mut self, id: i32, bytes: &[u8]) -> std::result::Result<(), Stop> {
        let host = self.host;
        let mut events = Vec::new();
        let stream = usize::from(id != 0);
        let own = self.boot.take(stream, bytes, &mut events);
        match &mut self.sink {
            Some(Sink(sink)) if stream == 0 => sink
                .write_all(&own)
                .map_err(|e| Stop::Local(output_not_written(host, &e)))?,
            _ => self.outputs[stream].take(&own),
        }
        for event in events {
            match event {
                BootEvent::AsksForPassword => {
                    let password = host.sudo_password.as_ref();
                    self.input.answer(password.map_or("", |secret| &secret.0));
                }
                BootEvent::AsksAgain => return Err(Stop::Local(wrong_password(host))),
                BootEvent::IsRoot if host.sudo_password.is_none() => {}
                BootEvent::IsRoot => self.input.release(),
                BootEvent::Started => {
                    self.boots.saw(host, self.boot.id.as_deref());
                    self.input.release();
                }
            }
        }
        Ok(())
    }

    fn wait(&self, deadline: Option<Instant>) -> std::result::Result<(), Stop> {
        let left = deadline.map_or(GLANCE, |d| d.saturating_duration_since(Instant::now()));
        if let Err(e) = self.connection.wait(left.min(GLANCE)) {
            return Err(self.broke(&std::io::Error::from(e).to_string()));
        }
        match self.connection.session.keepalive_send() {
            Ok(_) => Ok(()),
            Err(e) if must_wait(&e) => Ok(()),
            Err(e) => Err(self.broke(e.message())),
        }
    }

    fn broke(&self, error: &str) -> Stop {
        let what = match self.boot.group {
            Some(_) => "a command was running",
            None => "a command was starting",
        };
        let attempt = format!("{what}; it may still run");
        Stop::Broken(broken(self.host, &attempt, &error))
    }

    /// Returns the result of the command, and whether the connection can be
    /// reused.
    fn finish(&mut self, sudo: Sudo, line: &str) -> Result<(Ran, bool)> {
        let host = self.host;
        let lost = self.boot.no_directory || self.boot.no_user;
        if lost {
            // The shell's own words: why it cannot enter the directory.
            self.outputs[1].take(self.boot.before(1));
        }
        if let Some(Sink(sink)) = &mut self.sink {
            sink.flush().map_err(|e| output_not_written(host, &e))?;
        }
        let [stdout, stderr] = self.outputs.each_mut().map(Lines::finish);
        let signal = self.channel.exit_signal();
        let status = match (&signal, self.channel.exit_status()) {
            (Some(name), _) => 128 + number(name),
            (None, Some(status)) => i64::from(status),
            (None, None) => return Err(no_status(host)),
        };
        // The other side has closed the channel, so close this side too. That
        // may fail if the other side never read all the input.
        let soon = Some(Instant::now() + CLOSES_WITHIN);
        let gate = &self.connection.gate;
        gate.open(soon, &CancellationToken::new(), gate::ASIDE);
        let reusable = self.connection.finish(|_| self.channel.close()).is_ok();
        if !self.boot.began() && !lost {
            let error = not_started(host, sudo, &self.boot, line, Some(status));
            return match sudo {
                Sudo::No => Ok((Ran::Refused(error), reusable)),
                Sudo::Free | Sudo::Password => Err(error),
            };
        }
        let dropped = stdout.1 + stderr.1;
        if dropped > 0 {
            self.report.warn(format!(
                "{} wrote more output than a result can hold: the first {} are only in the log",
                host.name,
                text::bytes(dropped)
            ));
        }
        let finished = Finished {
            status,
            signal,
            no_directory: self.boot.no_directory,
            no_user: self.boot.no_user,
            stdout: stdout.0,
            stderr: stderr.0,
            dropped,
            seconds: 0.0,
        };
        Ok((Ran::Finished(finished), reusable))
    }
}

/// Creates the error for a channel that was closed without an exit status.
fn no_status(host: &Host) -> Error {
    Error::new(
        ErrorKind::Unreachable,
        format!(
            "{} closed the channel without an exit status; the command may still run",
            host.login()
        ),
    )
    .hint("before you run it again, check on the host whether the command still runs")
}

fn wrong_password(host: &Host) -> Error {
    Error::new(
        ErrorKind::Denied,
        format!(
            "sudo on {} rejected the password of {}",
            host.name, host.user
        ),
    )
    .hint("set `sudo_password` of host() to the password with which this user calls sudo")
}

/// Creates the error for input that cannot be read on this machine.
fn input_not_read(host: &Host, error: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::CommandFailed,
        format!("cannot read the input for {}: {error}", host.name),
    )
}

/// Creates the error for output that cannot be written on this machine.
fn output_not_written(host: &Host, error: &std::io::Error) -> Error {
    let kind = match error.kind() {
        IoErrorKind::StorageFull | IoErrorKind::QuotaExceeded => ErrorKind::QuotaExceeded,
        _ => ErrorKind::CommandFailed,
    };
    Error::new(
        kind,
        format!("cannot write the data from {}: {error}", host.name),
    )
}

/// Terminates a command. Returns the outcome in words.
fn end_group(connection: &Connection, group: Option<i32>, sudo: Sudo, host: &Host) -> &'static str {
    match group.map(|group| ended(connection, group, sudo, host)) {
        Some(Ok(Some(0))) => "it was terminated",
        _ => "it may still run",
    }
}

/// Terminates a process group on the host. Returns the exit status of the
/// program that does it.
fn ended(
    connection: &Connection,
    group: i32,
    sudo: Sudo,
    host: &Host,
) -> std::result::Result<Option<u32>, Halt> {
    let until = Instant::now() + ENDS_WITHIN;
    let gate = &connection.gate;
    gate.open(Some(until), &CancellationToken::new(), gate::ASIDE);
    let channel = connection.finish(Channel::open)?;
    let command = shell::end_group(group, sudo);
    connection.finish(|_| channel.exec(&command))?;
    if let (Sudo::Password, Some(password)) = (sudo, &host.sudo_password) {
        // If sudo does not ask for the password, nothing reads it.
        let line = format!("{}\n", password.0);
        let mut sent = 0;
        while sent < line.len() {
            sent += connection.finish(|_| channel.write(&line.as_bytes()[sent..]))?;
        }
    }
    connection.finish(|_| channel.send_eof())?;
    let mut output = [0; 1024];
    while !channel.eof() {
        connection.finish(|_| channel.read(0, &mut output))?;
        connection.finish(|_| match channel.read(1, &mut output) {
            Err(e) if must_wait(&e) => Ok(0),
            read => read,
        })?;
    }
    connection.finish(|_| channel.wait_close())?;
    Ok(channel.exit_status())
}

/// Returns the number of a signal that ssh transmits by name (RFC 4254, section
/// 6.10).
fn number(signal: &str) -> i64 {
    match signal {
        "HUP" => 1,
        "INT" => 2,
        "QUIT" => 3,
        "ILL" => 4,
        "ABRT" => 6,
        "FPE" => 8,
        "KILL" => 9,
        "USR1" => 10,
        "SEGV" => 11,
        "USR2" => 12,
        "PIPE" => 13,
        "ALRM" => 14,
        _ => 15,
    }
}
