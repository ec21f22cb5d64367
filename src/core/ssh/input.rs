//! The data for the host: the programs that the boot program reads, then the
//! command's own stdin. Each is sent only when the host is ready for it, so that
//! no other program reads it.

use std::collections::VecDeque;
use std::io::Read;

use super::channel::Channel;
use super::command::Stdin;
use super::libssh2::must_wait;

/// The largest piece of input or output that is moved at once, in bytes. libssh2 puts
/// at most 32,700 bytes into a packet; a small packet at the end of each piece would
/// cost as much as a large one.
pub(super) const CHUNK: usize = 8 * 32_700;

/// After this many bytes, output and the deadline are looked at again.
const BURST: usize = 2 * CHUNK;

/// A part of the data for the host.
pub(super) enum Part {
    Data(Stdin),
    /// Sending pauses here until [`Input::release`].
    Pause,
}

/// The data for the host; see the module.
pub(super) struct Input {
    pending: Vec<u8>,
    /// The number of bytes of `pending` that were sent.
    sent: usize,
    /// The remaining parts.
    rest: VecDeque<Part>,
    done: bool,
}

/// Why input cannot be sent: an error of the connection or of the reader here.
pub(super) enum Fault {
    Remote(ssh2::Error),
    Local(std::io::Error),
}

impl Input {
    pub(super) fn new(parts: impl IntoIterator<Item = Part>) -> Self {
        Self {
            pending: Vec::new(),
            sent: 0,
            rest: parts.into_iter().collect(),
            done: false,
        }
    }

    /// Sends the password, before everything else.
    pub(super) fn answer(&mut self, password: &str) {
        self.pending = format!("{password}\n").into_bytes();
        self.sent = 0;
    }

    /// Ends the pause at which sending has arrived.
    pub(super) fn release(&mut self) {
        if let Some(Part::Pause) = self.rest.front() {
            self.rest.pop_front();
        }
    }

    /// Writes what the channel accepts, but not without end. Returns the number of
    /// bytes, or a small number for other progress.
    pub(super) fn write(&mut self, channel: &Channel) -> std::result::Result<usize, Fault> {
        let mut moved = 0;
        while moved < BURST {
            match self.write_once(channel)? {
                0 => break,
                n => moved += n,
            }
        }
        Ok(moved)
    }

    fn write_once(&mut self, channel: &Channel) -> std::result::Result<usize, Fault> {
        if self.sent < self.pending.len() {
            return match channel.write(&self.pending[self.sent..]) {
                Ok(n) => {
                    self.sent += n;
                    Ok(n)
                }
                Err(e) if must_wait(&e) => Ok(0),
                Err(e) => Err(Fault::Remote(e)),
            };
        }
        if self.done {
            return Ok(0);
        }
        if self.refill().map_err(Fault::Local)? {
            return Ok(1);
        }
        if !self.rest.is_empty() {
            return Ok(0);
        }
        match channel.send_eof() {
            Ok(()) => {
                self.done = true;
                Ok(1)
            }
            Err(e) if must_wait(&e) => Ok(0),
            Err(e) => Err(Fault::Remote(e)),
        }
    }

    /// Loads the next piece of input. Returns false at a pause and at the end.
    fn refill(&mut self) -> std::io::Result<bool> {
        self.sent = 0;
        while let Some(next) = self.rest.pop_front() {
            match next {
                Part::Pause => {
                    self.rest.push_front(Part::Pause);
                    break;
                }
                Part::Data(Stdin::Empty) => {}
                Part::Data(Stdin::Bytes(bytes)) => self.pending = bytes,
                Part::Data(Stdin::Reader(mut reader)) => {
                    // The buffer of the last piece is used again.
                    self.pending.resize(CHUNK, 0);
                    let length = read(&mut reader, &mut self.pending)?;
                    if length == 0 {
                        self.pending = Vec::new();
                        continue;
                    }
                    self.pending.truncate(length);
                    self.rest.push_front(Part::Data(Stdin::Reader(reader)));
                }
            }
            if !self.pending.is_empty() {
                return Ok(true);
            }
        }
        self.pending.clear();
        Ok(false)
    }
}

/// Reads a piece; 0 bytes are the end.
fn read(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
