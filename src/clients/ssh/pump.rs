//! Runs one command on an open connection: both outputs and the input move
//! concurrently, in non-blocking mode, until the end, the deadline or Ctrl-C.
//!
//! Reading one output to its end before the other would deadlock as soon as the
//! other fills its window.

use std::io::{ErrorKind as IoErrorKind, Write as _};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::boot::{Boot, SudoEvent};
use super::channel::Channel;
use super::command::{Command, Finished, Sink};
use super::connection::{Connection, GLANCE, LOGIN_TIMEOUT};
use super::errors::{Halt, broken, halted, tail};
use super::gate::{self, Shut};
use super::host::Host;
use super::input::{CHUNK, Fault, Input};
use super::libssh2::must_wait;
use super::lines::Lines;
use super::shell;
use super::shell::Sudo;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Reporter, Stream, text};

/// The two outputs of a command.
const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

/// The keepalive interval in seconds, to notice a dead host on an idle
/// connection.
const KEEPALIVE: u32 = 15;

/// The time limit for terminating a remote command, so that Ctrl-C stays quick.
/// It is longer than the loop of [`shell::end_group`].
const ENDS_WITHIN: Duration = Duration::from_millis(650);

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
) -> Result<(Finished, bool)> {
    let token = format!("autorun-{:016x}", rand::random::<u64>());
    let deadline = command.timeout.map(|timeout| Instant::now() + timeout);
    let sudo = match (&host.sudo_password, command.sudo) {
        (_, false) => Sudo::No,
        (None, true) => Sudo::Free,
        (Some(_), true) => Sudo::Password,
    };
    let program = shell::program(
        &command.command,
        command.cwd.as_deref(),
        &command.env,
        &token,
    );
    connection.session.set_keepalive(true, KEEPALIVE);
    let live = command.live && report.follows_hosts();
    let mut job = Job {
        connection,
        channel,
        host,
        input: Input::new(program, command.stdin, sudo == Sudo::Password),
        outputs: STREAMS.map(|stream| Lines::new(stream, host, report, live)),
        sink: command.stdout,
        boot: Boot::new(&token, sudo),
        report,
    };
    let started = job.start(&shell::boot(&token, sudo), deadline, cancel);
    let moved = started.and_then(|()| job.pump(deadline, cancel));
    let stop = match moved {
        Ok(()) => match job.finish(sudo) {
            Ok(done) => return Ok(done),
            Err(error) => Stop::Broken(error),
        },
        Err(stop) => stop,
    };
    // The reader of the output need not wait until the command is terminated.
    job.sink = None;
    let error = match stop {
        Stop::Broken(error) => error,
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

/// Why the pump stopped early.
enum Stop {
    Deadline,
    Cancelled,
    Broken(Error),
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
    report: &'a Reporter,
}

impl Job<'_> {
    /// Starts the command, within the time of a login.
    fn start(
        &self,
        command: &str,
        deadline: Option<Instant>,
        cancel: &CancellationToken,
    ) -> std::result::Result<(), Stop> {
        let in_time = Instant::now() + LOGIN_TIMEOUT;
        let until = deadline.map_or(in_time, |deadline| deadline.min(in_time));
        let gate = &self.connection.gate;
        gate.open(Some(until), cancel, gate::ASIDE);
        match self.connection.finish(|_| self.channel.exec(command)) {
            Ok(()) => Ok(()),
            Err(Halt::Shut(Shut::Cancelled)) => Err(Stop::Cancelled),
            Err(Halt::Shut(Shut::Late)) if deadline == Some(until) => Err(Stop::Deadline),
            Err(halt) => Err(Stop::Broken(halted(self.host, "starting a command", &halt))),
        }
    }

    fn pump(
        &mut self,
        deadline: Option<Instant>,
        cancel: &CancellationToken,
    ) -> std::result::Result<(), Stop> {
        let gate = &self.connection.gate;
        gate.open(deadline, cancel, gate::ASIDE);
        let mut buffer = vec![0; CHUNK];
        loop {
            match gate.shut() {
                None => {}
                Some(Shut::Cancelled) => return Err(Stop::Cancelled),
                Some(Shut::Late) => return Err(Stop::Deadline),
                Some(Shut::TooMuch) => return Err(self.broke("it sends data without end")),
            }
            let read = self.read(&mut buffer)?;
            let ended = self.channel.eof();
            if ended && self.closed()? {
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
                self.wait(deadline)?;
                self.outputs.iter_mut().for_each(Lines::flush);
            }
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

    /// Reads from both outputs. Returns the number of bytes.
    fn read(&mut self, buffer: &mut [u8]) -> std::result::Result<usize, Stop> {
        let mut moved = 0;
        for id in 0..2 {
            // Read one buffer from each, so that neither output starves the
            // other.
            match self.channel.read(id, buffer) {
                Ok(0) => {}
                Ok(n) => {
                    moved += n;
                    self.take(id, &buffer[..n])?;
                }
                Err(e) if must_wait(&e) => {}
                Err(e) => return Err(self.broke(e.message())),
            }
        }
        Ok(moved)
    }

    fn take(&mut self, id: i32, bytes: &[u8]) -> std::result::Result<(), Stop> {
        let host = self.host;
        let [stdout, stderr] = &mut self.outputs;
        if id == 0 {
            let Some(Sink(sink)) = &mut self.sink else {
                stdout.take(bytes);
                return Ok(());
            };
            return sink
                .write_all(bytes)
                .map_err(|e| Stop::Local(output_not_written(host, &e)));
        }
        match self.boot.strip(bytes, |bytes| stderr.take(bytes)) {
            SudoEvent::Nothing => {}
            SudoEvent::AsksForPassword => {
                let password = host.sudo_password.as_ref();
                self.input.answer(password.map_or("", |secret| &secret.0));
            }
            SudoEvent::Done => self.input.held = false,
            SudoEvent::AsksAgain => return Err(Stop::Local(wrong_password(host))),
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
    fn finish(&mut self, sudo: Sudo) -> Result<(Finished, bool)> {
        let host = self.host;
        self.boot.flush(|bytes| self.outputs[1].take(bytes));
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
        if self.boot.group.is_none() && !self.boot.no_directory {
            return Err(not_started(host, sudo, &self.boot, status, &stderr.0));
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
            stdout: stdout.0,
            stderr: stderr.0,
            dropped,
            seconds: 0.0,
        };
        Ok((finished, reusable))
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

/// Creates the error for a boot program that never started: sudo, the shell or
/// the account refused.
fn not_started(host: &Host, sudo: Sudo, boot: &Boot, status: i64, stderr: &[u8]) -> Error {
    let reason = tail(stderr, 3);
    let reason = if reason.is_empty() {
        format!("status {status}")
    } else {
        reason
    };
    let error = Error::new(
        ErrorKind::Denied,
        format!("{} did not start the command: {reason}", host.login()),
    );
    match sudo {
        Sudo::Free if boot.asked_sudo => error.hint(format!(
            "on the host, allow {} to use sudo without a password, or pass `sudo_password` \
             to host(), from a secret variable",
            host.user
        )),
        Sudo::Password => error.hint(format!("check that {} may use sudo on the host", host.user)),
        _ => error,
    }
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
