//! `autorun runs`: what ran, how it ended, how much of it is up.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::settings::{shown, store};
use super::{Output, RunsArgs, answer};
use crate::error::exit;
use crate::ledger::{Millis, Run, RunStatus};
use crate::report::text;

/// Width of a terminal.
const COLUMNS: usize = 80;

pub(super) fn runs(arguments: &RunsArgs) -> anyhow::Result<u8> {
    let store = store(None)?;
    let mut runs = store.runs().map_err(|e| shown(&e))?;
    runs.retain(|run| run.up > 0 || !arguments.up);
    let mut out = String::new();
    if arguments.output == Output::Json {
        for run in &runs {
            let status = store.status(run).map_err(|e| shown(&e))?;
            let _ = writeln!(out, "{}", in_json(run, status));
        }
        answer(&out);
        return Ok(exit::DONE);
    }
    if runs.is_empty() {
        answer(match arguments.up {
            true => "nothing is up\n",
            false => "no runs yet\n",
        });
        return Ok(exit::DONE);
    }
    out.push_str("RUN      STARTED           STATUS       UP  PLAYBOOK\n");
    for run in &runs {
        let status = store.status(run).map_err(|e| shown(&e))?;
        let what = match run.name.as_str() {
            "" => run.about.playbook.clone(),
            name => format!("{} ({name})", run.about.playbook),
        };
        let line = format!(
            "{}  {}  {:<11} {:>3}  ",
            run.id,
            minute(run.started),
            status.as_str(),
            run.up
        );
        let room = COLUMNS.saturating_sub(line.chars().count());
        let _ = writeln!(out, "{line}{}", end_of(&text::harmless(&what), room));
    }
    answer(&out);
    Ok(exit::DONE)
}

/// A run for machines.
pub(super) fn in_json(run: &Run, status: RunStatus) -> Value {
    let target = &run.about.target;
    json!({
        "run": run.id,
        "playbook": run.about.playbook,
        "directory": run.about.directory,
        "name": run.name,
        "status": status.as_str(),
        "error": run.error,
        "started": timestamp(run.started),
        "ended": run.ended.map(timestamp),
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

/// `2026-11-25T22:10:03.123Z`.
pub(super) fn timestamp(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at).map_or_else(|_| at.to_string(), |t| t.to_string())
}

/// `2026-11-25 22:10`, as this machine's clock shows it.
pub(super) fn minute(at: Millis) -> String {
    local(at, "%Y-%m-%d %H:%M")
}

/// A time as this machine's clock shows it.
pub(super) fn local(at: Millis, format: &str) -> String {
    let time = jiff::Timestamp::from_millisecond(at);
    time.map_or_else(
        |_| at.to_string(),
        |time| {
            time.to_zoned(jiff::tz::TimeZone::system())
                .strftime(format)
                .to_string()
        },
    )
}

/// The end of a text that is too long: of a path that is the file.
fn end_of(text: &str, room: usize) -> String {
    let length = text.chars().count();
    if length <= room {
        return text.to_owned();
    }
    let end = text.chars().skip(length + 2 - room.max(2));
    format!("..{}", end.collect::<String>())
}
