//! `autorun new`: writes a commented playbook to begin with.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::args::NewArgs;
use super::output::answer;
use crate::error::exit;

/// The playbook. A test checks it and runs it on a local cloud.
pub(super) const STARTER: &str = include_str!("starter.rhai");

pub(super) fn new(arguments: &NewArgs) -> anyhow::Result<u8> {
    let mut path = PathBuf::from(&arguments.name);
    if path.file_name().is_none() || path.is_dir() {
        bail!(
            "`{}` is not the name of a file\nhint: pass a name, such as `autorun new web`",
            path.display()
        );
    }
    let is_playbook = |extension: &OsStr| extension.eq_ignore_ascii_case("rhai");
    // `web.txt` looks complete, so that the file gets another name than expected.
    let mut note = "";
    if !path.extension().is_some_and(is_playbook) {
        if path.extension().is_some() {
            note = ", because the name of a playbook ends in .rhai";
        }
        path.as_mut_os_string().push(".rhai");
    }
    let created = OpenOptions::new().write(true).create_new(true).open(&path);
    let mut file = match created {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!(
            "`{}` already exists\nhint: choose another name; autorun never overwrites a playbook",
            path.display()
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let directory = path.parent().unwrap_or(&path);
            let hint = format!("create it with `mkdir -p {}`", word(directory));
            bail!(
                "cannot create `{}`: there is no directory `{}`\nhint: {hint}",
                path.display(),
                directory.display()
            )
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot create `{}`", path.display()));
        }
    };
    file.write_all(STARTER.as_bytes())
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    let file = word(&path);
    answer(&format!(
        "created {}{note}\n\
         `autorun check {file}` finds mistakes in it\n\
         `autorun --local {file}` rehearses it on this machine\n",
        path.display()
    ));
    Ok(exit::DONE)
}

/// Returns a path as a word of a shell command.
fn word(path: &Path) -> String {
    let shown = path.display().to_string();
    let shown = if shown.starts_with('-') {
        format!("./{shown}")
    } else {
        shown
    };
    shell_words::quote(&shown).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_command() {
        let of = |path: &str| word(Path::new(path));
        assert_eq!(of("web.rhai"), "web.rhai");
        assert_eq!(of("my web.rhai"), "'my web.rhai'");
        assert_eq!(of("-.rhai"), "./-.rhai");
    }
}
