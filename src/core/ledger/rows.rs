//! Reads and writes the tables of steps, resources and waits.

use rusqlite::{Transaction, params};

use super::resource::{Resource, ResourceKind, State};
use super::step_row::{Progress, StepResult, StepRow};
use super::store::Store;
use super::wait::Wait;
use crate::error::Result;

/// Removes all rows of a run.
pub(super) fn forget(tx: &Transaction, run: &str) -> rusqlite::Result<()> {
    for table in ["stopped", "request", "wait", "resource", "step", "moved"] {
        tx.execute(&format!("DELETE FROM {table} WHERE run = ?1"), [run])?;
    }
    tx.execute("DELETE FROM run WHERE id = ?1", [run])?;
    Ok(())
}

/// Inserts or updates a resource.
pub(super) fn write_resource(tx: &Transaction, run: &str, row: &Resource) -> rusqlite::Result<()> {
    let mut upsert = tx.prepare_cached(
        "INSERT INTO resource (run, row, kind, name, id, state, step, intended, changed, \
         removed_by_playbook) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
         ON CONFLICT (run, row) DO UPDATE SET id = ?5, state = ?6, changed = ?9, \
         removed_by_playbook = ?10",
    )?;
    upsert.execute(params![
        run,
        row.row,
        row.kind.as_str(),
        row.name,
        row.id,
        row.state.as_str(),
        row.step,
        row.intended,
        row.changed,
        row.removed_by_playbook,
    ])?;
    write_stopped(tx, run, row)
}

fn write_stopped(tx: &Transaction, run: &str, row: &Resource) -> rusqlite::Result<()> {
    if row.kind != ResourceKind::Instance {
        return Ok(());
    }
    let mut write = tx.prepare_cached(if row.stopped {
        "INSERT OR IGNORE INTO stopped (run, row) VALUES (?1, ?2)"
    } else {
        "DELETE FROM stopped WHERE run = ?1 AND row = ?2"
    })?;
    write.execute([run, &row.row])?;
    Ok(())
}

/// Inserts or updates a step.
pub(super) fn write_step(tx: &Transaction, run: &str, step: &StepRow) -> rusqlite::Result<()> {
    let mut upsert = tx.prepare_cached(
        "INSERT INTO step (run, number, key, branch, function, summary, place, state, result, \
         altered, error, started, ended) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) \
         ON CONFLICT (run, number) DO UPDATE SET state = ?8, result = ?9, altered = ?10, \
         error = ?11, ended = ?13",
    )?;
    upsert.execute(params![
        run,
        step.number,
        step.key,
        step.branch,
        step.function,
        step.summary,
        step.place,
        step.state.as_str(),
        step.result.as_ref().map(StepResult::text),
        step.altered,
        step.error,
        step.started,
        step.ended,
    ])?;
    Ok(())
}

/// Inserts a wait.
pub(super) fn write_wait(tx: &Transaction, run: &str, wait: &Wait) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached(
        "INSERT INTO wait (run, branch, function, place, error, started, ended) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    insert.execute(params![
        run,
        wait.branch,
        wait.function,
        wait.place,
        wait.error,
        wait.started,
        wait.ended,
    ])?;
    Ok(())
}

impl Store {
    /// Returns the resources of a run, oldest first.
    pub fn resources(&self, run: &str) -> Result<Vec<Resource>> {
        self.read(|db| {
            let mut query = db.prepare(
                "SELECT row, kind, name, id, state, step, intended, changed, \
                 removed_by_playbook, EXISTS (SELECT 1 FROM stopped \
                 WHERE stopped.run = resource.run AND stopped.row = resource.row) \
                 FROM resource WHERE run = ?1 ORDER BY row",
            )?;
            let rows = query.query_map([run], |row| {
                let id: String = row.get(0)?;
                let what = format!("run {run}, resource {id}");
                Ok(Resource {
                    row: id,
                    kind: word(row, 1, &what, &ResourceKind::ALL, ResourceKind::as_str)?,
                    name: row.get(2)?,
                    id: row.get(3)?,
                    state: word(row, 4, &what, &State::ALL, State::as_str)?,
                    step: row.get(5)?,
                    intended: row.get(6)?,
                    changed: row.get(7)?,
                    removed_by_playbook: row.get(8)?,
                    stopped: row.get(9)?,
                })
            })?;
            rows.collect()
        })
    }

    /// Returns the steps of a run, oldest first.
    pub fn steps(&self, run: &str) -> Result<Vec<StepRow>> {
        self.read(|db| {
            let mut query = db.prepare(
                "SELECT number, key, branch, function, summary, place, state, result, altered, \
                 error, started, ended FROM step WHERE run = ?1 ORDER BY number",
            )?;
            let rows = query.query_map([run], |row| {
                let result: Option<String> = row.get(7)?;
                let (function, place): (String, String) = (row.get(3)?, row.get(5)?);
                let what = format!("run {run}, {function} ({place})");
                Ok(StepRow {
                    number: row.get(0)?,
                    key: row.get(1)?,
                    branch: row.get(2)?,
                    function,
                    summary: row.get(4)?,
                    place,
                    state: word(row, 6, &what, &Progress::ALL, Progress::as_str)?,
                    result: result.map(StepResult::read),
                    altered: row.get(8)?,
                    error: row.get(9)?,
                    started: row.get(10)?,
                    ended: row.get(11)?,
                })
            })?;
            rows.collect()
        })
    }

    /// Returns the waits of a run, by start time.
    pub fn waits(&self, run: &str) -> Result<Vec<Wait>> {
        self.read(|db| {
            let mut query = db.prepare(
                "SELECT branch, function, place, error, started, ended FROM wait \
                 WHERE run = ?1 ORDER BY started, ended DESC",
            )?;
            let rows = query.query_map([run], |row| {
                Ok(Wait {
                    branch: row.get(0)?,
                    function: row.get(1)?,
                    place: row.get(2)?,
                    error: row.get(3)?,
                    started: row.get(4)?,
                    ended: row.get(5)?,
                })
            })?;
            rows.collect()
        })
    }
}

/// Reads a column with one of a few words. `what` names the row in the error.
fn word<T: Copy>(
    row: &rusqlite::Row,
    column: usize,
    what: &str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    known_word(&text, all, name).map_err(|why| unreadable(column, format!("{what}: a value {why}")))
}

/// Returns the value with this name.
pub(super) fn known_word<T: Copy>(
    text: &str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> std::result::Result<T, String> {
    let known = all.iter().copied().find(|one| name(*one) == text);
    known.ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|one| name(*one)).collect();
        format!("is `{text}`, not one of {}", names.join(", "))
    })
}

/// Creates an error about an invalid row.
pub(super) fn unreadable(column: usize, why: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, why.into())
}
