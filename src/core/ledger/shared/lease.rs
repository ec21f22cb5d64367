//! The lease as a state machine without I/O: who may work under a name.
//!
//! The lease is one object. A client takes it with `If-None-Match: *`, or replaces it
//! with `If-Match`; a client that knows nothing of the lease tries the former first. It
//! writes the lease again every 20 s, and each time the object gets
//! another ETag. No wall clocks are compared: a client may take over the lease only
//! when it has itself seen the same ETag for 90 s of its own clock. A holder counts its
//! own 60 s from the moment at which it *sent* its last successful write, so it stops
//! 30 s before another client may begin. Only a client that knows that the holder has
//! ended need not wait: the holder was a process of the same machine, and had a lock
//! that the kernel removes with the process.
//!
//! A request without an answer may or may not have had its effect, also much later.
//! Therefore, each record that a client writes is unique, and the client reads the
//! object again to find out. All times are of one client's clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The periods of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Periods {
    /// How often the holder writes the lease.
    pub renew: Duration,
    /// How long the holder may act after it sent its last successful write.
    pub valid: Duration,
    /// How long another client must see the same ETag before it takes over.
    pub takeover: Duration,
    /// How often a client that waits reads the lease.
    pub look: Duration,
    /// The pause after a request without an answer.
    pub retry: Duration,
    /// How long a change that no call waits for may wait for others, to travel with them.
    pub linger: Duration,
    /// How long a change of a branch waits for those of other branches.
    pub gather: Duration,
    /// How long the store may not answer before the run stops.
    pub patience: Duration,
}

impl Record {
    /// Returns the record of a client that does not hold the lease yet.
    pub(super) fn of_client(nonce: String) -> Self {
        Self {
            generation: 0,
            nonce,
            beat: 0,
            released: false,
            run: String::new(),
            machine: String::new(),
            locks: None,
            holder: String::new(),
        }
    }
}

impl Periods {
    /// The periods that all clients use.
    pub const USUAL: Self = Self {
        renew: Duration::from_secs(20),
        valid: Duration::from_secs(60),
        takeover: Duration::from_secs(90),
        look: Duration::from_secs(5),
        retry: Duration::from_secs(1),
        linger: Duration::from_millis(200),
        gather: Duration::from_millis(4),
        patience: Duration::from_secs(30),
    };
}

/// The content of the lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Record {
    /// Increases each time that a client takes the lease.
    pub(super) generation: u64,
    /// Random; identifies the client that wrote the record.
    pub(super) nonce: String,
    /// Increases each time that the holder writes the lease.
    pub(super) beat: u64,
    /// Whether the holder has released it.
    pub(super) released: bool,
    /// The run for which it was taken.
    pub(super) run: String,
    /// The ID of the ledger on the holder's machine.
    pub(super) machine: String,
    /// The directory of the holder's lock; see [`super::holder`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) locks: Option<String>,
    /// The holder, for messages: `user@host, process 123`.
    pub(super) holder: String,
}

/// A request to the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Request {
    /// Read the lease.
    Read,
    /// Write the lease if it does not exist.
    Create(Record),
    /// Write the lease if it has this ETag.
    Replace(Record, String),
}

/// The answer of the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    /// The lease does not exist.
    Missing,
    /// The lease and its ETag.
    Found(Record, String),
    /// The same, and its holder has ended without a release: a process of this machine
    /// whose lock the kernel has removed.
    Abandoned(Record, String),
    /// The lease was written and has this ETag.
    Written(String),
    /// The condition of the request was not met (412).
    Refused,
    /// Another write was in progress (409).
    Conflict,
    /// There was no answer, or one that does not show whether the request had an
    /// effect.
    Lost,
}

/// What a client does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Send this request.
    Send(Request),
    /// Wait until this time, or until the caller wants something.
    Wait(Duration),
    /// Nothing more: the lease is another's, lost or released.
    Nothing,
}

/// The state of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    /// It looks at the lease and waits until it may take it.
    Seeking,
    /// It holds the lease.
    Holding,
    /// The result of its last write is unknown: it reads the lease.
    Checking,
    /// Another client holds the lease and is alive.
    Busy,
    /// It held the lease, and lost it.
    Lost,
    /// It released the lease.
    Released,
}

/// A record of another client, and since when it has been seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Seen {
    etag: String,
    since: Duration,
}

/// The last write, whose effect may be unknown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Write {
    record: Record,
    /// When it was first sent.
    sent: Duration,
}

