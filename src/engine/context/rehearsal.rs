//! What a rehearsal (`autorun plan`) notes: the calls with an effect, and what it
//! assumed in place of effects outside of its local cloud.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::report::Mask;

/// How often the result of one call in the playbook is assumed. A loop that waits
/// for an answer would never end.
const MOST_ASSUMPTIONS: usize = 1000;

/// The notes of a rehearsal.
#[derive(Debug, Default)]
pub struct Rehearsal {
    /// The calls whose results the playbook does not use: file, line and column.
    unused_results: BTreeSet<(String, usize, usize)>,
    notes: Mutex<Vec<Note>>,
    /// How often results were assumed, by place.
    counts: Mutex<BTreeMap<String, usize>>,
    /// The first place whose assumed result the playbook can use.
    uncertain: Mutex<Option<String>>,
    /// The first place that needs a resource which the account may not have.
    borrowed: Arc<Uncertain>,
    /// Whether a program was assumed to run here, which may write any file.
    ran_program: AtomicBool,
    /// The waits that were skipped, in milliseconds.
    skipped: AtomicU64,
}

/// The place in the playbook from which on calls depend on something that was
/// assumed.
#[derive(Debug, Default)]
pub struct Uncertain(Mutex<Option<String>>);

impl Uncertain {
    /// Begins at this place, unless it has begun before.
    pub fn begin(&self, place: &str) {
        if !place.is_empty() {
            lock(&self.0).get_or_insert_with(|| place.to_owned());
        }
    }

    fn place(&self) -> Option<String> {
        lock(&self.0).clone()
    }
}

/// A call with an effect, or one whose effect was assumed.
#[derive(Clone, Debug, Serialize)]
pub struct Note {
    /// The function.
    pub function: String,
    /// The branch of `parallel`.
    pub branch: String,
    /// The place in the playbook, such as `web.rhai:12`.
    pub place: String,
    /// The arguments of a step, without secrets; `null` for other calls.
    pub arguments: Value,
    /// The result, without secrets.
    pub result: Value,
    /// The error, without secrets.
    pub error: Option<String>,
    /// What was assumed instead of done.
    pub assumed: Vec<Assumption>,
    /// The place of an earlier assumed result on which this call may depend.
    pub follows: Option<String>,
}

/// An effect outside of the rehearsal that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Assumption {
    /// What the run would do, such as `run uptime on db.example.com`.
    pub effect: String,
    /// The result that was assumed.
    pub result: String,
    /// Whether the playbook got an answer that was made up. If not, only the
    /// success of the call was assumed.
    pub is_answer: bool,
}

impl Assumption {
    /// Returns the assumption without secrets.
    #[must_use]
    pub fn masked(self, mask: &Mask) -> Self {
        Self {
            effect: mask.apply(&self.effect),
            result: mask.apply(&self.result),
            ..self
        }
    }
}

impl Rehearsal {
    /// Creates empty notes. `unused_results` has the places of the calls whose
    /// results the playbook does not use; `borrowed` is where it needs a resource
    /// that the account may not have.
    #[must_use]
    pub fn new(unused_results: BTreeSet<(String, usize, usize)>, borrowed: Arc<Uncertain>) -> Self {
        Self {
            unused_results,
            borrowed,
            ..Self::default()
        }
    }

    /// Adds a note about a call at this place of the playbook. Fails if the same
    /// call is assumed too often.
    pub fn note(&self, mut note: Note, place: (&str, usize, usize)) -> Result<()> {
        let uncertain = lock(&self.uncertain).clone();
        note.follows = uncertain.or_else(|| self.borrowed.place());
        let is_answer = note.assumed.iter().any(|assumed| assumed.is_answer);
        let (source, line, column) = place;
        let unused = (source.to_owned(), line, column);
        if is_answer && !self.unused_results.contains(&unused) {
            let mut uncertain = lock(&self.uncertain);
            uncertain.get_or_insert_with(|| note.place.clone());
        }
        let count = if note.assumed.is_empty() {
            0
        } else {
            let mut counts = lock(&self.counts);
            let count = counts.entry(note.place.clone()).or_default();
            *count += 1;
            *count
        };
        let function = note.function.clone();
        lock(&self.notes).push(note);
        if count > MOST_ASSUMPTIONS {
            return Err(endless(&function));
        }
        Ok(())
    }

