//! Removes the journals of old runs that have left nothing behind.
//!
//! The first object that is written says that the journal does not count any more, and
//! is deleted last. So a journal that is removed in part is not taken for a damaged one,
//! and the next removal continues.

use std::collections::BTreeMap;

use super::cache;
use super::entry::{self, FORMAT, Position, RunKeys, removal_key};
use super::objects::Objects;
use super::{Leased, SharedLedger};
use crate::error::{ErrorKind, Result};
use crate::ledger::clock::{Millis, now};
use crate::ledger::run::{Run, RunStatus};
use crate::ledger::store::Store;
use crate::report::Reporter;

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The runs.
    pub runs: Vec<String>,
    /// The objects of their journals.
    pub objects: usize,
    /// Old runs on which another process works.
    pub kept: Vec<String>,
}

impl SharedLedger {
    /// Returns the runs of this ledger that ended at least `age` ago and have left
    /// nothing behind, and those as old that stay. A killed run counts from its start.
    /// Brings the local rows up to date.
    pub fn prunable(&self, store: &Store, age: Millis) -> Result<(Vec<Run>, Vec<Run>)> {
        self.refresh(store, "")?;
        let place = self.place();
        let cached = store.read(|db| cache::all(db, place))?;
        let before = now().saturating_sub(age);
        let mut old = store.runs()?;
        old.retain(|run| cached.contains(&run.id) && run.ended.unwrap_or(run.started) <= before);
        let (mut over, mut kept) = (Vec::new(), Vec::new());
        for run in old {
            let list = if is_over(store, &run)? {
                &mut over
            } else {
                &mut kept
            };
            list.push(run);
        }
        Ok((over, kept))
    }

    /// Removes the journals of these runs, and of those whose removal was interrupted.
    pub fn prune(&self, store: &Store, runs: &[Run], report: &Reporter) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        let objects = &*self.0.objects;
        let keys = objects.list("run/")?;
        for (run, keys) in entry::by_run(self.place(), keys)? {
            if keys.is_removed {
                pruned.objects += remove(objects, &run, &keys)?;
            } else if let Some(run) = runs.iter().find(|one| one.id == run) {
                match self.prune_run(store, run, report)? {
                    Some(count) => {
                        pruned.objects += count;
                        pruned.runs.push(run.id.clone());
                    }
                    None => pruned.kept.push(run.id.clone()),
                }
            }
        }
        Ok(pruned)
    }

    /// Removes the journal of a run. Returns the number of objects, or `None` if another
    /// process works on it, or has since it was looked at.
    fn prune_run(&self, store: &Store, run: &Run, report: &Reporter) -> Result<Option<usize>> {
        let hold = match store.hold_ended(run) {
            Ok(hold) => hold,
            Err(busy) if busy.kind == ErrorKind::AlreadyExists => return Ok(None),
            Err(error) => return Err(error),
        };
        // Nothing changes the journal while this lease is held.
        let lease: Leased = match self.lease(store, run, report) {
            Ok(lease) => lease,
            Err(busy) if busy.kind == ErrorKind::AlreadyExists => return Ok(None),
            Err(error) => return Err(error),
        };
        let keys = self.0.objects.list(&format!("run/{}/", run.id))?;
        let keys = entry::by_run(self.place(), keys)?.remove(&run.id);
        let Some(keys) = keys.filter(|keys| !keys.is_removed) else {
            return Ok(None);
        };
        super::fetch::fetch(store, &*self.0.objects, &run.id, &keys)?;
        // With the lease, no process works on it.
        if !has_nothing(&store.find(&run.id)?) {
            return Ok(None);
        }
        lease.ensure()?;
        let removal = serde_json::json!({ "format": FORMAT, "run": run.id });
        self.0
            .objects
            .create(&removal_key(&run.id), removal.to_string().as_bytes())?;
        let count = remove(&*self.0.objects, &run.id, &keys)?;
        store.write(|tx| cache::forget(tx, &run.id))?;
        drop((hold, lease));
        Ok(Some(count))
    }
}

/// Returns whether a run has left nothing behind, and no process works on it.
fn is_over(store: &Store, run: &Run) -> Result<bool> {
    Ok(has_nothing(run) && store.status(run)? != RunStatus::Running)
}

/// Returns whether nothing of a run may be up.
fn has_nothing(run: &Run) -> bool {
    run.up == 0
}

/// Deletes the objects of a journal that does not count any more. Returns their number.
fn remove(objects: &dyn Objects, run: &str, keys: &RunKeys) -> Result<usize> {
    let all = keys.keys(run);
    objects.delete(&all)?;
    objects.delete(&[removal_key(run)])?;
    Ok(all.len())
}

/// Removes the local rows of runs whose journals another machine has removed. Returns
/// warnings about those that this machine knows to have left something behind.
pub(super) fn forget_removed(
    store: &Store,
    place: &str,
    prefix: &str,
    journals: &BTreeMap<String, RunKeys>,
) -> Result<Vec<String>> {
    let cached = store.read(|db| cache::positions(db, place))?;
    let gone = cached.into_iter().filter(|(run, position)| {
        run.starts_with(prefix) && *position != Position::default() && !journals.contains_key(run)
    });
    let mut warnings = Vec::new();
    for (run, _) in gone {
        if is_over(store, &store.find(&run)?)? {
            store.write(|tx| cache::forget(tx, &run))?;
        } else {
            warnings.push(format!(
                "the ledger {place} does not have the journal of run {run} any more, which is in \
                 progress or has left resources behind"
            ));
        }
    }
    Ok(warnings)
}
