//! A run as text.

use std::fmt::Write as _;
use std::time::Duration;

use crate::ledger::{
    Progress, Resource, ResourceKind, Run, RunRecord, RunStatus, State, StepResult, StepRow,
    between, now,
};
use crate::report::{Reporter, clock, text};

/// Renders a run as text.
#[must_use]
pub fn words(record: &RunRecord) -> String {
    let RunRecord {
        run,
        status,
        resources,
        steps,
        ..
    } = record;
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        let value = text::harmless(value);
        let wrapped = text::wrap(&format!("{name:<10} {value}"), 11);
        let _ = writeln!(out, "{}", wrapped.trim_end());
    };
    line("run", &run.id);
    line("playbook", &run.about.playbook);
    line("directory", &run.about.directory.display().to_string());
    line(
        "status",
        &match &run.error {
            Some(error) => format!("{}: {error}", status.as_str()),
            None => status.as_str().to_owned(),
        },
    );
    let took = run.ended.map_or_else(String::new, |ended| {
        format!(", ended {}", clock::local(ended, "%Y-%m-%d %H:%M:%S"))
    });
    line(
        "started",
        &format!("{}{took}", clock::local(run.started, "%Y-%m-%d %H:%M:%S")),
    );
    line("target", &run.about.target.words());
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
        line("ttl", &format!("{ttl} for instances; other resources stay"));
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
        out.push_str("\nno remaining resources\n");
        return out;
    }
    out.push_str("\nremaining resources\n");
    for row in &up {
        let _ = writeln!(out, "{}", resource_in_words(row, run.about.ttl));
    }
    if up
        .iter()
        .any(|row| row.kind == ResourceKind::Instance && row.state == State::Live)
    {
        let _ = writeln!(out, "log in:    autorun ssh {}", run.id);
    }
    let _ = writeln!(out, "remove:    autorun destroy {}", run.id);
    if status.can_resume() {
        let _ = writeln!(out, "resume:    autorun resume {}", run.id);
    }
    out
}

/// Formats a step: `   0.4 s  create_bucket pictures  12 ms [a], web.rhai:12`.
fn step_in_words(run: &Run, status: RunStatus, step: &StepRow) -> String {
    let how = match (step.state, step.ended) {
        (Progress::Done, Some(ended)) => text::duration(between(step.started, ended)),
        (Progress::Failed, _) => "failed".to_owned(),
        (Progress::UnderWay, _) | (Progress::Done, None) => match status {
            RunStatus::Running => "in progress".to_owned(),
            RunStatus::Killed | RunStatus::Ended(_) => "unfinished".to_owned(),
        },
    };
    // `/a#1/b#2` is the second branch `b` in `a`.
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
            Some(format!("cannot read the recorded result: {why}"))
        }
        Some(StepResult::Value(_)) | None => None,
    };
    if let Some(error) = step.error.as_ref().or(unreadable.as_ref()) {
        let first = error.lines().next().unwrap_or_default();
        let wrapped = text::wrap(&format!("{:15}{first}", ""), 15);
        let _ = write!(line, "\n{wrapped}");
    }
    text::harmless(&line)
}

fn resource_in_words(row: &Resource, ttl: Option<u64>) -> String {
    let end = row.ends(ttl).map_or_else(String::new, |end| {
        if end > now() {
            format!(", terminates itself {}", clock::local(end, "%H:%M:%S"))
        } else {
            format!(", terminated itself {}", clock::minute(end))
        }
    });
    let since = match row.state {
        State::Intended => "possibly created".to_owned(),
        _ => format!("since {}", clock::minute(row.intended)),
    };
    let listed = Reporter::listed(&row.remaining());
    let line = format!("{listed}, {since}{end}");
    text::harmless(&if line.chars().count() > 80 {
        format!("{listed}\n{:18}{since}{end}", "")
    } else {
        line
    })
}
