//! The ledger of one run, for the functions that create and remove resources.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::change::{Change, Ended};
use super::clock::Millis;
use super::hold::Hold;
use super::memory::{Memory, Unwritten};
use super::request::Requests;
use super::resource::{Remover, Resource, ResourceKind, State};
use super::run::Run;
use super::shared::{Journal, cache};
use super::step_row::StepRow;
use super::store::{Durable, Store};
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
    /// Names and values of the secret variables. Results are recorded with the
    /// names in place of the values.
    pub(super) secrets: Arc<Vec<(String, String)>>,
    requests: Option<Arc<dyn Requests>>,
    /// The ID of the ledger in which the run began, if it was moved.
    began_in: Option<String>,
    /// The run's journal in a shared ledger.
    journal: Option<Arc<Journal>>,
    _hold: Arc<Hold>,
}

impl Ledger {
    /// Records the start of a new run and returns its ledger.
    ///
    /// Fails like [`Store::begin`]. In a shared ledger, also if its store does not
    /// answer.
    pub fn begin(store: &Store, run: &Run, report: Reporter) -> Result<Self> {
        store.refuse_rival(run)?;
        let lease = store.shared();
        let lease = lease.map(|shared| shared.lease(store, run, &report));
        let lease = lease.transpose()?;
        let hold = store.begin(run)?;
        let journal = lease.map(|lease| lease.journal(store, run, None));
        let ledger = Self::new(store, run, report, hold, Memory::default());
        Ok(ledger.with_journal(journal.transpose()?))
    }

    /// Resumes a run and returns its ledger, which replays the recorded steps.
    ///
    /// Fails with [`ErrorKind::AlreadyExists`] while another process works on the
    /// run or on a run that excludes it, and with [`ErrorKind::Internal`] if its
    /// rows cannot be read or contradict each other. Does not change the run then.
    ///
    /// [`ErrorKind::AlreadyExists`]: crate::error::ErrorKind::AlreadyExists
    /// [`ErrorKind::Internal`]: crate::error::ErrorKind::Internal
    pub fn resume(store: &Store, run: &Run, report: Reporter) -> Result<Self> {
        let hold = store.hold_ended(run)?;
        store.refuse_rival(run)?;
        let journal = store.take(run, &report)?;
        let mut memory = Self::load(store, run)?;
        memory.resume(&run.id)?;
        let ledger = Self::new(store, run, report, hold, memory).with_journal(journal);
        ledger.commit_change(Change::resumed())?;
        Ok(ledger)
    }

