//! The start and the end of attempts. One process at a time works on a run, and
//! two runs of the same playbook under the same name cannot use the same target
//! at the same time.

use rusqlite::params;

use super::change::{Begun, Change, Ended};
use super::clock::now;
use super::hold::Hold;
use super::resource::{ResourceKind, State};
use super::run::{COLUMNS, Run, read};
use super::shared::{Position, cache};
use super::store::{Durable, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::report::Outcome;

impl Store {
    /// Records a new run and locks it. Other processes see it at once. The record is
    /// durable with the next commit, before which the run changes nothing.
    ///
    /// In a shared ledger, the record is also the first change of the run's journal.
    ///
    /// Fails with [`ErrorKind::AlreadyExists`] while another process runs the same
    /// playbook under the same name on the same target.
    pub fn begin(&self, run: &Run) -> Result<Hold> {
        let hold = self.hold_or_refuse(run)?;
        let change = Change::begun(Begun::of(run)?).with_id();
        let rival = self.commit(&mut self.connection(), Durable::WithNext, |tx| {
            let rival = self.rival(tx, run)?;
            if matches!(rival, Ok(None)) {
                change.apply(tx, &run.id)?;
                if let Some(shared) = self.shared() {
                    cache::set(tx, &run.id, shared.place(), Position::default())?;
                    cache::add_unsent(tx, &run.id, &change)?;
                }
            }
            Ok(rival)
        })?;
        match rival? {
            Some(rival) => Err(in_progress(&rival)),
            None => Ok(hold),
        }
    }

    /// Refuses a run that this process has locked while another process runs the same
    /// playbook under the same name on the same target.
    ///
    /// Fails with [`ErrorKind::AlreadyExists`].
    pub(super) fn refuse_rival(&self, run: &Run) -> Result<()> {
        match self.read(|db| self.rival(db, run))?? {
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
        let change = Change::ended(Ended::now(outcome, error.map(str::to_owned)));
        self.write(|tx| change.apply(tx, run))
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
