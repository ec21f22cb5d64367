//! One command on an open connection: both outputs and the input move at
//! once, in non-blocking mode, until the end, the deadline or Ctrl-C.
//!
//! Reading one output to its end before the other would deadlock as soon as
//! the other fills its window.

use std::collections::VecDeque;
use std::io::{ErrorKind as IoErrorKind, Read, Write};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use ssh2::{BlockDirections, Channel, ErrorCode};
use tokio_util::sync::CancellationToken;

use super::connect::Connection;
use super::remote::Sudo;
use super::{Command, Finished, Host, KEPT, STREAMS, Sink, Stdin, broken, remote};
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Event, LineMask, PieceMask, Reporter, Stream, text};

/// How soon a cancellation is seen when nothing moves on the connection.
const GLANCE: Duration = Duration::from_millis(100);

/// How often a silent connection is tested, so that a dead host is noticed.
const KEEPALIVE: u32 = 15;

/// Longer lines are cut into pieces for the log.
const LONGEST_LINE: usize = 16 << 10;

/// How long ending a remote command may take, so that Ctrl-C stays quick.
const ENDS_WITHIN: Duration = Duration::from_millis(650);

/// How long the last word on a channel may take, in milliseconds.
const CLOSES_WITHIN: u32 = 2_000;

/// How long a line is held back that may be the beginning of a secret.
const HOLDS: Duration = Duration::from_millis(200);

const CHUNK: usize = 256 << 10;

/// Runs a command, and says whether the connection can be used again; after an
/// error it cannot.
pub(super) fn run(
    connection: &Connection,
    mut channel: Channel,
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
    let program = remote::program(
        &command.command,
        command.cwd.as_deref(),
        &command.env,
        &token,
    );
    let session = connection.session.clone();
    session.set_keepalive(true, KEEPALIVE);
    channel
        .exec(&remote::boot(&token, sudo))
        .map_err(|e| broken(host, "starting a command", &e))?;
    let live = command.live && report.follows_hosts();
    let mut job = Job {
        input: Input::new(program, command.stdin, sudo == Sudo::Password),
        outputs: STREAMS.map(|stream| Lines::new(stream, host, report, live)),
        sink: command.stdout,
        boot: Boot {
            dialog: (sudo == Sudo::Password).then(|| Dialog::new(&token)),
            token,
            seen: Vec::new(),
            group: None,
        },
        report,
    };
    session.set_blocking(false);
    let moved = job.pump(connection, &mut channel, host, deadline, cancel);
    session.set_blocking(true);
    match moved {
        Ok(()) => job.finish(&session, &mut channel, host, sudo),
        Err(Stop::Broken(error)) => Err(error),
        Err(Stop::Here(error)) => {
            end_group(&session, job.boot.group, sudo, host);
            Err(error)
        }
        Err(Stop::Deadline) => {
            let limit = text::duration(command.timeout.unwrap_or_default());
            let ended = end_group(&session, job.boot.group, sudo, host);
            Err(Error::new(
                ErrorKind::Timeout,
                format!(
                    "the command did not finish within {limit} on {}; {ended}",
                    host.name
                ),
            )
            .hint("pass a longer `timeout`, in seconds"))
        }
        Err(Stop::Cancelled) => {
            let ended = end_group(&session, job.boot.group, sudo, host);
            report.warn(format!("interrupted a command on {}; {ended}", host.name));
            Err(Error::cancelled())
        }
    }
}

/// Why pumping stopped early.
enum Stop {
    Deadline,
    Cancelled,
    Broken(Error),
    /// What is read or written here, or sudo's password, is no good.
    Here(Error),
}

struct Job<'a> {
    input: Input,
    outputs: [Lines<'a>; 2],
    sink: Option<Sink>,
    boot: Boot,
    report: &'a Reporter,
}

