//! Everything that can be said about a run, in the past tense.

use serde::Serialize;

use crate::error::Error;

/// How important something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Every step, for finding out why.
    Debug,
    /// What was done.
    Info,
    /// What deserves attention but did not stop the run.
    Warn,
    /// What failed.
    Error,
}

/// Which output of a remote command a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The playbook came to its end.
    Done,
    /// The playbook failed.
    Failed,
    /// A signal stopped it.
    Interrupted,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 3] = [Self::Done, Self::Failed, Self::Interrupted];

    /// The name that reports and the ledger use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

/// One thing that happened. With `--output json` each is one line on stdout.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A run began.
    RunStarted {
        /// Path of the playbook.
        playbook: String,
        /// Whether it goes on where an earlier attempt ended.
        resumed: bool,
    },
    /// A primitive was called.
    StepStarted {
        /// Its name.
        function: String,
    },
    /// A primitive returned.
    StepFinished {
        /// Its name.
        function: String,
        /// How long it took.
        seconds: f64,
        /// Whether it succeeded.
        ok: bool,
    },
    /// A primitive or the playbook logged something.
    Logged {
        /// How important it is.
        level: Level,
        /// The text.
        message: String,
    },
    /// The playbook printed something.
    Printed {
        /// The text.
        text: String,
    },
    /// Monitoring took a sample.
    Sampled {
        /// What was seen.
        sample: serde_json::Value,
        /// The same as a person reads it.
        #[serde(skip)]
        line: String,
        /// The last latencies in seconds, for a graph; nothing for a failure.
        #[serde(skip)]
        latencies: Vec<Option<f64>>,
    },
    /// A remote command wrote a line.
    RemoteOutput {
        /// Name of the host.
        host: String,
        /// Which output.
        stream: Stream,
        /// The line, without its end.
        line: String,
    },
    /// A resource was made.
    ResourceCreated {
        /// What it is, as `security_group`.
        kind: &'static str,
        /// AWS's id.
        id: String,
        /// Its name.
        name: String,
    },
    /// A resource was removed.
    ResourceReleased {
        /// What it was.
        kind: &'static str,
        /// AWS's id.
        id: String,
    },
    /// A run failed.
    RunFailed {
        /// Why.
        error: Error,
        /// The error as a person reads it: place, caret, call trail, hint.
        #[serde(skip)]
        rendered: String,
    },
    /// Something could not be removed.
    NotRemoved {
        /// What it is.
        what: Remaining,
        /// Why.
        error: Error,
    },
    /// A run ended.
    RunFinished {
        /// How.
        outcome: Outcome,
        /// How long it took.
        seconds: f64,
        /// What it did; what took longest comes first.
        steps: Vec<Steps>,
        /// What the run made and is still there.
        up: Vec<Remaining>,
        /// What was asked for without an answer: it may exist.
        possibly_made: Vec<Remaining>,
    },
}

/// All calls of one function.
#[derive(Clone, Debug, Serialize)]
pub struct Steps {
    /// Its name.
    pub function: String,
    /// How often it was called.
    pub count: usize,
    /// How long the calls took together; those of branches overlap.
    pub seconds: f64,
}

/// A resource that outlives the run.
#[derive(Clone, Debug, Serialize)]
pub struct Remaining {
    /// What it is, as `security_group`.
    pub kind: &'static str,
    /// AWS's id, if known.
    pub id: Option<String>,
    /// Its name.
    pub name: String,
    /// Whether `autorun ssh` logs in to it.
    #[serde(skip)]
    pub can_log_in: bool,
}
