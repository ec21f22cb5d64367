//! What the run makes, written down before it is asked for.
//!
//! `intend` gives an [`Intent`] that is consumed by `created` or `abandoned`;
//! dropping it (an early `?`, a panic, a kill) leaves the row *intended*, which
//! is reported as possibly made. The rows live in memory; whoever makes or
//! deletes something sees only this interface, so a durable store can stand
//! under it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use resource::{Resource, ResourceKind, State};

use crate::error::Error;
use crate::report::{Event, Remaining, Reporter};

mod resource;

/// The rows of one run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger {
    run: Arc<str>,
    rows: Arc<Mutex<Vec<Resource>>>,
    report: Reporter,
}

impl Ledger {
    /// An empty ledger for the run with this id.
    #[must_use]
    pub fn new(run: &str, report: Reporter) -> Self {
        Self {
            run: run.into(),
            rows: Arc::default(),
            report,
        }
    }

    /// The run's short random id: the tag `autorun:run` on all it makes.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Writes down that something is about to be made.
    #[must_use = "consume it with created() or abandoned()"]
    pub fn intend(&self, kind: ResourceKind, name: &str) -> Intent {
        let mut rows = self.rows();
        let row = format!(
            "autorun-{}-{:04}-{:08x}",
            self.run,
            rows.len(),
            rand::random::<u32>()
        );
        rows.push(Resource {
            row: row.clone(),
            kind,
            name: name.to_owned(),
            id: None,
            state: State::Intended,
        });
        Intent {
            ledger: self.clone(),
            index: rows.len() - 1,
            row,
        }
    }

    /// Writes down that a live resource is about to be removed. Nothing when
    /// this run did not make it.
    #[must_use = "consume it with released() or abandoned()"]
    pub fn intend_release(&self, kind: ResourceKind, id: &str) -> Option<Release> {
        let index = self.find(kind, id)?;
        self.turn(index, State::Releasing);
        Some(Release {
            ledger: self.clone(),
            index,
        })
    }

    /// Whether this run made the resource and it is still there.
    #[must_use]
    pub fn made(&self, kind: ResourceKind, id: &str) -> bool {
        self.find(kind, id).is_some()
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
        let rows = self.rows();
        let wanted = rows.iter().rev().filter(|row| wanted(row.state));
        wanted
            .map(|row| Remaining {
                kind: row.kind.as_str(),
                id: row.id.clone(),
                name: row.name.clone(),
            })
            .collect()
    }

    fn find(&self, kind: ResourceKind, id: &str) -> Option<usize> {
        self.rows().iter().position(|row| {
            row.kind == kind && row.id.as_deref() == Some(id) && row.state == State::Live
        })
    }

    fn turn(&self, index: usize, next: State) {
        let mut rows = self.rows();
        let row = &mut rows[index];
        debug_assert!(row.state.may_become(next), "{:?} -> {next:?}", row.state);
        row.state = next;
    }

    fn rows(&self) -> MutexGuard<'_, Vec<Resource>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something that is about to be made.
#[derive(Debug)]
pub struct Intent {
    ledger: Ledger,
    index: usize,
    row: String,
}

impl Intent {
    /// The row's id: `ClientToken` of the request and tag `autorun:resource`.
    /// At most 64 ASCII characters, as EC2 demands.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.row
    }

    /// It was made, and this is its id.
    pub fn created(self, id: &str) {
        self.ledger.turn(self.index, State::Live);
        let row = {
            let mut rows = self.ledger.rows();
            rows[self.index].id = Some(id.to_owned());
            rows[self.index].clone()
        };
        self.ledger.report.report(&Event::ResourceCreated {
            kind: row.kind.as_str(),
            id: id.to_owned(),
            name: row.name,
        });
    }

    /// It failed. Where the error does not prove that nothing was made, the row
    /// stays intended.
    pub fn abandoned(self, error: &Error) {
        if error.kind.proves_no_effect() {
            self.ledger.turn(self.index, State::Abandoned);
        }
    }
}

/// Something that is about to be removed.
#[derive(Debug)]
pub struct Release {
    ledger: Ledger,
    index: usize,
}

impl Release {
    /// It is gone.
    pub fn released(self) {
        self.ledger.turn(self.index, State::Released);
        let row = self.ledger.rows()[self.index].clone();
        self.ledger.report.report(&Event::ResourceReleased {
            kind: row.kind.as_str(),
            id: row.id.unwrap_or_default(),
        });
    }

    /// It could not be removed: it is still up.
    pub fn abandoned(self) {
        self.ledger.turn(self.index, State::Live);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::report::Settings;

    fn ledger() -> Ledger {
        let settings = Settings {
            output: crate::report::Output::Human,
            console: log::LevelFilter::Off,
            file: None,
            file_level: log::LevelFilter::Off,
            color: false,
            terminal: false,
        };
        Ledger::new("abc", Reporter::new("abc", settings).unwrap())
    }

    #[test]
    fn a_dropped_intent_is_possibly_made() {
        let ledger = ledger();
        drop(ledger.intend(ResourceKind::Instance, "web"));
        assert_eq!(ledger.possibly_made().len(), 1);
        assert!(ledger.live().is_empty());
    }

    #[test]
    fn only_a_proof_abandons() {
        let ledger = ledger();
        let lost = Error::new(ErrorKind::Timeout, "no answer");
        let denied = Error::new(ErrorKind::Denied, "not allowed");
        ledger.intend(ResourceKind::Bucket, "a").abandoned(&lost);
        ledger.intend(ResourceKind::Bucket, "b").abandoned(&denied);
        let names: Vec<_> = ledger.possibly_made().into_iter().map(|r| r.name).collect();
        assert_eq!(names, ["a"]);
    }

    #[test]
    fn released_is_no_longer_live() {
        let ledger = ledger();
        ledger.intend(ResourceKind::Bucket, "b").created("b");
        assert!(ledger.made(ResourceKind::Bucket, "b"));
        ledger
            .intend_release(ResourceKind::Bucket, "b")
            .unwrap()
            .released();
        assert!(ledger.live().is_empty());
        assert!(ledger.intend_release(ResourceKind::Bucket, "b").is_none());
    }

    #[test]
    fn tokens_fit_ec2() {
        let intent = ledger().intend(ResourceKind::Instance, "web");
        assert!(intent.token().len() <= 64 && intent.token().is_ascii());
    }
}
