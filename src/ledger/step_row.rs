//! A step as the ledger keeps it.

use serde::Serialize;
use serde_json::Value;

use super::clock::Millis;

/// A step as the ledger keeps it.
#[derive(Clone, Debug)]
pub struct StepRow {
    /// Its number in the run, from 0.
    pub number: usize,
    /// Digest of what tells it from others.
    pub key: String,
    /// The branch of `parallel` that it was in.
    pub branch: String,
    /// The function that was called.
    pub function: String,
    /// Its arguments in a few words, masked.
    pub summary: String,
    /// Where in the playbook, as `web.rhai:12`.
    pub place: String,
    /// How far it got.
    pub state: Progress,
    /// What it returned, masked.
    pub result: Option<StepResult>,
    /// Whether the result was masked or shortened.
    pub altered: bool,
    /// What it failed with, masked.
    pub error: Option<String>,
    /// When it began.
    pub started: Millis,
    /// When it ended.
    pub ended: Option<Millis>,
}

/// What a step returned, as the ledger has it.
#[derive(Clone, Debug)]
pub enum StepResult {
    /// A value, masked and shortened.
    Value(Value),
    /// A text that autorun did not write.
    Unreadable {
        /// The text.
        text: String,
        /// Why it cannot be read.
        why: String,
    },
}

impl StepResult {
    /// Reads what the ledger has.
    pub(super) fn read(text: String) -> Self {
        match serde_json::from_str(&text) {
            Ok(value) => Self::Value(value),
            Err(e) => Self::Unreadable {
                text,
                why: e.to_string(),
            },
        }
    }

    /// As the ledger keeps it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Value(value) => value.to_string(),
            Self::Unreadable { text, .. } => text.clone(),
        }
    }

    /// The value, where it can be read.
    #[must_use]
    pub fn value(&self) -> Option<&Value> {
        match self {
            Self::Value(value) => Some(value),
            Self::Unreadable { .. } => None,
        }
    }
}

/// How far a step got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// It began, and how it ended is not on record.
    UnderWay,
    /// It succeeded.
    Done,
    /// It failed.
    Failed,
}

impl Progress {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::UnderWay, Self::Done, Self::Failed];

    /// The name that the ledger uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnderWay => "under_way",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}
