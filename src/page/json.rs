//! A run as JSON.

use serde_json::{Value, json};

use crate::ledger::{Resource, Run, RunRecord, RunStatus, StepResult, StepRow, Wait, between, now};
use crate::report::clock;

/// Renders a run with its rows as one object on one line.
#[must_use]
pub fn json(record: &RunRecord) -> String {
    let mut all = run_as_json(&record.run, record.status);
    let ttl = record.run.about.ttl;
    let resources = record.resources.iter();
    all["resources"] = resources.map(|r| resource_in_json(r, ttl)).collect();
    all["steps"] = record.steps.iter().map(step_in_json).collect();
    all["waits"] = record.waits.iter().map(wait_in_json).collect();
    format!("{all}\n")
}

/// Returns a run without its rows.
#[must_use]
pub fn run_as_json(run: &Run, status: RunStatus) -> Value {
    let target = &run.about.target;
    json!({
        "run": run.id,
        "playbook": run.about.playbook,
        "directory": run.about.directory,
        "name": run.name,
        "status": status.as_str(),
        "error": run.error,
        "started": clock::timestamp(run.started),
        "ended": run.ended.map(clock::timestamp),
        "pid": run.pid,
        "up": run.up,
        "variables": run.about.variables,
        "secrets": run.about.secrets,
        "tags": run.about.tags,
        "ttl_seconds": run.about.ttl,
        "endpoint": target.endpoint(),
        "region": target.region,
        "account": target.account,
    })
}

fn resource_in_json(row: &Resource, ttl: Option<u64>) -> Value {
    json!({
        "kind": row.kind.as_str(),
        "id": row.remaining().id,
        "name": row.name,
        "state": row.state.as_str(),
        "row": row.row,
        "since": clock::timestamp(row.intended),
        "changed": clock::timestamp(row.changed),
        "ends": row.ends(ttl).map(clock::timestamp),
        "up_seconds": row
            .state
            .may_be_up()
            .then(|| between(row.intended, now()).as_secs()),
    })
}

fn step_in_json(step: &StepRow) -> Value {
    let mut all = json!({
        "function": step.function,
        "summary": step.summary,
        "branch": step.branch,
        "place": step.place,
        "state": step.state.as_str(),
        "result": step.result.as_ref().and_then(StepResult::value),
        "altered": step.altered,
        "error": step.error,
        "started": clock::timestamp(step.started),
        "ended": step.ended.map(clock::timestamp),
    });
    if let Some(StepResult::Unreadable { why, .. }) = &step.result {
        all["unreadable"] = why.as_str().into();
    }
    all
}

fn wait_in_json(wait: &Wait) -> Value {
    json!({
        "function": wait.function,
        "branch": wait.branch,
        "place": wait.place,
        "error": wait.error,
        "started": clock::timestamp(wait.started),
        "ended": clock::timestamp(wait.ended),
    })
}
