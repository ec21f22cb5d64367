//! Waits: calls without an effect that took a while. They are on record for the
//! picture of a run alone: nothing is decided by them, a resumed run waits
//! afresh, and no commit is made on their account.

use rusqlite::{Transaction, params};

use super::{Ledger, Millis, Store};
use crate::error::Result;

/// How many of one attempt are kept: a playbook may watch something for days.
const MOST: usize = 2000;

/// How much of an error is kept, in characters.
const LONGEST: usize = 2000;

/// A call that waited or looked.
#[derive(Clone, Debug)]
pub struct Wait {
    /// The branch of `parallel` that it was in.
    pub branch: String,
    /// The function that was called.
    pub function: String,
    /// Where in the playbook, as `web.rhai:12`.
    pub place: String,
    /// What it failed with, masked.
    pub error: Option<String>,
    /// When it began.
    pub started: Millis,
    /// When it ended.
    pub ended: Millis,
}

impl Ledger {
    /// Notes a wait; the next commit writes it down.
    pub fn waited(&self, mut wait: Wait) {
        let mask = self.report.mask();
        wait.branch = mask.apply(&wait.branch);
        wait.error = wait.error.and_then(|error| {
            let said = mask.apply(&error);
            said.char_indices()
                .nth(LONGEST)
                .map_or_else(|| said.clone(), |(end, _)| format!("{}..", &said[..end]))
                .into()
        });
        let mut state = self.state();
        if state.waits_noted < MOST {
            state.waits_noted += 1;
            state.new_waits.push(wait);
        }
    }
}

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
    /// The waits of a run, by their beginnings.
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
