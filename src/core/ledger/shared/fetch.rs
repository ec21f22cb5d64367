//! Reads the journal of a run into the local ledger: only the entries that it does not
//! have, if that is possible.

use std::collections::HashSet;

use super::cache;
use super::entry::{Entry, Position, RunKeys, damaged};
use super::objects::{Object, Objects};
use crate::error::Result;
use crate::ledger::change::Change;
use crate::ledger::store::{Durable, Store};
use crate::report::text;

/// The local ledger has a run that is in no journal yet.
const BEGUN: Position = Position {
    generation: 0,
    sequence: 0,
};

/// The result of reading a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fetched {
    /// The last entry that counts; `None` in an empty journal.
    pub(super) end: Option<Position>,
    /// How many entries do not count, because their writers had lost the lease.
    pub(super) ignored: usize,
    /// How many changes only this machine had recorded. They do not count, because
    /// another machine has worked on the run since.
    pub(super) dropped: usize,
}

impl Fetched {
    /// Returns what the user should know.
    pub(super) fn warnings(&self, run: &str) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.ignored > 0 {
            warnings.push(format!(
                "ignored in the journal of run {run}: {} of clients that had lost the lease",
                text::count(self.ignored, "object")
            ));
        }
        if self.dropped > 0 {
            warnings.push(format!(
                "another machine has worked on run {run}: dropped {} that this machine had not \
                 sent",
                text::count(self.dropped, "change")
            ));
        }
        warnings
    }
}

/// The entries of a journal that count.
pub(super) struct Chain {
    /// Generations, oldest first, and the last entry of each that counts.
    parts: Vec<Position>,
    /// Whether it continues what the local ledger has.
    continues: bool,
}

/// Brings the local rows of a run up to date. The caller has made sure that no process
/// of this machine works on the run.
pub(super) fn fetch(
    store: &Store,
    objects: &dyn Objects,
    run: &str,
    keys: &RunKeys,
) -> Result<Fetched> {
    let place = objects.place();
    let before = store.read(|db| cache::cached(db, run))?;
    let local = before.map(|cached| cached.position);
    let newest = keys.newest();
    if let Some(read) = local.filter(|local| Some(*local) > newest && *local != BEGUN) {
        let what = "is missing, but this machine has read it";
        return Err(damaged(place, &read.key(run), what));
    }
    let Some(newest) = newest else {
        return Ok(Fetched::default());
    };
    if local == Some(newest) {
        return Ok(Fetched {
            end: Some(newest),
            ..Fetched::default()
        });
    }
    let chain = Chain::read(objects, run, keys, newest, local)?;
    let unsent = store.read(|db| cache::unsent(db, run))?;
    let mut fetched = Fetched {
        end: Some(newest),
        ..Fetched::default()
    };
    if chain.continues {
        let from = local.unwrap_or_default();
        let entries = read_entries(objects, run, keys, &chain.after(from))?;
        let own: HashSet<&str> = unsent
            .iter()
            .map(|(_, change)| change.id.as_str())
            .collect();
        let is_own = |change: &&Change| own.contains(change.id.as_str());
        let all = entries.iter().flat_map(|entry| &entry.changes);
        let (ours, others): (Vec<_>, Vec<_>) = all.partition(is_own);
        // With changes of others, those that this machine has not sent are too late.
        if others.is_empty() || ours.len() == unsent.len() {
            let sent: HashSet<&str> = ours.iter().map(|change| change.id.as_str()).collect();
            let sent = unsent
                .iter()
                .filter(|(_, change)| sent.contains(change.id.as_str()));
            let sent = sent.map(|(number, _)| *number).max().unwrap_or_default();
            store.commit(&mut store.connection(), Durable::WithNext, |tx| {
                let effective = entries.iter().flat_map(Entry::effective);
                for change in effective.filter(|change| !is_own(change)) {
                    change.apply(tx, run)?;
                }
                cache::sent(tx, run, sent)?;
                cache::set(tx, run, place, newest)
            })?;
            return Ok(fetched);
        }
    }
    let whole = Chain::read(objects, run, keys, newest, None)?;
    fetched.ignored = keys.count() - whole.count();
    fetched.dropped = unsent.len();
    let entries = match whole.newest_summary(keys) {
        Some(summary) => {
            let mut entries = read_keys(objects, run, &[summary.summary_key(run)])?;
            entries.extend(read_entries(objects, run, keys, &whole.after(summary))?);
            entries
        }
        None => read_entries(objects, run, keys, &whole.after(Position::default()))?,
    };
    store.commit(&mut store.connection(), Durable::WithNext, |tx| {
        cache::forget(tx, run)?;
        for change in entries.iter().flat_map(Entry::effective) {
            change.apply(tx, run)?;
        }
        cache::set(tx, run, place, newest)
    })?;
    Ok(fetched)
}

