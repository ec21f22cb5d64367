//! Where the value of a variable comes from.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::command::{output_of, read_file as read_value};
use super::faults::missing;
use super::file::{InFile, read_file};
use super::lines::parse_text;
use super::value::{parse, typed};
use crate::error::{Error, Result};
use crate::ledger::SecretSource;
use crate::playbook::Declared;
use crate::report::Mask;

/// Where the value of a variable comes from.
pub(super) enum Origin<'a> {
    /// Text on the command line.
    Literal(String),
    /// Text in the environment.
    Text(String),
    /// `@FILE`; `@-` is standard input.
    File(PathBuf),
    /// `cmd:COMMAND`, and its working directory.
    Command(String, PathBuf),
    /// A `--vars` file.
    VariablesFile(&'a InFile),
    /// A `--vars` file of an earlier attempt.
    RememberedVariables(PathBuf),
}

impl Origin<'_> {
    pub(super) fn remembered(source: &SecretSource) -> Self {
        match source {
            // `resume` changes to the directory in which the run was started.
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
        on_stderr: impl FnOnce(String),
    ) -> Result<Value> {
        match self {
            Self::Literal(text) => parse(d, text),
            Self::Text(text) => parse(d, text).map_err(|error| {
                error.while_doing(&format!("AUTORUN_VAR_{} in the environment", d.name))
            }),
            Self::File(file) if file.as_os_str().is_empty() => Err(Error::invalid(format!(
                "variable `{}`: `@` is followed by no file",
                d.name
            ))
            .hint("write `@@` for a text that begins with `@`")),
            Self::File(file) => {
                let text = read_value(&d.name, file, directory)?;
                parse_text(d, &text, Some(file))
            }
            Self::Command(command, place) => {
                let text = output_of(&d.name, command, place, mask, on_stderr)?;
                parse_text(d, &text, None)
            }
            Self::VariablesFile(in_file) => typed(d, in_file.value.clone()),
            Self::RememberedVariables(file) => {
                let found = read_file(file)?.into_iter().find(|v| v.name == d.name);
                found.map_or_else(|| Err(missing(d)), |found| typed(d, found.value))
            }
        }
    }

    /// Returns the source if it can be read again later, which a pipe cannot.
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

/// Parses `NAME=VALUE`, `NAME=@FILE` or `NAME=cmd:COMMAND`. `@@` and `cmd::`
/// are escapes for values that start with `@` and `cmd:`.
pub(super) fn parse_set<'a>(
    set: &'a str,
    declared: &[Declared],
    directory: &Path,
) -> Result<(&'a str, Origin<'static>)> {
    let Some((name, value)) = set.split_once('=') else {
        // Text that is not the name of a variable may be a secret: do not show it.
        let argument = if declared.iter().any(|d| d.name == set) {
            format!("`--set {set}`")
        } else {
            "`--set`".to_owned()
        };
        return Err(
            Error::invalid(format!("{argument} has no `=`")).hint("write it as --set name=value")
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