    /// Returns the ledger of an ended run, to remove its resources.
    ///
    /// Fails like [`Store::hold_ended`].
    pub fn ended(store: &Store, run: &Run, report: Reporter) -> Result<Self> {
        let hold = store.hold_ended(run)?;
        let journal = store.take(run, &report)?;
        let memory = Self::load(store, run)?;
        Ok(Self::new(store, run, report, hold, memory).with_journal(journal))
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
            requests: None,
            began_in: run.about.owner.clone(),
            journal: None,
            _hold: Arc::new(hold),
        }
    }

    fn with_journal(self, journal: Option<Journal>) -> Self {
        Self {
            journal: journal.map(Arc::new),
            ..self
        }
    }

    /// Returns whether the run is in a shared ledger.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.journal.is_some()
    }

    /// Returns why the run must have no more effects: its journal cannot be written, or
    /// another machine has taken it over.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        self.journal.as_ref().and_then(|journal| journal.failure())
    }

    /// Checks that no other machine has taken over the run, if it is shared. Usually, this
    /// takes no request.
    ///
    /// Fails like [`Self::commit`], and then nothing more is written.
    pub fn may_act(&self) -> Result<()> {
        self.journal
            .as_ref()
            .map_or(Ok(()), |journal| journal.ensure())
    }

    /// Returns [`Self::may_act`] for others, who do not keep the run locked.
    pub fn check_of_lease(&self) -> impl Fn() -> Result<()> + Send + Sync + 'static {
        let journal = self.journal.as_ref().map(Arc::downgrade);
        move || {
            let journal = journal.as_ref().and_then(Weak::upgrade);
            journal.map_or(Ok(()), |journal| journal.ensure())
        }
    }

    /// Continues to wait for the store of a shared ledger although the run was stopped:
    /// what it has created is removed.
    pub fn continue_after_stop(&self) {
        if let Some(shared) = self.store.shared() {
            shared.stop_with(CancellationToken::new());
        }
    }

    /// Returns the ledger with the names and values of the secret variables.
    #[must_use]
    pub fn with_secrets(self, secrets: Vec<(String, String)>) -> Self {
        Self {
            secrets: Arc::new(secrets),
            ..self
        }
    }

    /// Returns the ledger that also records these requests.
    #[must_use]
    pub fn with_requests(self, requests: Arc<dyn Requests>) -> Self {
        Self {
            requests: Some(requests),
            ..self
        }
    }

    /// Returns the run's short random ID: the tag `autorun:run` of its resources.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Returns the ledger's ID: the tag `autorun:owner` of its resources.
    #[must_use]
    pub fn owner(&self) -> &str {
        if let Some(owner) = &self.began_in {
            owner
        } else if self.is_shared() {
            self.store.owner()
        } else {
            self.store.local_owner()
        }
    }

    /// Records that a live resource is about to be removed. The next commit makes
    /// the record durable. Returns `None` if this run did not create the resource.
    #[must_use = "consume it with released() or abandoned()"]
    pub fn intend_release(&self, kind: ResourceKind, id: &str, by: Remover) -> Option<Release> {
        let mut memory = self.memory();
        let index = memory.find(kind, id)?;
        if memory.resources[index].state == State::Live {
            memory.set_state(index, State::Releasing);
        }
        Some(Release {
            ledger: self.clone(),
            index,
            by,
        })
    }

    /// Returns whether this run created the resource and has not removed it.
    #[must_use]
    pub fn made(&self, kind: ResourceKind, id: &str) -> bool {
        self.memory().find(kind, id).is_some()
    }

    /// Returns the row of a live resource.
    #[must_use]
    pub fn live_row(&self, kind: ResourceKind, id: &str) -> Option<Resource> {
        let memory = self.memory();
        let index = memory.find(kind, id)?;
        Some(memory.resources[index].clone())
    }

    /// Returns the resources that are up, newest first.
    #[must_use]
    pub fn live(&self) -> Vec<Remaining> {
        let rows = self.resources();
        let live = rows.iter().rev().filter(|row| row.exists());
        live.map(Resource::remaining).collect()
    }

    /// Returns the resources whose create requests have no known result, newest
    /// first.
    #[must_use]
    pub fn possibly_made(&self) -> Vec<Remaining> {
        let rows = self.resources();
        // An object does not exist before its upload in parts is complete.
        let incomplete = |object: &Resource| {
            rows.iter().any(|row| {
                row.kind == ResourceKind::MultipartUpload
                    && row.state == State::Live
                    && row.name == object.name
            })
        };
        let open = rows.iter().rev().filter(|row| row.state == State::Intended);
        let open = open.filter(|row| row.kind != ResourceKind::Object || !incomplete(row));
        open.map(Resource::remaining).collect()
    }

    /// Returns all resources, oldest first.
    #[must_use]
    pub fn resources(&self) -> Vec<Resource> {
        self.memory().resources.all().to_vec()
    }

    /// Returns all steps, oldest first.
    #[must_use]
    pub fn steps(&self) -> Vec<StepRow> {
        self.memory().steps.clone()
    }

    /// Returns the recorded steps that this attempt has not performed, without
    /// those whose resources are all removed.
    #[must_use]
    pub fn unused_steps(&self) -> Vec<StepRow> {
        self.memory().unused_steps()
    }

    /// Records whether an intended resource exists: `found` is its ID if it does.
    pub fn resolve(&self, row: &str, found: Option<&str>) {
        self.memory().resolve(row, found);
    }

    /// Forgets a resource because the user requested it. The resource stays up.
    pub fn forget(&self, row: &Resource) {
        self.memory().forget(&row.row);
    }

    /// Records that a resource no longer exists.
    pub fn is_gone(&self, row: &Resource) {
        self.removed_with(row, Remover::User);
    }

    /// Records that a resource was removed together with another one.
    pub fn removed_with(&self, row: &Resource, by: Remover) {
        self.memory().removed(&row.row, by);
    }

    /// Records in other runs on the same target that their resource was removed.
    pub fn removed_for_other_runs(&self, kind: ResourceKind, id: &str) {
        // After a failure, the removal of the other run finds out by itself.
        if let Err(unwritten) = self.store.release_of_others(&self.run, kind, id) {
            self.report.warn(unwritten.to_string());
        }
    }

    /// Returns whether the playbook itself removed the resource with this ID.
    #[must_use]
    pub fn was_removed_by_playbook(&self, kind: ResourceKind, id: &str) -> bool {
        self.memory().was_removed_by_playbook(kind, id)
    }

    /// Records a wait with the next commit.
    pub fn waited(&self, wait: Wait) {
        let wait = wait.masked(self.report.mask());
        self.memory().note_wait(wait);
    }

    /// Writes the changes of all branches durably. Does nothing if another branch's
    /// commit has written them already.
    ///
    /// Fails if the ledger cannot be written. The next commit then writes the
    /// changes. A shared ledger that has failed once is not written any more.
    pub fn commit(&self) -> Result<()> {
        self.record()?;
        self.journal
            .as_ref()
            .map_or(Ok(()), |journal| journal.wait())
    }

    /// Like [`Self::commit`]. While a shared ledger is written, the other tasks of this
    /// thread continue, and their changes can share a request.
    pub async fn committed(&self) -> Result<()> {
        if !self.is_shared() {
            return self.commit();
        }
        self.record()?;
        let ledger = self.clone();
        let waited = tokio::task::spawn_blocking(move || ledger.commit()).await;
        waited.map_err(|e| Error::internal(format!("cannot wait for the ledger: {e}")))?
    }

    /// Like [`Self::commit`], but other machines may see the changes a moment later.
    pub(super) fn record(&self) -> Result<()> {
        let mut connection = self.store.connection();
        let unwritten = self.take_unwritten();
        if unwritten.is_empty() {
            self.memory().put_back(unwritten);
            return Ok(());
        }
        self.write(&mut connection, Durable::Now, Change::of_rows(unwritten))
    }

    /// Writes one change of the run itself durably.
    fn commit_change(&self, change: Change) -> Result<()> {
        self.write(&mut self.store.connection(), Durable::Now, change)?;
        self.journal
            .as_ref()
            .map_or(Ok(()), |journal| journal.wait())
    }

    /// Writes a change. If it could not be written, the next commit writes its rows.
    fn write(&self, connection: &mut Connection, durable: Durable, change: Change) -> Result<()> {
        let Some(journal) = &self.journal else {
            let written = self
                .store
                .commit(connection, durable, |tx| change.apply(tx, &self.run));
            return written.inspect_err(|_| self.memory().put_back(change.into_rows()));
        };
        let change = change.with_id();
        // The journal makes it durable: a power failure loses only what it has.
        let durable = match durable {
            Durable::Now => Durable::WithNext,
            later => later,
        };
        let written = self.store.commit(connection, durable, |tx| {
            change.apply(tx, &self.run)?;
            cache::add_unsent(tx, &self.run, &change)
        });
        match written {
            Ok(number) => {
                journal.push(number, change);
                Ok(())
            }
            Err(error) => {
                self.memory().put_back(change.into_rows());
                Err(error)
            }
        }
    }

    /// Takes the changes that no commit has written yet, and the requests since
    /// the last commit.
    fn take_unwritten(&self) -> Unwritten {
        let mut memory = self.memory();
        if let Some(requests) = &self.requests {
            memory.new_requests.extend(requests.take());
        }
        memory.take_unwritten()
    }

    /// Records durably how the run ended, with the last changes. Then moves all commits
    /// into the ledger's main file, because this process commits nothing more.
    pub fn end(&self, outcome: Outcome, error: Option<&Error>) -> Result<()> {
        let error = error.map(|error| {
            let message = error.to_string();
            let first = message.lines().next().unwrap_or_default();
            self.report.mask().apply(&match error.place.line {
                0 => first.to_owned(),
                line => format!("{first} ({}:{line})", error.place.source),
            })
        });
        let change = Change {
            ended: Some(Ended::now(outcome, error)),
            ..Change::of_rows(self.take_unwritten())
        };
        let mut connection = self.store.connection();
        self.write(&mut connection, Durable::WithCheckpoint, change)?;
        drop(connection);
        let sent = self.end_journal();
        self.store.checkpoint()?;
        sent
    }

    /// Writes the last entry of the journal, and releases the lease.
    fn end_journal(&self) -> Result<()> {
        let Some(journal) = &self.journal else {
            return Ok(());
        };
        journal.end(&self.store.find(&self.run)?)
    }

    /// Locks the rows in memory.
    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A resource that is about to be created.
