//! One command on an open connection: both outputs and the input move at
//! once, in non-blocking mode, until the end, the deadline or Ctrl-C.
//!
//! Reading one output to its end before the other would deadlock as soon as
//! the other fills its window.

use std::io::{ErrorKind as IoErrorKind, Read, Write};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use ssh2::{BlockDirections, Channel, ErrorCode};
use tokio_util::sync::CancellationToken;

use super::connect::Connection;
use super::{Command, Finished, Host, KEPT, STREAMS, Stdin, broken, remote};
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Event, LineMask, Reporter, Stream, text};

/// How soon a cancellation is seen when nothing moves on the connection.
const GLANCE: Duration = Duration::from_millis(100);

/// How often a silent connection is tested, so that a dead host is noticed.
const KEEPALIVE: u32 = 15;

/// Longer lines are cut into pieces for the log.
const LONGEST_LINE: usize = 16 << 10;

/// How long ending a remote command may take, so that Ctrl-C stays quick.
const ENDS_WITHIN: Duration = Duration::from_millis(650);

const CHUNK: usize = 256 << 10;

/// Runs a command; an error leaves the connection unusable.
pub(super) fn run(
    connection: &Connection,
    mut channel: Channel,
    host: &Host,
    command: Command,
    cancel: &CancellationToken,
    report: &Reporter,
) -> Result<Finished> {
    let token = format!("autorun-{:016x}", rand::random::<u64>());
    let deadline = command.timeout.map(|timeout| Instant::now() + timeout);
    let sudo = command.sudo;
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
    let mut job = Job {
        input: Input::new(program, command.stdin),
        outputs: STREAMS.map(|stream| Lines::new(stream, host, report, command.live)),
        boot: Boot {
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
        Ok(()) => job.finish(&mut channel, host, sudo),
        Err(Stop::Broken(error)) => Err(error),
        Err(Stop::Deadline) => {
            let limit = text::duration(command.timeout.unwrap_or_default());
            let ended = end_group(&session, job.boot.group, sudo);
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
            let ended = end_group(&session, job.boot.group, sudo);
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
}

struct Job<'a> {
    input: Input,
    outputs: [Lines<'a>; 2],
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
            let read = self
                .read(channel, &mut buffer)
                .map_err(|e| self.broke(host, &e))?;
            let ended = channel.eof();
            if ended && self.closed(channel, host)? {
                return Ok(());
            }
            let wrote = match self.input.write(channel) {
                Ok(wrote) => wrote,
                // A command may end without reading what it was given.
                Err(_) if ended => false,
                Err(e) => return Err(self.broke(host, &e)),
            };
            if !read && !wrote {
                self.wait(connection, host, deadline)?;
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
    fn read(&mut self, channel: &Channel, buffer: &mut [u8]) -> std::io::Result<bool> {
        let mut moved = false;
        for (id, lines) in (0..).zip(&mut self.outputs) {
            // One bufferful each, so that neither output starves the other.
            match channel.stream(id).read(buffer) {
                Ok(0) => {}
                Ok(n) if id == 1 => {
                    moved = true;
                    self.boot.strip(&buffer[..n], |bytes| lines.take(bytes));
                }
                Ok(n) => {
                    moved = true;
                    lines.take(&buffer[..n]);
                }
                Err(e) if e.kind() == IoErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
        Ok(moved)
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

    fn finish(mut self, channel: &mut Channel, host: &Host, sudo: bool) -> Result<Finished> {
        self.boot.flush(|bytes| self.outputs[1].take(bytes));
        let [stdout, stderr] = self.outputs.map(Lines::finish);
        // The other side has closed: what is left is to say so as well.
        channel
            .close()
            .map_err(|e| broken(host, "a command was ending", &e))?;
        let signal = channel.exit_signal().ok().and_then(|s| s.exit_signal);
        let status = channel
            .exit_status()
            .map_err(|e| broken(host, "a command was ending", &e))?;
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
        Ok(Finished {
            status: signal
                .as_deref()
                .map_or(i64::from(status), |name| 128 + number(name)),
            signal,
            stdout: stdout.0,
            stderr: stderr.0,
            dropped,
            seconds: 0.0,
        })
    }
}

/// The boot program never spoke: sudo, the shell or the account refused.
fn not_started(host: &Host, sudo: bool, status: i32, stderr: &[u8]) -> Error {
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
    if sudo && said.contains("sudo") {
        return error.hint(format!(
            "allow {} to use sudo without a password there",
            host.user
        ));
    }
    error
}

/// Ends a command that must not go on, and says whether that worked.
fn end_group(session: &ssh2::Session, group: Option<i32>, sudo: bool) -> &'static str {
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
    rest: Stdin,
    done: bool,
}

impl Input {
    fn new(program: String, rest: Stdin) -> Self {
        Self {
            pending: program.into_bytes(),
            sent: 0,
            rest,
            done: false,
        }
    }

    /// Writes what the channel takes; whether that was anything.
    fn write(&mut self, channel: &mut Channel) -> std::io::Result<bool> {
        if self.done {
            return Ok(false);
        }
        if self.sent == self.pending.len() && !self.refill()? {
            return match channel.send_eof() {
                Ok(()) => {
                    self.done = true;
                    Ok(true)
                }
                Err(e) if e.code() == ErrorCode::Session(-37) => Ok(false),
                Err(e) => Err(e.into()),
            };
        }
        match channel.write(&self.pending[self.sent..]) {
            Ok(n) => {
                self.sent += n;
                Ok(n > 0)
            }
            Err(e) if e.kind() == IoErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The next piece of the command's stdin; false at its end.
    fn refill(&mut self) -> std::io::Result<bool> {
        self.sent = 0;
        self.pending.clear();
        match std::mem::take(&mut self.rest) {
            Stdin::Empty => Ok(false),
            Stdin::Bytes(bytes) => {
                self.pending = bytes;
                Ok(!self.pending.is_empty())
            }
            Stdin::File(file, left) => {
                let mut chunk = Vec::with_capacity(CHUNK);
                let read = (&file)
                    .take(left.min(CHUNK as u64))
                    .read_to_end(&mut chunk)? as u64;
                // A file that became shorter ends here; the size check there tells.
                if read > 0 {
                    self.rest = Stdin::File(file, left - read);
                }
                self.pending = chunk;
                Ok(read > 0)
            }
        }
    }
}

/// Finds the boot program's one line on stderr, which says the process group.
struct Boot {
    token: String,
    /// What came before it: a login shell's own words, or half a line.
    seen: Vec<u8>,
    group: Option<i32>,
}

impl Boot {
    fn strip(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) {
        if self.group.is_some() {
            return take(bytes);
        }
        self.seen.extend_from_slice(bytes);
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
            return take(&std::mem::take(&mut self.seen));
        }
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
    line: Vec<u8>,
    mask: LineMask,
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
            line: Vec::new(),
            mask: LineMask::default(),
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.keep(bytes);
        if !self.live {
            return;
        }
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            self.line.extend_from_slice(&rest[..end]);
            self.emit();
            rest = &rest[end + 1..];
        }
        self.line.extend_from_slice(rest);
        if self.line.len() > LONGEST_LINE {
            self.emit_part();
        }
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

    /// A piece of a very long line, cut where no secret can be cut in two.
    fn emit_part(&mut self) {
        let mask = self.report.mask();
        let masked = mask.apply(&String::from_utf8_lossy(&self.line));
        let end = masked.floor_char_boundary(masked.len().saturating_sub(mask.longest()));
        let rest = masked.as_bytes()[end..].to_vec();
        self.line = masked.into_bytes();
        self.line.truncate(end);
        self.emit();
        self.line = rest;
    }

    fn emit(&mut self) {
        let line = String::from_utf8_lossy(&self.line).into_owned();
        // A progress bar rewrites its line: only what it ends with is shown.
        let line = line
            .trim_end_matches('\r')
            .rsplit('\r')
            .next()
            .unwrap_or_default();
        self.report.report(&Event::RemoteOutput {
            host: self.host.to_owned(),
            stream: self.stream,
            line: self.mask.apply(line).to_owned(),
        });
        self.line.clear();
    }

    fn finish(mut self) -> (Vec<u8>, u64) {
        if !self.line.is_empty() {
            self.emit();
        }
        self.cut();
        (self.kept, self.dropped)
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