impl Job<'_> {
    fn pump(
        &mut self,
        connection: &Connection,
        channel: &mut Channel,
        host: &Host,
        deadline: Option<Instant>,
        cancel: &CancellationToken,
    ) -> std::result::Result<(), Stop> {
        let mut buffer = vec![0; CHUNK];
        loop {
            if cancel.is_cancelled() {
                return Err(Stop::Cancelled);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(Stop::Deadline);
            }
            let read = self.read(channel, &mut buffer, host)?;
            let ended = channel.eof();
            if ended && self.closed(channel, host)? {
                return Ok(());
            }
            let wrote = match self.input.write(channel) {
                Ok(wrote) => wrote,
                // A command may end without reading what it was given.
                Err(Fault::There(_)) if ended => false,
                Err(Fault::There(e)) => return Err(self.broke(host, &e)),
                Err(Fault::Here(e)) => return Err(Stop::Here(not_given(host, &e))),
            };
            if !read && !wrote {
                self.wait(connection, host, deadline)?;
                self.outputs.iter_mut().for_each(Lines::let_go);
            }
        }
    }

    /// Whether the other side has closed the channel. Both outputs may end
    /// long before the command does, as after `exec >file 2>&1`.
    fn closed(&self, channel: &mut Channel, host: &Host) -> std::result::Result<bool, Stop> {
        match channel.wait_close() {
            Ok(()) => Ok(true),
            Err(e) if e.code() == ErrorCode::Session(-37) => Ok(false),
            Err(e) => Err(self.broke(host, &e.into())),
        }
    }

    /// Takes what both outputs have; whether that was anything.
    fn read(
        &mut self,
        channel: &Channel,
        buffer: &mut [u8],
        host: &Host,
    ) -> std::result::Result<bool, Stop> {
        let mut moved = false;
        for id in 0..2 {
            // One bufferful each, so that neither output starves the other.
            match channel.stream(id).read(buffer) {
                Ok(0) => {}
                Ok(n) => {
                    moved = true;
                    self.take(id, &buffer[..n], host)?;
                }
                Err(e) if e.kind() == IoErrorKind::WouldBlock => {}
                Err(e) => return Err(self.broke(host, &e)),
            }
        }
        Ok(moved)
    }

    fn take(&mut self, id: i32, bytes: &[u8], host: &Host) -> std::result::Result<(), Stop> {
        let [stdout, stderr] = &mut self.outputs;
        if id == 0 {
            let Some(Sink(sink)) = &mut self.sink else {
                stdout.take(bytes);
                return Ok(());
            };
            return sink
                .write_all(bytes)
                .map_err(|e| Stop::Here(not_taken(host, &e)));
        }
        match self.boot.strip(bytes, |bytes| stderr.take(bytes)) {
            Said::Nothing => {}
            Said::AsksForPassword => {
                let password = host.sudo_password.as_ref();
                self.input.answer(password.map_or("", |secret| &secret.0));
            }
            Said::Through => self.input.held = false,
            Said::AsksAgain => return Err(Stop::Here(wrong_password(host))),
        }
        Ok(())
    }

    fn wait(
        &self,
        connection: &Connection,
        host: &Host,
        deadline: Option<Instant>,
    ) -> std::result::Result<(), Stop> {
        let flags = match connection.session.block_directions() {
            BlockDirections::Inbound | BlockDirections::None => PollFlags::IN,
            BlockDirections::Outbound => PollFlags::OUT,
            BlockDirections::Both => PollFlags::IN | PollFlags::OUT,
        };
        let left = deadline.map_or(GLANCE, |d| d.saturating_duration_since(Instant::now()));
        let left = Timespec::try_from(left.min(GLANCE)).unwrap_or_default();
        let fd = connection.fd();
        match poll(&mut [PollFd::new(&fd, flags)], Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(self.broke(host, &e.into())),
        }
        match connection.session.keepalive_send() {
            Ok(_) => Ok(()),
            Err(e) if e.code() == ErrorCode::Session(-37) => Ok(()),
            Err(e) => Err(self.broke(host, &e.into())),
        }
    }

    fn broke(&self, host: &Host, error: &std::io::Error) -> Stop {
        let what = match self.boot.group {
            Some(_) => "a command was running; it may still run",
            None => "a command was being started",
        };
        Stop::Broken(broken(host, what, error))
    }

    fn finish(
        mut self,
        session: &ssh2::Session,
        channel: &mut Channel,
        host: &Host,
        sudo: Sudo,
    ) -> Result<(Finished, bool)> {
        self.boot.flush(|bytes| self.outputs[1].take(bytes));
        if let Some(Sink(sink)) = &mut self.sink {
            sink.flush().map_err(|e| not_taken(host, &e))?;
        }
        let [stdout, stderr] = self.outputs.map(Lines::finish);
        let signal = channel.exit_signal().ok().and_then(|s| s.exit_signal);
        let status = channel
            .exit_status()
            .map_err(|e| broken(host, "a command was ending", &e))?;
        // The other side has closed: what is left is to say so as well. With
        // input that it never took in between, that may not work any more.
        session.set_timeout(CLOSES_WITHIN);
        let reusable = channel.close().is_ok();
        if self.boot.group.is_none() {
            return Err(not_started(host, sudo, status, &stderr.0));
        }
        let dropped = stdout.1 + stderr.1;
        if dropped > 0 {
            self.report.warn(format!(
                "{} wrote more than a result holds: the first {} are only in the log",
                host.name,
                text::bytes(dropped)
            ));
        }
        let finished = Finished {
            status: signal
                .as_deref()
                .map_or(i64::from(status), |name| 128 + number(name)),
            signal,
            stdout: stdout.0,
            stderr: stderr.0,
            dropped,
            seconds: 0.0,
        };
        Ok((finished, reusable))
    }
}

