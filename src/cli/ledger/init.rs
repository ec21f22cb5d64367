//! `autorun ledger init`.

use std::fmt::Write as _;

use super::bucket_settings::{Setting, State};
use crate::cli::args::LedgerArgs;
use crate::cli::output::{answer, complain, fitted};
use crate::cli::settings::shown;
use crate::cli::shared::{create_in, wanted_bucket};
use crate::error::{Result, exit};

pub(super) fn init(arguments: &LedgerArgs) -> anyhow::Result<u8> {
    let bucket = wanted_bucket(arguments)?;
    // A store without conditional writes is refused before anything is changed.
    let shared = create_in(&bucket).map_err(|e| shown(&e))?;
    let mut out = String::new();
    let mut all_set = true;
    for setting in Setting::ALL {
        let state = match setting.read(&bucket) {
            State::Good => "yes, as before".to_owned(),
            State::Inapplicable(why) => format!("-- {why}"),
            State::Bad | State::Unknown(_) => {
                let set = setting.set(&bucket);
                all_set &= set.is_ok();
                outcome(set)
            }
        };
        let _ = writeln!(out, "{:<20} {state}", setting.name());
    }
    let _ = writeln!(out, "{:<20} yes", "conditional writes");
    let _ = writeln!(
        out,
        "the ledger {} has the ID {}",
        shared.place(),
        shared.owner()
    );
    answer(&out);
    if !all_set {
        complain(&fitted(
            "warning: the ledger works, but its bucket is not as safe as it should be",
        ));
    }
    Ok(if all_set { exit::DONE } else { exit::FAILED })
}

fn outcome(set: Result<()>) -> String {
    match set {
        Ok(()) => "yes, set now".to_owned(),
        Err(error) => format!("no: {error}"),
    }
}
