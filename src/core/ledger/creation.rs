//! Creates a ledger: the first one, or an empty one that replaces a lost one.

use rusqlite::Connection;

use super::faults::unusable;
use super::files::{BY_TAGS, Files};
use super::ids::{OWNER_LETTERS, new_id};
use super::schema::{APPLICATION, MIGRATIONS};
use super::witness::{Witness, WitnessRecord};
use crate::error::{Error, Result};

/// What to do if the ledger is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IfLost {
    /// Fail.
    Refuse,
    /// Create an empty ledger with the same owner.
    BeginAgain,
}

/// Creates a ledger. The file gets its name only when it is complete, so an empty
/// `ledger.db` is always an error.
pub(super) fn create(files: &Files, before: Option<&Witness>) -> Result<()> {
    let failed = |e: std::io::Error| {
        let error = Error::io("create the ledger", &files.main, &e);
        match e.kind() {
            std::io::ErrorKind::StorageFull => error.hint("free disk space"),
            _ => error.hint("give yourself write access to its directory, or set AUTORUN_HOME"),
        }
    };
    // `tempfile` creates it with mode 0600. SQLite copies the mode to its `-wal`
    // and `-shm`.
    let unfinished = tempfile::Builder::new()
        .prefix(".ledger-")
        .tempfile_in(&files.directory)
        .map_err(failed)?;
    let owner = before.map_or_else(|| new_id(OWNER_LETTERS), |w| w.owner.clone());
    let commits = before.and_then(|w| w.noted).map_or(0, |n| n.written);
    let fill = || -> rusqlite::Result<()> {
        let mut connection = Connection::open(unfinished.path())?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        let tx = connection.transaction()?;
        for migration in MIGRATIONS {
            tx.execute_batch(migration)?;
        }
        tx.execute("INSERT INTO ledger (owner) VALUES (?1)", [&owner])?;
        let insert = "INSERT INTO written (owner, commits, open) VALUES (?1, ?2, 0)";
        tx.execute(insert, rusqlite::params![owner, commits])?;
        tx.pragma_update(None, "application_id", APPLICATION)?;
        let newest = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
        tx.pragma_update(None, "user_version", newest)?;
        tx.commit()?;
        connection.close().map_err(|(_, e)| e)
    };
    fill().map_err(|e| unusable(&files.main, &e))?;
    unfinished.as_file().sync_all().map_err(failed)?;
    match unfinished.persist_noclobber(&files.main) {
        // Another process was first: use its ledger.
        Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(failed(e.error)),
        // Sync the directory as well, so that the new name survives a crash.
        Ok(_) => std::fs::File::open(&files.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(failed),
    }
}

/// Handles a lost ledger: fails, or returns the warning about the empty ledger
/// that replaces it.
pub(super) fn replace_lost(files: &Files, witness: &Witness, if_lost: IfLost) -> Result<String> {
    let recorded = match witness.noted {
        Some(WitnessRecord { written: 1, .. }) => "one commit".to_owned(),
        Some(noted) => format!("{} commits", noted.written),
        None => "that it existed".to_owned(),
    };
    let what = format!("it is missing, but the file `owner` beside it records {recorded}");
    if if_lost == IfLost::Refuse {
        return Err(files.refused(
            &what,
            format!("restore it from a backup, with its `-wal`; or start an empty one: {BY_TAGS}"),
        ));
    }
    let shown = files.main.display();
    Ok(format!(
        "the ledger `{shown}` was lost; created an empty one"
    ))
}
