//! The row of a step.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::clock::Millis;

/// A step in the ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepRow {
    /// Its number in the run, from 0.
    pub number: usize,
    /// Digest of its identity.
    pub key: String,
    /// The branch of `parallel`.
    pub branch: String,
    /// The function.
    pub function: String,
    /// A short form of the arguments, masked.
    pub summary: String,
    /// The place in the playbook, such as `web.rhai:12`.
    pub place: String,
    /// Its progress.
    pub state: Progress,
    /// Its result, masked.
    pub result: Option<StepResult>,
    /// Whether the result was masked or shortened.
    pub altered: bool,
    /// Its error, masked.
    pub error: Option<String>,
    /// When it started.
    pub started: Millis,
    /// When it ended.
    pub ended: Option<Millis>,
}

/// The recorded result of a step.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepResult {
    /// A value, masked and shortened.
    Value(Value),
    /// Invalid JSON, which autorun did not write.
    Unreadable {
        /// The text.
        text: String,
        /// The parse error.
        why: String,
    },
}

impl StepResult {
    /// Parses the text in the ledger.
    pub(super) fn read(text: String) -> Self {
        match serde_json::from_str(&text) {
            Ok(value) => Self::Value(value),
            Err(e) => Self::Unreadable {
                text,
                why: e.to_string(),
            },
        }
    }

    /// Returns the text for the ledger.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Value(value) => value.to_string(),
            Self::Unreadable { text, .. } => text.clone(),
        }
    }

    /// Returns the value, if it is readable.
    #[must_use]
    pub fn value(&self) -> Option<&Value> {
        match self {
            Self::Value(value) => Some(value),
            Self::Unreadable { .. } => None,
        }
    }
}

/// The progress of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// It started; no end is recorded.
    UnderWay,
    /// It succeeded.
    Done,
    /// It failed.
    Failed,
}

impl Progress {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::UnderWay, Self::Done, Self::Failed];

    /// Returns the name that the ledger uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnderWay => "under_way",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}
