//! A run in words and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::runs::{in_json as run_in_json, local, minute, timestamp};
use super::Told;
use crate::ledger::{
    Millis, Progress, Resource, ResourceKind, Run, RunStatus, State, StepResult, StepRow, Wait, now,
};
use crate::report::{Reporter, text};

pub(super) fn in_json(told: &Told) -> String {
    let mut all = run_in_json(&told.run, told.status);
    let ttl = told.run.about.ttl;
    let resources = told.resources.iter();
    all["resources"] = resources.map(|r| resource_in_json(r, ttl)).collect();
    all["steps"] = told.steps.iter().map(step_in_json).collect();
    all["waits"] = told.waits.iter().map(wait_in_json).collect();
    format!("{all}\n")
}

pub(super) fn in_words(told: &Told) -> String {
    let Told {
        run,
        status,
        resources,
        steps,
        ..
    } = told;
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        let value = text::harmless(value);
        let said = text::wrap(&format!("{name:<10} {value}"), 11);
        let _ = writeln!(out, "{}", said.trim_end());
    };
    line("run", &run.id);
    line("playbook", &run.about.playbook);
    line("in", &run.about.directory.display().to_string());
    line(
        "status",
        &match &run.error {
            Some(error) => format!("{}: {error}", status.as_str()),
            None => status.as_str().to_owned(),
        },
    );
    let took = run.ended.map_or_else(String::new, |ended| {
        format!(", ended {}", local(ended, "%Y-%m-%d %H:%M:%S"))
    });
    line(
        "started",
        &format!("{}{took}", local(run.started, "%Y-%m-%d %H:%M:%S")),
    );
    line("where", &run.about.target.words());
    for (name, value) in &run.about.variables {
        line("variable", &format!("{name} = {value}"));
    }
    for name in &run.about.secrets {
        line("variable", &format!("{name} = **** (secret)"));
    }
    for (key, value) in &run.about.tags {
        line("tag", &format!("{key} = {value}"));
    }
    if let Some(ttl) = run.about.ttl {
        let ttl = text::duration(Duration::from_secs(ttl));
        line("ttl", &format!("{ttl} for instances; other things stay"));
    }
    if !steps.is_empty() {
        out.push_str("\nsteps\n");
        for step in steps {
            let _ = writeln!(out, "{}", step_in_words(run, *status, step));
        }
    }
    let up: Vec<&Resource> = resources
        .iter()
        .rev()
        .filter(|r| r.state.may_be_up())
        .collect();
    if up.is_empty() {
        out.push_str("\nnothing of it is up\n");
        return out;
    }
    out.push_str("\nup, or possibly up\n");
    for row in &up {
        let _ = writeln!(out, "{}", resource_in_words(row, run.about.ttl));
    }
    if up
        .iter()
        .any(|row| row.kind == ResourceKind::Instance && row.state == State::Live)
    {
        let _ = writeln!(out, "log in:    autorun ssh {}", run.id);
    }
    let _ = writeln!(out, "remove it: autorun destroy {}", run.id);
    if status.can_go_on() {
        let _ = writeln!(out, "go on:     autorun resume {}", run.id);
    }
    out
}

/// `   0.4 s  create_bucket pictures  12 ms  [a] web.rhai:12`.
fn step_in_words(run: &Run, status: RunStatus, step: &StepRow) -> String {
    let how = match (step.state, step.ended) {
        (Progress::Done, Some(ended)) => text::duration(between(step.started, ended)),
        (Progress::Failed, _) => "failed".to_owned(),
        (Progress::UnderWay, _) | (Progress::Done, None) => match status {
            RunStatus::Running => "under way".to_owned(),
            RunStatus::Killed | RunStatus::Ended(_) => "cut off".to_owned(),
        },
    };
    // `/a#1/b#2`: the second of two b in a.
    let branch = step.branch.replace("#1", "");
    let branch = match branch.trim_start_matches('/') {
        "" => String::new(),
        branch => format!(" [{branch}]"),
    };
    let place = step.place.rsplit('/').next().unwrap_or_default();
    let after = text::duration(between(run.started, step.started));
    let mut line = format!("  {after:>11}  {} {}", step.function, step.summary);
    let rest = format!("{how}{branch}, {place}");
    if line.chars().count() + 2 + rest.chars().count() > 80 {
        let _ = write!(line, "\n{:15}{rest}", "");
    } else {
        let _ = write!(line, "  {rest}");
    }
    let unreadable = match &step.result {
        Some(StepResult::Unreadable { why, .. }) => {
            Some(format!("the recorded result cannot be read: {why}"))
        }
        Some(StepResult::Value(_)) | None => None,
    };
    if let Some(error) = step.error.as_ref().or(unreadable.as_ref()) {
        let said = error.lines().next().unwrap_or_default();
        let said = text::wrap(&format!("{:15}{said}", ""), 15);
        let _ = write!(line, "\n{said}");
    }
    text::harmless(&line)
}

fn resource_in_words(row: &Resource, ttl: Option<u64>) -> String {
    let end = ends(row, ttl).map_or_else(String::new, |end| match end > now() {
        true => format!(", ends itself {}", local(end, "%H:%M:%S")),
        false => format!(", ended itself {}", minute(end)),
    });
    let since = match row.state {
        State::Intended => "possibly made".to_owned(),
        _ => format!("since {}", minute(row.intended)),
    };
    let listed = Reporter::listed(&row.remaining());
    let line = format!("{listed}, {since}{end}");
    text::harmless(&match line.chars().count() > 80 {
        true => format!("{listed}\n{:18}{since}{end}", ""),
        false => line,
    })
}

/// When an instance ends itself.
pub(super) fn ends(row: &Resource, ttl: Option<u64>) -> Option<Millis> {
    let ttl = ttl.and_then(|ttl| Millis::try_from(ttl).ok())?;
    (row.kind == ResourceKind::Instance).then(|| row.intended + ttl * 1000)
}

fn resource_in_json(row: &Resource, ttl: Option<u64>) -> Value {
    json!({
        "kind": row.kind.as_str(),
        "id": row.remaining().id,
        "name": row.name,
        "state": row.state.as_str(),
        "row": row.row,
        "since": timestamp(row.intended),
        "changed": timestamp(row.changed),
        "ends": ends(row, ttl).map(timestamp),
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
        "started": timestamp(step.started),
        "ended": step.ended.map(timestamp),
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
        "started": timestamp(wait.started),
        "ended": timestamp(wait.ended),
    })
}

pub(super) fn between(from: Millis, to: Millis) -> Duration {
    Duration::from_millis(u64::try_from(to - from).unwrap_or(0))
}
