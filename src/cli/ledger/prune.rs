//! `autorun ledger prune`.

use anyhow::bail;

use crate::cli::args::PruneArgs;
use crate::cli::confirm;
use crate::cli::output::complain;
use crate::cli::settings::{reporter, shown};
use crate::cli::shared::{existing, wanted_bucket};
use crate::error::exit;
use crate::report::text;

pub(super) fn prune(arguments: &PruneArgs) -> anyhow::Result<u8> {
    let report = reporter(&arguments.report, "")?;
    let bucket = wanted_bucket(&arguments.ledger)?;
    let (store, shared) = existing(&bucket)?;
    let age = i64::try_from(arguments.older_than.as_millis()).unwrap_or(i64::MAX);
    let (old, kept) = shared.prunable(&store, age).map_err(|e| shown(&e))?;
    if !kept.is_empty() {
        report.info(format!(
            "kept {} of that age, in progress or with resources: `autorun runs --up` lists the \
             latter",
            text::count(kept.len(), "run")
        ));
    }
    if !arguments.yes && !old.is_empty() {
        if !confirm::is_at_terminal() {
            bail!("cannot ask for confirmation without a terminal\nhint: pass --yes to remove all");
        }
        let question = format!("remove the records of {}?", text::count(old.len(), "run"));
        if !confirm::agrees(&question)? {
            complain("nothing was removed");
            return Ok(exit::FAILED);
        }
    }
    let pruned = shared.prune(&store, &old, &report);
    let pruned = pruned.map_err(|e| shown(&e))?;
    store.checkpoint().map_err(|e| shown(&e))?;
    for run in &pruned.kept {
        report.info(format!("kept run {run}: another process works on it"));
    }
    report.info(format!(
        "removed the records of {} ({})",
        text::count(pruned.runs.len(), "run"),
        text::count(pruned.objects, "object")
    ));
    Ok(exit::DONE)
}
