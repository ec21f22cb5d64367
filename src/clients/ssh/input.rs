//! The data for the host: the program that the boot program reads, then the
//! command's own stdin.

use std::collections::VecDeque;
use std::io::Read as _;

use super::channel::Channel;
use super::command::Stdin;
use super::libssh2::must_wait;

pub(super) const CHUNK: usize = 256 << 10;

/// The data for the host: the program, then the command's own stdin.
pub(super) struct Input {
    pending: Vec<u8>,
    /// The number of bytes of `pending` that were sent.
    sent: usize,
    /// The remaining inputs.
    rest: VecDeque<Stdin>,
    /// Whether sending pauses until sudo's dialog is over.
    pub(super) held: bool,
    done: bool,
}

/// Why input cannot be sent: an error of the connection or of the reader here.
pub(super) enum Fault {
    Remote(ssh2::Error),
    Local(std::io::Error),
}

impl Input {
    pub(super) fn new(program: String, rest: Stdin, held: bool) -> Self {
        Self {
            pending: Vec::new(),
            sent: 0,
            rest: [Stdin::Bytes(program.into_bytes()), rest].into(),
            held,
            done: false,
        }
    }

    /// Sends the password. The rest waits until sudo's dialog is over.
    pub(super) fn answer(&mut self, password: &str) {
        self.pending = format!("{password}\n").into_bytes();
        self.sent = 0;
    }

    /// Writes as much as the channel accepts. Returns the number of bytes, or 1
    /// for other progress.
    pub(super) fn write(&mut self, channel: &Channel) -> std::result::Result<usize, Fault> {
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
        if self.done || self.held {
            return Ok(0);
        }
        if self.refill().map_err(Fault::Local)? {
            return Ok(1);
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

    /// Loads the next piece of input. Returns false at the end.
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