/// A client of the lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lease {
    /// The next record that this client writes, apart from its numbers.
    own: Record,
    periods: Periods,
    phase: Phase,
    /// When the next request is due.
    due: Duration,
    /// When the request was sent whose answer is awaited.
    asked: Duration,
    seen: Option<Seen>,
    write: Option<Write>,
    /// The record that this client holds, and its ETag.
    held: Option<(Record, String)>,
    /// When the last successful write was sent.
    valid_from: Option<Duration>,
    /// Another client's record, for messages.
    other: Option<Record>,
    /// Whether to write the lease without a look at it: often, it does not exist.
    guesses: bool,
    ends: bool,
}

impl Lease {
    /// Creates a client that wants the lease. The nonce of its record must be unique; the
    /// numbers in it do not count.
    #[must_use]
    pub(super) fn new(own: Record, periods: Periods) -> Self {
        Self {
            own: Record {
                beat: 0,
                released: false,
                ..own
            },
            periods,
            phase: Phase::Seeking,
            due: Duration::ZERO,
            asked: Duration::ZERO,
            seen: None,
            write: None,
            held: None,
            valid_from: None,
            other: None,
            guesses: true,
            ends: false,
        }
    }

    /// Reads the lease before it writes it, because the lease is known to exist.
    #[must_use]
    pub(super) fn that_exists(self) -> Self {
        Self {
            guesses: false,
            ..self
        }
    }

    /// Returns the state.
    #[must_use]
    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns whether this client may act.
    #[must_use]
    pub(super) fn is_valid(&self, now: Duration) -> bool {
        let held = matches!(self.phase, Phase::Holding | Phase::Checking);
        let from = self.valid_from.filter(|_| held && !self.ends);
        from.is_some_and(|from| now < from + self.periods.valid)
    }

    /// Returns whether this client does not hold the lease, and may only have taken it
    /// with a write that is on its way.
    #[must_use]
    pub(super) fn seeks(&self) -> bool {
        self.phase == Phase::Seeking
    }

    /// Returns the record for whose change this client waits.
    #[must_use]
    pub(super) fn awaited(&self) -> Option<&Record> {
        let waits = self.phase == Phase::Seeking && self.seen.is_some();
        self.other.as_ref().filter(|_| waits)
    }

    /// Returns the generation of the lease that this client holds.
    #[must_use]
    pub(super) fn generation(&self) -> u64 {
        self.own.generation
    }

    /// Returns what identifies the records of this client.
    #[cfg(test)]
    pub(super) fn nonce(&self) -> &str {
        &self.own.nonce
    }

    /// Returns the record of another client that was seen last.
    #[must_use]
    pub(super) fn other(&self) -> Option<&Record> {
        self.other.as_ref()
    }

    /// Writes the lease as soon as possible.
    pub(super) fn hurry(&mut self, now: Duration) {
        if self.phase == Phase::Holding {
            self.due = self.due.min(now);
        }
    }

    /// Releases the lease as soon as possible.
    pub(super) fn release(&mut self, now: Duration) {
        self.ends = true;
        match self.phase {
            Phase::Holding | Phase::Checking => self.due = self.due.min(now),
            // A write that is on its way may take the lease.
            Phase::Seeking if self.write.is_some() => self.due = self.due.min(now),
            Phase::Seeking => self.phase = Phase::Released,
            Phase::Busy | Phase::Lost | Phase::Released => {}
        }
    }

    /// Returns what to do at this time. After a request, the next call is
    /// [`Self::answer`].
    #[must_use]
    pub(super) fn next(&mut self, now: Duration) -> Step {
        if matches!(self.phase, Phase::Busy | Phase::Lost | Phase::Released) {
            return Step::Nothing;
        }
        if now < self.due {
            return Step::Wait(self.due);
        }
        self.asked = now;
        if std::mem::take(&mut self.guesses) {
            return Step::Send(self.take(now, 0, None));
        }
        match (self.phase, &self.held) {
            (Phase::Holding, Some((record, etag))) => {
                let next = Record {
                    beat: record.beat + 1,
                    released: self.ends,
                    ..record.clone()
                };
                let etag = etag.clone();
                self.note_write(&next, now);
                Step::Send(Request::Replace(next, etag))
            }
            _ => Step::Send(Request::Read),
        }
    }

