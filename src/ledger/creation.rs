//! A ledger that begins: the first one, or an empty one in place of one that is
//! lost.

use rusqlite::Connection;

use super::faults::unusable;
use super::files::{BY_TAGS, Files};
use super::ids::{OWNER_LETTERS, new_id};
use super::schema::{APPLICATION, MIGRATIONS};
use super::witness::{Witness, WitnessRecord};
use crate::error::{Error, Result};

/// What happens when there was a ledger, and it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IfLost {
    Refuse,
    /// An empty one begins, under the same owner.
    BeginAgain,
}

/// Makes a ledger. It has its name when it is whole, so an empty one is never
/// one that was just begun.
pub(super) fn make(files: &Files, before: Option<&Witness>) -> Result<()> {
    let failed = |e: std::io::Error| {
        let error = Error::io("make the ledger", &files.main, &e);
        match e.kind() {
            std::io::ErrorKind::StorageFull => error.hint("make room on the disk"),
            _ => error.hint("give yourself write access to its directory, or set AUTORUN_HOME"),
        }
    };
    // 0600 from the start, and so are SQLite's own files beside it.
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
        // Another process was first: its ledger is as good.
        Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(failed(e.error)),
        Ok(_) => std::fs::File::open(&files.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(failed),
    }
}

/// There was a ledger: what is to be said when another one begins.
pub(super) fn begun_again(files: &Files, witness: &Witness, if_lost: IfLost) -> Result<String> {
    let knew = match witness.noted {
        Some(WitnessRecord { written: 1, .. }) => "one commit".to_owned(),
        Some(noted) => format!("{} commits", noted.written),
        None => "one".to_owned(),
    };
    let what = format!("it is gone, and the file `owner` beside it knows of {knew}");
    if if_lost == IfLost::Refuse {
        return Err(files.refused(
            &what,
            format!(
                "bring it back from a backup, with its `-wal`; or begin an empty one: {BY_TAGS}"
            ),
        ));
    }
    let shown = files.main.display();
    Ok(format!(
        "the ledger `{shown}` was lost: an empty one begins"
    ))
}
