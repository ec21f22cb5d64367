//! What goes to the other side: the program, then the command's own input.

use std::collections::VecDeque;
use std::io::Read as _;

use super::channel::Channel;
use super::command::Stdin;
use super::libssh2::must_wait;

pub(super) const CHUNK: usize = 256 << 10;

/// What goes to the other side: the program, then the command's own stdin.
pub(super) struct Input {
    pending: Vec<u8>,
    /// How much of `pending` has gone.
    sent: usize,
    /// What comes next.
    rest: VecDeque<Stdin>,
    /// Nothing more goes until sudo is through with its question.
    pub(super) held: bool,
    done: bool,
}

/// What keeps input from going on.
pub(super) enum Fault {
    There(ssh2::Error),
    Here(std::io::Error),
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

    /// Sends the password; what follows waits until sudo is through.
    pub(super) fn answer(&mut self, password: &str) {
        self.pending = format!("{password}\n").into_bytes();
        self.sent = 0;
    }

    /// Writes what the channel takes; how much came of it.
    pub(super) fn write(&mut self, channel: &Channel) -> std::result::Result<usize, Fault> {
        if self.sent < self.pending.len() {
            return match channel.write(&self.pending[self.sent..]) {
                Ok(n) => {
                    self.sent += n;
                    Ok(n)
                }
                Err(e) if must_wait(&e) => Ok(0),
                Err(e) => Err(Fault::There(e)),
            };
        }
        if self.done || self.held {
            return Ok(0);
        }
        if self.refill().map_err(Fault::Here)? {
            return Ok(1);
        }
        match channel.send_eof() {
            Ok(()) => {
                self.done = true;
                Ok(1)
            }
            Err(e) if must_wait(&e) => Ok(0),
            Err(e) => Err(Fault::There(e)),
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