    /// Processes the answer to the last request. Returns a request that must be sent
    /// at once, if there is one.
    #[must_use]
    pub(super) fn answer(&mut self, now: Duration, answer: Answer) -> Option<Request> {
        match (self.phase, answer) {
            (Phase::Seeking, Answer::Missing | Answer::Abandoned(..)) if self.ends => {
                self.phase = Phase::Released;
                None
            }
            (Phase::Seeking, Answer::Missing) => {
                let after = self.other.as_ref().map_or(0, |other| other.generation);
                Some(self.take(now, after, None))
            }
            (Phase::Seeking, Answer::Found(record, etag)) => self.look_at(now, record, etag),
            (Phase::Seeking, Answer::Abandoned(record, etag)) => {
                let generation = record.generation;
                self.other = Some(record);
                Some(self.take(now, generation, Some(etag)))
            }
            (Phase::Seeking | Phase::Holding, Answer::Written(etag)) => {
                self.hold(etag);
                None
            }
            (Phase::Checking, Answer::Found(record, etag) | Answer::Abandoned(record, etag)) => {
                self.check(now, &record, etag);
                None
            }
            (Phase::Checking, Answer::Missing) => {
                self.phase = Phase::Lost;
                None
            }
            (Phase::Holding, answer) => {
                self.phase = Phase::Checking;
                self.read_after(now, &answer);
                None
            }
            (_, answer) => {
                self.read_after(now, &answer);
                None
            }
        }
    }

    /// Reads the lease at once if its state is known to be another than expected.
    fn read_after(&mut self, now: Duration, answer: &Answer) {
        self.due = match answer {
            Answer::Refused => now,
            _ => now + self.periods.retry,
        };
    }

    /// Looks at a lease that this client wants.
    fn look_at(&mut self, now: Duration, record: Record, etag: String) -> Option<Request> {
        if record.nonce == self.own.nonce {
            // A write of this client had its effect, and its answer was lost.
            if self.write.as_ref().is_some_and(|w| w.record == record) {
                self.hold(etag);
            } else {
                self.phase = Phase::Lost;
            }
            return None;
        }
        if self.ends {
            self.phase = Phase::Released;
            return None;
        }
        let generation = record.generation;
        let free = record.released;
        self.other = Some(record);
        if free {
            return Some(self.take(now, generation, Some(etag)));
        }
        match &self.seen {
            Some(seen) if seen.etag != etag => self.phase = Phase::Busy,
            // The lease had this ETag when the answer to the first read arrived, and
            // had it when this read was sent.
            Some(seen) if self.asked.saturating_sub(seen.since) >= self.periods.takeover => {
                return Some(self.take(now, generation, Some(etag)));
            }
            Some(seen) => {
                let end = seen.since + self.periods.takeover;
                self.due = end.min(now + self.periods.look);
            }
            None => {
                self.seen = Some(Seen { etag, since: now });
                self.due = now + self.periods.look;
            }
        }
        None
    }

    /// Takes the lease after a generation.
    fn take(&mut self, now: Duration, after: u64, etag: Option<String>) -> Request {
        let record = Record {
            generation: after + 1,
            ..self.own.clone()
        };
        self.note_write(&record, now);
        match etag {
            Some(etag) => Request::Replace(record, etag),
            None => Request::Create(record),
        }
    }

    /// Notes a write. A write that is sent again keeps the time at which it was first
    /// sent: the first one may be the one that had an effect.
    fn note_write(&mut self, record: &Record, now: Duration) {
        if self.write.as_ref().is_none_or(|w| w.record != *record) {
            self.write = Some(Write {
                record: record.clone(),
                sent: now,
            });
        }
    }

    /// The last write had its effect.
    fn hold(&mut self, etag: String) {
        let Some(write) = &self.write else { return };
        if write.record.released {
            self.phase = Phase::Released;
            return;
        }
        self.own.generation = write.record.generation;
        self.valid_from = Some(write.sent);
        self.due = write.sent + self.periods.renew;
        self.held = Some((write.record.clone(), etag));
        self.phase = Phase::Holding;
        if self.ends {
            self.due = write.sent;
        }
    }

    /// Compares the lease with the last write, whose effect is unknown.
    fn check(&mut self, now: Duration, record: &Record, etag: String) {
        let landed = self.write.as_ref().is_some_and(|w| w.record == *record);
        let is_before = self.held.as_ref().is_some_and(|(_, held)| *held == etag);
        if landed {
            self.hold(etag);
        } else if is_before || (record.nonce == self.own.nonce && !record.released) {
            // The write has had no effect yet, or an earlier one has. The time from
            // which the lease counts stays, because it can only be too early.
            self.held = Some((record.clone(), etag));
            self.phase = Phase::Holding;
            self.due = now;
        } else {
            self.other = Some(record.clone());
            self.phase = Phase::Lost;
        }
    }
}
