//! Formats events as log messages.

use log::Level as LogLevel;

use super::event::{Event, Level, Outcome, Remaining, Steps};
use super::text;
use std::time::Duration;

/// Returns the log level and the text of an event, or `None` for events that are
/// only for JSON output.
pub(super) fn line(event: &Event, run: &str) -> Option<(LogLevel, String)> {
    Some(match event {
        Event::RunStarted { playbook, resumed } => {
            if *resumed {
                (LogLevel::Info, format!("resuming {playbook}"))
            } else {
                (LogLevel::Debug, format!("running {playbook}"))
            }
        }
        Event::StepStarted { function } => (LogLevel::Debug, format!("{function} started")),
        Event::StepFinished {
            function,
            seconds,
            ok,
        } => {
            let outcome = if *ok { "done" } else { "failed" };
            let took = text::duration(Duration::from_secs_f64(*seconds));
            (LogLevel::Debug, format!("{function} {outcome} in {took}"))
        }
        Event::Logged { level, message } => {
            let level = match level {
                Level::Debug => LogLevel::Debug,
                Level::Info => LogLevel::Info,
                Level::Warn => LogLevel::Warn,
                Level::Error => LogLevel::Error,
            };
            (level, message.clone())
        }
        Event::RemoteOutput { host, line, .. } => (LogLevel::Info, format!("{host} | {line}")),
        Event::RunFailed { rendered, .. } => (LogLevel::Error, rendered.clone()),
        Event::RunFinished {
            outcome,
            seconds,
            steps,
            up,
            possibly_made,
        } => recap(run, *outcome, *seconds, steps, up, possibly_made),
        Event::NotRemoved { what, error } => {
            let hint = error.hint.as_ref().map(|hint| format!("\nhint: {hint}"));
            let message = format!(
                "not removed: {}: {error}{}",
                remaining(what).trim_start(),
                hint.unwrap_or_default()
            );
            (LogLevel::Error, message)
        }
        Event::Printed { .. }
        | Event::Sampled { .. }
        | Event::ResourceCreated { .. }
        | Event::ResourceReleased { .. } => {
            return None;
        }
    })
}

/// Formats the summary at the end of a run: duration, remaining resources, and
/// the commands to log in, to remove and to resume. Its level is higher if the run
/// did not succeed.
fn recap(
    run: &str,
    outcome: Outcome,
    seconds: f64,
    steps: &[Steps],
    up: &[Remaining],
    possibly_made: &[Remaining],
) -> (LogLevel, String) {
    let took = text::duration(Duration::from_secs_f64(seconds));
    let ended = match outcome {
        Outcome::Done => "done in",
        Outcome::Failed => "the run failed after",
        Outcome::Interrupted => "the run was interrupted after",
    };
    let mut lines = vec![format!("{ended} {took}{}", number_of(steps))];
    lines.extend(longest(steps));
    let heading = lines.len();
    if !up.is_empty() {
        lines.push("remaining resources of this run:".to_owned());
        lines.extend(up.iter().map(remaining));
    }
    if !possibly_made.is_empty() {
        lines.push("possibly created (the requests had no answer):".to_owned());
        lines.extend(possibly_made.iter().map(remaining));
    }
    let has_resources = lines.len() > heading;
    if up.iter().filter(|resource| resource.can_log_in).count() == 1 {
        lines.push(format!("log in:    autorun ssh {run}"));
    }
    if has_resources {
        lines.push(format!("remove:    autorun destroy {run}"));
    }
    if outcome != Outcome::Done {
        lines.push(format!("resume:    autorun resume {run}"));
    }
    let level = match (outcome, has_resources) {
        // A playbook without calls needs no summary.
        (Outcome::Done, false) if steps.is_empty() => LogLevel::Debug,
        (Outcome::Done, _) => LogLevel::Info,
        // The error is already reported.
        (Outcome::Failed, false) => LogLevel::Debug,
        (Outcome::Failed, true) | (Outcome::Interrupted, _) => LogLevel::Warn,
    };
    (level, lines.join("\n"))
}

/// Returns ` (12 calls)`, or an empty string.
fn number_of(steps: &[Steps]) -> String {
    match steps.iter().map(|steps| steps.count).sum() {
        0 => String::new(),
        count => format!(" ({})", text::count(count, "call")),
    }
}

/// Returns `longest:   wait_until_ready 8.1 s, ssh_exec 1.2 s (3 calls)`.
fn longest(steps: &[Steps]) -> Option<String> {
    let long = steps.iter().filter(|steps| steps.seconds >= 0.1).take(3);
    let long: Vec<String> = long
        .map(|steps| {
            let took = text::duration(Duration::from_secs_f64(steps.seconds));
            match steps.count {
                1 => format!("{} {took}", steps.function),
                n => format!("{} {took} ({n} calls)", steps.function),
            }
        })
        .collect();
    let line = format!("longest:   {}", long.join(", "));
    (!long.is_empty()).then(|| text::wrap(&line, 11))
}

/// Formats a resource: `  bucket          pictures-7kq2m9w`.
pub(super) fn remaining(resource: &Remaining) -> String {
    let kind = match resource.kind {
        "key_file" => "private key".to_owned(),
        "elastic_ip" => "Elastic IP".to_owned(),
        "nat_gateway" => "NAT gateway".to_owned(),
        kind => kind.replace('_', " "),
    };
    let cost = match resource.kind {
        "nat_gateway" => ", charged by the hour",
        _ => "",
    };
    match &resource.id {
        Some(id) if *id != resource.name => {
            format!("  {kind:<15} {id} ({}){cost}", resource.name)
        }
        _ => format!("  {kind:<15} {}{cost}", resource.name),
    }
}
