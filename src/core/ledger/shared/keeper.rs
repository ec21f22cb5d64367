//! Takes a lease in the store, and writes it again in time, on a thread of its own.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::elapsed::elapsed;
use super::holder::HolderLock;
use super::lease::{Answer, Lease, Periods, Phase, Record, Request, Step};
use super::objects::{Objects, Put, is_final};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::store::Store;
use crate::report::Reporter;

/// How long to wait until the lease is released.
const RELEASES_WITHIN: Duration = Duration::from_secs(10);

/// What the lease is about, for messages.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// The key of the object.
    pub(super) key: String,
    pub(super) run: String,
    pub(super) playbook: String,
    /// The ID of the ledger on this machine.
    pub(super) machine: String,
    pub(super) holder: String,
}

/// A lease that this process holds. It is released when this value is dropped.
#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    objects: Arc<dyn Objects>,
    subject: Subject,
    periods: Periods,
    /// Held as long as a thread of this process can write the lease.
    lock: HolderLock,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    lease: Lease,
    /// Why the last request had no answer.
    error: Option<Error>,
    /// Since when no request has had an answer.
    silent_since: Option<Duration>,
    gone: bool,
}

impl Keeper {
    /// Takes a lease. Waits until it is clear whether its last holder is alive.
    ///
    /// Fails with [`ErrorKind::AlreadyExists`] if another client holds it and is alive,
    /// and with the error of the store if that does not answer.
    pub(super) fn take(
        store: &Store,
        objects: Arc<dyn Objects>,
        subject: Subject,
        periods: Periods,
        report: &Reporter,
    ) -> Result<Arc<Self>> {
        let nonce = format!("{:032x}", rand::random::<u128>());
        let lock = HolderLock::take(store, &nonce)?;
        let own = Record {
            locks: lock.directory(),
            run: subject.run.clone(),
            machine: subject.machine.clone(),
            holder: subject.holder.clone(),
            ..Record::of_client(nonce)
        };
        let shared = Arc::new(Shared {
            objects,
            subject,
            periods,
            lock,
            state: Mutex::new(State {
                lease: Lease::new(own, periods),
                error: None,
                silent_since: None,
                gone: false,
            }),
            changed: Condvar::new(),
        });
        shared.seek(report)?;
        let works = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("lease".to_owned())
            .spawn(move || works.keep())
            .map_err(|e| Error::internal(format!("cannot start a thread: {e}")))?;
        Ok(Arc::new(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        }))
    }

    /// Returns the generation of the lease.
    pub(super) fn generation(&self) -> u64 {
        self.shared.state().lease.generation()
    }

    pub(super) fn periods(&self) -> Periods {
        self.shared.periods
    }

    /// Waits until the lease certainly counts, usually not at all.
    ///
    /// Fails if another client has taken it over, or if the store does not answer.
    pub(super) fn ensure(&self) -> Result<()> {
        let mut state = self.shared.state();
        let end = elapsed() + self.shared.periods.patience;
        loop {
            let now = elapsed();
            if state.lease.is_valid(now) {
                return Ok(());
            }
            if state.gone || !matches!(state.lease.phase(), Phase::Holding | Phase::Checking) {
                return Err(self.shared.lost(&state));
            }
            if now >= end {
                return Err(self.shared.silent(&state));
            }
            state.lease.hurry(now);
            self.shared.changed.notify_all();
            state = self.shared.wait(state, end.saturating_sub(now));
        }
    }

    /// Releases the lease and waits for it.
    pub(super) fn release(&self) {
        let Some(thread) = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        else {
            return;
        };
        let mut state = self.shared.state();
        state.lease.release(elapsed());
        self.shared.changed.notify_all();
        let end = elapsed() + RELEASES_WITHIN;
        while !state.gone && elapsed() < end {
            state = self.shared.wait(state, end.saturating_sub(elapsed()));
        }
        // Otherwise, the thread waits for the store and ends with the process.
        if state.gone {
            drop(state);
            let _ = thread.join();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.release();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, at_most: Duration) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, at_most);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Works until the lease is taken.
    fn seek(&self, report: &Reporter) -> Result<()> {
        let mut is_reported = false;
        loop {
            let step = self.state().lease.next(elapsed());
            match step {
                Step::Send(request) => self.send(request),
                Step::Wait(until) => thread::sleep(until.saturating_sub(elapsed())),
                Step::Nothing => {}
            }
            let state = self.state();
            match state.lease.phase() {
                Phase::Holding => return Ok(()),
                Phase::Seeking => {}
                Phase::Busy | Phase::Checking | Phase::Lost | Phase::Released => {
                    return Err(self.busy(&state));
                }
            }
            let silent = state
                .silent_since
                .map(|since| elapsed().saturating_sub(since));
            if silent.is_some_and(|silent| silent >= self.periods.patience)
                || state.error.as_ref().is_some_and(is_final)
            {
                return Err(self.silent(&state));
            }
            if let Some(other) = state
                .lease
                .other()
                .filter(|other| !is_reported && !other.released)
            {
                is_reported = true;
                report.info(format!(
                    "run {} of `{}` may be in progress ({}): waiting at most {} s for a sign of \
                     life",
                    other.run,
                    self.subject.playbook,
                    other.holder,
                    self.periods.takeover.as_secs()
                ));
            }
        }
    }

    /// Works until the lease is released or lost.
    fn keep(&self) {
        let mut state = self.state();
        loop {
            match state.lease.next(elapsed()) {
                Step::Send(request) => {
                    drop(state);
                    self.send(request);
                    state = self.state();
                }
                Step::Wait(until) => {
                    state = self.wait(state, until.saturating_sub(elapsed()));
                }
                Step::Nothing => break,
            }
        }
        state.gone = true;
        drop(state);
        self.changed.notify_all();
    }

    /// Sends a request, and those that follow from its answer.
    fn send(&self, request: Request) {
        let mut next = Some(request);
        while let Some(request) = next {
            let answer = self.perform(&request);
            let mut state = self.state();
            let now = elapsed();
            let answer = match answer {
                Ok(answer) => {
                    (state.error, state.silent_since) = (None, None);
                    answer
                }
                Err(error) => {
                    state.error = Some(error);
                    state.silent_since = state.silent_since.or(Some(now));
                    Answer::Lost
                }
            };
            next = state.lease.answer(now, answer);
            drop(state);
            self.changed.notify_all();
        }
    }

    fn perform(&self, request: &Request) -> Result<Answer> {
        let key = &self.subject.key;
        let body = |record: &Record| {
            serde_json::to_vec_pretty(record)
                .map_err(|e| Error::internal(format!("cannot write the lease: {e}")))
        };
        let put = match request {
            Request::Read => {
                return match self.objects.read(key)? {
                    None => Ok(Answer::Missing),
                    Some(object) => {
                        let record = read_record(self.objects.place(), key, &object.body)?;
                        if self.lock.has_ended(&record)? {
                            return Ok(Answer::Abandoned(record, object.etag));
                        }
                        Ok(Answer::Found(record, object.etag))
                    }
                };
            }
            Request::Create(record) => self.objects.create(key, &body(record)?)?,
            Request::Replace(record, etag) => self.objects.replace(key, &body(record)?, etag)?,
        };
        Ok(match put {
            Put::Written(etag) => Answer::Written(etag),
            Put::Refused => Answer::Refused,
            Put::Conflict => Answer::Conflict,
        })
    }

    fn busy(&self, state: &State) -> Error {
        let who = state.lease.other().map_or_else(
            || format!("`{}`", self.subject.playbook),
            |other| {
                format!(
                    "run {} of `{}` is in progress ({})",
                    other.run, self.subject.playbook, other.holder
                )
            },
        );
        Error::new(ErrorKind::AlreadyExists, who).hint(
            "wait until it ends, or stop it with Ctrl-C; a run whose machine is gone can be \
             resumed or destroyed after 90 s",
        )
    }

    fn lost(&self, state: &State) -> Error {
        let by = state.lease.other().map_or_else(String::new, |other| {
            format!(" by {} for run {}", other.holder, other.run)
        });
        Error::new(
            ErrorKind::Internal,
            format!(
                "another client has taken over the lease of `{}`{by}: this process stops before \
                 its next effect",
                self.subject.playbook
            ),
        )
        .hint(
            "a client that sends no sign of life for 90 s counts as dead: this machine slept, or \
             did not reach the bucket",
        )
    }

    fn silent(&self, state: &State) -> Error {
        unusable(self.objects.place(), state.error.as_ref())
    }
}

/// Parses a lease.
///
/// Fails if the object is not a lease.
pub(super) fn read_record(place: &str, key: &str, body: &[u8]) -> Result<Record> {
    serde_json::from_slice(body).map_err(|e| {
        Error::invalid(format!(
            "the object `{key}` of the ledger {place} is not a lease: {e}"
        ))
        .hint("another program wrote it, or it is damaged: delete it when no run is in progress")
    })
}

/// The error for a store that cannot be used. It is not retryable: a playbook that
/// tries again would act without a record.
pub(super) fn unusable(place: &str, cause: Option<&Error>) -> Error {
    let why = cause.map_or_else(|| "no answer".to_owned(), ToString::to_string);
    let kind = match cause.map(|cause| cause.kind) {
        Some(ErrorKind::Denied) => ErrorKind::Denied,
        Some(ErrorKind::NotFound) => ErrorKind::NotFound,
        _ => ErrorKind::Internal,
    };
    let error = Error::new(kind, format!("cannot use the ledger {place}: {why}"));
    match cause.and_then(|cause| cause.hint.clone()) {
        Some(hint) => error.hint(hint),
        None => {
            error.hint("check the network and the bucket; `autorun resume RUN` continues a run")
        }
    }
}
