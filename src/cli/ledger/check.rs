//! `autorun ledger check`.

use crate::cli::args::LedgerArgs;
use crate::cli::output::{answer, complain, fitted};
use crate::cli::settings::shown;
use crate::cli::shared::{existing, wanted_bucket};
use crate::error::exit;
use crate::report::text;

pub(super) fn check(arguments: &LedgerArgs) -> anyhow::Result<u8> {
    let bucket = wanted_bucket(arguments)?;
    let (_, shared) = existing(&bucket)?;
    let audit = shared.audit().map_err(|e| shown(&e))?;
    for fault in &audit.faults {
        complain(&fitted(&format!("error: {}", shown(fault))));
    }
    let ignored = match audit.ignored {
        0 => String::new(),
        ignored => format!(
            "; {} of clients that had lost the lease do not count",
            text::count(ignored, "object")
        ),
    };
    answer(&format!(
        "read {} of {}: {}{ignored}\n",
        text::count(audit.objects, "object"),
        text::count(audit.runs, "run"),
        match audit.faults.len() {
            0 => "all are whole".to_owned(),
            faults => text::count(faults, "fault"),
        }
    ));
    Ok(if audit.faults.is_empty() {
        exit::DONE
    } else {
        exit::USAGE
    })
}
