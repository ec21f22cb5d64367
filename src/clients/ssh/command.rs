//! A command for a host, and what became of it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::time::Duration;

/// What a command reads.
#[derive(Default)]
pub enum Stdin {
    /// Nothing.
    #[default]
    Empty,
    /// This text.
    Bytes(Vec<u8>),
    /// All that this gives, which must not keep others waiting for long.
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

/// Where a command's standard output goes instead of into its result.
pub struct Sink(pub Box<dyn Write + Send>);

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sink")
    }
}

/// A command to run.
#[derive(Debug, Default)]
pub struct Command {
    /// Text for the user's login shell.
    pub command: String,
    /// Directory to run it in.
    pub cwd: Option<String>,
    /// Environment variables; they travel inside the connection, never in a
    /// command line.
    pub env: BTreeMap<String, String>,
    /// Its standard input.
    pub stdin: Stdin,
    /// Where its standard output goes; none means into the result.
    pub stdout: Option<Sink>,
    /// Whether it runs as root by sudo.
    pub sudo: bool,
    /// Time after which it is ended.
    pub timeout: Option<Duration>,
    /// Whether its output goes to the log while it runs.
    pub live: bool,
}

/// What became of a command.
#[derive(Clone, Debug, Default)]
pub struct Finished {
    /// Exit status; 128 + n for signal n, as a shell says it.
    pub status: i64,
    /// Name of the signal that ended it, as `TERM`.
    pub signal: Option<String>,
    /// Whether it did not run, as its directory cannot be entered there.
    pub no_directory: bool,
    /// Standard output, at most the last [`KEPT`] bytes.
    pub stdout: Vec<u8>,
    /// Standard error, likewise.
    pub stderr: Vec<u8>,
    /// Bytes of output that did not fit.
    pub dropped: u64,
    /// How long it took.
    pub seconds: f64,
}

/// How much of each output a result holds: its end. The log has all of it.
pub const KEPT: usize = 4 << 20;
