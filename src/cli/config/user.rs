//! The places of the settings files.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::anyhow;

use super::file::{self, Owner};
use super::layers::{FileSettings, LedgerPlace};
use crate::playbook::diagnostic;

/// The name of the file beside a playbook.
const BESIDE: &str = "autorun.toml";

/// A settings file that was looked for.
#[derive(Clone, Debug)]
pub(super) struct Looked {
    pub(super) path: PathBuf,
    pub(super) exists: bool,
}

/// Returns the user's file and its settings.
pub(super) fn of_user() -> anyhow::Result<(Option<Looked>, FileSettings)> {
    match user_file() {
        Some(path) => load(path, Owner::User, None),
        None => Ok((None, FileSettings::default())),
    }
}

/// Returns the file beside a playbook and its settings.
pub(super) fn of_playbook(playbook: &Path) -> anyhow::Result<(Option<Looked>, FileSettings)> {
    // Standard input and pipes have no directory of their own.
    let regular = std::fs::metadata(playbook)
        .ok()
        .filter(std::fs::Metadata::is_file);
    let (Some(about), Ok(real)) = (regular, playbook.canonicalize()) else {
        return Ok((None, FileSettings::default()));
    };
    // The file is as trustworthy as the playbook, which is code.
    load(
        real.with_file_name(BESIDE),
        Owner::Playbook,
        Some(about.uid()),
    )
}

/// Returns the directory that `ledger` in the user's file names.
pub(in crate::cli) fn ledger() -> anyhow::Result<Option<PathBuf>> {
    let ledger = of_user()?.1.ledger;
    Ok(ledger.and_then(|ledger| match ledger.value {
        LedgerPlace::Directory(directory) => Some(directory),
        LedgerPlace::Shared(_) => None,
    }))
}

/// Returns the URL that `ledger` in the user's file has.
pub(in crate::cli) fn shared_ledger() -> anyhow::Result<Option<String>> {
    let ledger = of_user()?.1.ledger;
    Ok(ledger.and_then(|ledger| match ledger.value {
        LedgerPlace::Directory(_) => None,
        LedgerPlace::Shared(url) => Some(url),
    }))
}

/// Returns the `ssh_config` of the user's file.
pub(in crate::cli) fn ssh_config() -> anyhow::Result<Option<PathBuf>> {
    Ok(of_user()?.1.ssh_config.map(|file| file.value))
}

fn load(
    path: PathBuf,
    owner: Owner,
    also: Option<u32>,
) -> anyhow::Result<(Option<Looked>, FileSettings)> {
    let loaded = file::load(&path, owner, also).map_err(|(error, texts)| {
        let text = diagnostic::render_error(&error, &texts);
        anyhow!("{}", text.strip_prefix("error: ").unwrap_or(&text))
    })?;
    let exists = loaded.is_some();
    let settings = loaded.unwrap_or_default();
    Ok((Some(Looked { path, exists }), settings))
}

/// Returns `$XDG_CONFIG_HOME/autorun/config.toml`, on each platform.
fn user_file() -> Option<PathBuf> {
    let configured = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    // The specification says to ignore relative paths.
    let directory = configured
        .filter(|path| path.is_absolute())
        .or_else(|| Some(dirs::home_dir()?.join(".config")))?;
    Some(directory.join("autorun/config.toml"))
}
