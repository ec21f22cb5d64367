//! Sends a file to a host: to a distant one, parts of a large file side by side.
//!
//! A stock sshd takes 2 MiB of a channel's data in each round trip, so on a long way
//! one connection is slow, whatever the bandwidth. The connection that is opened first
//! runs the usual program, which creates a hidden file and sends it from its
//! beginning. The others write parts from its end. Each takes another part when it has
//! sent one, so that a slow connection sends less. The end of the first one's input,
//! which completes the copy, is sent only when all parts have been written. So an
//! incomplete file never has the final name.

use std::fs::File;
use std::future::pending;
use std::io::{Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;

use super::client::{Begun, Ssh};
use super::command::{Command, Finished, Program, Ran, Sink, Stdin};
use super::copy_programs::{self, BLOCK, Trouble};
use super::host::Host;
use crate::error::{Error, Result};
use crate::report::{Meter, Reporter};

/// How many bytes of one channel a stock sshd takes in a round trip.
const WINDOW: u64 = 2 << 20;

/// A connection has to save this much time, because its login takes some too.
const WORTH: Duration = Duration::from_millis(250);

/// The most connections for one file. sshd refuses logins at random if more than ten
/// are in progress.
const MOST: u128 = 6;

/// The longest part, in bytes.
const LONGEST_PART: u64 = 4 * BLOCK;

/// The longest path of a hidden file that is accepted from a host.
const LONGEST_PATH: usize = 4096;

/// A file for a host.
#[derive(Debug)]
pub struct FileUpload {
    /// The name if the target is a directory.
    pub name: String,
    /// The path on the host.
    pub target: String,
    /// The permissions.
    pub mode: u32,
    /// The content.
    pub file: File,
    /// How many bytes of it are sent.
    pub size: u64,
    /// Counts the bytes.
    pub meter: Meter,
    /// Whether root owns the copy.
    pub sudo: bool,
    /// The time limit.
    pub timeout: Option<Duration>,
}

impl Ssh {
    /// Copies a file to a host. The output is the path of the copy; the status says
    /// what went wrong, see [`Trouble`].
    ///
    /// Throws as [`Ssh::try_run`].
    pub async fn put_file(
        &self,
        host: &Host,
        upload: FileUpload,
        report: &Reporter,
    ) -> Result<Ran> {
        let begun = self.begin(host).await?;
        let connections = connections(upload.size, begun.round_trip());
        let parts = Arc::new(Parts::of(upload, connections));
        match self.put_parts(host, begun, &parts, report).await? {
            // The host cannot write in the middle of a file.
            None => {
                let parts = Arc::new(parts.begin_alone());
                let begun = self.begin(host).await?;
                let put = self.put_parts(host, begun, &parts, report).await?;
                put.ok_or_else(|| Error::internal("a single part was not copied"))
            }
            Some(ran) => Ok(ran),
        }
    }

    /// Returns `None` if the host cannot receive parts.
    async fn put_parts(
        &self,
        host: &Host,
        begun: Begun,
        parts: &Arc<Parts>,
        report: &Reporter,
    ) -> Result<Option<Ran>> {
        let _stopping = Stopping(parts);
        let output = Arc::new(Mutex::new(Vec::new()));
        let mut first = pin!(async {
            let opened = self.opened(host, begun).await?;
            let command = parts.first_command(&output);
            self.run_on(opened, host, command, report).await
        });
        let others = (1..parts.connections).map(async |_| {
            // The other connections send its parts, if this one cannot be opened.
            let opened = self.open(host).await.ok()?;
            let (command, taken) = parts.other_command();
            let ran = self.run_on(opened, host, command, report).await;
            taken.done(ran);
            Some(())
        });
        let mut others = pin!(async {
            join_all(others).await;
            pending().await
        });
        // The first connection ends last.
        let ran = tokio::select! {
            ran = &mut first => ran,
            ran = &mut others => ran,
        };
        match parts.stop() {
            None => Ok(Some(with_output(ran?, locked(&output).split_off(0)))),
            Some(Failure::Error(error)) => Err(error),
            Some(Failure::Trouble(finished)) => Ok(Some(Ran::Finished(finished))),
            Some(Failure::Unable) => Ok(None),
        }
    }
}

/// Returns how many connections send a file.
fn connections(size: u64, round_trip: Option<Duration>) -> usize {
    let round_trips = u32::try_from(size / WINDOW).unwrap_or(u32::MAX);
    let alone = round_trip.unwrap_or_default().saturating_mul(round_trips);
    let worth = alone.as_millis() / WORTH.as_millis();
    usize::try_from(worth.clamp(1, MOST)).unwrap_or(1)
}

/// A file, and which parts of it are taken.
#[derive(Debug)]
struct Parts {
    upload: Arc<FileUpload>,
    connections: usize,
    state: Mutex<State>,
    /// Signals that the name of the hidden file is known, or that a connection or the
    /// copy has ended.
    changed: Condvar,
}

/// The path of the hidden file.
#[derive(Clone, Debug)]
enum Hidden {
    /// The host has not sent it yet.
    Awaited,
    /// It cannot be part of a program's input.
    Unusable,
    At(String),
}

#[derive(Debug)]
struct State {
    /// What no connection has taken. The first connection takes from its beginning,
    /// the others from its end.
    rest: Range<u64>,
    /// The bytes behind the last whole block, as soon as other connections take parts.
    /// The last part of a connection is the only one that may end within a block.
    tail: Option<Range<u64>>,
    hidden: Hidden,
    /// How many other connections have taken parts and not ended.
    open: usize,
    failure: Option<Failure>,
    /// Whether the copy has ended.
    stopped: bool,
}

impl State {
    fn whole(size: u64) -> Self {
        Self {
            rest: 0..size,
            tail: None,
            hidden: Hidden::Awaited,
            open: 0,
            failure: None,
            stopped: false,
        }
    }

    /// Fails if no more data is to be sent.
    fn check(&self) -> std::io::Result<()> {
        if self.stopped || self.failure.is_some() {
            return Err(std::io::Error::other("another part of it was not written"));
        }
        Ok(())
    }

    /// Takes a part from the end for one of the other connections. Parts become smaller,
    /// so that all connections end at about the same time.
    fn take(&mut self, connections: usize) -> Option<Range<u64>> {
        if self.tail.is_none() && !self.rest.end.is_multiple_of(BLOCK) {
            let end = self.rest.end / BLOCK * BLOCK;
            if end <= self.rest.start {
                return None;
            }
            self.tail = Some(end..self.rest.end);
            self.rest.end = end;
        }
        let shares = u64::try_from(4 * connections).unwrap_or(u64::MAX);
        let share = (self.rest.end - self.rest.start) / shares;
        let length = share.clamp(BLOCK, LONGEST_PART).next_multiple_of(BLOCK);
        let from = self.rest.end.saturating_sub(length);
        let from = from.max(self.rest.start.next_multiple_of(BLOCK));
        if from >= self.rest.end {
            return self.tail.take();
        }
        let part = from..self.rest.end;
        self.rest.end = from;
        Some(part)
    }
}

/// Why a part was not written.
#[derive(Debug)]
enum Failure {
    Error(Error),
    /// The program ended with the reason.
    Trouble(Finished),
    /// The host has not what the program needs.
    Unable,
}

impl Parts {
    fn of(upload: FileUpload, connections: usize) -> Self {
        Self {
            connections,
            state: Mutex::new(State::whole(upload.size)),
            changed: Condvar::new(),
            upload: Arc::new(upload),
        }
    }

    /// Returns the same file for one connection.
    fn begin_alone(&self) -> Self {
        Self {
            connections: 1,
            state: Mutex::new(State::whole(self.upload.size)),
            changed: Condvar::new(),
            upload: Arc::clone(&self.upload),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let changed = self.changed.wait(state);
        changed.unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the command of the first connection.
    fn first_command(self: &Arc<Self>, output: &Arc<Mutex<Vec<u8>>>) -> Command {
        let upload = &self.upload;
        let program =
            copy_programs::receive_file(&upload.name, &upload.target, upload.size, upload.mode);
        let answer = Answer {
            hidden: Some(Vec::new()),
            parts: Arc::clone(self),
            output: Arc::clone(output),
        };
        Command {
            stdin: Stdin::Reader(Box::new(First(Arc::clone(self)))),
            stdout: Some(Sink(Box::new(answer))),
            ..self.program(program)
        }
    }

    /// Returns the command of another connection, which writes parts into the hidden
    /// file.
    fn other_command(self: &Arc<Self>) -> (Command, Taken) {
        let other = Other {
            parts: Arc::clone(self),
            any: Arc::default(),
            header: Vec::new(),
            rest: 0..0,
            is_named: false,
            is_last: false,
        };
        let taken = Taken {
            parts: Arc::clone(self),
            any: Arc::clone(&other.any),
            failure: Some(Failure::Error(Error::cancelled())),
        };
        let command = Command {
            stdin: Stdin::Reader(Box::new(other)),
            ..self.program(copy_programs::receive_parts())
        };
        (command, taken)
    }

    fn program(&self, program: String) -> Command {
        Command {
            program: Program::Own(program),
            sudo: self.upload.sudo,
            timeout: self.upload.timeout,
            ..Command::default()
        }
    }

    /// Reads from the beginning of what no connection has taken.
    fn read_first(&self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let range = {
            let mut state = self.state();
            state.check()?;
            let length = state.rest.end - state.rest.start;
            let length = length.min(buffer.len() as u64);
            let from = state.rest.start;
            state.rest.start += length;
            from..from + length
        };
        self.read(buffer, range)
    }

    fn read(&self, buffer: &mut [u8], range: Range<u64>) -> std::io::Result<usize> {
        let length = usize::try_from(range.end - range.start).unwrap_or(buffer.len());
        let buffer = &mut buffer[..length];
        match self.upload.file.read_exact_at(buffer, range.start) {
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(std::io::Error::other("it became shorter during the copy"))
            }
            Err(e) => Err(e),
            Ok(()) => {
                self.upload.meter.add(length as u64);
                Ok(length)
            }
        }
    }

    /// Waits until no part is on its way. Fails if one was not written.
    fn await_others(&self) -> std::io::Result<()> {
        let mut state = self.state();
        while state.open > 0 {
            state = self.wait(state);
        }
        state.check()
    }

    /// Records the path of the hidden file.
    fn name(&self, hidden: Option<String>) {
        // A line ends the path in the input of the other connections.
        let usable = hidden.filter(|path| !path.contains('\n'));
        self.state().hidden = usable.map_or(Hidden::Unusable, Hidden::At);
        self.changed.notify_all();
    }

    /// Waits for the path of the hidden file. Returns `None` if it is unusable.
    fn hidden(&self) -> std::io::Result<Option<String>> {
        let mut state = self.state();
        loop {
            state.check()?;
            match &state.hidden {
                Hidden::Awaited => state = self.wait(state),
                Hidden::Unusable => return Ok(None),
                Hidden::At(path) => return Ok(Some(path.clone())),
            }
        }
    }

    /// Ends all parts. Returns why one was not written.
    fn stop(&self) -> Option<Failure> {
        let mut state = self.state();
        state.stopped = true;
        self.changed.notify_all();
        state.failure.take()
    }
}

/// Ends all parts when the copy ends, whatever the reason.
struct Stopping<'a>(&'a Parts);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// The parts that another connection takes. If it is dropped before they are written,
/// the copy fails.
struct Taken {
    parts: Arc<Parts>,
    /// Whether the connection has taken a part.
    any: Arc<AtomicBool>,
    failure: Option<Failure>,
}

impl Taken {
    fn done(mut self, ran: Result<Ran>) {
        self.failure = match ran {
            Ok(Ran::Finished(finished)) if finished.status == 0 => None,
            Ok(Ran::Finished(finished)) if Trouble::of_status(finished.status).is_some() => {
                Some(Failure::Trouble(finished))
            }
            Ok(Ran::Finished(_) | Ran::Refused(_)) => Some(Failure::Unable),
            Err(error) => Some(Failure::Error(error)),
        };
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // Without a part, nothing is missing.
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        let mut state = self.parts.state();
        state.open -= 1;
        if state.failure.is_none() {
            state.failure = self.failure.take();
        }
        self.parts.changed.notify_all();
    }
}

/// The input of the first connection. Its end completes the copy.
struct First(Arc<Parts>);

impl Read for First {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.0.read_first(buffer)?;
        if read == 0 && !buffer.is_empty() {
            self.0.await_others()?;
        }
        Ok(read)
    }
}

