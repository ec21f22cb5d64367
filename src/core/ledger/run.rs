//! The table of runs: their start, their end, and the process that works on them.

use std::path::Path;

use rusqlite::{Row, params};

use super::about::About;
use super::clock::{Millis, now};
use super::ids::new_id;
use super::resource::ResourceKind;
use super::rows::{known_word, unreadable};
use super::store::Store;
use crate::error::{Error, ErrorKind, Result};
use crate::report::Outcome;

/// Length of a run's ID.
pub const RUN_ID_LETTERS: usize = 7;

/// A run in the ledger.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its ID.
    pub id: String,
    /// Absolute path of the playbook.
    pub playbook: String,
    /// Value of the playbook's variable `name`, if it has one.
    pub name: String,
    /// The request of the run.
    pub about: About,
    /// The process of the last attempt.
    pub pid: u32,
    /// When the run started.
    pub started: Millis,
    /// When the last attempt ended.
    pub ended: Option<Millis>,
    /// How the last attempt ended; `None` while it is in progress or if its process
    /// was killed.
    pub outcome: Option<Outcome>,
    /// The error of the last attempt, masked.
    pub error: Option<String>,
    /// The number of resources that may be up.
    pub up: usize,
}

impl Run {
    /// Creates a run that starts now.
    #[must_use]
    pub fn new(playbook: &Path, name: &str, about: About) -> Self {
        Self {
            id: new_id(RUN_ID_LETTERS),
            playbook: playbook.display().to_string(),
            name: name.to_owned(),
            about,
            pid: std::process::id(),
            started: now(),
            ended: None,
            outcome: None,
            error: None,
            up: 0,
        }
    }
}

/// The status of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunStatus {
    /// A process works on it.
    Running,
    /// Its process ended without recording an outcome.
    Killed,
    /// It ended.
    Ended(Outcome),
}

impl RunStatus {
    /// Returns the name that `runs` and `show` use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Killed => "killed",
            Self::Ended(outcome) => outcome.as_str(),
        }
    }

    /// Returns whether `autorun resume` is useful for such a run.
    #[must_use]
    pub fn can_resume(self) -> bool {
        match self {
            Self::Killed | Self::Ended(Outcome::Failed | Outcome::Interrupted) => true,
            Self::Running | Self::Ended(Outcome::Done) => false,
        }
    }
}

/// The columns that [`read`] reads.
pub(super) const COLUMNS: &str = "id, playbook, name, about, pid, started, ended, outcome, error, \
    (SELECT count(*) FROM resource WHERE resource.run = run.id \
     AND state IN ('intended', 'live', 'releasing'))";

impl Store {
    /// Returns all runs, newest first.
    pub fn runs(&self) -> Result<Vec<Run>> {
        self.read(|db| {
            let sql = format!("SELECT {COLUMNS} FROM run ORDER BY started DESC, id");
            let mut query = db.prepare(&sql)?;
            let runs = query.query_map([], read)?;
            runs.collect()
        })
    }

    /// Finds the run whose ID has this prefix, as git finds a commit.
    ///
    /// Fails with [`ErrorKind::NotFound`] if no run matches, and with
    /// [`ErrorKind::InvalidOption`] if several runs match.
    pub fn find(&self, prefix: &str) -> Result<Run> {
        let runs = self.read(|db| {
            let sql = format!(
                "SELECT {COLUMNS} FROM run WHERE substr(id, 1, ?2) = ?1 ORDER BY started DESC"
            );
            let mut query = db.prepare(&sql)?;
            let length = i64::try_from(prefix.chars().count()).unwrap_or(i64::MAX);
            let runs = query.query_map(params![prefix, length], read)?;
            runs.collect::<rusqlite::Result<Vec<Run>>>()
        })?;
        match <[Run; 1]>::try_from(runs) {
            Ok([run]) if !prefix.is_empty() => Ok(run),
            Err(runs) if runs.len() > 1 && !prefix.is_empty() => {
                let ids: Vec<&str> = runs.iter().take(8).map(|run| run.id.as_str()).collect();
                Err(
                    Error::invalid(format!("{} runs begin with `{prefix}`", runs.len()))
                        .hint(format!("use a longer prefix of one of {}", ids.join(", "))),
                )
            }
            _ => Err(Error::new(
                ErrorKind::NotFound,
                format!("the ledger has no run `{prefix}`"),
            )
            .hint("`autorun runs` lists the runs")),
        }
    }

    /// Returns the status of a run.
    pub fn status(&self, run: &Run) -> Result<RunStatus> {
        Ok(match run.outcome {
            Some(outcome) => RunStatus::Ended(outcome),
            // Only a run without an outcome can have a process.
            None if self.holder(run)?.is_some() || self.is_elsewhere(run) => RunStatus::Running,
            None => RunStatus::Killed,
        })
    }

    /// Returns whether another machine works on a run of the shared ledger.
    fn is_elsewhere(&self, run: &Run) -> bool {
        let shared = self.shared();
        shared.is_some_and(|shared| shared.elsewhere(&run.id).is_some())
    }

    /// Returns the ID of the process on this machine that works on a run.
    pub fn holder(&self, run: &Run) -> Result<Option<u32>> {
        if !self.is_held(&run.id)? {
            return Ok(None);
        }
        let written = std::fs::read_to_string(self.hold_path(&run.id)).ok();
        Ok(written.and_then(|pid| pid.parse().ok()).or(Some(run.pid)))
    }

    /// Returns whether the ledger has a resource that may be up, by its ID or its
    /// row.
    pub fn knows(&self, kind: ResourceKind, id: &str, row: &str) -> Result<bool> {
        self.read(|db| {
            db.query_row(
                "SELECT EXISTS (SELECT 1 FROM resource WHERE (row = ?3 OR (kind = ?1 AND id = ?2)) \
                 AND state IN ('intended', 'live', 'releasing'))",
                [kind.as_str(), id, row],
                |found| found.get(0),
            )
        })
    }
}

/// Reads a run from its [`COLUMNS`].
pub(super) fn read(row: &Row) -> rusqlite::Result<Run> {
    let id: String = row.get(0)?;
    let about: String = row.get(3)?;
    let outcome: Option<String> = row.get(7)?;
    let fault = |column, why: String| unreadable(column, format!("run {id}: {why}"));
    let about = serde_json::from_str(&about)
        .map_err(|e| fault(3, format!("the column `about` is invalid: {e}")))?;
    let outcome = outcome
        .map(|word| known_word(&word, &Outcome::ALL, Outcome::as_str))
        .transpose()
        .map_err(|why| fault(7, format!("the outcome {why}")))?;
    Ok(Run {
        id,
        playbook: row.get(1)?,
        name: row.get(2)?,
        about,
        pid: row.get(4)?,
        started: row.get(5)?,
        ended: row.get(6)?,
        outcome,
        error: row.get(8)?,
        up: row.get(9)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str) -> Run {
        Run::new(Path::new("/srv/web.rhai"), name, About::default())
    }

    #[test]
    fn runs_are_found_by_prefixes_of_their_ids() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        for id in ["abcdefg", "abzzzzz", "b"] {
            let run = Run {
                id: id.to_owned(),
                name: id.to_owned(),
                ..run("")
            };
            drop(store.begin(&run).unwrap());
        }
        assert_eq!(store.find("abc").unwrap().id, "abcdefg");
        assert!(store.find("ab").unwrap_err().to_string().contains("2 runs"));
        for unknown in ["", "x", "abcdefgh", "%"] {
            assert!(store.find(unknown).is_err(), "{unknown}");
        }
    }
}
