//! A ledger that several machines share: objects in a bucket.
//!
//! Each run has a *journal*: its commits, one object each, never changed. A *lease*
//! makes sure that one client at a time works under an account, region, playbook and
//! name. The SQLite ledger of each machine is a cache of the journals, and has what is
//! not in a journal yet.
//!
//! A commit that must be durable returns when its entry is in the bucket and the lease
//! certainly counts. The end of a step does not wait: its entry is on its way, and the
//! next commit waits for both. After a failure, nothing more is written: the run stops
//! before its next effect.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, ScopedJoinHandle};

use tokio_util::sync::CancellationToken;

pub use audit::{Audit, Counts};
pub(super) use entry::Position;
pub use lease::Periods;
pub use objects::{Object, Objects, Put};
pub use prune::Pruned;

use super::identity::digest;
use super::run::Run;
use super::store::Store;
use crate::error::{Error, ErrorKind, Result};
use crate::report::Reporter;
pub(super) use journal::Journal;
use keeper::{Keeper, Subject, read_record};
use stop::Stop;

mod audit;
pub(super) mod cache;
mod elapsed;
mod entry;
mod fetch;
mod holder;
mod journal;
mod keeper;
mod lease;
#[cfg(test)]
mod lease_model;
mod marker;
mod moving;
mod objects;
mod prune;
mod stop;
#[cfg(test)]
mod tests;

/// A shared ledger. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SharedLedger(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    objects: Arc<dyn Objects>,
    /// The ledger's ID.
    owner: String,
    /// This client, for messages: `user@host, process 123`.
    holder: String,
    periods: Periods,
    /// What ends waiting for the store.
    stop: Stop,
    /// The leases of this process, by key: it may remove several runs of a playbook.
    keepers: Mutex<HashMap<String, Slot>>,
    /// Leases that were read before they were needed.
    ahead: Mutex<HashMap<String, Object>>,
    /// Runs on which other machines work, and who.
    elsewhere: Mutex<HashMap<String, String>>,
}

/// The place of a lease of this process. It is locked while the lease is taken, which may
/// take a minute and a half: other leases are taken meanwhile.
type Slot = Arc<Mutex<Weak<Keeper>>>;

impl SharedLedger {
    /// Opens the ledger in this store. Returns `None` if there is none.
    ///
    /// Fails if the store does not answer, or if its ledger is damaged.
    pub fn open(
        objects: Arc<dyn Objects>,
        holder: String,
        periods: Periods,
    ) -> Result<Option<Self>> {
        let marker = marker::read(&*objects)?;
        Ok(marker.map(|marker| Self::new(objects, marker, holder, periods)))
    }

    /// Opens the ledger in this store, or creates it, and adds it to the local one for a
    /// run of this playbook. Brings the local rows up to date. Returns warnings.
    ///
    /// What the run needs to begin is read at the same time.
    ///
    /// Fails like [`Self::create`].
    pub fn create_for(
        store: &Store,
        playbook: &str,
        objects: Arc<dyn Objects>,
        (holder, periods): (String, Periods),
    ) -> Result<Vec<String>> {
        let leases = likely_leases(store, playbook)?;
        let (marker, keys, read) = thread::scope(|scope| {
            let keys = scope.spawn(|| objects.list("run/"));
            let read = scope.spawn(|| objects.read_all(&leases));
            let marker = marker::read_or_create(&*objects);
            (marker, joined(keys), joined(read))
        });
        let shared = Self::new(objects, marker?, holder, periods);
        let read = leases.into_iter().zip(read?);
        let known = read.filter_map(|(key, lease)| Some((key, lease?)));
        shared.ahead().extend(known);
        store.set_shared(shared.clone());
        shared.refresh_from(store, "", keys?)
    }

    /// Opens the ledger in this store, or creates it.
    ///
    /// Fails like [`Self::open`], and if the store does not keep conditional writes.
    pub fn create(objects: Arc<dyn Objects>, holder: String, periods: Periods) -> Result<Self> {
        let marker = marker::read_or_create(&*objects)?;
        Ok(Self::new(objects, marker, holder, periods))
    }

    fn new(
        objects: Arc<dyn Objects>,
        marker: marker::Marker,
        holder: String,
        periods: Periods,
    ) -> Self {
        Self(Arc::new(Inner {
            objects,
            owner: marker.owner,
            holder,
            periods,
            stop: Stop::default(),
            keepers: Mutex::default(),
            ahead: Mutex::default(),
            elsewhere: Mutex::default(),
        }))
    }

    /// Returns the URL of the ledger.
    #[must_use]
    pub fn place(&self) -> &str {
        self.0.objects.place()
    }

