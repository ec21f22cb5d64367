//! Sends a file to a host: to a distant one, parts of a large file side by side.
//!
//! A stock sshd takes 2 MiB of a channel's data in each round trip, so on a long way
//! one connection is slow, whatever the bandwidth. The connection that is opened first
//! runs the usual program, which creates a hidden file and sends it from its
//! beginning. The others write parts from its end. The end of the first one's input,
//! which completes the copy, is sent only when all parts have been written. So an
//! incomplete file never has the final name.

use std::fs::File;
use std::future::pending;
use std::io::{Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;

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
        match self
            .put_parts(host, begun, &parts, connections, report)
            .await?
        {
            // The host cannot write in the middle of a file.
            None => {
                parts.restart();
                let begun = self.begin(host).await?;
                let put = self.put_parts(host, begun, &parts, 1, report).await?;
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
        connections: usize,
        report: &Reporter,
    ) -> Result<Option<Ran>> {
        let (names, path) = watch::channel(None);
        let output = Arc::new(Mutex::new(Vec::new()));
        let mut first = pin!(async {
            let opened = self.opened(host, begun).await?;
            let command = parts.first_command(names, &output);
            self.run_on(opened, host, command, report).await
        });
        let others = (1..connections).map(async |_| {
            // The other connections send its part, if this one cannot be opened.
            let opened = self.open(host).await.ok()?;
            let mut path = path.clone();
            let hidden = path.wait_for(Option::is_some).await.ok()?.clone()?;
            let part = parts.claim()?;
            let command = parts.command(&hidden, part.range.clone());
            part.done(self.run_on(opened, host, command, report).await);
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
    upload: FileUpload,
    /// The size of a part.
    length: u64,
    state: Mutex<State>,
    /// Signals that a part has ended.
    ended: Condvar,
}

#[derive(Debug)]
struct State {
    /// What no connection has taken. The first connection takes from its beginning,
    /// the others from its end.
    rest: Range<u64>,
    /// How many parts of other connections are on their way.
    open: usize,
    failure: Option<Failure>,
    /// Whether the copy has ended.
    stopped: bool,
}

impl State {
    fn whole(size: u64) -> Self {
        Self {
            rest: 0..size,
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
        let connections = u64::try_from(connections).unwrap_or(u64::MAX);
        Self {
            length: upload.size.div_ceil(connections),
            state: Mutex::new(State::whole(upload.size)),
            ended: Condvar::new(),
            upload,
        }
    }

    /// Begins again, with one connection.
    fn restart(&self) {
        *self.state() = State::whole(self.upload.size);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// Returns the command of the first connection.
    fn first_command(
        self: &Arc<Self>,
        names: watch::Sender<Option<String>>,
        output: &Arc<Mutex<Vec<u8>>>,
    ) -> Command {
        let upload = &self.upload;
        let program =
            copy_programs::receive_file(&upload.name, &upload.target, upload.size, upload.mode);
        let answer = Answer {
            hidden: Some(Vec::new()),
            names,
            output: Arc::clone(output),
        };
        Command {
            stdin: Stdin::Reader(Box::new(First(Arc::clone(self)))),
            stdout: Some(Sink(Box::new(answer))),
            ..self.program(program)
        }
    }

    /// Returns the command that writes a part into the hidden file.
    fn command(self: &Arc<Self>, hidden: &str, part: Range<u64>) -> Command {
        let program = copy_programs::receive_part(hidden, part.start / BLOCK);
        let part = Part {
            parts: Arc::clone(self),
            rest: part,
        };
        Command {
            stdin: Stdin::Reader(Box::new(part)),
            ..self.program(program)
        }
    }

    fn program(&self, program: String) -> Command {
        Command {
            program: Program::Own(program),
            sudo: self.upload.sudo,
            timeout: self.upload.timeout,
            ..Command::default()
        }
    }

    /// Takes a part from the end. Returns `None` if there is no whole one left.
    fn claim(self: &Arc<Self>) -> Option<Claimed> {
        let mut state = self.state();
        let from = state.rest.end.checked_sub(self.length)?;
        let from = from.next_multiple_of(BLOCK);
        if from <= state.rest.start || from >= state.rest.end {
            return None;
        }
        let range = from..state.rest.end;
        state.rest.end = from;
        state.open += 1;
        Some(Claimed {
            range,
            parts: Arc::clone(self),
            failure: Some(Failure::Error(Error::cancelled())),
        })
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
            state = self
                .ended
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.check()
    }

    /// Ends all parts. Returns why one was not written.
    fn stop(&self) -> Option<Failure> {
        let mut state = self.state();
        state.stopped = true;
        state.failure.take()
    }
}

/// A part that a connection sends. If it is dropped before its end, the copy fails.
struct Claimed {
    range: Range<u64>,
    parts: Arc<Parts>,
    failure: Option<Failure>,
}

impl Claimed {
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

impl Drop for Claimed {
    fn drop(&mut self) {
        let mut state = self.parts.state();
        state.open -= 1;
        if state.failure.is_none() {
            state.failure = self.failure.take();
        }
        self.parts.ended.notify_all();
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

/// The input of another connection.
struct Part {
    parts: Arc<Parts>,
    rest: Range<u64>,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = (self.rest.end - self.rest.start).min(buffer.len() as u64);
        let range = self.rest.start..self.rest.start + length;
        self.rest.start = range.end;
        self.parts.state().check()?;
        self.parts.read(buffer, range)
    }
}

/// The output of the first connection: the path of the hidden file, a zero byte, and
/// in the end the path of the copy.
struct Answer {
    /// What has arrived of the path of the hidden file.
    hidden: Option<Vec<u8>>,
    names: watch::Sender<Option<String>>,
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
            let _ = self.names.send(name);
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
