//! The objects of a journal: `run/ID/GENERATION/SEQUENCE.json`, one for each durable
//! commit. An object is never changed. An entry with all rows of the run is named
//! `SEQUENCE.summary.json`, so that a client can begin with it.
//!
//! A generation is the work of one holder of the lease. Its first entry names the last
//! entry that its writer has read: what an earlier generation wrote after that came
//! from a client that had lost the lease, and does not count.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ledger::change::Change;

/// The version of the format.
pub(super) const FORMAT: u32 = 1;

/// An entry of a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::ledger) struct Position {
    /// The generation of its writer.
    pub(super) generation: u64,
    /// Its number in the generation, from 1.
    pub(super) sequence: u64,
}

impl Position {
    /// Returns the key of the entry.
    pub(super) fn key(self, run: &str) -> String {
        format!(
            "run/{run}/{:010}/{:010}.json",
            self.generation, self.sequence
        )
    }

    /// Returns the key of the summary of everything up to this entry.
    pub(super) fn summary_key(self, run: &str) -> String {
        format!(
            "run/{run}/{:010}/{:010}.summary.json",
            self.generation, self.sequence
        )
    }

    pub(super) fn next(self) -> Self {
        Self {
            sequence: self.sequence + 1,
            ..self
        }
    }
}

/// The content of an object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) format: u32,
    pub(super) run: String,
    generation: u64,
    sequence: u64,
    /// In the first entry of a generation: the last entry before it, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) follows: Option<Position>,
    pub(super) changes: Vec<Change>,
}

impl Entry {
    pub(super) fn new(run: &str, position: Position, follows: Option<Position>) -> Self {
        Self {
            format: FORMAT,
            run: run.to_owned(),
            generation: position.generation,
            sequence: position.sequence,
            follows,
            changes: Vec::new(),
        }
    }

    /// Returns the changes without those that a later one replaces with all rows.
    pub(super) fn effective(&self) -> &[Change] {
        let whole = self.changes.iter().rposition(|change| change.whole);
        &self.changes[whole.unwrap_or_default()..]
    }

    /// Returns the key of the object.
    pub(super) fn key(&self) -> String {
        let is_whole = self.changes.iter().any(|change| change.whole);
        if is_whole {
            self.position().summary_key(&self.run)
        } else {
            self.position().key(&self.run)
        }
    }

    pub(super) fn position(&self) -> Position {
        Position {
            generation: self.generation,
            sequence: self.sequence,
        }
    }

    /// Parses the object with this key.
    ///
    /// Fails if it is not complete, or belongs elsewhere.
    pub(super) fn read(place: &str, key: &str, run: &str, body: &[u8]) -> Result<Self> {
        // The format first: a newer one may have other fields.
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let head: Head = serde_json::from_slice(body)
            .map_err(|e| damaged(place, key, &format!("is torn or not of a journal: {e}")))?;
        if head.format > FORMAT {
            return Err(Error::internal(format!(
                "the object `{key}` of the ledger {place} was written by a newer autorun"
            ))
            .hint("use that version"));
        }
        let entry: Self = serde_json::from_slice(body)
            .map_err(|e| damaged(place, key, &format!("is torn or not of a journal: {e}")))?;
        let position = entry.position();
        let own = [position.key(run), position.summary_key(run)];
        if entry.run != run || !own.iter().any(|own| own == key) {
            let is = position.key(&entry.run);
            return Err(damaged(
                place,
                key,
                &format!("has the content of `{is}`: it was copied or renamed"),
            ));
        }
        Ok(entry)
    }
}

/// The error about an object that cannot be read as what its key says.
pub(super) fn damaged(place: &str, key: &str, what: &str) -> Error {
    Error::internal(format!("the object `{key}` of the ledger {place} {what}")).hint(
        "restore it from an earlier version of the object, if the bucket has versioning; \
         `autorun destroy --orphans` finds by their tags what a run without a journal created",
    )
}

/// The keys of one run's journal.
#[derive(Clone, Debug, Default)]
pub(super) struct RunKeys {
    /// The sequence numbers of each generation.
    pub(super) entries: BTreeMap<u64, BTreeSet<u64>>,
    pub(super) summaries: BTreeSet<Position>,
    /// Whether the journal is being removed.
    pub(super) is_removed: bool,
}