    /// Returns the ledger's ID: the tag `autorun:owner` of what its runs create.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.0.owner
    }

    /// Returns who works on a run on another machine, as far as the last refresh has
    /// seen it.
    #[must_use]
    pub fn elsewhere(&self, run: &str) -> Option<String> {
        let elsewhere = self.0.elsewhere.lock();
        let elsewhere = elsewhere.unwrap_or_else(PoisonError::into_inner);
        elsewhere.get(run).cloned()
    }

    /// Stops to wait for the store, and for other machines, when the token is cancelled.
    /// A token replaces the one before.
    pub fn stop_with(&self, token: CancellationToken) {
        self.0.stop.follow(token);
    }

    fn ahead(&self) -> MutexGuard<'_, HashMap<String, Object>> {
        let ahead = self.0.ahead.lock();
        ahead.unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, key: &str) -> Slot {
        let keepers = self.0.keepers.lock();
        let mut keepers = keepers.unwrap_or_else(PoisonError::into_inner);
        Arc::clone(keepers.entry(key.to_owned()).or_default())
    }

    /// Takes the lease of a run.
    ///
    /// Fails with [`ErrorKind::AlreadyExists`] while another machine holds it, and with
    /// [`ErrorKind::Cancelled`] if this process is to stop.
    ///
    /// [`ErrorKind::AlreadyExists`]: crate::error::ErrorKind::AlreadyExists
    /// [`ErrorKind::Cancelled`]: crate::error::ErrorKind::Cancelled
    pub(super) fn lease(&self, store: &Store, run: &Run, report: &Reporter) -> Result<Leased> {
        let key = lease_key(run);
        let slot = self.slot(&key);
        let mut held = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let keeper = if let Some(keeper) = held.upgrade() {
            keeper
        } else {
            let known = self.ahead().remove(&key);
            let subject = Subject {
                key,
                run: run.id.clone(),
                playbook: run.about.playbook.clone(),
                machine: store.local_owner().to_owned(),
                holder: self.0.holder.clone(),
            };
            let objects = Arc::clone(&self.0.objects);
            let how = (self.0.periods, &self.0.stop);
            let keeper = Keeper::take(store, objects, (subject, known), how, report)?;
            *held = Arc::downgrade(&keeper);
            keeper
        };
        Ok(Leased {
            objects: Arc::clone(&self.0.objects),
            keeper,
        })
    }

    /// Takes the lease of a run, brings its local rows up to date, and begins a new
    /// generation of its journal. The caller has locked the run on this machine.
    fn take(&self, store: &Store, run: &Run, report: &Reporter) -> Result<Journal> {
        let (lease, end) = self.lease_current(store, run, report)?;
        moving::check_is_here(store, &run.id)?;
        lease.journal(store, run, end)
    }

    /// Takes the lease of a run, and brings its local rows up to date. Returns also the end
    /// of its journal.
    fn lease_current(
        &self,
        store: &Store,
        run: &Run,
        report: &Reporter,
    ) -> Result<(Leased, Option<Position>)> {
        let lease = self.lease(store, run, report)?;
        let objects = &*self.0.objects;
        let keys = objects.list(&format!("run/{}/", run.id))?;
        let keys = entry::by_run(self.place(), keys)?;
        let keys = keys.get(&run.id).cloned().unwrap_or_default();
        if keys.is_removed {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("the journal of run {} is being removed", run.id),
            ));
        }
        let fetched = fetch::fetch(store, objects, &run.id, &keys)?;
        for warning in fetched.warnings(&run.id) {
            report.warn(warning);
        }
        Ok((lease, fetched.end))
    }

    /// Brings the local rows of all runs whose IDs begin with `prefix` up to date.
    /// Returns warnings.
    fn refresh(&self, store: &Store, prefix: &str) -> Result<Vec<String>> {
        let keys = self.0.objects.list(&format!("run/{prefix}"))?;
        self.refresh_from(store, prefix, keys)
    }

    /// The same, with the keys of all objects of these runs.
    fn refresh_from(&self, store: &Store, prefix: &str, keys: Vec<String>) -> Result<Vec<String>> {
        let objects = &*self.0.objects;
        let mut runs = entry::by_run(self.place(), keys)?;
        runs.retain(|_, keys| !keys.is_removed);
        // A run that was exported to this machine continues here.
        let only_here = store.read(cache::only_here)?;
        runs.retain(|run, _| !only_here.contains(run));
        let mut warnings = prune::forget_removed(store, self.place(), prefix, &runs)?;
        for (run, keys) in &runs {
            // A process of this machine that works on the run has newer rows.
            if !store.is_held(run)? {
                let fetched = fetch::fetch(store, objects, run, keys)?;
                warnings.extend(fetched.warnings(run));
            }
        }
        self.look_for_holders(store)?;
        Ok(warnings)
    }

    /// Notes who works on the runs that have not ended.
    fn look_for_holders(&self, store: &Store) -> Result<()> {
        let place = self.place();
        let cached = store.read(|db| cache::all(db, place))?;
        let mut open = store.runs()?;
        open.retain(|run| run.outcome.is_none() && cached.contains(&run.id));
        let keys: Vec<String> = open.iter().map(lease_key).collect();
        let leases = self.0.objects.read_all(&keys)?;
        let mut holders = HashMap::new();
        for ((run, key), lease) in open.iter().zip(&keys).zip(leases) {
            let Some(lease) = lease else { continue };
            let record = read_record(place, key, &lease.body)?;
            // A process of this machine would have locked the run.
            let is_elsewhere = record.machine != store.local_owner();
            if record.run == run.id && !record.released && is_elsewhere {
                holders.insert(run.id.clone(), record.holder);
            }
        }
        let elsewhere = self.0.elsewhere.lock();
        *elsewhere.unwrap_or_else(PoisonError::into_inner) = holders;
        Ok(())
    }
}