/// The input of another connection: the path of the hidden file, and parts.
struct Other {
    parts: Arc<Parts>,
    /// Whether it has taken a part.
    any: Arc<AtomicBool>,
    /// What precedes the part.
    header: Vec<u8>,
    /// What is left of the part.
    rest: Range<u64>,
    /// Whether the path was sent.
    is_named: bool,
    /// Whether the part ends within a block.
    is_last: bool,
}

impl Other {
    /// Takes the next part. Returns false if there is none.
    fn next(&mut self) -> std::io::Result<bool> {
        if self.is_last {
            return Ok(false);
        }
        if !self.is_named {
            let Some(hidden) = self.parts.hidden()? else {
                return Ok(false);
            };
            self.header = format!("{hidden}\n").into_bytes();
            self.is_named = true;
        }
        let mut state = self.parts.state();
        state.check()?;
        let Some(part) = state.take(self.parts.connections) else {
            return Ok(false);
        };
        if !self.any.swap(true, Ordering::AcqRel) {
            state.open += 1;
        }
        drop(state);
        let length = part.end - part.start;
        let header = format!("{} {}\n", part.start / BLOCK, length.div_ceil(BLOCK));
        self.header.extend(header.into_bytes());
        self.is_last = !length.is_multiple_of(BLOCK);
        self.rest = part;
        Ok(true)
    }
}

