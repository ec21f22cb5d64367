//! The calls of a run, as a picture and a list of them need them.

use std::collections::HashMap;

use super::lanes::Span;
use crate::ledger::{Millis, Progress, RunRecord, RunStatus, StepResult, StepRow, between};
use crate::primitives::{Realm, realms};
use crate::report::text;

/// A step or a wait.
pub(super) struct Call {
    pub(super) span: Span,
    pub(super) function: String,
    pub(super) summary: String,
    pub(super) place: String,
    /// Where its function acts, which is its colour.
    pub(super) realm: Realm,
    pub(super) state: CallState,
    /// Whether it only waited or looked.
    pub(super) is_wait: bool,
    pub(super) result: Option<StepResult>,
    pub(super) altered: bool,
    pub(super) error: Option<String>,
}

/// How far a call got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallState {
    Done,
    Failed,
    /// The run ended, and how the call did is not on record.
    CutOff,
    UnderWay,
}

impl CallState {
    /// As a class of the style sheet.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::CutOff => "cut",
            Self::UnderWay => "running",
        }
    }
}

/// The class of the style sheet that colours a realm, and what the legend calls it.
pub(super) fn colour(realm: Realm) -> (&'static str, &'static str) {
    match realm {
        Realm::Ec2 => ("ec2", "EC2"),
        Realm::S3 => ("s3", "S3"),
        Realm::Hosts => ("hosts", "hosts"),
        Realm::Here => ("here", "this machine"),
        Realm::Playbook => ("flow", "the playbook"),
    }
}

impl Call {
    /// How long it took, where that is known.
    pub(super) fn took(&self) -> String {
        let took = text::duration(between(self.span.started, self.span.ended));
        match self.state {
            CallState::Done | CallState::Failed => took,
            CallState::CutOff => "cut off".to_owned(),
            CallState::UnderWay => "under way".to_owned(),
        }
    }

    /// What became of it, in words.
    pub(super) fn outcome(&self) -> String {
        let took = self.took();
        match (self.state, self.is_wait) {
            (CallState::Done, false) => format!("done in {took}"),
            (CallState::Done, true) => format!("waited {took}"),
            (CallState::Failed, _) => format!("failed after {took}"),
            (CallState::CutOff | CallState::UnderWay, _) => took,
        }
    }

    /// The last part of the path and the line.
    pub(super) fn short_place(&self) -> &str {
        self.place.rsplit('/').next().unwrap_or_default()
    }
}

/// Steps and waits by their beginnings. Of two that began at once, the longer
/// one holds the other.
pub(super) fn calls(record: &RunRecord) -> Vec<Call> {
    let realms = realms();
    // A run of another version may have called a function that this one lacks.
    let realm = |function: &str| realms.get(function).copied().unwrap_or(Realm::Playbook);
    let mut latest: HashMap<&str, Millis> = HashMap::new();
    for step in &record.steps {
        let latest = latest.entry(&step.branch).or_default();
        *latest = step.started.max(*latest);
    }
    // What an earlier attempt left so is not under way any more.
    let unended = |step: &StepRow| {
        let is_last = latest.get(step.branch.as_str()) == Some(&step.started);
        if record.status == RunStatus::Running && is_last {
            CallState::UnderWay
        } else {
            CallState::CutOff
        }
    };
    let steps = record.steps.iter().map(|step| {
        let state = match (step.state, step.ended) {
            (Progress::Done, Some(_)) => CallState::Done,
            (Progress::Failed, Some(_)) => CallState::Failed,
            (Progress::UnderWay, _) | (_, None) => unended(step),
        };
        // How far what was cut off got is not known.
        let ended = match state {
            CallState::UnderWay => record.read,
            _ => step.ended.unwrap_or(step.started),
        };
        Call {
            span: Span {
                branch: step.branch.clone(),
                started: step.started,
                ended: ended.max(step.started),
            },
            function: step.function.clone(),
            summary: step.summary.clone(),
            place: step.place.clone(),
            realm: realm(&step.function),
            state,
            is_wait: false,
            result: step.result.clone(),
            altered: step.altered,
            error: step.error.clone(),
        }
    });
    let waits = record.waits.iter().map(|wait| Call {
        span: Span {
            branch: wait.branch.clone(),
            started: wait.started,
            ended: wait.ended.max(wait.started),
        },
        function: wait.function.clone(),
        summary: String::new(),
        place: wait.place.clone(),
        realm: realm(&wait.function),
        state: match wait.error {
            None => CallState::Done,
            Some(_) => CallState::Failed,
        },
        is_wait: true,
        result: None,
        altered: false,
        error: wait.error.clone(),
    });
    let mut calls: Vec<Call> = steps.chain(waits).collect();
    calls.sort_by_key(|call| (call.span.started, std::cmp::Reverse(call.span.ended)));
    calls
}

/// `/a#1/b#2` as people read it: `a › b#2`, the second of two b in a.
pub(super) fn branch_in_words(branch: &str) -> String {
    let names = branch.split('/').skip(1);
    let names = names.map(|name| name.strip_suffix("#1").unwrap_or(name));
    names.collect::<Vec<_>>().join(" › ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_read_well() {
        assert_eq!(branch_in_words(""), "");
        assert_eq!(branch_in_words("/web#1#1"), "web#1");
        assert_eq!(branch_in_words("/a#1/b#2"), "a › b#2");
    }
}
