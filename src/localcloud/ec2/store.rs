//! The state in memory and on disk.
//!
//! A change is written to disk before it is completed in memory.

use std::io;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipnet::Ipv4Net;

use super::addresses::readdress;
use super::call::CloudInfo;
use super::journal::Journal;
use super::journaled::Journaled as _;
use super::state::{Millis, Phase, Region, Saving, State};
use crate::clock;

/// The state of EC2 and its files.
#[derive(Debug)]
pub(crate) struct Store {
    pub(super) facts: CloudInfo,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    state: State,
    journal: Journal,
}

/// A change of the state. If it is dropped before it is committed, also by a
/// panic, the state is as it was.
pub(super) struct Change<'a>(MutexGuard<'a, Kept>);

impl Deref for Change<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0.state
    }
}

impl DerefMut for Change<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.0.state
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.0.state.roll_back();
    }
}

impl Change<'_> {
    /// Writes the change to disk and completes it. More changes may follow.
    pub(super) fn commit(&mut self) -> io::Result<()> {
        let Kept { state, journal } = &mut *self.0;
        journal.write(state).inspect_err(|e| {
            log::error!("cannot write {}: {e}", journal.path().display());
        })?;
        state.commit();
        Ok(())
    }
}

/// The state for reading.
pub(super) struct Reading<'a>(MutexGuard<'a, Kept>);

impl Deref for Reading<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0.state
    }
}

impl Store {
    /// Reads the state that an earlier daemon left in `file`. The machines of that
    /// daemon ended with it, so their instances become stopped.
    pub(crate) fn open(facts: CloudInfo, file: PathBuf) -> io::Result<Self> {
        let (mut journal, mut state) = Journal::open(file)?;
        settle(&mut state, facts.subnet, clock::millis());
        journal.fold(&state)?;
        state.commit();
        Ok(Self {
            facts,
            kept: Mutex::new(Kept { state, journal }),
        })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // The lock may be poisoned: a change that panics is undone.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self) -> Reading<'_> {
        Reading(self.kept())
    }

    /// Begins a change.
    pub(super) fn begin(&self) -> Change<'_> {
        Change(self.kept())
    }

    /// Changes the state without a request, for changes that start in a machine.
    /// They have happened, so they also stay if they cannot be written.
    #[cfg(target_os = "linux")]
    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        let mut next = self.begin();
        change(&mut next);
        if next.commit().is_err() {
            let Kept { state, journal } = &mut *next.0;
            journal.lacks_a_change();
            state.commit();
        }
    }
}

/// Moves each instance to the phase that it has when no machine runs. A daemon
/// may end in any way, and its machines always end with it.
fn settle(state: &mut State, subnet: Ipv4Net, now: Millis) {
    let reason = (
        "Server.InternalError",
        "Server.InternalError: the local cloud ended while the instance was running",
    );
    for region in state.regions.values_mut() {
        let ids: Vec<String> = region.instances.keys().cloned().collect();
        for id in ids {
            let Some(instance) = region.instances.get(&id) else {
                continue;
            };
            let phase = match instance.phase {
                Phase::Pending | Phase::Running | Phase::Stopping => Phase::Stopped,
                Phase::ShuttingDown => Phase::Terminated,
                _ => continue,
            };
            region.set_phase(&id, phase, Some(reason), now);
        }
        fail_copies(region);
        region.forget_old(now);
    }
    // The subnet may differ from the earlier daemon's subnet.
    readdress(state, subnet);
}

/// Marks the copies of disks that an earlier daemon did not complete.
fn fail_copies(region: &mut Region) {
    let pending = |saving: Saving| saving == Saving::Pending;
    let images = region.images.values().filter(|image| pending(image.saving));
    for id in images.map(|image| image.id.clone()).collect::<Vec<_>>() {
        if let Some(image) = region.images.get_mut(&id) {
            image.saving = Saving::Failed;
        }
    }
    let volumes = region.volumes.values().filter(|own| pending(own.filling));
    for id in volumes.map(|own| own.id.clone()).collect::<Vec<_>>() {
        if let Some(own) = region.volumes.get_mut(&id) {
            own.filling = Saving::Failed;
        }
    }
    let snapshots = region.snapshots.values().filter(|own| pending(own.saving));
    for id in snapshots.map(|own| own.id.clone()).collect::<Vec<_>>() {
        if let Some(own) = region.snapshots.get_mut(&id) {
            own.saving = Saving::Failed;
        }
    }
}