/// The boot program never spoke: sudo, the shell or the account refused.
fn not_started(host: &Host, sudo: Sudo, status: i32, stderr: &[u8]) -> Error {
    let said = super::tail(stderr, 3);
    let said = if said.is_empty() {
        format!("status {status}")
    } else {
        said
    };
    let error = Error::new(
        ErrorKind::Denied,
        format!("{} did not start the command: {said}", host.login()),
    );
    match sudo {
        Sudo::Free if said.contains("sudo") => error.hint(format!(
            "allow {} to use sudo without a password there, or pass `sudo_password` \
             to host(), from a secret variable",
            host.user
        )),
        Sudo::Password => error.hint(format!("may {} use sudo there?", host.user)),
        _ => error,
    }
}

fn wrong_password(host: &Host) -> Error {
    Error::new(
        ErrorKind::Denied,
        format!(
            "sudo on {} does not take the password of {}",
            host.name, host.user
        ),
    )
    .hint("`sudo_password` of host() is the password with which this user calls sudo")
}

/// What was to be sent cannot be read here.
fn not_given(host: &Host, error: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::CommandFailed,
        format!("cannot read what {} is to get: {error}", host.name),
    )
}

/// What a host sent cannot be written here.
fn not_taken(host: &Host, error: &std::io::Error) -> Error {
    let kind = match error.kind() {
        IoErrorKind::StorageFull | IoErrorKind::QuotaExceeded => ErrorKind::QuotaExceeded,
        _ => ErrorKind::CommandFailed,
    };
    Error::new(
        kind,
        format!("cannot write here what {} sent: {error}", host.name),
    )
}

/// Ends a command that must not go on, and says whether that worked.
fn end_group(session: &ssh2::Session, group: Option<i32>, sudo: Sudo, host: &Host) -> &'static str {
    let Some(group) = group else {
        return "it may still run";
    };
    let deadline = Instant::now() + ENDS_WITHIN;
    let in_time = || {
        let left = deadline
            .saturating_duration_since(Instant::now())
            .as_millis();
        // 0 would mean for ever.
        session.set_timeout(u32::try_from(left).unwrap_or(1).max(1));
    };
    in_time();
    let ended = session.channel_session().and_then(|mut channel| {
        in_time();
        channel.exec(&remote::end_group(group, sudo))?;
        if let (Sudo::Password, Some(password)) = (sudo, &host.sudo_password) {
            // What is not wanted is not read.
            drop(writeln!(channel, "{}", password.0));
        }
        channel.send_eof()?;
        in_time();
        let mut rest = Vec::new();
        drop(channel.read_to_end(&mut rest));
        channel.wait_close()?;
        channel.exit_status()
    });
    match ended {
        Ok(0) => "it was ended",
        _ => "it may still run",
    }
}

