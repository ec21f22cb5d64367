//! A command for a host, and its result.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::time::Duration;

use crate::error::Error;

/// The standard input of a command.
#[derive(Default)]
pub enum Stdin {
    /// No input.
    #[default]
    Empty,
    /// These bytes.
    Bytes(Vec<u8>),
    /// Everything from this reader, which must not block for long.
    Reader(Box<dyn Read + Send>),
}

impl std::fmt::Debug for Stdin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Bytes(_) => "Bytes",
            Self::Reader(_) => "Reader",
        })
    }
}

/// A writer that receives a command's standard output instead of its result.
pub struct Sink(pub Box<dyn Write + Send>);

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sink")
    }
}

/// What a command consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// A command line for the user's login shell.
    Shell(String),
    /// A program of autorun itself, for POSIX sh. It starts in the home
    /// directory.
    Own(String),
}

impl Default for Program {
    fn default() -> Self {
        Self::Own(String::new())
    }
}

/// A command to run.
#[derive(Debug, Default)]
pub struct Command {
    /// The command.
    pub program: Program,
    /// The working directory.
    pub cwd: Option<String>,
    /// Environment variables; they are sent inside the connection, never in a
    /// command line.
    pub env: BTreeMap<String, String>,
    /// The standard input.
    pub stdin: Stdin,
    /// The destination of the standard output; without it, the result.
    pub stdout: Option<Sink>,
    /// Whether the command runs as root with sudo.
    pub sudo: bool,
    /// The time after which the command is terminated.
    pub timeout: Option<Duration>,
    /// Whether the output is logged while the command runs.
    pub live: bool,
}

/// The result of a command.
#[derive(Clone, Debug, Default)]
pub struct Finished {
    /// The exit status; 128 + n for signal n, as in a shell.
    pub status: i64,
    /// The name of the signal that ended it, for example `TERM`.
    pub signal: Option<String>,
    /// Whether the command did not run because its working directory cannot be
    /// entered.
    pub no_directory: bool,
    /// Whether the command did not run because its working directory is that of
    /// a user who does not exist on the host.
    pub no_user: bool,
    /// Standard output, at most the last [`KEPT`] bytes.
    pub stdout: Vec<u8>,
    /// Standard error, with the same limit.
    pub stderr: Vec<u8>,
    /// The number of output bytes that were dropped.
    pub dropped: u64,
    /// The duration in seconds.
    pub seconds: f64,
}

/// The result of [`super::Ssh::try_run`].
#[derive(Debug)]
pub enum Ran {
    /// The command ran.
    Finished(Finished),
    /// The account runs no commands, for the reason in the error.
    Refused(Error),
}

/// The longest output in a result, in bytes: the end of each stream. The log
/// has all of it.
pub const KEPT: usize = 4 << 20;
