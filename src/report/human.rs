//! Events as a person reads them.

use log::Level as LogLevel;

use super::event::{Event, Level, Remaining};
use super::text;
use std::time::Duration;

/// The log level and text of an event; nothing for those that only machines want.
pub(super) fn line(event: &Event, run: &str) -> Option<(LogLevel, String)> {
    Some(match event {
        Event::RunStarted { playbook, resumed } => match resumed {
            true => (LogLevel::Info, format!("resuming {playbook}")),
            false => (LogLevel::Debug, format!("running {playbook}")),
        },
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
            up,
            possibly_made,
        } => recap(run, outcome, *seconds, up, possibly_made),
        Event::NotRemoved { what, error } => {
            let hint = error.hint.as_ref().map(|hint| format!("\nhint: {hint}"));
            let said = format!(
                "not removed: {}: {error}{}",
                remaining(what).trim_start(),
                hint.unwrap_or_default()
            );
            (LogLevel::Error, said)
        }
        Event::Printed { .. } | Event::ResourceCreated { .. } | Event::ResourceReleased { .. } => {
            return None;
        }
    })
}

/// What is left at the end; said louder when the run did not get through.
fn recap(
    run: &str,
    outcome: &str,
    seconds: f64,
    up: &[Remaining],
    possibly_made: &[Remaining],
) -> (LogLevel, String) {
    let took = text::duration(Duration::from_secs_f64(seconds));
    let mut lines = vec![format!("{outcome} in {took}")];
    if !up.is_empty() {
        lines.push("still up, made by this run:".to_owned());
        lines.extend(up.iter().map(remaining));
    }
    if !possibly_made.is_empty() {
        lines.push("possibly made, as no answer came:".to_owned());
        lines.extend(possibly_made.iter().map(remaining));
    }
    if lines.len() > 1 {
        lines.push(format!("remove it: autorun destroy {run}"));
    }
    if outcome != "done" {
        lines.push(format!("go on:     autorun resume {run}"));
    }
    let level = match outcome {
        // The playbook's own last line stays the last one.
        "done" => LogLevel::Debug,
        _ if up.is_empty() && possibly_made.is_empty() => LogLevel::Debug,
        _ => LogLevel::Warn,
    };
    (level, lines.join("\n"))
}

/// `  bucket          pictures-7kq2m9w`.
pub(super) fn remaining(resource: &Remaining) -> String {
    let kind = resource.kind.replace('_', " ");
    match &resource.id {
        Some(id) if *id != resource.name => format!("  {kind:<15} {id} ({})", resource.name),
        _ => format!("  {kind:<15} {}", resource.name),
    }
}
