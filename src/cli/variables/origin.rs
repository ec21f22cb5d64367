//! Where the value of a variable comes from.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::command::{output_of, read_file as read_value};
use super::faults::missing;
use super::file::{InFile, read_file};
use super::value::{parse, typed};
use crate::error::{Error, Result};
use crate::ledger::SecretSource;
use crate::playbook::Declared;
use crate::report::Mask;

/// Where the value of a variable comes from.
pub(super) enum Origin<'a> {
    /// It stands in the command line.
    Literal(String),
    /// It stands in the environment.
    Text(String),
    /// `@FILE`.
    File(PathBuf),
    /// `cmd:COMMAND`, and where it is run.
    Command(String, PathBuf),
    VariablesFile(&'a InFile),
    /// A file of an earlier attempt.
    RememberedVariables(PathBuf),
}

impl Origin<'_> {
    pub(super) fn remembered(source: &SecretSource) -> Self {
        match source {
            // Where the run began, which is where a resumed one is.
            SecretSource::Command(command) => Self::Command(command.clone(), ".".into()),
            SecretSource::File(file) => Self::File(file.clone()),
            SecretSource::Variables(file) => Self::RememberedVariables(file.clone()),
        }
    }

    pub(super) fn read(
        &self,
        d: &Declared,
        directory: &Path,
        mask: &Mask,
        hears: impl FnOnce(String),
    ) -> Result<Value> {
        match self {
            Self::Literal(text) | Self::Text(text) => parse(d, text),
            Self::File(file) => parse(d, &read_value(&d.name, file, directory)?),
            Self::Command(command, place) => {
                parse(d, &output_of(&d.name, command, place, mask, hears)?)
            }
            Self::VariablesFile(in_file) => typed(d, in_file.value.clone()),
            Self::RememberedVariables(file) => {
                let found = read_file(file)?.into_iter().find(|v| v.name == d.name);
                found.map_or_else(|| Err(missing(d)), |found| typed(d, found.value))
            }
        }
    }

    /// What can be read again later: a pipe cannot.
    pub(super) fn source(self, directory: &Path) -> Option<SecretSource> {
        let file = |file: PathBuf| {
            let file = directory.join(file);
            file.is_file().then_some(file)
        };
        match self {
            Self::Literal(_) | Self::Text(_) => None,
            Self::Command(command, _) => Some(SecretSource::Command(command)),
            Self::File(name) => file(name).map(SecretSource::File),
            Self::VariablesFile(in_file) if in_file.place.line == 0 => None,
            Self::VariablesFile(in_file) => {
                file(in_file.place.source.clone().into()).map(SecretSource::Variables)
            }
            Self::RememberedVariables(name) => Some(SecretSource::Variables(name)),
        }
    }
}

/// `NAME=VALUE`, `NAME=@FILE` or `NAME=cmd:COMMAND`; `@@` and `cmd::` begin a
/// value with `@` and `cmd:`.
pub(super) fn parse_set<'a>(
    set: &'a str,
    declared: &[Declared],
    directory: &Path,
) -> Result<(&'a str, Origin<'static>)> {
    let Some((name, value)) = set.split_once('=') else {
        // What is no variable's name may be a secret.
        let said = if declared.iter().any(|d| d.name == set) {
            format!("`--set {set}`")
        } else {
            "`--set`".to_owned()
        };
        return Err(
            Error::invalid(format!("{said} has no `=`")).hint("write it as --set name=value")
        );
    };
    let origin = match (value.strip_prefix('@'), value.strip_prefix("cmd:")) {
        (Some(literal), _) if literal.starts_with('@') => Origin::Literal(literal.to_owned()),
        (Some(file), _) => Origin::File(file.into()),
        (_, Some(literal)) if literal.starts_with(':') => Origin::Literal(format!("cmd{literal}")),
        (_, Some(command)) => Origin::Command(command.to_owned(), directory.to_owned()),
        (None, None) => Origin::Literal(value.to_owned()),
    };
    Ok((name, origin))
}