/// What goes to the other side: the program, then the command's own stdin.
struct Input {
    pending: Vec<u8>,
    /// How much of `pending` has gone.
    sent: usize,
    /// What comes next.
    rest: VecDeque<Stdin>,
    /// Nothing more goes until sudo is through with its question.
    held: bool,
    done: bool,
}

/// What keeps input from going on.
enum Fault {
    There(std::io::Error),
    Here(std::io::Error),
}

impl Input {
    fn new(program: String, rest: Stdin, held: bool) -> Self {
        Self {
            pending: Vec::new(),
            sent: 0,
            rest: [Stdin::Bytes(program.into_bytes()), rest].into(),
            held,
            done: false,
        }
    }

    /// Sends the password; what follows waits until sudo is through.
    fn answer(&mut self, password: &str) {
        self.pending = format!("{password}\n").into_bytes();
        self.sent = 0;
    }

    /// Writes what the channel takes; whether that was anything.
    fn write(&mut self, channel: &mut Channel) -> std::result::Result<bool, Fault> {
        if self.sent < self.pending.len() {
            return match channel.write(&self.pending[self.sent..]) {
                Ok(n) => {
                    self.sent += n;
                    Ok(n > 0)
                }
                Err(e) if e.kind() == IoErrorKind::WouldBlock => Ok(false),
                Err(e) => Err(Fault::There(e)),
            };
        }
        if self.done || self.held {
            return Ok(false);
        }
        if self.refill().map_err(Fault::Here)? {
            return Ok(true);
        }
        match channel.send_eof() {
            Ok(()) => {
                self.done = true;
                Ok(true)
            }
            Err(e) if e.code() == ErrorCode::Session(-37) => Ok(false),
            Err(e) => Err(Fault::There(e.into())),
        }
    }

    /// The next piece of what is to be sent; false at its end.
    fn refill(&mut self) -> std::io::Result<bool> {
        self.sent = 0;
        self.pending.clear();
        while let Some(next) = self.rest.pop_front() {
            match next {
                Stdin::Empty => {}
                Stdin::Bytes(bytes) => self.pending = bytes,
                Stdin::Reader(mut reader) => {
                    let mut piece = reader.by_ref().take(CHUNK as u64);
                    if piece.read_to_end(&mut self.pending)? > 0 {
                        self.rest.push_front(Stdin::Reader(reader));
                    }
                }
            }
            if !self.pending.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// What the other side said on stderr before the program runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    AsksForPassword,
    AsksAgain,
    /// sudo asks no more.
    Through,
}

/// sudo's question and its end.
struct Dialog {
    prompt: String,
    through: String,
    answered: bool,
}

impl Dialog {
    fn new(token: &str) -> Self {
        Self {
            prompt: remote::prompt(token),
            through: remote::through(token),
            answered: false,
        }
    }
}

/// Finds the boot program's one line on stderr, which says the process group.
struct Boot {
    dialog: Option<Dialog>,
    token: String,
    /// What came before it: a login shell's own words, or half a line.
    seen: Vec<u8>,
    group: Option<i32>,
}

impl Boot {
    fn strip(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) -> Said {
        if self.group.is_some() {
            take(bytes);
            return Said::Nothing;
        }
        self.seen.extend_from_slice(bytes);
        if let Some(said) = self.listen() {
            return said;
        }
        while let Some(end) = self.seen.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.seen.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line);
            // A login shell may have written there without ending its line.
            let Some((before, group)) = text.split_once(self.token.as_str()) else {
                take(&line);
                continue;
            };
            take(before.as_bytes());
            self.group = group.trim().parse().ok();
            take(&std::mem::take(&mut self.seen));
            break;
        }
        Said::Nothing
    }

    /// Follows sudo's dialog; nothing when there is none, or none any more.
    fn listen(&mut self) -> Option<Said> {
        let dialog = self.dialog.as_mut()?;
        let seen = String::from_utf8_lossy(&self.seen).into_owned();
        // What sudo says besides, as its lecture, is nobody's output.
        if let Some((_, rest)) = seen.split_once(&format!("{}\n", dialog.through)) {
            self.seen = rest.as_bytes().to_vec();
            self.dialog = None;
            return Some(Said::Through);
        }
        let Some((_, rest)) = seen.split_once(&dialog.prompt) else {
            return Some(Said::Nothing);
        };
        self.seen = rest.as_bytes().to_vec();
        Some(match std::mem::replace(&mut dialog.answered, true) {
            false => Said::AsksForPassword,
            true => Said::AsksAgain,
        })
    }

