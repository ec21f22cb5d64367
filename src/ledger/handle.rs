//! The ledger of one run as a playbook and its removal use it: what is about to
//! be made or removed, and the commits that make it durable.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::hold::Hold;
use super::memory::{Memory, Unwritten};
use super::resource::{Remover, Resource, ResourceKind, State};
use super::rows;
use super::run::Run;
use super::step_row::StepRow;
use super::store::Store;
use super::wait::Wait;
use crate::error::{Error, Result};
use crate::report::{Event, Outcome, Remaining, Reporter};

/// The rows of one run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger {
    run: Arc<str>,
    store: Store,
    memory: Arc<Mutex<Memory>>,
    pub(super) report: Reporter,
    /// Values of the secret variables: recorded by their names, and put back.
    pub(super) secrets: Arc<Vec<(String, String)>>,
    _hold: Arc<Hold>,
}

impl Ledger {
    /// The ledger of a run that begins.
    ///
    /// Throws as [`Store::begin`].
    pub fn begin(store: &Store, run: &Run, report: Reporter) -> Result<Self> {
        let hold = store.begin(run)?;
        Ok(Self::new(store, run, report, hold, Memory::default()))
    }

    /// The ledger of a run that goes on: its steps are given back, not repeated.
    ///
    /// Throws `already_exists` while a process works on it, or on another run that
    /// must not go on at the same time; `internal` when its rows cannot be read or
    /// contradict each other. The run is then as it was.
    pub fn take_up(store: &Store, run: &Run, report: Reporter) -> Result<Self> {
        let hold = store.hold_ended(run)?;
        let mut memory = Self::load(store, run)?;
        memory.resume(&run.id)?;
        store.take_up(run, &hold)?;
        Ok(Self::new(store, run, report, hold, memory))
    }

    /// The ledger of a run that has ended, to remove what it made.
    ///
    /// Throws as [`Store::hold_ended`].
    pub fn ended(store: &Store, run: &Run, report: Reporter) -> Result<Self> {
        let hold = store.hold_ended(run)?;
        let memory = Self::load(store, run)?;
        Ok(Self::new(store, run, report, hold, memory))
    }

    fn load(store: &Store, run: &Run) -> Result<Memory> {
        Ok(Memory::loaded(
            store.resources(&run.id)?,
            store.steps(&run.id)?,
        ))
    }

    fn new(store: &Store, run: &Run, report: Reporter, hold: Hold, memory: Memory) -> Self {
        Self {
            run: run.id.as_str().into(),
            store: store.clone(),
            memory: Arc::new(Mutex::new(memory)),
            report,
            secrets: Arc::default(),
            _hold: Arc::new(hold),
        }
    }

    /// The same with the values of the secret variables.
    #[must_use]
    pub fn with_secrets(self, secrets: Vec<(String, String)>) -> Self {
        Self {
            secrets: Arc::new(secrets),
            ..self
        }
    }

    /// The run's short random id: the tag `autorun:run` on all it makes.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// The ledger's id: the tag `autorun:owner`.
    #[must_use]
    pub fn owner(&self) -> &str {
        self.store.owner()
    }

    /// Writes down that a live resource is about to be removed; the next commit
    /// makes it durable. Nothing when this run did not make it.
    #[must_use = "consume it with released() or abandoned()"]
    pub fn intend_release(&self, kind: ResourceKind, id: &str, by: Remover) -> Option<Release> {
        let mut memory = self.memory();
        let index = memory.find(kind, id)?;
        if memory.resources[index].state == State::Live {
            memory.turn(index, State::Releasing);
        }
        Some(Release {
            ledger: self.clone(),
            index,
            by,
        })
    }

    /// Whether this run made the resource and it is still there.
    #[must_use]
    pub fn made(&self, kind: ResourceKind, id: &str) -> bool {
        self.memory().find(kind, id).is_some()
    }

    /// The row of a live resource.
    #[must_use]
    pub fn live_row(&self, kind: ResourceKind, id: &str) -> Option<Resource> {
        let memory = self.memory();
        let index = memory.find(kind, id)?;
        Some(memory.resources[index].clone())
    }

    /// What is up, newest first.
    #[must_use]
    pub fn live(&self) -> Vec<Remaining> {
        self.remaining(|state| matches!(state, State::Live | State::Releasing))
    }

    /// What was asked for without an answer, newest first.
    #[must_use]
    pub fn possibly_made(&self) -> Vec<Remaining> {
        self.remaining(|state| state == State::Intended)
    }

    fn remaining(&self, wanted: impl Fn(State) -> bool) -> Vec<Remaining> {
        let rows = self.resources();
        let wanted = rows.iter().rev().filter(|row| wanted(row.state));
        wanted.map(Resource::remaining).collect()
    }

    /// Every row, oldest first.
    #[must_use]
    pub fn resources(&self) -> Vec<Resource> {
        self.memory().resources.clone()
    }

    /// Every step, oldest first.
    #[must_use]
    pub fn steps(&self) -> Vec<StepRow> {
        self.memory().steps.clone()
    }

    /// Steps that an earlier attempt did and for which this one has no
    /// counterpart, unless all that they did is gone.
    #[must_use]
    pub fn left_over(&self) -> Vec<StepRow> {
        self.memory().left_over()
    }

