//! `autorun ledger import` and `export`.

use crate::cli::args::MoveArgs;
use crate::cli::settings::{reporter, shown};
use crate::cli::shared::{existing, wanted_bucket};
use crate::error::{ErrorKind, Result, exit};
use crate::ledger::{Run, SharedLedger, Store};
use crate::report::{Reporter, text};

pub(super) fn import(arguments: &MoveArgs) -> anyhow::Result<u8> {
    let candidates = |shared: &SharedLedger, store: &Store| {
        let mut runs = shared.only_here(store)?;
        // A rehearsal stays on its machine, unless it is named.
        runs.retain(|run| !arguments.all || run.about.target.local_cloud.is_none());
        Ok(runs)
    };
    move_runs(
        arguments,
        candidates,
        SharedLedger::import,
        "into the ledger",
    )
}

pub(super) fn export(arguments: &MoveArgs) -> anyhow::Result<u8> {
    move_runs(
        arguments,
        SharedLedger::exportable,
        SharedLedger::export,
        "to this machine, from the ledger",
    )
}

fn move_runs(
    arguments: &MoveArgs,
    candidates: impl FnOnce(&SharedLedger, &Store) -> Result<Vec<Run>>,
    move_run: fn(&SharedLedger, &Store, &Run, &Reporter) -> Result<()>,
    whereto: &str,
) -> anyhow::Result<u8> {
    let report = reporter(&arguments.report, "")?;
    let bucket = wanted_bucket(&arguments.ledger)?;
    let (store, shared) = existing(&bucket)?;
    let all = candidates(&shared, &store).map_err(|e| shown(&e))?;
    let mut runs = Vec::new();
    for prefix in &arguments.runs {
        runs.push(store.find(prefix).map_err(|e| shown(&e))?);
    }
    let mut moved = 0;
    for run in if arguments.all { all } else { runs } {
        match move_run(&shared, &store, &run, &report) {
            Ok(()) => moved += 1,
            Err(busy) if arguments.all && busy.kind == ErrorKind::AlreadyExists => {
                report.info(format!("skipped: {busy}"));
            }
            Err(error) => return Err(shown(&error)),
        }
    }
    store.checkpoint().map_err(|e| shown(&e))?;
    let moved = text::count(moved, "run");
    report.info(format!("moved {moved} {whereto} {}", shared.place()));
    Ok(exit::DONE)
}