impl RunKeys {
    fn add(&mut self, part: Part) {
        match part {
            Part::Entry(position) => {
                let entries = self.entries.entry(position.generation).or_default();
                entries.insert(position.sequence);
            }
            Part::Summary(position) => {
                self.summaries.insert(position);
            }
            Part::Removal => self.is_removed = true,
        }
    }

    /// Returns whether there is this entry.
    pub(super) fn has(&self, position: Position) -> bool {
        let entries = self.entries.get(&position.generation);
        let is_entry = entries.is_some_and(|entries| entries.contains(&position.sequence));
        is_entry || self.summaries.contains(&position)
    }

    /// Returns the key of an entry.
    pub(super) fn key(&self, run: &str, position: Position) -> String {
        if self.summaries.contains(&position) {
            position.summary_key(run)
        } else {
            position.key(run)
        }
    }

    /// Returns the number of entries.
    pub(super) fn count(&self) -> usize {
        let entries: usize = self.entries.values().map(BTreeSet::len).sum();
        let is_also_entry = |position: &&Position| {
            let entries = self.entries.get(&position.generation);
            entries.is_some_and(|entries| entries.contains(&position.sequence))
        };
        entries + self.summaries.len() - self.summaries.iter().filter(is_also_entry).count()
    }

    /// Returns the keys of all objects, apart from [`removal_key`].
    pub(super) fn keys(&self, run: &str) -> Vec<String> {
        let entries = self.entries.iter().flat_map(|(generation, sequences)| {
            let position = |sequence: &u64| Position {
                generation: *generation,
                sequence: *sequence,
            };
            sequences.iter().map(position)
        });
        let entries = entries.map(|position| position.key(run));
        let summaries = self.summaries.iter();
        entries
            .chain(summaries.map(|position| position.summary_key(run)))
            .collect()
    }

    /// Returns the last entry of the newest generation. A summary shows that there was
    /// one.
    pub(super) fn newest(&self) -> Option<Position> {
        let last = self.entries.last_key_value();
        let entry = last.and_then(|(generation, entries)| {
            Some(Position {
                generation: *generation,
                sequence: *entries.last()?,
            })
        });
        entry.max(self.summaries.last().copied())
    }
}

/// The keys below `run/`.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    pub(super) runs: BTreeMap<String, RunKeys>,
    /// Keys that do not belong to a journal.
    pub(super) foreign: Vec<String>,
}

impl Sorted {
    /// Sorts keys by run.
    pub(super) fn of(keys: Vec<String>) -> Self {
        let mut sorted = Self::default();
        for key in keys {
            match parse(&key) {
                Some((run, part)) => sorted.runs.entry(run.to_owned()).or_default().add(part),
                None => sorted.foreign.push(key),
            }
        }
        sorted
    }
}

/// Sorts the keys below `run/` by run.
///
/// Fails if there is another object among them.
pub(super) fn by_run(place: &str, keys: Vec<String>) -> Result<BTreeMap<String, RunKeys>> {
    let sorted = Sorted::of(keys);
    match sorted.foreign.first() {
        Some(key) => Err(foreign(place, key)),
        None => Ok(sorted.runs),
    }
}

/// The error about an object that autorun has not written.
pub(super) fn foreign(place: &str, key: &str) -> Error {
    Error::internal(format!(
        "the object `{key}` of the ledger {place} does not belong to a ledger"
    ))
    .hint("another program wrote it: move it to another prefix")
}

/// A part of a journal.
#[derive(Clone, Copy, Debug)]
enum Part {
    Entry(Position),
    Summary(Position),
    Removal,
}

/// Parses a key: the run and the part of its journal.
fn parse(key: &str) -> Option<(&str, Part)> {
    let (run, rest) = key.strip_prefix("run/")?.split_once('/')?;
    if key == removal_key(run) {
        return Some((run, Part::Removal));
    }
    let (generation, file) = rest.split_once('/')?;
    let name = file.strip_suffix(".json")?;
    let (number, is_summary) = match name.strip_suffix(".summary") {
        Some(number) => (number, true),
        None => (name, false),
    };
    let position = Position {
        generation: generation.parse().ok()?,
        sequence: number.parse().ok()?,
    };
    let (own, part) = if is_summary {
        (position.summary_key(run), Part::Summary(position))
    } else {
        (position.key(run), Part::Entry(position))
    };
    (own == key && position.sequence > 0).then_some((run, part))
}

/// Returns the key of the object that says that a journal is being removed: what is left
/// of it does not count.
pub(super) fn removal_key(run: &str) -> String {
    format!("run/{run}/removed.json")
}
