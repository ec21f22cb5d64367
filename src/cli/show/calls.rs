//! The calls of a run, as a picture and a list of them need them.

use std::collections::HashMap;

use serde_json::Value;

use super::Told;
use super::layout::Span;
use crate::ledger::{Millis, Progress, StepRow};
use crate::playbook::reference;
use crate::report::text;

/// A step or a wait.
pub(super) struct Call {
    pub(super) span: Span,
    pub(super) function: String,
    pub(super) summary: String,
    pub(super) place: String,
    /// What kind of function it is, as a class of the style sheet.
    pub(super) family: &'static str,
    pub(super) state: CallState,
    /// Whether it only waited or looked.
    pub(super) is_wait: bool,
    pub(super) result: Option<Value>,
    pub(super) altered: bool,
    pub(super) error: Option<String>,
}

/// How far a call got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallState {
    Done,
    Failed,
    /// The run ended, and nobody wrote down how the call did.
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

/// What the colours mean: class and words.
pub(super) const FAMILIES: [(&str, &str); 5] = [
    ("ec2", "EC2"),
    ("s3", "S3"),
    ("hosts", "hosts"),
    ("here", "this machine"),
    ("flow", "the playbook"),
];

impl Call {
    /// How long it took, where that is known.
    pub(super) fn took(&self) -> String {
        let took = text::duration(super::words::between(self.span.started, self.span.ended));
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
pub(super) fn calls(told: &Told) -> Vec<Call> {
    let families = families();
    let family = |function: &str| families.get(function).copied().unwrap_or("flow");
    let mut latest: HashMap<&str, Millis> = HashMap::new();
    for step in &told.steps {
        let latest = latest.entry(&step.branch).or_default();
        *latest = step.started.max(*latest);
    }
    // What an earlier attempt left so is not under way any more.
    let unended = |step: &StepRow| {
        let is_last = latest.get(step.branch.as_str()) == Some(&step.started);
        match told.status == "running" && is_last {
            true => CallState::UnderWay,
            false => CallState::CutOff,
        }
    };
    let steps = told.steps.iter().map(|step| {
        let state = match (step.state, step.ended) {
            (Progress::Done, Some(_)) => CallState::Done,
            (Progress::Failed, Some(_)) => CallState::Failed,
            _ => unended(step),
        };
        // How far what was cut off got is not known.
        let ended = match state {
            CallState::UnderWay => told.now,
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
            family: family(&step.function),
            state,
            is_wait: false,
            result: step.result.clone(),
            altered: step.altered,
            error: step.error.clone(),
        }
    });
    let waits = told.waits.iter().map(|wait| Call {
        span: Span {
            branch: wait.branch.clone(),
            started: wait.started,
            ended: wait.ended.max(wait.started),
        },
        function: wait.function.clone(),
        summary: String::new(),
        place: wait.place.clone(),
        family: family(&wait.function),
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

/// The class of each function, by the manual's families.
fn families() -> HashMap<&'static str, &'static str> {
    let class = |title: &str| match title {
        "Images" | "Instances" | "Instances that are there" | "Key pairs" | "Security groups" => {
            "ec2"
        }
        "Buckets" | "Objects" | "Directories, downloads and copies" => "s3",
        "Remote hosts" | "Copies to and from hosts" | "HTTP" | "Monitoring" => "hosts",
        "Local files" | "This machine" => "here",
        _ => "flow",
    };
    let entries = reference::ENTRIES.iter();
    entries
        .map(|entry| (entry.name.as_str(), class(entry.family)))
        .collect()
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

    #[test]
    fn every_family_of_the_manual_has_its_colour() {
        let families = families();
        for (function, class) in [
            ("launch_instance", "ec2"),
            ("wait_until_ready", "ec2"),
            ("upload_image", "s3"),
            ("ssh_exec", "hosts"),
            ("wait_until_serving", "hosts"),
            ("write_file", "here"),
            ("parallel", "flow"),
        ] {
            assert_eq!(families[function], class, "{function}");
        }
    }
}
