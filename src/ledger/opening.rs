//! Opens the ledger's file, or says why it cannot be trusted: an empty, damaged,
//! older or incomplete one is never taken for one in which there is no more.
//!
//! Nothing is written before it is certain that the file is the newest, whole
//! and this ledger's own: SQLite would let another ledger's `-wal` be written
//! over it.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::access::{
    another_programs, check_access, check_writable, make_directory, refuse_another_programs,
};
use super::contents::{Contents, Part, compare, contents, is_still_open, main_file_alone};
use super::creation::{IfLost, begun_again, make};
use super::faults::{PATIENCE, damaged, unusable};
use super::files::{BY_TAGS, Files, size, wal_holds_commits};
use super::schema::{APPLICATION, MIGRATIONS};
use super::witness::{FileStamp, Witness, WitnessRecord};
use crate::error::{Error, Result};

/// An open ledger.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) owner: String,
    pub(super) witness: Witness,
    /// What the user should know: what was repaired.
    pub(super) warnings: Vec<String>,
}

/// Opens the ledger in a directory; makes one if there never was one.
///
/// Throws what makes it unusable.
pub(super) fn open(directory: &Path, if_lost: IfLost) -> Result<Opened> {
    let files = Files::in_directory(directory);
    make_directory(directory)?;
    refuse_another_programs(&files)?;
    let mut warnings = check_access(&files)?;
    let witness = Witness::open(&files.owner)?;
    match size(&files.main) {
        Some(0) => {
            let what = "it is empty, and autorun never leaves it so";
            return Err(files.refused_unless(
                what,
                "bring it back from a backup",
                &format!("then {BY_TAGS}"),
            ));
        }
        Some(_) => {}
        None => {
            refuse_what_is_left(&files)?;
            let before = witness.as_ref();
            if let Some(witness) = before {
                warnings.push(begun_again(&files, witness, if_lost)?);
            }
            make(&files, before)?;
        }
    }
    check_writable(&files.main)?;
    refuse_journal(&files)?;
    // Read before the connection is opened: to close another handle on the file
    // would give up the locks that this process has on it.
    let alone = main_file_alone(&files, witness.as_ref())?;
    let seen = FileStamp::read(&files.main);
    let failed = |e: &rusqlite::Error| unusable(&files.main, e);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&files.main, flags).map_err(|e| failed(&e))?;
    let wal = wal_holds_commits(&files);
    let noted = witness.as_ref().and_then(|w| w.noted);
    let contents = examine(&connection, &files, alone.as_ref(), witness.as_ref())?;
    // A file that is as it was left is as sound as it was then.
    let as_left = noted.is_some_and(|noted| Some(noted.file) == seen);
    if wal || !as_left {
        check_integrity(&connection, &files)?;
    }
    prepare(&mut connection, &files)?;
    let witness = match witness {
        Some(witness) if witness.noted.is_some() => witness,
        _ => {
            let written = contents.commits;
            let noted = WitnessRecord {
                written,
                ..WitnessRecord::default()
            };
            Witness::make(&files.owner, &contents.owner, noted)?
        }
    };
    Ok(Opened {
        connection,
        owner: contents.owner,
        witness,
        warnings,
    })
}

/// Everything that must hold of a ledger's contents before it is written to.
fn examine(
    connection: &Connection,
    files: &Files,
    alone: Option<&Contents>,
    witness: Option<&Witness>,
) -> Result<Contents> {
    let failed = |e: &rusqlite::Error| unusable(&files.main, e);
    connection.busy_timeout(PATIENCE).map_err(|e| failed(&e))?;
    // A `-wal` that turns out to be another ledger's must not be written into
    // this one when the connection is closed.
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(|e| failed(&e))?;
    connection
        .pragma_update(None, "cell_size_check", "ON")
        .map_err(|e| failed(&e))?;
    if let (Some(alone), Some(witness)) = (alone, witness) {
        compare(alone, Part::MainFile, files, witness)?;
    }
    check_version(connection, files)?;
    let contents = contents(connection).map_err(|e| failed(&e))?;
    match witness {
        Some(witness) => compare(&contents, Part::Whole, files, witness)?,
        None if contents.open && !wal_holds_commits(files) && is_still_open(connection) => {
            return Err(files.refused(
                "it is a copy without its `-wal`, made while a run was writing",
                format!(
                    "copy `ledger.db-wal` as well, or copy both once more when no run is in \
                     progress; `sqlite3 {} 'UPDATE written SET open = 0'` goes on with what it has",
                    shell_words::quote(&files.main.to_string_lossy())
                ),
            ));
        }
        None => {}
    }
    Ok(contents)
}

