//! The calls of a run, for the timeline and the list of calls.

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
    /// Where the function acts, which determines the color.
    pub(super) realm: Realm,
    pub(super) state: CallState,
    /// Whether it is a wait: it only waited or queried a state.
    pub(super) is_wait: bool,
    pub(super) result: Option<StepResult>,
    pub(super) altered: bool,
    pub(super) error: Option<String>,
}

/// The state of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallState {
    Done,
    Failed,
    /// The run ended before the end of the call was recorded.
    Unfinished,
    InProgress,
}

impl CallState {
    /// Returns the CSS class.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Unfinished => "cut",
            Self::InProgress => "running",
        }
    }
}

/// Returns the CSS class of a realm and its name in the legend.
pub(super) fn color(realm: Realm) -> (&'static str, &'static str) {
    match realm {
        Realm::Ec2 => ("ec2", "EC2"),
        Realm::S3 => ("s3", "S3"),
        Realm::Hosts => ("hosts", "hosts"),
        Realm::Here => ("here", "this machine"),
        Realm::Playbook => ("flow", "the playbook"),
    }
}

impl Call {
    /// Returns the duration, or the state if there is no known duration.
    pub(super) fn took(&self) -> String {
        let took = text::duration(between(self.span.started, self.span.ended));
        match self.state {
            CallState::Done | CallState::Failed => took,
            CallState::Unfinished => "unfinished".to_owned(),
            CallState::InProgress => "in progress".to_owned(),
        }
    }

    /// Describes the outcome and the duration.
    pub(super) fn outcome(&self) -> String {
        let took = self.took();
        match (self.state, self.is_wait) {
            (CallState::Done, false) => format!("done in {took}"),
            (CallState::Done, true) => format!("waited {took}"),
            (CallState::Failed, _) => format!("failed after {took}"),
            (CallState::Unfinished | CallState::InProgress, _) => took,
        }
    }

    /// Returns the file name and the line.
    pub(super) fn short_place(&self) -> &str {
        self.place.rsplit('/').next().unwrap_or_default()
    }
}

/// Returns the steps and waits by start time. Of two that started at the same time,
/// the longer one comes first, because it contains the other one.
pub(super) fn calls(record: &RunRecord) -> Vec<Call> {
    let realms = realms();
    // Another version of autorun may have functions that this one does not have.
    let realm = |function: &str| realms.get(function).copied().unwrap_or(Realm::Playbook);
    let mut latest: HashMap<&str, Millis> = HashMap::new();
    for step in &record.steps {
        let latest = latest.entry(&step.branch).or_default();
        *latest = step.started.max(*latest);
    }
    // Only the latest step of a branch can be in progress. Earlier ones without an
    // end belong to earlier attempts.
    let unended = |step: &StepRow| {
        let is_last = latest.get(step.branch.as_str()) == Some(&step.started);
        if record.status == RunStatus::Running && is_last {
            CallState::InProgress
        } else {
            CallState::Unfinished
        }
    };
    let steps = record.steps.iter().map(|step| {
        let state = match (step.state, step.ended) {
            (Progress::Done, Some(_)) => CallState::Done,
            (Progress::Failed, Some(_)) => CallState::Failed,
            (Progress::UnderWay, _) | (_, None) => unended(step),
        };
        // The duration of an unfinished call is unknown: draw it with no length.
        let ended = match state {
            CallState::InProgress => record.read,
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

/// Formats the branch `/a#1/b#2` as `a › b#2`: the second branch `b` in `a`.
pub(super) fn branch_in_words(branch: &str) -> String {
    let names = branch.split('/').skip(1);
    let names = names.map(|name| name.strip_suffix("#1").unwrap_or(name));
    names.collect::<Vec<_>>().join(" › ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_are_formatted() {
        assert_eq!(branch_in_words(""), "");
        assert_eq!(branch_in_words("/web#1#1"), "web#1");
        assert_eq!(branch_in_words("/a#1/b#2"), "a › b#2");
    }
}