    /// What the cloud said about an intended row: its id if it was made.
    pub fn resolve(&self, row: &str, found: Option<&str>) {
        self.memory().resolve(row, found);
    }

    /// Drops a row on the user's word: what it names stays up.
    pub fn forget(&self, row: &Resource) {
        self.memory().forget(&row.row);
    }

    /// A recorded resource turned out to be gone.
    pub fn is_gone(&self, row: &Resource) {
        self.went_with(row, Remover::User);
    }

    /// A resource went together with another one that was removed.
    pub fn went_with(&self, row: &Resource, by: Remover) {
        self.memory().went(&row.row, by);
    }

    /// What another run of the same account made is gone: it is not up there
    /// either.
    pub fn gone_for_others(&self, kind: ResourceKind, id: &str) {
        // What cannot be written now is found by that run's own removal.
        if let Err(unwritten) = self.store.release_of_others(&self.run, kind, id) {
            self.report.warn(unwritten.to_string());
        }
    }

    /// Whether the playbook itself removed what it made under this id.
    #[must_use]
    pub fn was_removed_by_playbook(&self, kind: ResourceKind, id: &str) -> bool {
        self.memory().was_removed_by_playbook(kind, id)
    }

    /// Notes a wait; the next commit writes it down.
    pub fn waited(&self, wait: Wait) {
        let wait = wait.masked(self.report.mask());
        self.memory().note_wait(wait);
    }

    /// Writes durably what has changed, that of all branches. Nothing when
    /// another branch's commit has done so meanwhile.
    ///
    /// Throws when the ledger cannot be written; the changes are then written by
    /// the next commit that can be.
    pub fn commit(&self) -> Result<()> {
        let mut connection = self.store.connection();
        let unwritten = self.memory().take_unwritten();
        if unwritten.is_empty() {
            return Ok(());
        }
        let written = self.store.commit(&mut connection, |tx| {
            let Unwritten {
                resources,
                steps,
                waits,
            } = &unwritten;
            let mut steps = steps.iter();
            steps.try_for_each(|step| rows::write_step(tx, &self.run, step))?;
            let mut waits = waits.iter();
            waits.try_for_each(|wait| rows::write_wait(tx, &self.run, wait))?;
            let mut resources = resources.iter();
            resources.try_for_each(|row| rows::write_resource(tx, &self.run, row))
        });
        drop(connection);
        if written.is_err() {
            self.memory().put_back(unwritten);
        }
        written
    }

    /// Writes down, durably, how the run ended.
    pub fn end(&self, outcome: Outcome, error: Option<&Error>) -> Result<()> {
        self.commit()?;
        let error = error.map(|error| {
            let said = error.to_string();
            let said = said.lines().next().unwrap_or_default();
            self.report.mask().apply(&match error.place.line {
                0 => said.to_owned(),
                line => format!("{said} ({}:{line})", error.place.source),
            })
        });
        self.store.end(&self.run, outcome, error.as_deref())
    }

    /// Brings everything into the one file of the ledger, for this process has
    /// written what it had to write.
    pub fn rest(&self) {
        self.store.rest();
    }

    /// What is in memory.
    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something that is about to be made.
#[derive(Debug)]
pub struct Intent {
    pub(super) ledger: Ledger,
    pub(super) index: usize,
    pub(super) row: String,
    pub(super) again: bool,
}

impl Intent {
    /// The row's id: `ClientToken` of the request and tag `autorun:resource`.
    /// At most 64 ASCII characters, as EC2 demands.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.row
    }

    /// Whether an earlier attempt may have made it: look before making it.
    #[must_use]
    pub fn is_retried(&self) -> bool {
        self.again
    }

    /// It was made, and this is its id.
    pub fn created(self, id: &str) {
        let row = {
            let mut memory = self.ledger.memory();
            memory.resources[self.index].id = Some(id.to_owned());
            memory.resources[self.index].clone()
        };
        self.ledger.memory().turn(self.index, State::Live);
        self.ledger.report.report(&Event::ResourceCreated {
            kind: row.kind.as_str(),
            id: id.to_owned(),
            name: row.name,
        });
    }

    /// It failed. Where the error does not prove that nothing was made, now or
    /// in an earlier attempt, the row stays intended.
    pub fn abandoned(self, error: &Error) {
        if error.proves_no_effect() && !self.again {
            self.ledger.memory().turn(self.index, State::Abandoned);
        }
    }

    /// It is certain that nothing was made, or that it is gone again.
    pub fn came_to_nothing(self) {
        self.ledger.memory().turn(self.index, State::Abandoned);
    }
}

/// Something that is about to be removed.
#[derive(Debug)]
pub struct Release {
    ledger: Ledger,
    index: usize,
    by: Remover,
}

impl Release {
    /// It is gone.
    pub fn released(self) {
        let row = {
            let mut memory = self.ledger.memory();
            let row = &mut memory.resources[self.index];
            row.removed_by_playbook = self.by == Remover::Playbook;
            row.clone()
        };
        self.ledger.memory().turn(self.index, State::Released);
        self.ledger.report.report(&Event::ResourceReleased {
            kind: row.kind.as_str(),
            id: row.id.unwrap_or_default(),
        });
    }

    /// It could not be removed: it is still up.
    pub fn abandoned(self) {
        self.ledger.memory().turn(self.index, State::Live);
    }
}
