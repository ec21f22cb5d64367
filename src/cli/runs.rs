//! `autorun runs`: lists runs with their status and number of remaining resources.

use std::fmt::Write as _;

use super::args::{Output, RunsArgs};
use super::notify::post_of_ended_runs;
use super::output::{answer, complain, fitted};
use super::settings::shown;
use super::shared::shared_store;
use crate::error::exit;
use crate::page::run_as_json;
use crate::report::{clock, text};

/// Width of the table.
const COLUMNS: usize = 80;

pub(super) fn runs(arguments: &RunsArgs) -> anyhow::Result<u8> {
    let store = shared_store(&arguments.ledger, "", None)?;
    post_of_ended_runs(&store, |warning| {
        complain(&fitted(&format!("warning: {warning}")));
    });
    let mut runs = store.runs().map_err(|e| shown(&e))?;
    runs.retain(|run| run.up > 0 || !arguments.up);
    let mut out = String::new();
    if arguments.output == Output::Json {
        for run in &runs {
            let status = store.status(run).map_err(|e| shown(&e))?;
            let _ = writeln!(out, "{}", run_as_json(run, status));
        }
        answer(&out);
        return Ok(exit::DONE);
    }
    if runs.is_empty() {
        answer(if arguments.up {
            "no run has remaining resources\n"
        } else {
            "no runs yet\n"
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
            clock::minute(run.started),
            status.as_str(),
            run.up
        );
        let room = COLUMNS.saturating_sub(line.chars().count());
        let _ = writeln!(out, "{line}{}", end_of(&text::harmless(&what), room));
    }
    answer(&out);
    Ok(exit::DONE)
}

/// Shortens a text to its end, because the end of a path is the file's name.
fn end_of(text: &str, room: usize) -> String {
    let length = text.chars().count();
    if length <= room {
        return text.to_owned();
    }
    let end = text.chars().skip(length + 2 - room.max(2));
    format!("..{}", end.collect::<String>())
}
