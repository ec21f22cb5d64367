//! Opens the ledger's file. Rejects an empty, damaged, older or incomplete file
//! instead of reading it as a ledger with fewer runs.
//!
//! Nothing is written before all checks have passed: SQLite would apply even
//! another ledger's `-wal` to the file.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::access::{
    another_programs, check_access, check_writable, make_directory, refuse_another_programs,
};
use super::contents::{Contents, Part, compare, contents, is_still_open, main_file_alone};
use super::creation::{IfLost, create, replace_lost};
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
    /// Warnings for the user, such as repaired permissions.
    pub(super) warnings: Vec<String>,
}

/// Opens the ledger in a directory. Creates it if there has never been one.
///
/// Fails if the ledger is unusable.
pub(super) fn open(directory: &Path, if_lost: IfLost) -> Result<Opened> {
    let files = Files::in_directory(directory);
    make_directory(directory)?;
    refuse_another_programs(&files)?;
    let mut warnings = check_access(&files)?;
    let witness = Witness::open(&files.owner)?;
    match size(&files.main) {
        Some(0) => {
            let what = "it is an empty file, which autorun never creates";
            return Err(files.refused_or_moved(
                what,
                "restore it from a backup",
                &format!("then {BY_TAGS}"),
            ));
        }
        Some(_) => {}
        None => {
            refuse_leftover_wal(&files)?;
            let before = witness.as_ref();
            if let Some(witness) = before {
                warnings.push(replace_lost(&files, witness, if_lost)?);
            }
            create(&files, before)?;
        }
    }
    check_writable(&files.main)?;
    refuse_journal(&files)?;
    // Read before the connection is opened: closing any file descriptor of the
    // file releases all POSIX locks that this process has on it.
    let alone = main_file_alone(&files, witness.as_ref())?;
    let seen = FileStamp::read(&files.main);
    let failed = |e: &rusqlite::Error| unusable(&files.main, e);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&files.main, flags).map_err(|e| failed(&e))?;
    let wal = wal_holds_commits(&files);
    let noted = witness.as_ref().and_then(|w| w.noted);
    let contents = examine(&connection, &files, alone.as_ref(), witness.as_ref())?;
    // The integrity check is slow, so skip it if the file has not changed since
    // autorun wrote it.
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
            Witness::create(&files.owner, &contents.owner, noted)?
        }
    };
    Ok(Opened {
        connection,
        owner: contents.owner,
        witness,
        warnings,
    })
}

/// Checks the content of the ledger before anything is written to it.
fn examine(
    connection: &Connection,
    files: &Files,
    alone: Option<&Contents>,
    witness: Option<&Witness>,
) -> Result<Contents> {
    let failed = |e: &rusqlite::Error| unusable(&files.main, e);
    connection.busy_timeout(PATIENCE).map_err(|e| failed(&e))?;
    // If the `-wal` belongs to another ledger, closing the connection must not
    // write it into this file.
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
                    "copy `ledger.db-wal` as well, or copy both again when no run is in progress; \
                     `sqlite3 {} 'UPDATE written SET open = 0'` accepts the copy as it is",
                    shell_words::quote(&files.main.to_string_lossy())
                ),
            ));
        }
        None => {}
    }
    Ok(contents)
}

/// Rejects a database that is not a ledger, or was written by a newer version.
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
        return Err(files.refused_or_moved(
            "it is a database without tables, which autorun never creates",
            "restore it from a backup",
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
        .hint("use that version: this one could lose data"));
    }
    Ok(())
}

/// Rejects a file that another program has damaged. SQLite itself notices damage
/// only in the pages that it reads.
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

/// Configures the connection and migrates the schema.
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
        // Read again: another process may have migrated it meanwhile.
        let version = pragma(&tx, "user_version")?;
        for migration in &MIGRATIONS[usize::try_from(version).unwrap_or_default()..] {
            tx.execute_batch(migration)?;
        }
        tx.pragma_update(None, "user_version", newest)?;
        tx.commit()
    };
    all().map_err(|e| unusable(&files.main, &e))
}

/// Rejects a `-wal` or journal without its ledger. SQLite would delete it.
fn refuse_leftover_wal(files: &Files) -> Result<()> {
    let left = [&files.wal, &files.journal];
    match left
        .into_iter()
        .find(|path| size(path).is_some_and(|s| s > 0))
    {
        None => Ok(()),
        Some(left) => Err(files.refused_or_moved(
            &format!("it is missing, but `{}` exists", left.display()),
            "restore it",
            &format!("then {BY_TAGS}"),
        )),
    }
}

/// Rejects a rollback journal. SQLite would write its pages into the ledger, even
/// if it belongs to another database.
fn refuse_journal(files: &Files) -> Result<()> {
    if size(&files.journal).is_none_or(|size| size == 0) {
        return Ok(());
    }
    let journal = shell_words::quote(&files.journal.to_string_lossy()).into_owned();
    Err(files.refused(
        &format!(
            "`{}` is beside it, which autorun does not create",
            files.journal.display()
        ),
        format!("another program was writing to the ledger: let it finish, or move {journal} away"),
    ))
}

pub(super) fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}
