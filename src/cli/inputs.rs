//! The inputs of a run: the playbook, the values of its variables, and the
//! environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::bail;
use serde_json::Value;

use super::confirm;
use super::settings::shown;
use super::variables::{self, Given, InFile, Settled};
use crate::context::OWN_PATH;
use crate::playbook::{Declared, Finding, Playbook, diagnostic};
use crate::report::{Event, Reporter};

/// Loads the playbook. Reports its errors and returns `None` if it is invalid.
pub(super) fn load(path: &Path, report: &Reporter) -> Option<Playbook> {
    match Playbook::load(path) {
        Ok(playbook) => Some(playbook),
        Err(failed) => {
            let secrets = failed.secrets.iter();
            secrets.for_each(|secret| report.mask().add_json(secret));
            for Finding { error, .. } in failed.findings {
                let rendered = diagnostic::render_error(&error, &failed.texts);
                report.report(&Event::RunFailed { error, rendered });
            }
            None
        }
    }
}

/// Reads the values of `--vars` files.
pub(super) fn read_files(paths: &[PathBuf]) -> anyhow::Result<Vec<InFile>> {
    let read = paths.iter().map(|path| variables::read_file(path));
    let values = read.collect::<crate::error::Result<Vec<_>>>();
    Ok(values
        .map_err(|e| shown(&e))?
        .into_iter()
        .flatten()
        .collect())
}

/// Returns the `AUTORUN_VAR_*` variables, without the prefix.
pub(super) fn environment() -> anyhow::Result<Vec<(String, String)>> {
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.to_str()?.strip_prefix("AUTORUN_VAR_")?.to_owned();
        Some((name, value))
    });
    let text = variables.map(|(name, value)| match value.into_string() {
        Ok(value) => Ok((name, value)),
        Err(_) => bail!("the value of AUTORUN_VAR_{name} is not UTF-8"),
    });
    text.collect()
}

/// Returns the environment that a playbook sees: the variables of this process,
/// and the path of this program, so that a playbook can call it.
pub(super) fn process_environment() -> BTreeMap<String, String> {
    let all = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let own = std::env::current_exe()
        .ok()
        .and_then(|path| path.into_os_string().into_string().ok())
        .map(|path| (OWN_PATH.to_owned(), path));
    all.chain(own).collect()
}

/// Determines the values of the playbook's variables. Reports the errors and
/// returns `None` if there are any.
pub(super) fn settle(given: &Given, playbook: &Playbook, report: &Reporter) -> Option<Settled> {
    match variables::settle(&playbook.variables, given, report.mask()) {
        Ok(settled) => {
            for warning in &settled.warnings {
                report.warn(warning.clone());
            }
            Some(settled)
        }
        Err(faults) => {
            let texts = playbook.texts();
            for error in faults {
                let rendered = diagnostic::render_error(&error, &texts);
                report.report(&Event::RunFailed { error, rendered });
            }
            None
        }
    }
}

/// Asks for the wanted secrets that have no value, if there is a terminal.
pub(super) fn ask_for_secrets(
    given: &mut Given,
    declared: &[Declared],
    wanted: impl Fn(&Declared) -> bool,
) -> anyhow::Result<()> {
    let missing = |d: &&Declared| wanted(d) && !given.has(&d.name);
    let missing: Vec<&Declared> = declared.iter().filter(missing).collect();
    if missing.is_empty() || !confirm::is_at_terminal() {
        return Ok(());
    }
    for d in missing {
        let value = confirm::ask_secret(&format!("secret `{}`:", d.name))?;
        let answer = InFile::from_other("the terminal", d.name.clone(), Value::String(value));
        given.files.push(answer);
    }
    Ok(())
}