impl Read for Other {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.header.is_empty() && self.rest.is_empty() && !self.next()? {
            return Ok(0);
        }
        let written = self.header.len().min(buffer.len());
        buffer[..written].copy_from_slice(&self.header[..written]);
        self.header.drain(..written);
        let buffer = &mut buffer[written..];
        let length = (self.rest.end - self.rest.start).min(buffer.len() as u64);
        let range = self.rest.start..self.rest.start + length;
        self.rest.start = range.end;
        self.parts.state().check()?;
        Ok(written + self.parts.read(buffer, range)?)
    }
}

/// The output of the first connection: the path of the hidden file, a zero byte, and
/// in the end the path of the copy.
struct Answer {
    /// What has arrived of the path of the hidden file.
    hidden: Option<Vec<u8>>,
    parts: Arc<Parts>,
    output: Arc<Mutex<Vec<u8>>>,
}

impl Write for Answer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut rest = bytes;
        if let Some(hidden) = &mut self.hidden {
            let end = bytes.iter().position(|byte| *byte == 0);
            hidden.extend(&bytes[..end.unwrap_or(bytes.len())]);
            if hidden.len() > LONGEST_PATH {
                return Err(std::io::Error::other("the host sends no path"));
            }
            let Some(end) = end else {
                return Ok(bytes.len());
            };
            // A name that is not UTF-8 cannot be part of a program.
            let name = self
                .hidden
                .take()
                .and_then(|name| String::from_utf8(name).ok());
            self.parts.name(name);
            rest = &bytes[end + 1..];
        }
        locked(&self.output).extend_from_slice(rest);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn with_output(ran: Ran, output: Vec<u8>) -> Ran {
    match ran {
        Ran::Finished(finished) => Ran::Finished(Finished {
            stdout: output,
            ..finished
        }),
        refused @ Ran::Refused(_) => refused,
    }
}

fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_whole_file_and_only_the_last_ends_within_a_block() {
        for size in [
            0,
            1,
            BLOCK,
            BLOCK + 1,
            64 * BLOCK,
            64 * BLOCK - 1,
            40 * BLOCK + 77,
        ] {
            for between in [0, 1, BLOCK / 3, 3 * BLOCK] {
                let mut state = State::whole(size);
                let mut taken = Vec::new();
                while let Some(part) = state.take(6) {
                    assert!(part.start.is_multiple_of(BLOCK));
                    assert!(part.end.is_multiple_of(BLOCK) || part.end == size);
                    taken.push(part);
                    let first = (state.rest.start + between).min(state.rest.end);
                    state.rest.start = first;
                }
                // The first connection sends the others.
                taken.push(0..state.rest.end);
                taken.sort_by_key(|part| part.start);
                let mut end = 0;
                for part in taken {
                    assert!(part.start <= end, "{size} {between} {part:?}");
                    end = end.max(part.end);
                }
                assert_eq!(end, size, "{between}");
            }
        }
    }

    #[test]
    fn more_connections_serve_only_a_long_transfer() {
        let on = |mebibytes: u64, milliseconds: u64| {
            connections(mebibytes << 20, Some(Duration::from_millis(milliseconds)))
        };
        assert_eq!(connections(u64::MAX, None), 1);
        assert_eq!(on(0, 50), 1);
        assert_eq!(on(8, 50), 1);
        assert_eq!(on(256, 1), 1);
        assert_eq!(on(20, 50), 2);
        assert_eq!(on(64, 50), 6);
        assert_eq!(on(1 << 20, 1000), 6);
    }
}