/// Refuses a file that is no ledger, or too new a one.
fn check_version(connection: &Connection, files: &Files) -> Result<()> {
    let about = || -> rusqlite::Result<(i32, i32, i64)> {
        let tables = "SELECT count(*) FROM sqlite_schema";
        Ok((
            pragma(connection, "application_id")?,
            pragma(connection, "user_version")?,
            connection.query_row(tables, [], |row| row.get(0))?,
        ))
    };
    let (application, version, tables) = about().map_err(|e| unusable(&files.main, &e))?;
    if application == 0 && tables == 0 {
        return Err(files.refused_unless(
            "it is a database without anything in it, and autorun never leaves it so",
            "bring it back from a backup",
            &format!("then {BY_TAGS}"),
        ));
    }
    let version = usize::try_from(version).unwrap_or_default();
    if application != APPLICATION || version == 0 {
        return Err(another_programs(files));
    }
    if version > MIGRATIONS.len() {
        let shown = files.main.display();
        return Err(Error::internal(format!(
            "the ledger `{shown}` was written by a newer autorun"
        ))
        .hint("use that version; this one could lose what it knows"));
    }
    Ok(())
}

/// Refuses what a file that was changed behind our back has lost: SQLite contents
/// notices only what it happens to read.
fn check_integrity(connection: &Connection, files: &Files) -> Result<()> {
    let check = "PRAGMA integrity_check(1)";
    let found: String = connection
        .query_row(check, [], |row| row.get(0))
        .map_err(|e| unusable(&files.main, &e))?;
    match found.as_str() {
        "ok" => Ok(()),
        found => Err(damaged(&files.main, found)),
    }
}

/// Sets the connection up and brings the schema up to date.
fn prepare(connection: &mut Connection, files: &Files) -> Result<()> {
    let mut all = || -> rusqlite::Result<()> {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", "ON")?;
        connection.pragma_update(None, "trusted_schema", "OFF")?;
        let newest = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
        if pragma(connection, "user_version")? == newest {
            return Ok(());
        }
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have done it meanwhile.
        let version = pragma(&tx, "user_version")?;
        for migration in &MIGRATIONS[usize::try_from(version).unwrap_or_default()..] {
            tx.execute_batch(migration)?;
        }
        tx.pragma_update(None, "user_version", newest)?;
        tx.commit()
    };
    all().map_err(|e| unusable(&files.main, &e))
}

/// A `-wal` without its ledger: SQLite would delete it.
fn refuse_what_is_left(files: &Files) -> Result<()> {
    let left = [&files.wal, &files.journal];
    match left
        .into_iter()
        .find(|path| size(path).is_some_and(|s| s > 0))
    {
        None => Ok(()),
        Some(left) => Err(files.refused_unless(
            &format!("it is gone, and `{}` is still there", left.display()),
            "bring it back",
            &format!("then {BY_TAGS}"),
        )),
    }
}

/// SQLite would write the pages of a journal over the ledger, of whichever database they are.
fn refuse_journal(files: &Files) -> Result<()> {
    if size(&files.journal).is_none_or(|size| size == 0) {
        return Ok(());
    }
    let journal = shell_words::quote(&files.journal.to_string_lossy()).into_owned();
    Err(files.refused(
        &format!(
            "`{}` is beside it, which autorun does not make",
            files.journal.display()
        ),
        format!("another program was writing to the ledger: let it finish, or move {journal} away"),
    ))
}

pub(super) fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}
