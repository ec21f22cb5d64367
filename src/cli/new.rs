//! `autorun new`: writes a commented playbook to begin with.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail};

use super::args::NewArgs;
use super::output::answer;
use crate::error::exit;

/// The playbook. A test checks it and runs it on a local cloud.
pub(super) const STARTER: &str = include_str!("starter.rhai");

pub(super) fn new(arguments: &NewArgs) -> anyhow::Result<u8> {
    let mut path = PathBuf::from(&arguments.name);
    if path.extension().is_none_or(|extension| extension != "rhai") {
        path.as_mut_os_string().push(".rhai");
    }
    let created = OpenOptions::new().write(true).create_new(true).open(&path);
    let mut file = match created {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!(
            "`{}` already exists\nhint: choose another name; autorun never overwrites a playbook",
            path.display()
        ),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot create `{}`", path.display()));
        }
    };
    file.write_all(STARTER.as_bytes())
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    let shown = path.display();
    answer(&format!(
        "created {shown}\n\
         `autorun check {shown}` finds mistakes in it\n\
         `autorun --local {shown}` rehearses it on this machine\n"
    ));
    Ok(exit::DONE)
}
