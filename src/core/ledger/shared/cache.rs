//! What the local ledger knows about a shared one: how far it has each journal, and
//! which changes are not in the journal yet.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::entry::Position;
use crate::ledger::change::{Change, Moved};

/// A run of a shared ledger, as far as the local one has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cached {
    /// The ledger.
    pub(super) place: String,
    /// The last entry whose changes are in the tables. Generation 0 if there is none.
    pub(super) position: Position,
}

/// Returns what the local ledger has of a run; `None` for a run that is not shared.
pub(super) fn cached(db: &Connection, run: &str) -> rusqlite::Result<Option<Cached>> {
    let mut query =
        db.prepare_cached("SELECT place, generation, sequence FROM shared WHERE run = ?1")?;
    query
        .query_row([run], |row| {
            Ok(Cached {
                place: row.get(0)?,
                position: Position {
                    generation: row.get(1)?,
                    sequence: row.get(2)?,
                },
            })
        })
        .optional()
}

/// Returns the cached runs of a shared ledger.
pub(super) fn all(db: &Connection, place: &str) -> rusqlite::Result<HashSet<String>> {
    let mut query = db.prepare("SELECT run FROM shared WHERE place = ?1")?;
    let runs = query.query_map([place], |row| row.get(0))?;
    runs.collect()
}

/// Returns the cached runs of a shared ledger, and how far the tables have them.
pub(super) fn positions(db: &Connection, place: &str) -> rusqlite::Result<Vec<(String, Position)>> {
    let mut query =
        db.prepare("SELECT run, generation, sequence FROM shared WHERE place = ?1 ORDER BY run")?;
    let runs = query.query_map([place], |row| {
        let position = Position {
            generation: row.get(1)?,
            sequence: row.get(2)?,
        };
        Ok((row.get(0)?, position))
    })?;
    runs.collect()
}

/// Returns the runs that are in no shared ledger.
pub(super) fn only_here(db: &Connection) -> rusqlite::Result<HashSet<String>> {
    let mut query = db.prepare("SELECT id FROM run WHERE id NOT IN (SELECT run FROM shared)")?;
    let runs = query.query_map([], |row| row.get(0))?;
    runs.collect()
}

/// Returns the number of changes that are not in the journals of a shared ledger yet.
pub(super) fn all_unsent(db: &Connection, place: &str) -> rusqlite::Result<usize> {
    let sql = "SELECT count(*) FROM unsent JOIN shared USING (run) WHERE place = ?1";
    db.query_row(sql, [place], |row| row.get(0))
}

/// Notes how far the tables have the journal of a run.
pub(in crate::ledger) fn set(
    tx: &Transaction,
    run: &str,
    place: &str,
    position: Position,
) -> rusqlite::Result<()> {
    let mut upsert = tx.prepare_cached(
        "INSERT INTO shared (run, place, generation, sequence) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (run) DO UPDATE SET place = ?2, generation = ?3, sequence = ?4",
    )?;
    upsert.execute(params![run, place, position.generation, position.sequence])?;
    Ok(())
}

/// Adds a change that is not in the journal yet. Returns its number.
pub(in crate::ledger) fn add_unsent(
    tx: &Transaction,
    run: &str,
    change: &Change,
) -> rusqlite::Result<u64> {
    let text = serde_json::to_string(change)
        .map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    let mut insert = tx.prepare_cached("INSERT INTO unsent (run, change) VALUES (?1, ?2)")?;
    insert.execute(params![run, text])?;
    Ok(u64::try_from(tx.last_insert_rowid()).unwrap_or_default())
}

/// Returns the changes of a run that are not in its journal yet, with their numbers.
pub(super) fn unsent(db: &Connection, run: &str) -> rusqlite::Result<Vec<(u64, Change)>> {
    let mut query =
        db.prepare("SELECT number, change FROM unsent WHERE run = ?1 ORDER BY number")?;
    let rows = query.query_map([run], |row| {
        let text: String = row.get(1)?;
        let change = serde_json::from_str(&text).map_err(|e| {
            crate::ledger::rows::unreadable(1, format!("run {run}: the column `change`: {e}"))
        })?;
        Ok((row.get(0)?, change))
    })?;
    rows.collect()
}

/// Forgets the changes of a run up to a number: they are in its journal.
pub(super) fn sent(tx: &Transaction, run: &str, number: u64) -> rusqlite::Result<()> {
    let mut delete = tx.prepare_cached("DELETE FROM unsent WHERE run = ?1 AND number <= ?2")?;
    delete.execute(params![run, number])?;
    Ok(())
}

/// Removes a run from the local ledger, to read it again from its journal.
pub(super) fn forget(tx: &Transaction, run: &str) -> rusqlite::Result<()> {
    separate(tx, run)?;
    crate::ledger::rows::forget(tx, run)
}

/// Makes a run one of this machine alone.
pub(super) fn separate(tx: &Transaction, run: &str) -> rusqlite::Result<()> {
    for table in ["unsent", "shared", "moved"] {
        tx.execute(&format!("DELETE FROM {table} WHERE run = ?1"), [run])?;
    }
    Ok(())
}

/// Returns where the record of an exported run is continued.
pub(super) fn moved(db: &Connection, run: &str) -> rusqlite::Result<Option<Moved>> {
    let mut query = db.prepare_cached("SELECT machine, holder FROM moved WHERE run = ?1")?;
    query
        .query_row([run], |row| {
            Ok(Moved {
                machine: row.get(0)?,
                holder: row.get(1)?,
            })
        })
        .optional()
}
