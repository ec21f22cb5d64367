//! `autorun ledger status`.

use std::fmt::Write as _;

use super::bucket_settings::table;
use crate::cli::args::LedgerArgs;
use crate::cli::output::{answer, complain, fitted};
use crate::cli::settings::shown;
use crate::cli::shared::{existing, wanted_bucket};
use crate::error::{Result, exit};
use crate::ledger::{RunStatus, SharedLedger, Store};
use crate::report::text;

pub(super) fn status(arguments: &LedgerArgs) -> anyhow::Result<u8> {
    let bucket = wanted_bucket(arguments)?;
    let (store, shared) = existing(&bucket)?;
    for warning in store.refresh("").map_err(|e| shown(&e))? {
        complain(&fitted(&format!("warning: {warning}")));
    }
    let mut out = summary(&store, &shared).map_err(|e| shown(&e))?;
    out.push_str(&table(&bucket));
    answer(&out);
    Ok(exit::DONE)
}

fn summary(store: &Store, shared: &SharedLedger) -> Result<String> {
    let counts = shared.counts(store)?;
    let mut out = format!("{:<20} {}\n", "ledger", shared.place());
    let _ = writeln!(out, "{:<20} {}", "ID", shared.owner());
    let _ = writeln!(
        out,
        "{:<20} {} in {}",
        "records",
        text::count(counts.runs, "run"),
        text::count(counts.objects, "object")
    );
    for run in store.runs()? {
        if store.status(&run)? != RunStatus::Running || store.shared_at(&run.id)?.is_none() {
            continue;
        }
        let who = match shared.elsewhere(&run.id) {
            Some(holder) => holder,
            None => format!("this machine, process {}", run.pid),
        };
        let _ = writeln!(out, "{:<20} {} ({who})", "in progress", run.id);
    }
    if counts.unsent > 0 {
        let _ = writeln!(
            out,
            "{:<20} {} of this machine: `autorun resume RUN` sends them",
            "not sent",
            text::count(counts.unsent, "change")
        );
    }
    if counts.only_here > 0 {
        let _ = writeln!(
            out,
            "{:<20} {}",
            "only on this machine",
            text::count(counts.only_here, "run")
        );
    }
    Ok(out)
}
