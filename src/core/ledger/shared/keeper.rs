//! Takes a lease in the store, and writes it again in time, on a thread of its own.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Wake;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::elapsed::elapsed;
use super::holder::HolderLock;
use super::lease::{Answer, Lease, Periods, Phase, Record, Request, Step};
use super::objects::{Object, Objects, Put, is_final};
use super::stop::{Alarm, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::store::Store;
use crate::report::Reporter;

/// How long to wait until the lease is released.
const RELEASES_WITHIN: Duration = Duration::from_secs(10);

/// How long to wait for the answer to a write that may have taken the lease, if it is
/// not wanted any more.
const GIVES_UP_WITHIN: Duration = Duration::from_secs(1);

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
    _alarm: Alarm,
}

#[derive(Debug)]
struct Shared {
    objects: Arc<dyn Objects>,
    subject: Subject,
    periods: Periods,
    stop: Stop,
    /// The answer to the first read, if it was sent together with another request.
    ahead: Mutex<Option<Result<Option<Object>>>>,
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
    /// Takes a lease. Waits until it is clear whether its last holder is alive. `known` is
    /// the lease as it was a moment ago, if that is known.
    ///
    /// Fails with [`ErrorKind::AlreadyExists`] if another client holds it and is alive,
    /// with [`ErrorKind::Cancelled`] as soon as `stop` wants it, and with the error of
    /// the store if that does not answer.
    pub(super) fn take(
        store: &Store,
        objects: Arc<dyn Objects>,
        (subject, known): (Subject, Option<Object>),
        (periods, stop): (Periods, &Stop),
        report: &Reporter,
    ) -> Result<Arc<Self>> {
        if stop.is_wanted() {
            return Err(Error::cancelled());
        }
        let nonce = format!("{:032x}", rand::random::<u128>());
        let lock = HolderLock::take(store, &nonce)?;
        let own = Record {
            locks: lock.directory(),
            run: subject.run.clone(),
            machine: subject.machine.clone(),
            holder: subject.holder.clone(),
            ..Record::of_client(nonce)
        };
        let lease = Lease::new(own, periods);
        let lease = match known {
            Some(_) => lease.that_exists(),
            None => lease,
        };
        let shared = Arc::new(Shared {
            objects,
            subject,
            periods,
            stop: stop.clone(),
            ahead: Mutex::new(known.map(|known| Ok(Some(known)))),
            lock,
            state: Mutex::new(State {
                lease,
                error: None,
                silent_since: None,
                gone: false,
            }),
            changed: Condvar::new(),
        });
        let works = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("lease".to_owned())
            .spawn(move || works.keep())
            .map_err(|e| Error::internal(format!("cannot start a thread: {e}")))?;
        let keeper = Self {
            _alarm: stop.wakes(&shared),
            shared,
            thread: Mutex::new(Some(thread)),
        };
        keeper.shared.taken(report)?;
        Ok(Arc::new(keeper))
    }

    /// Returns the generation of the lease.
    pub(super) fn generation(&self) -> u64 {
        self.shared.state().lease.generation()
    }

    pub(super) fn periods(&self) -> Periods {
        self.shared.periods
    }

    pub(super) fn stop(&self) -> Stop {
        self.shared.stop.clone()
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
                // A lease that was released while the store did not answer is not lost.
                return Err(match state.lease.phase() {
                    Phase::Released | Phase::Holding | Phase::Checking => {
                        self.shared.silent(&state)
                    }
                    Phase::Lost | Phase::Seeking | Phase::Busy => self.shared.lost(&state),
                });
            }
            if now >= end {
                return Err(self.shared.silent(&state));
            }
            if self.shared.stop.is_wanted() {
                return Err(Error::cancelled());
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
        let limit = if state.lease.seeks() {
            GIVES_UP_WITHIN
        } else {
            RELEASES_WITHIN
        };
        state.lease.release(elapsed());
        self.shared.changed.notify_all();
        let end = elapsed() + limit;
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

/// Wakes the threads that wait for a change.
impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        // A thread that has looked at `stop` already waits then.
        drop(self.state());
        self.changed.notify_all();
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

    /// Waits until the lease is taken.
    fn taken(&self, report: &Reporter) -> Result<()> {
        let mut shown = None;
        let mut state = self.state();
        loop {
            match state.lease.phase() {
                Phase::Holding => return Ok(()),
                Phase::Seeking => {}
                Phase::Busy | Phase::Checking | Phase::Lost | Phase::Released => {
                    return Err(self.busy(&state));
                }
            }
            if self.stop.is_wanted() {
                return Err(Error::cancelled());
            }
            let silent = state
                .silent_since
                .map(|since| elapsed().saturating_sub(since));
            if silent.is_some_and(|silent| silent >= self.periods.patience)
                || state.error.as_ref().is_some_and(is_final)
            {
                return Err(self.silent(&state));
            }
            if let Some(other) = state.lease.awaited().filter(|_| shown.is_none()) {
                shown = Some(self.show_wait(other, report));
            }
            state = self.wait(state, self.periods.look);
        }
    }

    /// Says for whom this client waits. The terminal shows it until the returned value is
    /// dropped.
    fn show_wait(&self, other: &Record, report: &Reporter) -> Reporter {
        let limit = self.periods.takeover.as_secs();
        report.info(format!(
            "waiting {limit} s for a sign of life of run {}:\n  {}",
            other.run, other.holder
        ));
        let shown = report.working(&format!("waiting for run {}", other.run));
        shown.doing(&format!("at most {limit} s"));
        shown
    }

    /// Works until the lease is released or lost.
    fn keep(&self) {
        self.begin();
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

    /// Sends the first request. If it is a write, the lease is read at the same time: the
    /// client needs its content next if the write is refused. An answer that is a moment
    /// old does no harm, because every write has a condition.
    fn begin(&self) {
        let step = self.state().lease.next(elapsed());
        match step {
            Step::Send(request @ Request::Create(_)) => thread::scope(|scope| {
                scope.spawn(|| {
                    let read = self.objects.read(&self.subject.key);
                    *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some(read);
                });
                self.send(request);
            }),
            Step::Send(request) => self.send(request),
            Step::Wait(_) | Step::Nothing => {}
        }
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
                let ahead = self
                    .ahead
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take();
                return match ahead.unwrap_or_else(|| self.objects.read(key))? {
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
