//! Determines the values of a playbook's variables. `--set` has precedence over
//! `--vars`, over `AUTORUN_VAR_name` in the environment, over the default.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::faults::{in_command_line, in_its_file, missing, undeclared};
use super::file::InFile;
use super::origin::{Origin, parse_set};
use super::value::{allowed, check_length};
use crate::error::{Error, Result};
use crate::ledger::SecretSource;
use crate::playbook::Declared;
use crate::report::Mask;

/// The values that the caller provides.
#[derive(Debug, Default)]
pub(in crate::cli) struct Given<'a> {
    /// `--set NAME=VALUE`, in order.
    pub(in crate::cli) set: &'a [String],
    /// Values of `--vars` files, in order.
    pub(in crate::cli) files: Vec<InFile>,
    /// `AUTORUN_VAR_name` without its prefix.
    pub(in crate::cli) environment: Vec<(String, String)>,
    /// Where the secrets of an earlier attempt came from.
    pub(in crate::cli) remembered: BTreeMap<String, SecretSource>,
    /// The directory at which relative paths on the command line start.
    pub(in crate::cli) directory: PathBuf,
}

impl Given<'_> {
    /// Returns whether the caller provides a value for a variable.
    pub(in crate::cli) fn has(&self, name: &str) -> bool {
        let set = self
            .set
            .iter()
            .any(|set| set.split('=').next() == Some(name));
        set || self.files.iter().any(|value| value.name == name)
            || self.environment.iter().any(|(n, _)| n == name)
            || self.remembered.contains_key(name)
    }
}

/// The values of the variables, and warnings.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Settled {
    pub(in crate::cli) values: BTreeMap<String, Value>,
    /// Where a secret can be read again.
    pub(in crate::cli) sources: BTreeMap<String, SecretSource>,
    pub(in crate::cli) warnings: Vec<String>,
}

/// Determines the value of every declared variable, or returns all errors.
/// Adds the secrets to the mask.
pub(in crate::cli) fn settle(
    declared: &[Declared],
    given: &Given,
    mask: &Mask,
) -> std::result::Result<Settled, Vec<Error>> {
    // Defaults and choices of a secret in the playbook are secrets, too.
    for d in declared.iter().filter(|d| d.secret) {
        d.secrets().for_each(|value| mask.add_json(value));
    }
    let mut settled = Settled::default();
    let mut origins = Origins::find(declared, given, &mut settled.warnings);
    for d in declared {
        // The error about its `--set` is already reported.
        if origins.not_read.contains(&d.name.as_str()) {
            continue;
        }
        let origin = origins.by_name.remove(d.name.as_str());
        // Do not run a command, which may ask for a password, if the run cannot
        // start.
        if !origins.faults.is_empty() && matches!(origin, Some(Origin::Command(..))) {
            continue;
        }
        if d.secret && matches!(origin, Some(Origin::Literal(_))) {
            settled.warnings.push(in_command_line(&d.name));
        }
        match value(d, origin.as_ref(), given, mask, &mut settled.warnings) {
            Ok(value) => {
                settled.values.insert(d.name.clone(), value);
                let source = origin.and_then(|origin| origin.source(&given.directory));
                settled.sources.extend(source.map(|s| (d.name.clone(), s)));
            }
            Err(fault) => origins.faults.push(fault),
        }
    }
    if origins.faults.is_empty() {
        Ok(settled)
    } else {
        Err(origins.faults)
    }
}

/// The origins of the values, and errors in how they are set.
struct Origins<'a> {
    by_name: BTreeMap<&'a str, Origin<'a>>,
    faults: Vec<Error>,
    /// Variables with an invalid `--set`.
    not_read: Vec<&'a str>,
}

impl<'a> Origins<'a> {
    /// Finds the origin of each variable. Later origins replace earlier ones, so
    /// the order of the loops is the precedence.
    fn find(declared: &'a [Declared], given: &'a Given, warnings: &mut Vec<String>) -> Self {
        let mut by_name: BTreeMap<&str, Origin> = BTreeMap::new();
        let (mut faults, mut not_read) = (Vec::new(), Vec::new());
        let find = |name: &str| declared.iter().find(|d| d.name == name);
        for (name, source) in &given.remembered {
            if let Some(d) = find(name) {
                by_name.insert(&d.name, Origin::remembered(source));
            }
        }
        for (name, value) in &given.environment {
            if let Some(d) = find(name) {
                by_name.insert(&d.name, Origin::Text(value.clone()));
            } else {
                warnings.push(format!(
                    "AUTORUN_VAR_{name} is set, but the playbook has no variable `{name}`"
                ));
            }
        }
        for in_file in &given.files {
            if let Some(d) = find(&in_file.name) {
                by_name.insert(&d.name, Origin::VariablesFile(in_file));
            } else {
                let mut fault = undeclared(&in_file.name, declared, &in_file.place.source);
                if in_file.place.line > 0 {
                    fault.place = in_file.place.clone();
                }
                faults.push(fault);
            }
        }
        for set in given.set {
            match parse_set(set, declared, &given.directory) {
                Err(fault) => {
                    not_read.extend(set.split('=').next());
                    faults.push(fault);
                }
                Ok((name, origin)) => {
                    if let Some(d) = find(name) {
                        by_name.insert(&d.name, origin);
                    } else {
                        faults.push(undeclared(name, declared, "--set"));
                    }
                }
            }
        }
        Self {
            by_name,
            faults,
            not_read,
        }
    }
}

/// Returns the value of a variable. Adds it to the mask if it is a secret.
fn value(
    d: &Declared,
    origin: Option<&Origin>,
    given: &Given,
    mask: &Mask,
    warnings: &mut Vec<String>,
) -> Result<Value> {
    let mut read = || {
        let value = match origin {
            None => d.default.clone().ok_or_else(|| missing(d))?,
            Some(origin) => {
                let on_stderr = |message| warnings.push(message);
                origin.read(d, &given.directory, mask, on_stderr)?
            }
        };
        if d.secret {
            check_length(d, &d.name, &value)?;
            mask.add_json(&value);
        }
        allowed(d, value)
    };
    read().map_err(|fault| match origin {
        Some(Origin::VariablesFile(in_file)) => in_its_file(fault, in_file),
        _ => fault,
    })
}