#[derive(Debug)]
pub struct Intent {
    pub(super) ledger: Ledger,
    pub(super) index: usize,
    pub(super) row: String,
    pub(super) again: bool,
}

impl Intent {
    /// Returns the row's ID: the `ClientToken` of the request and the tag
    /// `autorun:resource`. It has at most 64 ASCII characters, the limit of EC2.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.row
    }

    /// Returns whether an earlier attempt may have created the resource. The caller
    /// must then look for it before it creates it.
    #[must_use]
    pub fn is_retried(&self) -> bool {
        self.again
    }

    /// Returns when the first attempt recorded the resource.
    #[must_use]
    pub fn intended(&self) -> Millis {
        self.ledger.memory().resources[self.index].intended
    }

    /// Records that the resource was created, and its ID.
    pub fn created(self, id: &str) {
        let row = {
            let mut memory = self.ledger.memory();
            memory.resources.set_id(self.index, id);
            memory.resources[self.index].clone()
        };
        self.ledger.memory().set_state(self.index, State::Live);
        self.ledger.report.report(&Event::ResourceCreated {
            kind: row.kind.as_str(),
            id: id.to_owned(),
            name: row.name,
        });
    }

    /// Records that the request failed. The row stays intended unless the error
    /// proves that neither this nor an earlier attempt created the resource.
    pub fn abandoned(self, error: &Error) {
        if error.proves_no_effect() && !self.again {
            self.ledger.memory().set_state(self.index, State::Abandoned);
        }
    }

    /// Records that the resource was certainly not created, or is removed again.
    pub fn not_created(self) {
        self.ledger.memory().set_state(self.index, State::Abandoned);
    }
}

/// A resource that is about to be removed.
#[derive(Debug)]
pub struct Release {
    ledger: Ledger,
    index: usize,
    by: Remover,
}

impl Release {
    /// Records that the resource was removed.
    pub fn released(self) {
        let row = {
            let mut memory = self.ledger.memory();
            let row = &mut memory.resources[self.index];
            row.removed_by_playbook = self.by == Remover::Playbook;
            row.clone()
        };
        self.ledger.memory().set_state(self.index, State::Released);
        self.ledger.report.report(&Event::ResourceReleased {
            kind: row.kind.as_str(),
            id: row.id.unwrap_or_default(),
            name: row.name,
        });
    }

    /// Records that the resource could not be removed and is still up.
    pub fn abandoned(self) {
        self.ledger.memory().set_state(self.index, State::Live);
    }
}
