//! What the agent of an instance is asked to do, and what it reports.

use std::fs::File;

/// A script that an agent runs.
#[derive(Clone, Debug)]
pub(in super::super) struct Order {
    pub(in super::super) instance: String,
    pub(in super::super) region: String,
    /// The id of the command.
    pub(in super::super) command: String,
    pub(in super::super) script: String,
    /// The working directory, if the command names one.
    pub(in super::super) directory: Option<String>,
    /// The limit of its time, in seconds.
    pub(in super::super) seconds: u64,
    /// Whether the complete output is wanted.
    pub(in super::super) complete: bool,
}

/// What a script has written to one of its streams.
#[derive(Debug, Default)]
pub(in super::super) struct Captured {
    /// Its beginning.
    pub(in super::super) head: Vec<u8>,
    /// The complete text, if it is wanted and not empty.
    pub(in super::super) all: Option<File>,
    /// Its length.
    pub(in super::super) length: u64,
}

/// How a script ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum End {
    Exited(i32),
    TimedOut,
    Cancelled,
    /// It did not start, for this reason.
    Failed(String),
    /// The agent has not reported the end, as the instance ended before.
    Lost,
}

/// The report of an agent.
#[derive(Debug)]
pub(in super::super) struct Finished {
    pub(in super::super) end: End,
    pub(in super::super) stdout: Captured,
    pub(in super::super) stderr: Captured,
}

impl Finished {
    /// Returns the report about a script without output.
    pub(in super::super) fn silent(end: End) -> Self {
        Self {
            end,
            stdout: Captured::default(),
            stderr: Captured::default(),
        }
    }
}
