//! What a commit changes in the rows of a run. The local ledger applies it to its
//! tables; a shared ledger also writes it to an object, which other machines apply.

use rusqlite::{Transaction, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::clock::{Millis, now};
use super::memory::Unwritten;
use super::request::{Request, write_request};
use super::resource::Resource;
use super::rows;
use super::run::Run;
use super::step_row::StepRow;
use super::store::Store;
use super::wait::Wait;
use crate::error::{Error, Result};
use crate::report::Outcome;

/// The start of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Begun {
    playbook: String,
    name: String,
    target: String,
    account: String,
    about: Value,
    pid: u32,
    started: Millis,
}

impl Begun {
    /// Describes the start of a run.
    ///
    /// Fails if a path in it is not UTF-8.
    pub(super) fn of(run: &Run) -> Result<Self> {
        let about = serde_json::to_value(&run.about).map_err(|e| {
            Error::invalid(format!("cannot record the run: {e}")).hint(
                "rename the current directory or the files with variables: their names must be \
                 UTF-8",
            )
        })?;
        Ok(Self {
            playbook: run.playbook.clone(),
            name: run.name.clone(),
            target: run.about.target.place(),
            account: run.about.target.account.clone(),
            about,
            pid: run.pid,
            started: run.started,
        })
    }
}

/// The end of an attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ended {
    at: Millis,
    outcome: Outcome,
    error: Option<String>,
}

impl Ended {
    /// Describes an end at this moment.
    pub(super) fn now(outcome: Outcome, error: Option<String>) -> Self {
        Self {
            at: now(),
            outcome,
            error,
        }
    }

    /// Returns the recorded end of a run, if it has ended.
    pub(super) fn of(run: &Run) -> Option<Self> {
        Some(Self {
            at: run.ended?,
            outcome: run.outcome?,
            error: run.error.clone(),
        })
    }
}

/// Where the record of a run is continued after its export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Moved {
    /// The ID of the ledger on that machine.
    pub(super) machine: String,
    /// Who exported it, for messages: `user@host, process 123`.
    pub(super) holder: String,
}

/// The changes of one commit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Change {
    /// Random, so that a client recognizes its own change in a journal. Empty in a
    /// local ledger.
    #[serde(default)]
    pub(super) id: String,
    /// The change has all rows of the run, which replace those before it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) whole: bool,
    /// The run started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) begun: Option<Begun>,
    /// Another attempt started in this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) resumed_by: Option<u32>,
    /// New and changed resources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) resources: Vec<Resource>,
    /// New and changed steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) steps: Vec<StepRow>,
    /// New waits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) waits: Vec<Wait>,
    /// Requests, of which the ledger may already have some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) requests: Vec<Request>,
    /// The attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ended: Option<Ended>,
    /// The run was exported: this journal does not continue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) moved: Option<Moved>,
}

impl Change {
    pub(super) fn begun(begun: Begun) -> Self {
        Self {
            begun: Some(begun),
            ..Self::default()
        }
    }

    /// Returns all rows of a run.
    ///
    /// Fails if they cannot be read.
    pub(super) fn whole(store: &Store, run: &Run) -> Result<Self> {
        Ok(Self {
            whole: true,
            begun: Some(Begun::of(run)?),
            resources: store.resources(&run.id)?,
            steps: store.steps(&run.id)?,
            waits: store.waits(&run.id)?,
            requests: store.requests(&run.id)?,
            ended: Ended::of(run),
            ..Self::default()
        })
    }

    pub(super) fn resumed() -> Self {
        Self {
            resumed_by: Some(std::process::id()),
            ..Self::default()
        }
    }

    pub(super) fn ended(ended: Ended) -> Self {
        Self {
            ended: Some(ended),
            ..Self::default()
        }
    }

    /// Returns the change with an ID, for a journal.
    pub(super) fn with_id(mut self) -> Self {
        self.id = format!("{:016x}", rand::random::<u64>());
        self
    }

    pub(super) fn of_rows(unwritten: Unwritten) -> Self {
        Self {
            resources: unwritten.resources,
            steps: unwritten.steps,
            waits: unwritten.waits,
            requests: unwritten.requests,
            ..Self::default()
        }
    }

    /// Returns whether a call in a branch of `parallel` made it.
    pub(super) fn is_of_branch(&self) -> bool {
        self.steps.iter().any(|step| !step.branch.is_empty())
    }

    /// Returns the rows, so that another commit can write them after a failure.
    pub(super) fn into_rows(self) -> Unwritten {
        Unwritten {
            resources: self.resources,
            steps: self.steps,
            waits: self.waits,
            requests: self.requests,
        }
    }

    /// Writes the changes into the tables.
    pub(super) fn apply(&self, tx: &Transaction, run: &str) -> rusqlite::Result<()> {
        if self.whole {
            rows::forget(tx, run)?;
        }
        if let Some(begun) = &self.begun {
            insert(tx, run, begun)?;
        }
        if let Some(pid) = self.resumed_by {
            tx.execute(
                "UPDATE run SET pid = ?2, ended = NULL, outcome = NULL, error = NULL WHERE id = ?1",
                params![run, pid],
            )?;
        }
        let mut steps = self.steps.iter();
        steps.try_for_each(|step| rows::write_step(tx, run, step))?;
        let mut waits = self.waits.iter();
        waits.try_for_each(|wait| rows::write_wait(tx, run, wait))?;
        let mut requests = self.requests.iter();
        requests.try_for_each(|request| write_request(tx, run, request))?;
        let mut resources = self.resources.iter();
        resources.try_for_each(|row| rows::write_resource(tx, run, row))?;
        if let Some(Ended { at, outcome, error }) = &self.ended {
            tx.execute(
                "UPDATE run SET ended = ?2, outcome = ?3, error = ?4 WHERE id = ?1",
                params![run, at, outcome.as_str(), error],
            )?;
        }
        if let Some(Moved { machine, holder }) = &self.moved {
            tx.execute(
                "INSERT OR REPLACE INTO moved (run, machine, holder) VALUES (?1, ?2, ?3)",
                params![run, machine, holder],
            )?;
        }
        Ok(())
    }
}

fn insert(tx: &Transaction, run: &str, begun: &Begun) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT INTO run (id, playbook, name, target, account, about, pid, started) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            run,
            begun.playbook,
            begun.name,
            begun.target,
            begun.account,
            begun.about.to_string(),
            begun.pid,
            begun.started,
        ],
    )?;
    Ok(())
}
