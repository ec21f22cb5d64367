//! The start and the end of attempts. One process at a time works on a run, and
//! two runs of the same playbook under the same name cannot use the same target
//! at the same time.

use rusqlite::{Transaction, params};

use super::clock::now;
use super::hold::Hold;
use super::resource::{ResourceKind, State};
use super::run::{COLUMNS, Run, read};
use super::store::{Durable, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::report::Outcome;

impl Store {
    /// Records a new run and locks it. Other processes see it at once. The record is
    /// durable with the next commit, before which the run changes nothing.
    ///
    /// Fails with [`ErrorKind::AlreadyExists`] while another process runs the same
    /// playbook under the same name on the same target.
    pub fn begin(&self, run: &Run) -> Result<Hold> {
        let hold = self.hold_or_refuse(run)?;
        let about = serde_json::to_string(&run.about).map_err(|e| {
            Error::invalid(format!("cannot record the run: {e}")).hint(
                "rename the current directory or the files with variables: their names must be \
                 UTF-8",
            )
        })?;
        let rival = self.commit(&mut self.connection(), Durable::WithNext, |tx| {
            let rival = self.rival(tx, run)?;
            if matches!(rival, Ok(None)) {
                tx.execute(
                    "INSERT INTO run (id, playbook, name, target, account, about, pid, started) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    params![
                        run.id,
                        run.playbook,
                        run.name,
                        run.about.target.place(),
                        run.about.target.account,
                        about,
                        run.pid,
                        run.started,
                    ],
                )?;
            }
            Ok(rival)
        })?;
        match rival? {
            Some(rival) => Err(in_progress(&rival)),
            None => Ok(hold),
        }
    }

    /// Marks an ended run, which this process has locked, as in progress again.
    ///
    /// Fails with [`ErrorKind::AlreadyExists`] while another process runs the same
    /// playbook under the same name on the same target.
    pub(super) fn resume(&self, run: &Run, _hold: &Hold) -> Result<()> {
        let rival = self.write(|tx| {
            let rival = self.rival(tx, run)?;
            if matches!(rival, Ok(None)) {
                tx.execute(
                    "UPDATE run SET pid = ?2, ended = NULL, outcome = NULL, error = NULL \
                     WHERE id = ?1",
                    params![run.id, std::process::id()],
                )?;
            }
            Ok(rival)
        })?;
        match rival? {
            Some(rival) => Err(in_progress(&rival)),
            None => Ok(()),
        }
    }

    /// Locks a run without resuming it, to remove its resources.
    ///
    /// Fails with [`ErrorKind::AlreadyExists`] while another process works on it.
    pub fn hold_ended(&self, run: &Run) -> Result<Hold> {
        self.hold_or_refuse(run)
    }

    /// Records how a run ended.
    pub fn end(&self, run: &str, outcome: Outcome, error: Option<&str>) -> Result<()> {
        self.write(|tx| end(tx, run, outcome, error))
    }

    /// Marks a resource as released in the rows of other runs on the same target.
    pub(super) fn release_of_others(&self, run: &str, kind: ResourceKind, id: &str) -> Result<()> {
        self.write(|tx| {
            tx.execute(
                "UPDATE resource SET state = ?4, changed = ?5 \
                 WHERE kind = ?2 AND id = ?3 AND state IN ('intended', 'live', 'releasing') \
                 AND run IN (SELECT other.id FROM run other JOIN run mine ON mine.id = ?1 \
                 WHERE other.id <> mine.id AND other.target = mine.target \
                 AND other.account = mine.account)",
                params![run, kind.as_str(), id, State::Released.as_str(), now()],
            )
        })?;
        Ok(())
    }

    /// Returns the other runs of the same playbook under the same name on the same
    /// target that still have resources and are not in progress, newest first.
    pub fn earlier(&self, run: &Run) -> Result<Vec<Run>> {
        let runs = self.read(|db| same_playbook(db, run, "TRUE"))?;
        let mut earlier = Vec::new();
        for run in runs.into_iter().filter(|run| run.up > 0) {
            if !self.is_held(&run.id)? {
                earlier.push(run);
            }
        }
        Ok(earlier)
    }

    /// Finds a run in progress that excludes this one.
    fn rival(&self, db: &rusqlite::Connection, run: &Run) -> rusqlite::Result<Result<Option<Run>>> {
        for rival in same_playbook(db, run, "outcome IS NULL")? {
            match self.is_held(&rival.id) {
                Ok(false) => {}
                Ok(true) => return Ok(Ok(Some(rival))),
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(None))
    }

    fn hold_or_refuse(&self, run: &Run) -> Result<Hold> {
        if let Some(hold) = self.hold(&run.id)? {
            return Ok(hold);
        }
        let pid = self.holder(run)?.unwrap_or(run.pid);
        Err(in_progress(&Run { pid, ..run.clone() }))
    }
}

/// Records how a run ended.
pub(super) fn end(
    tx: &Transaction,
    run: &str,
    outcome: Outcome,
    error: Option<&str>,
) -> rusqlite::Result<()> {
    let sql = "UPDATE run SET ended = ?2, outcome = ?3, error = ?4 WHERE id = ?1";
    tx.execute(sql, params![run, now(), outcome.as_str(), error])?;
    Ok(())
}

/// Returns the other runs of the same playbook under the same name on the same
/// target that meet an SQL condition, newest first.
fn same_playbook(
    db: &rusqlite::Connection,
    run: &Run,
    condition: &str,
) -> rusqlite::Result<Vec<Run>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM run WHERE playbook = ?1 AND name = ?2 AND target = ?3 \
         AND account = ?4 AND id <> ?5 AND {condition} ORDER BY started DESC, id"
    );
    let target = &run.about.target;
    let mut query = db.prepare(&sql)?;
    let runs = query.query_map(
        params![
            run.playbook,
            run.name,
            target.place(),
            target.account,
            run.id
        ],
        read,
    )?;
    runs.collect()
}

