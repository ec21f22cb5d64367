//! Moves runs between the ledger of this machine and the shared one.
//!
//! An import is one local commit: from then on, the run is a shared one whose rows are
//! not sent yet. An export ends the journal with an entry that says where the run
//! continues, so that no other machine works on it.

use super::entry::{self, Position};
use super::fetch::{Chain, read_entries};
use super::{Journal, SharedLedger, cache};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::change::{Change, Moved};
use crate::ledger::run::Run;
use crate::ledger::store::{Durable, Store};
use crate::report::Reporter;

impl SharedLedger {
    /// Moves a run of this machine into the shared ledger.
    ///
    /// Fails with [`ErrorKind::AlreadyExists`] while a process works on it, and if the
    /// shared ledger has it already.
    pub fn import(&self, store: &Store, run: &Run, report: &Reporter) -> Result<()> {
        if let Some(place) = store.shared_at(&run.id)? {
            let unsent = store.read(|db| cache::unsent(db, &run.id))?;
            if place == self.place() && !unsent.is_empty() {
                return self.complete_import(store, run, report);
            }
            return Err(Error::invalid(format!(
                "run {} is in the ledger {place} already",
                run.id
            )));
        }
        let _hold = store.hold_ended(run)?;
        let lease = self.lease(store, run, report)?;
        let end = self.end_of_export(store, &run.id)?;
        let mut run = store.find(&run.id)?;
        let owner = run
            .about
            .owner
            .get_or_insert(store.local_owner().to_owned());
        let owner = owner.clone();
        let change = Change::whole(store, &run)?.with_id();
        store.commit(&mut store.connection(), Durable::Now, |tx| {
            set_owner(tx, &run.id, &owner)?;
            cache::set(tx, &run.id, self.place(), end.unwrap_or_default())?;
            cache::add_unsent(tx, &run.id, &change)
        })?;
        send(&lease.journal(store, &run, end)?)
    }

    /// Sends what an interrupted import, or an earlier attempt, has not sent.
    fn complete_import(&self, store: &Store, run: &Run, report: &Reporter) -> Result<()> {
        let _hold = store.hold_ended(run)?;
        send(&self.take(store, run, report)?)
    }

    /// Returns the end of the journal of a run that was exported to this machine, or
    /// `None` if there is no journal.
    ///
    /// Fails if there is another one.
    fn end_of_export(&self, store: &Store, run: &str) -> Result<Option<Position>> {
        let objects = &*self.0.objects;
        let keys = objects.list(&format!("run/{run}/"))?;
        let keys = entry::by_run(self.place(), keys)?.remove(run);
        let keys = keys.unwrap_or_default();
        let Some(newest) = keys.newest() else {
            return Ok(None);
        };
        Chain::read(objects, run, &keys, newest, None)?;
        let last = read_entries(objects, run, &keys, &[newest])?;
        let mut changes = last.iter().flat_map(|entry| &entry.changes);
        let moved = changes.find_map(|change| change.moved.as_ref());
        if moved.is_some_and(|moved| moved.machine == store.local_owner()) {
            return Ok(Some(newest));
        }
        Err(Error::invalid(format!(
            "the ledger {} has a run {run} that was not exported to this machine",
            self.place()
        ))
        .hint("one of them is a copy: destroy what it created from the machine that has it"))
    }

    /// Moves a run of the shared ledger to this machine.
    ///
    /// Fails with [`ErrorKind::AlreadyExists`] while a process works on it.
    pub fn export(&self, store: &Store, run: &Run, report: &Reporter) -> Result<()> {
        if store.shared_at(&run.id)?.is_none() {
            return Err(Error::invalid(format!(
                "run {} is in no shared ledger: it is on this machine alone",
                run.id
            )));
        }
        let _hold = store.hold_ended(run)?;
        if is_moved_here(store, &run.id)? {
            // A crash in an export: its entry may not be in the journal yet.
            if !store.read(|db| cache::unsent(db, &run.id))?.is_empty() {
                let (lease, end) = self.lease_current(store, run, report)?;
                send(&lease.journal(store, run, end)?)?;
            }
        } else {
            let journal = self.take(store, run, report)?;
            let change = Change {
                moved: Some(Moved {
                    machine: store.local_owner().to_owned(),
                    holder: self.0.holder.clone(),
                }),
                ..Change::default()
            };
            let change = change.with_id();
            let number = store.commit(&mut store.connection(), Durable::Now, |tx| {
                change.apply(tx, &run.id)?;
                cache::add_unsent(tx, &run.id, &change)
            })?;
            journal.push(number, change);
            send(&journal)?;
        }
        let owner = store.find(&run.id)?.about.owner;
        let owner = owner.unwrap_or_else(|| self.owner().to_owned());
        store.commit(&mut store.connection(), Durable::Now, |tx| {
            set_owner(tx, &run.id, &owner)?;
            cache::separate(tx, &run.id)
        })
    }

    /// Returns the runs of this machine that are in no shared ledger, newest first.
    pub fn only_here(&self, store: &Store) -> Result<Vec<Run>> {
        let here = store.read(cache::only_here)?;
        let mut runs = store.runs()?;
        runs.retain(|run| here.contains(&run.id));
        Ok(runs)
    }

    /// Returns the runs of this ledger that were not exported, newest first. Brings the
    /// local rows up to date.
    pub fn exportable(&self, store: &Store) -> Result<Vec<Run>> {
        self.refresh(store, "")?;
        let place = self.place();
        let cached = store.read(|db| cache::all(db, place))?;
        let mut runs = Vec::new();
        for run in store.runs()? {
            let is_elsewhere = store.read(|db| cache::moved(db, &run.id))?.is_some();
            if cached.contains(&run.id) && (!is_elsewhere || is_moved_here(store, &run.id)?) {
                runs.push(run);
            }
        }
        Ok(runs)
    }
}

/// Writes what the journal does not have yet, and releases the lease.
fn send(journal: &Journal) -> Result<()> {
    let sent = journal.wait();
    journal.close();
    sent
}

fn is_moved_here(store: &Store, run: &str) -> Result<bool> {
    let moved = store.read(|db| cache::moved(db, run))?;
    Ok(moved.is_some_and(|moved| moved.machine == store.local_owner()))
}

/// Refuses a run that was exported.
pub(super) fn check_is_here(store: &Store, run: &str) -> Result<()> {
    let Some(moved) = store.read(|db| cache::moved(db, run))? else {
        return Ok(());
    };
    let (whom, hint) = if moved.machine == store.local_owner() {
        (
            "this machine",
            "complete the export with `autorun ledger export RUN`",
        )
    } else {
        (
            moved.holder.as_str(),
            "work on it there, or bring it back there with `autorun ledger import RUN`",
        )
    };
    Err(Error::new(
        ErrorKind::AlreadyExists,
        format!("run {run} was exported by {whom}"),
    )
    .hint(hint))
}

/// Records the ledger in which a run began.
fn set_owner(tx: &rusqlite::Transaction, run: &str, owner: &str) -> rusqlite::Result<()> {
    let sql = "UPDATE run SET about = json_set(about, '$.owner', ?2) WHERE id = ?1";
    tx.execute(sql, [run, owner])?;
    Ok(())
}
