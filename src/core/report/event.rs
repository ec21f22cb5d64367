//! The events of a run.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The level of a log message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Details for troubleshooting.
    Debug,
    /// What was done.
    Info,
    /// Problems that do not stop the run.
    Warn,
    /// Failures.
    Error,
}

/// The output stream of a remote command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The playbook ran to its end.
    Done,
    /// The playbook failed.
    Failed,
    /// A signal stopped it.
    Interrupted,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 3] = [Self::Done, Self::Failed, Self::Interrupted];

    /// Returns the name that reports and the ledger use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

/// An event of a run. With `--output json`, each event is a line on stdout.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A run started.
    RunStarted {
        /// Path of the playbook.
        playbook: String,
        /// Whether it resumes an earlier attempt.
        resumed: bool,
    },
    /// A playbook function was called.
    StepStarted {
        /// Name of the function.
        function: String,
    },
    /// A playbook function returned.
    StepFinished {
        /// Name of the function.
        function: String,
        /// Duration of the call.
        seconds: f64,
        /// Whether it succeeded.
        ok: bool,
    },
    /// The program or the playbook logged a message.
    Logged {
        /// Level of the message.
        level: Level,
        /// The message.
        message: String,
    },
    /// The playbook printed a text.
    Printed {
        /// The text.
        text: String,
    },
    /// Monitoring took a sample.
    Sampled {
        /// The sample.
        sample: serde_json::Value,
        /// The sample as text.
        #[serde(skip)]
        line: String,
        /// The last latencies in seconds, for a graph; `None` for a failure.
        #[serde(skip)]
        latencies: Vec<Option<f64>>,
    },
    /// A remote command wrote a line.
    RemoteOutput {
        /// Name of the host.
        host: String,
        /// The output stream.
        stream: Stream,
        /// The line, without the newline.
        line: String,
    },
    /// A resource was created.
    ResourceCreated {
        /// Kind of the resource, such as `security_group`.
        kind: &'static str,
        /// ID of the resource.
        id: String,
        /// Name of the resource.
        name: String,
    },
    /// A resource was removed.
    ResourceReleased {
        /// Kind of the resource.
        kind: &'static str,
        /// ID of the resource.
        id: String,
        /// Name of the resource.
        name: String,
    },
    /// A run failed.
    RunFailed {
        /// The error.
        error: Error,
        /// The error as text: message, place, source line, call trail, hint.
        #[serde(skip)]
        rendered: String,
    },
    /// A resource could not be removed.
    NotRemoved {
        /// The resource.
        what: Remaining,
        /// The error.
        error: Error,
    },
    /// A run ended.
    RunFinished {
        /// The outcome.
        outcome: Outcome,
        /// Duration of the attempt.
        seconds: f64,
        /// The calls by function, longest first.
        steps: Vec<Steps>,
        /// Resources that the run created and that are still up.
        up: Vec<Remaining>,
        /// Resources whose create requests have no known result: they may exist.
        possibly_made: Vec<Remaining>,
    },
}

/// All calls of a function.
#[derive(Clone, Debug, Serialize)]
pub struct Steps {
    /// Name of the function.
    pub function: String,
    /// Number of calls.
    pub count: usize,
    /// Total duration of the calls; calls in parallel branches overlap.
    pub seconds: f64,
}

/// A resource that outlives the run.
#[derive(Clone, Debug, Serialize)]
pub struct Remaining {
    /// Kind of the resource, such as `security_group`.
    pub kind: &'static str,
    /// ID of the resource, if it is known.
    pub id: Option<String>,
    /// Name of the resource.
    pub name: String,
    /// Whether `autorun ssh` can log in to it.
    #[serde(skip)]
    pub can_log_in: bool,
}