fn in_progress(run: &Run) -> Error {
    let named = match run.name.as_str() {
        "" => String::new(),
        name => format!(" (name {name})"),
    };
    Error::new(
        ErrorKind::AlreadyExists,
        format!(
            "run {} of `{}`{named} is in progress, process {}",
            run.id, run.about.playbook, run.pid
        ),
    )
    .hint("wait until it ends, or stop it with Ctrl-C")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ledger::About;

    fn run(name: &str) -> Run {
        Run::new(Path::new("/srv/web.rhai"), name, About::default())
    }

    #[test]
    fn a_second_run_with_the_same_name_is_refused_while_the_first_is_in_progress() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let first = run("shop");
        let hold = store.begin(&first).unwrap();
        let refused = store.begin(&run("shop")).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::AlreadyExists);
        assert!(refused.to_string().contains(&first.pid.to_string()));
        let other = store.begin(&run("blog")).unwrap();
        drop(hold);
        // As after a crash: the run has no outcome, but no process has its lock.
        let again = store.begin(&run("shop")).unwrap();
        drop((other, again));
        assert_eq!(store.runs().unwrap().len(), 3);
    }

    #[test]
    fn lock_files_of_killed_runs_are_removed_and_those_of_other_runs_stay() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let (killed, works) = (run("shop"), run("blog"));
        drop(store.begin(&killed).unwrap());
        let hold = store.begin(&works).unwrap();
        let lock = |run: &Run| store.hold_path(&run.id);
        std::fs::write(lock(&killed), "1").unwrap();
        assert!(store.holder(&works).unwrap().is_some());
        assert!(store.holder(&killed).unwrap().is_none());
        assert!(!lock(&killed).exists());
        std::fs::write(lock(&killed), "1").unwrap();
        drop(Store::open(home.path()).unwrap());
        assert!(!lock(&killed).exists());
        assert!(lock(&works).exists());
        drop(hold);
        assert!(!lock(&works).exists());
    }
}