    fn flush(&mut self, take: impl FnOnce(&[u8])) {
        take(&std::mem::take(&mut self.seen));
    }
}

/// One output: its end for the result, its lines for the log.
struct Lines<'a> {
    stream: Stream,
    host: &'a str,
    report: &'a Reporter,
    live: bool,
    /// Up to twice what is kept: its beginning is cut off now and then, not
    /// byte by byte.
    kept: Vec<u8>,
    dropped: u64,
    /// The line whose end has not come.
    unended: Vec<u8>,
    /// A secret may go on in the next line, or in the next piece of a long one.
    secrets: PieceMask,
    last_came: Instant,
    /// The masked line whose end may be held back.
    line: String,
    keys: LineMask,
}

impl<'a> Lines<'a> {
    fn new(stream: Stream, host: &'a Host, report: &'a Reporter, live: bool) -> Self {
        Self {
            stream,
            host: &host.name,
            report,
            live,
            kept: Vec::new(),
            dropped: 0,
            unended: Vec::new(),
            secrets: PieceMask::default(),
            last_came: Instant::now(),
            line: String::new(),
            keys: LineMask::default(),
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.keep(bytes);
        if !self.live {
            return;
        }
        let newline = bytes.iter().rposition(|b| *b == b'\n');
        let before = self.unended.len();
        self.unended.extend_from_slice(bytes);
        let end = match newline {
            Some(newline) => before + newline + 1,
            None if self.unended.len() > LONGEST_LINE => whole_characters(&self.unended),
            None => return,
        };
        let rest = self.unended.split_off(end);
        let piece = std::mem::replace(&mut self.unended, rest);
        self.last_came = Instant::now();
        let piece = String::from_utf8_lossy(&piece);
        let shown = self.secrets.take(self.report.mask(), &piece);
        self.show(shown);
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        if self.kept.len() > 2 * KEPT {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let over = self.kept.len().saturating_sub(KEPT);
        self.kept.drain(..over);
        self.dropped += over as u64;
    }

    /// What has been held back for a while need not be the beginning of a
    /// secret.
    fn let_go(&mut self) {
        if self.secrets.holds() && self.last_came.elapsed() >= HOLDS {
            let shown = self.secrets.let_go();
            self.show(shown);
        }
    }

    /// Reports every line that has ended, and what is too long to wait for its
    /// end.
    fn show(&mut self, shown: String) {
        let all = match self.line.is_empty() {
            true => shown,
            false => std::mem::take(&mut self.line) + shown.as_str(),
        };
        let rest = match all.rsplit_once('\n') {
            Some((lines, rest)) => {
                lines.split('\n').for_each(|line| self.emit(line));
                rest
            }
            None => &all,
        };
        match rest.len() > LONGEST_LINE {
            true => self.emit(rest),
            false => rest.clone_into(&mut self.line),
        }
    }

    fn emit(&mut self, line: &str) {
        // A progress bar rewrites its line: only what it ends with is shown.
        let line = line
            .trim_end_matches('\r')
            .rsplit('\r')
            .next()
            .unwrap_or_default();
        self.report.report(&Event::RemoteOutput {
            host: self.host.to_owned(),
            stream: self.stream,
            line: self.keys.apply(line).to_owned(),
        });
    }

    fn finish(mut self) -> (Vec<u8>, u64) {
        let rest = std::mem::take(&mut self.unended);
        let mask = self.report.mask();
        let mut shown = self.secrets.take(mask, &String::from_utf8_lossy(&rest));
        shown.push_str(&self.secrets.finish(mask));
        self.show(shown);
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.emit(&line);
        }
        self.cut();
        (self.kept, self.dropped)
    }
}

/// How much of a text ends with a whole character.
fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(e) if e.error_len().is_none() => e.valid_up_to(),
        _ => bytes.len(),
    }
}

/// The number of a signal that ssh gives by name (RFC 4254, section 6.10).
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