/// A lease that this process holds.
#[derive(Debug)]
pub(super) struct Leased {
    objects: Arc<dyn Objects>,
    keeper: Arc<Keeper>,
}

impl Leased {
    /// Waits until the lease certainly counts.
    fn ensure(&self) -> Result<()> {
        self.keeper.ensure()
    }

    /// Begins a new generation of a run's journal, after the last entry that counts.
    pub(super) fn journal(
        self,
        store: &Store,
        run: &Run,
        end: Option<Position>,
    ) -> Result<Journal> {
        Journal::begin(store, self.objects, &run.id, self.keeper, end)
    }
}

/// The most leases that are read before it is known which one is needed.
const LIKELY: usize = 4;

/// Returns the keys of the leases of the last runs of a playbook on this machine: the next
/// one usually needs one of them.
fn likely_leases(store: &Store, playbook: &str) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    for run in store.runs()?.iter().filter(|run| run.playbook == playbook) {
        let key = lease_key(run);
        if !keys.contains(&key) {
            keys.push(key);
        }
        if keys.len() == LIKELY {
            break;
        }
    }
    Ok(keys)
}

/// Returns the result of a thread.
fn joined<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    let failed = || Error::internal("a thread of the ledger has failed");
    thread.join().unwrap_or_else(|_| Err(failed()))
}

/// Returns the key of the lease under which a run works. A playbook is known by its
/// file name, because its directory differs between machines.
fn lease_key(run: &Run) -> String {
    let file = run.playbook.rsplit('/').next().unwrap_or_default();
    let target = &run.about.target;
    let identity = serde_json::json!([target.account, target.place(), file, run.name]);
    format!("lease/{}.json", digest(&identity.to_string()))
}

impl Store {
    /// Uses a shared ledger: new runs are recorded in it.
    #[must_use]
    pub fn sharing(self, shared: SharedLedger) -> Self {
        self.set_shared(shared);
        self
    }

    /// Reads what other machines have recorded in the shared ledger, if there is one,
    /// about the runs whose IDs begin with `prefix`. Returns warnings.
    pub fn refresh(&self, prefix: &str) -> Result<Vec<String>> {
        match self.shared() {
            Some(shared) => shared.refresh(self, prefix),
            None => Ok(Vec::new()),
        }
    }

    /// Returns the URL of the shared ledger that a run belongs to, or `None` for a run of
    /// this machine alone.
    pub fn shared_at(&self, run: &str) -> Result<Option<String>> {
        let cached = self.read(|db| cache::cached(db, run))?;
        Ok(cached.map(|cached| cached.place))
    }

    /// Begins to write the journal of a recorded run, if it is shared.
    ///
    /// Fails if the run belongs to a shared ledger that this process does not use.
    pub(super) fn take(&self, run: &Run, report: &Reporter) -> Result<Option<Journal>> {
        let Some(place) = self.shared_at(&run.id)? else {
            return Ok(None);
        };
        match self.shared() {
            Some(shared) if shared.place() == place => shared.take(self, run, report).map(Some),
            used => Err(Error::invalid(format!(
                "run {} is in the shared ledger {place}, not in {}",
                run.id,
                used.map_or("the local one", SharedLedger::place)
            ))
            .hint("set AUTORUN_LEDGER or pass --ledger with that URL")),
        }
    }
}
