//! How a plan differs from the last run of the same playbook and name.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex_lite::Regex;
use serde::Serialize;
use serde_json::Value;

use crate::ledger::{Run, RunRecord, StepRow, Store, between, now};

/// What would be different.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Differences {
    /// The id of the last run.
    pub(super) run: String,
    pub(super) status: String,
    /// How long ago it started.
    pub(super) seconds_ago: u64,
    /// How many of its resources may still be up.
    pub(super) up: usize,
    /// The variables with another value: old and new, as JSON.
    pub(super) variables: BTreeMap<String, [Value; 2]>,
    /// The steps that the last run did not have.
    pub(super) added: Vec<String>,
    /// The steps that it had and the plan does not have.
    pub(super) missing: Vec<String>,
}

impl Differences {
    pub(super) fn is_empty(&self) -> bool {
        self.variables.is_empty() && self.added.is_empty() && self.missing.is_empty()
    }
}

/// Returns the differences, or `None` if there was no such run.
pub(super) fn differences(
    store: &Store,
    planned: &RunRecord,
) -> crate::error::Result<Option<Differences>> {
    let is_same = |run: &Run| {
        run.playbook == planned.run.playbook
            && run.name == planned.run.name
            && run.id != planned.run.id
    };
    let Some(last) = store.runs()?.into_iter().find(is_same) else {
        return Ok(None);
    };
    Ok(Some(compare(&store.record(&last.id)?, planned)))
}

fn compare(last: &RunRecord, planned: &RunRecord) -> Differences {
    let (before, after) = (&last.run.about.variables, &planned.run.about.variables);
    let names = before.keys().chain(after.keys());
    let changed = names.filter_map(|name| {
        let value = |values: &BTreeMap<String, Value>| values.get(name).cloned();
        let both = [value(before), value(after)];
        let differs = both[0] != both[1];
        differs.then(|| (name.clone(), both.map(Option::unwrap_or_default)))
    });
    let (mut added, mut missing) = (steps(planned), steps(last));
    for step in steps(planned) {
        if let Some(at) = missing.iter().position(|other| *other == step) {
            missing.remove(at);
            let at = added.iter().position(|other| *other == step);
            if let Some(at) = at {
                added.remove(at);
            }
        }
    }
    Differences {
        run: last.run.id.clone(),
        status: last.status.as_str().to_owned(),
        seconds_ago: between(last.run.started, now()).as_secs(),
        up: last.run.up,
        variables: changed.collect(),
        added,
        missing,
    }
}

/// Returns the steps of a run, without what differs between two runs of the same
/// playbook.
fn steps(record: &RunRecord) -> Vec<String> {
    let one = |step: &StepRow| {
        let summary = step.summary.replace(&record.run.id, "RUN");
        format!("{} {}", step.function, without_ids(&summary))
            .trim_end()
            .to_owned()
    };
    record.steps.iter().map(one).collect()
}

/// Replaces the ids of AWS: `i-0abc1234` by `i-..`.
fn without_ids(text: &str) -> String {
    static ID: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\b([a-z]+)-[0-9a-f]{8,17}\b").expect("the pattern is a constant")
    });
    ID.replace_all(text, "$1-..").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_do_not_count_as_differences() {
        for (given, kept) in [
            ("i-0123456789abcdef0 uptime", "i-.. uptime"),
            ("sg-01234567, web-1", "sg-.., web-1"),
            ("my-decade", "my-decade"),
        ] {
            assert_eq!(without_ids(given), kept);
        }
    }
}