    /// Notes that a program would have run on this machine.
    pub fn note_program(&self) {
        self.ran_program.store(true, Ordering::Relaxed);
    }

    /// Returns whether a missing file may be one that a program would have
    /// written.
    #[must_use]
    pub fn ran_program(&self) -> bool {
        self.ran_program.load(Ordering::Relaxed)
    }

    /// Returns whether a wait has to be skipped: after an assumed answer, nothing
    /// in the rehearsal happens in the meantime.
    #[must_use]
    pub fn skips(&self, wait: Duration) -> bool {
        let skips = lock(&self.uncertain).is_some();
        if skips {
            let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            self.skipped.fetch_add(wait, Ordering::Relaxed);
        }
        skips
    }

    /// Returns how long all skipped waits are.
    #[must_use]
    pub fn skipped(&self) -> Duration {
        Duration::from_millis(self.skipped.load(Ordering::Relaxed))
    }

    /// Returns the notes in the order in which the calls ended.
    #[must_use]
    pub fn notes(&self) -> Vec<Note> {
        lock(&self.notes).clone()
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn endless(function: &str) -> Error {
    Error::internal(format!(
        "the rehearsal ended: it assumed the result of `{function}` here {MOST_ASSUMPTIONS} times"
    ))
    .hint("the playbook seems to wait for an answer that a rehearsal cannot have")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(place: &str, assumed: Option<bool>) -> Note {
        Note {
            function: "ssh_exec".to_owned(),
            branch: String::new(),
            place: place.to_owned(),
            arguments: Value::Null,
            result: Value::Null,
            error: None,
            assumed: assumed
                .map(|is_answer| Assumption {
                    effect: "run it".to_owned(),
                    result: "status 0".to_owned(),
                    is_answer,
                })
                .into_iter()
                .collect(),
            follows: None,
        }
    }

    #[test]
    fn what_comes_after_a_used_answer_may_depend_on_it() {
        let unused = BTreeSet::from([("a".to_owned(), 1, 1)]);
        let rehearsal = Rehearsal::new(unused, Arc::default());
        let wait = Duration::from_secs(5);
        rehearsal
            .note(note("a:1", Some(true)), ("a", 1, 1))
            .unwrap();
        rehearsal
            .note(note("a:2", Some(false)), ("a", 2, 1))
            .unwrap();
        assert!(!rehearsal.skips(wait));
        rehearsal
            .note(note("a:3", Some(true)), ("a", 3, 1))
            .unwrap();
        rehearsal.note(note("a:4", None), ("a", 4, 1)).unwrap();
        assert!(rehearsal.skips(wait));
        assert_eq!(rehearsal.skipped(), wait);
        let follows: Vec<_> = rehearsal.notes().into_iter().map(|n| n.follows).collect();
        assert_eq!(follows, [None, None, None, Some("a:3".to_owned())]);
    }

    #[test]
    fn what_comes_after_an_assumed_resource_depends_on_it_and_waits() {
        let borrowed = Arc::new(Uncertain::default());
        let rehearsal = Rehearsal::new(BTreeSet::new(), Arc::clone(&borrowed));
        let at = |line: usize| rehearsal.note(note(&format!("a:{line}"), None), ("a", line, 1));
        at(1).unwrap();
        borrowed.begin("");
        borrowed.begin("a:2");
        borrowed.begin("a:3");
        at(2).unwrap();
        let follows: Vec<_> = rehearsal.notes().into_iter().map(|n| n.follows).collect();
        assert_eq!(follows, [None, Some("a:2".to_owned())]);
        assert!(!rehearsal.skips(Duration::from_secs(5)));
    }

    #[test]
    fn a_loop_over_assumed_answers_ends() {
        let rehearsal = Rehearsal::default();
        let again = || rehearsal.note(note("a:1", Some(true)), ("a", 1, 1));
        for _ in 0..MOST_ASSUMPTIONS {
            again().unwrap();
        }
        assert!(again().is_err());
    }
}