impl Chain {
    /// Finds the entries that count, from the newest one backwards, as far as the local
    /// ledger does not have them.
    ///
    /// Fails if an entry is missing.
    pub(super) fn read(
        objects: &dyn Objects,
        run: &str,
        keys: &RunKeys,
        newest: Position,
        local: Option<Position>,
    ) -> Result<Self> {
        let mut parts = Vec::new();
        let mut last = newest;
        loop {
            check_complete(objects, run, keys, last)?;
            parts.push(last);
            let joins = local.is_some_and(|local| {
                local.generation == last.generation && local.sequence <= last.sequence
            });
            if joins {
                break;
            }
            let first = Position {
                sequence: 1,
                ..last
            };
            let first = read_entries(objects, run, keys, &[first])?;
            match first.first().and_then(|entry| entry.follows) {
                Some(before) if before.generation < last.generation => last = before,
                Some(_) => {
                    let key = last.key(run);
                    return Err(damaged(objects.place(), &key, "follows a later entry"));
                }
                None => {
                    parts.reverse();
                    return Ok(Self {
                        parts,
                        // The local ledger has the beginning, which is in no journal.
                        continues: local == Some(BEGUN),
                    });
                }
            }
        }
        parts.reverse();
        Ok(Self {
            parts,
            continues: true,
        })
    }

    /// Returns the number of entries.
    pub(super) fn count(&self) -> usize {
        let counts = self.parts.iter().map(|last| last.sequence);
        counts.fold(0, |sum, n| {
            sum.saturating_add(usize::try_from(n).unwrap_or(usize::MAX))
        })
    }

    /// Returns the entries after one that counts, in order.
    pub(super) fn after(&self, position: Position) -> Vec<Position> {
        let parts = self.parts.iter();
        let later = parts.filter(|last| last.generation >= position.generation);
        let all = later.flat_map(|last| {
            let first = if last.generation == position.generation {
                position.sequence + 1
            } else {
                1
            };
            (first..=last.sequence).map(|sequence| Position { sequence, ..*last })
        });
        all.collect()
    }

    /// Returns the newest summary of entries that count.
    fn newest_summary(&self, keys: &RunKeys) -> Option<Position> {
        let counts = |summary: &&Position| {
            let mut parts = self.parts.iter();
            parts.any(|last| {
                last.generation == summary.generation && summary.sequence <= last.sequence
            })
        };
        keys.summaries.iter().rev().find(counts).copied()
    }
}

/// Checks that a generation has all entries up to this one.
fn check_complete(objects: &dyn Objects, run: &str, keys: &RunKeys, last: Position) -> Result<()> {
    let has = |sequence: u64| keys.has(Position { sequence, ..last });
    match (1..=last.sequence).find(|sequence| !has(*sequence)) {
        None => Ok(()),
        Some(sequence) => {
            let key = Position { sequence, ..last }.key(run);
            Err(damaged(
                objects.place(),
                &key,
                "is missing, but later objects of the journal exist",
            ))
        }
    }
}

pub(super) fn read_entries(
    objects: &dyn Objects,
    run: &str,
    keys: &RunKeys,
    wanted: &[Position],
) -> Result<Vec<Entry>> {
    let keys: Vec<String> = wanted.iter().map(|at| keys.key(run, *at)).collect();
    read_keys(objects, run, &keys)
}

pub(super) fn read_keys(objects: &dyn Objects, run: &str, keys: &[String]) -> Result<Vec<Entry>> {
    let place = objects.place();
    let found = objects.read_all(keys)?;
    let entries = keys.iter().zip(found);
    let entries = entries.map(|(key, object)| match object {
        Some(Object { body, .. }) => Entry::read(place, key, run, &body),
        None => Err(damaged(place, key, "disappeared while it was read")),
    });
    entries.collect()
}
