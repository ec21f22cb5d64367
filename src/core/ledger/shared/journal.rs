//! Writes the journal of one run, on a thread of its own.
//!
//! Entries are written one after another, so a crash leaves no hole. What is committed
//! while an entry is on its way travels with the next one: branches do not wait for
//! each other's requests. The end of a step, for which no call waits, waits a moment for
//! the next intent, which usually comes at once and then costs one request, not two.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::cache;
use super::elapsed::elapsed;
use super::entry::{Entry, Position};
use super::keeper::{Keeper, unusable};
use super::lease::Periods;
use super::objects::{Objects, Put, is_final};
use super::stop::Stop;
use crate::crash;
use crate::error::{Error, Result};
use crate::ledger::change::Change;
use crate::ledger::run::Run;
use crate::ledger::store::{Durable, Store};

/// The most changes in an entry.
const MOST: usize = 1000;

/// The journal of a run on which this process works.
#[derive(Debug)]
pub(in crate::ledger) struct Journal {
    writer: Arc<Writer>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Writer {
    store: Store,
    objects: Arc<dyn Objects>,
    run: String,
    periods: Periods,
    stop: Stop,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// `None` after the end.
    keeper: Option<Arc<Keeper>>,
    queue: VecDeque<(u64, Change)>,
    /// The number of the last change that was committed here.
    committed: u64,
    /// The number of the last change that a call waits for.
    wanted: u64,
    /// The number of the last change in the journal.
    sent: u64,
    /// The last entry.
    position: Position,
    /// The entry before the first one of this generation.
    follows: Option<Position>,
    /// Why nothing more is written.
    failed: Option<Error>,
    /// All rows of the run, which end its journal.
    whole: Option<Change>,
    closing: bool,
    /// Whether the thread has ended.
    ended: bool,
}

impl Journal {
    /// Begins a generation after the last entry that counts.
    pub(super) fn begin(
        store: &Store,
        objects: Arc<dyn Objects>,
        run: &str,
        keeper: Arc<Keeper>,
        end: Option<Position>,
    ) -> Result<Self> {
        let unsent = store.read(|db| cache::unsent(db, run))?;
        // The lease was deleted by hand if its generation is not a new one.
        let after = end.map_or(0, |end| end.generation);
        let generation = keeper.generation().max(after + 1);
        let writer = Arc::new(Writer {
            store: store.clone(),
            objects,
            run: run.to_owned(),
            periods: keeper.periods(),
            stop: keeper.stop(),
            state: Mutex::new(State {
                keeper: Some(keeper),
                committed: unsent.last().map_or(0, |(number, _)| *number),
                queue: unsent.into(),
                wanted: 0,
                sent: 0,
                position: Position {
                    generation,
                    sequence: 0,
                },
                follows: end,
                failed: None,
                whole: None,
                closing: false,
                ended: false,
            }),
            changed: Condvar::new(),
        });
        let works = Arc::clone(&writer);
        let thread = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || works.work())
            .map_err(|e| Error::internal(format!("cannot start a thread: {e}")))?;
        Ok(Self {
            writer,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Writes a change that the local ledger has under this number. The caller holds
    /// the connection, so that the order is the same.
    pub(in crate::ledger) fn push(&self, number: u64, change: Change) {
        let mut state = self.writer.state();
        state.committed = number;
        state.queue.push_back((number, change));
        drop(state);
        self.writer.changed.notify_all();
    }

    /// Waits until everything that was committed so far is in the journal, and the
    /// lease certainly counts: after that, the next request may be sent.
    pub(in crate::ledger) fn wait(&self) -> Result<()> {
        self.written()?;
        self.ensure()
    }

    /// Waits until everything that was committed so far is in the journal.
    fn written(&self) -> Result<()> {
        let mut state = self.writer.state();
        let wanted = state.committed;
        if wanted > state.wanted {
            state.wanted = wanted;
            self.writer.changed.notify_all();
        }
        while state.sent < wanted && !state.ended {
            state = self.writer.wait(state);
        }
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        // Another branch may still work while the run ends.
        if state.sent < wanted {
            return Err(Error::cancelled());
        }
        Ok(())
    }

    /// Waits until the lease certainly counts, usually not at all. After a failure, nothing
    /// more is written.
    pub(in crate::ledger) fn ensure(&self) -> Result<()> {
        let keeper = self.writer.state().keeper.clone();
        // A branch that still works when the run has ended does not hold the lease.
        let keeper = keeper.ok_or_else(Error::cancelled)?;
        let ensured = keeper.ensure();
        if let Err(error) = &ensured {
            self.writer.state().failed = Some(error.clone());
            // The thread does not wait for changes any more.
            self.writer.changed.notify_all();
        }
        ensured
    }

    /// Returns why nothing more is written.
    pub(in crate::ledger) fn failure(&self) -> Option<Error> {
        self.writer.state().failed.clone()
    }

    /// Writes the last entry of a run that has ended, and releases the lease at the same
    /// time: an entry that is not written counts as lost in a crash. With all rows of the
    /// run in it, other machines need not read every entry.
    pub(in crate::ledger) fn end(&self, run: &Run) -> Result<()> {
        let ensured = self.ensure();
        // Other machines can do without it.
        let whole = Change::whole(&self.writer.store, run).ok();
        let keeper = {
            let mut state = self.writer.state();
            state.whole = whole.map(Change::with_id);
            state.keeper.take()
        };
        let written = thread::scope(|scope| {
            scope.spawn(|| drop(keeper));
            self.written()
        });
        self.close();
        ensured.and(written)
    }

    /// Writes what is left, and releases the lease.
    pub(in crate::ledger) fn close(&self) {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.writer.state().closing = true;
        self.writer.changed.notify_all();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        // The summary is written meanwhile, so the state is not locked.
        let keeper = self.writer.state().keeper.take();
        drop(keeper);
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}

impl Writer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some((number, entry)) = self.next() {
            let written = self.write(number, &entry);
            let mut state = self.state();
            match written {
                Ok(()) => {
                    state.sent = number;
                    state.position = entry.position();
                }
                Err(error) => state.failed = Some(error),
            }
            drop(state);
            self.changed.notify_all();
        }
        self.state().ended = true;
        self.changed.notify_all();
    }

    /// Waits for changes. Returns the next entry and the number of its last change, or
    /// `None` at the end.
    fn next(&self) -> Option<(u64, Entry)> {
        let mut state = self.state();
        while state.queue.is_empty() && !state.closing && state.failed.is_none() {
            state = self.wait(state);
        }
        let end = elapsed() + self.periods.linger;
        while state.wanted <= state.sent && !state.closing && elapsed() < end {
            let rest = end.saturating_sub(elapsed());
            let waited = self.changed.wait_timeout(state, rest);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        // Branches of `parallel` usually reach their calls at the same time.
        if state.queue.iter().any(|(_, change)| change.is_of_branch()) && !state.closing {
            let waited = self
                .changed
                .wait_timeout_while(state, self.periods.gather, |_| true);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.queue.is_empty() || state.failed.is_some() {
            return None;
        }
        let position = state.position.next();
        let follows = state.follows.filter(|_| position.sequence == 1);
        let mut entry = Entry::new(&self.run, position, follows);
        let most = state.queue.len().min(MOST);
        let mut last = 0;
        for (number, change) in state.queue.drain(..most) {
            last = number;
            entry.changes.push(change);
        }
        if state.queue.is_empty()
            && let Some(whole) = state.whole.take()
        {
            entry.changes.push(whole);
        }
        Some((last, entry))
    }

    /// Writes an entry, and notes in the local ledger that the journal has it.
    fn write(&self, number: u64, entry: &Entry) -> Result<()> {
        let key = entry.key();
        let body = encode(entry)?;
        crash::reached("before a journal entry");
        self.put(&key, &body)?;
        crash::reached("after a journal entry");
        let place = self.objects.place();
        let mut connection = self.store.connection();
        self.store.commit(&mut connection, Durable::WithNext, |tx| {
            cache::sent(tx, &self.run, number)?;
            cache::set(tx, &self.run, place, entry.position())
        })
    }

    /// Writes an object that must not exist. A process that is to stop does not try again.
    fn put(&self, key: &str, body: &[u8]) -> Result<()> {
        let end = elapsed() + self.periods.patience;
        loop {
            let failed = match self.objects.create(key, body) {
                Ok(Put::Written(_)) => return Ok(()),
                // Another client's entry, or this one, whose answer was lost.
                Ok(Put::Refused) => match self.objects.read(key) {
                    Ok(Some(object)) if object.body == body => return Ok(()),
                    Ok(Some(_)) => return Err(self.fenced(key)),
                    Ok(None) => None,
                    Err(error) => Some(error),
                },
                Ok(Put::Conflict) => None,
                Err(error) => Some(error),
            };
            let is_final = failed.as_ref().is_some_and(is_final);
            if is_final || elapsed() >= end || failed.is_some() && self.stop.is_wanted() {
                return Err(unusable(self.objects.place(), failed.as_ref()));
            }
            self.stop.sleep(self.periods.retry);
        }
    }

    fn fenced(&self, key: &str) -> Error {
        Error::internal(format!(
            "another client wrote the object `{key}` of the ledger {}: this process stops before \
             its next effect",
            self.objects.place()
        ))
        .hint("another machine works on the run: `autorun runs` shows it")
    }
}

fn encode(entry: &Entry) -> Result<Vec<u8>> {
    serde_json::to_vec(entry)
        .map_err(|e| Error::internal(format!("cannot write an entry of the journal: {e}")))
}
