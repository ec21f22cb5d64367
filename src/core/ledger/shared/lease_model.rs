//! Two clients of a lease in a model of the store and the network: every order of a
//! few events, and random orders of many.
//!
//! A request may be lost before or after its effect, arrive twice, or arrive long after
//! its sender has stopped waiting for it. The clients' clocks differ by an hour. A client
//! that is not scheduled is a process that was stopped or a laptop that slept. A client
//! that is killed begins again on its machine, which knows that the process has ended.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::lease::{Answer, Lease, Periods, Phase, Record, Request, Step};

const fn ticks(ticks: u64) -> Duration {
    Duration::from_secs(ticks)
}

/// Short periods with the same order as the usual ones.
const PERIODS: Periods = Periods {
    renew: ticks(1),
    valid: ticks(2),
    takeover: ticks(3),
    look: ticks(1),
    retry: ticks(0),
    linger: ticks(0),
    gather: ticks(0),
    patience: ticks(100),
};

/// Another client's clock shows an hour more.
const OFFSETS: [Duration; 2] = [ticks(0), ticks(3600)];

#[derive(Clone, Hash)]
struct Client {
    lease: Lease,
    periods: Periods,
    /// The number of the request whose answer it awaits.
    awaits: Option<u32>,
    sent: u32,
}

#[derive(Clone, Hash)]
struct Sent {
    client: usize,
    number: u32,
    request: Request,
}

#[derive(Clone, Hash)]
struct World {
    now: Duration,
    lease: Option<(Record, u32)>,
    writes: u32,
    network: Vec<Sent>,
    clients: [Client; 2],
    /// The nonces of killed clients, and their machines.
    killed: Vec<(usize, String)>,
    /// How much more may go wrong on the way.
    faults: u32,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Tick,
    /// The client does what its state asks for.
    Schedule(usize),
    /// The store processes a request and the client gets the answer.
    Arrive(usize),
    /// The store processes a request; it stays on its way, as if sent twice.
    ArriveTwice(usize),
    /// The answer is lost.
    LoseAnswer(usize),
    /// The request is lost.
    LoseRequest(usize),
    /// The client stops waiting; the request may still arrive.
    GiveUp(usize),
    Release(usize),
    /// The process is killed and its machine starts another one. What it has sent is
    /// still on its way.
    Kill(usize),
}

impl Event {
    fn is_fault(self) -> bool {
        !matches!(
            self,
            Self::Tick | Self::Schedule(_) | Self::Release(_) | Self::Arrive(_)
        )
    }
}

impl World {
    fn new(periods: Periods, faults: u32) -> Self {
        let client = |name: &str| Client {
            lease: Lease::new(Record::of_client(name.to_owned()), periods),
            periods,
            awaits: None,
            sent: 0,
        };
        Self {
            killed: Vec::new(),
            now: ticks(0),
            lease: None,
            writes: 0,
            network: Vec::new(),
            clients: [client("a"), client("b")],
            faults,
        }
    }

    fn clock(&self, client: usize) -> Duration {
        self.now + OFFSETS[client]
    }

    fn holders(&self) -> usize {
        let clients = self.clients.iter().enumerate();
        let valid = clients.filter(|(n, client)| client.lease.is_valid(self.clock(*n)));
        valid.count()
    }

    fn send(&mut self, client: usize, request: Request) {
        let number = self.clients[client].sent;
        self.clients[client].sent += 1;
        self.clients[client].awaits = Some(number);
        self.network.push(Sent {
            client,
            number,
            request,
        });
    }

    /// What the store does with a request of a machine, and what it answers.
    fn process(&mut self, machine: usize, request: &Request) -> Answer {
        let (record, allowed) = match request {
            Request::Read => {
                let Some((record, etag)) = &self.lease else {
                    return Answer::Missing;
                };
                let writer = (machine, record.nonce.clone());
                if self.killed.contains(&writer) {
                    return Answer::Abandoned(record.clone(), etag.to_string());
                }
                return Answer::Found(record.clone(), etag.to_string());
            }
            Request::Create(record) => (record, self.lease.is_none()),
            Request::Replace(record, etag) => {
                let current = self.lease.as_ref().map(|(_, etag)| etag.to_string());
                (record, current.as_ref() == Some(etag))
            }
        };
        if !allowed {
            return Answer::Refused;
        }
        self.writes += 1;
        self.lease = Some((record.clone(), self.writes));
        Answer::Written(self.writes.to_string())
    }

    fn answer(&mut self, client: usize, number: u32, answer: Answer) {
        let now = self.clock(client);
        let one = &mut self.clients[client];
        if one.awaits != Some(number) {
            return;
        }
        one.awaits = None;
        if let Some(request) = one.lease.answer(now, answer) {
            self.send(client, request);
        }
    }

    /// Performs an event. Returns false if it cannot happen.
    fn perform(&mut self, event: Event) -> bool {
        if event.is_fault() {
            self.faults -= 1;
        }
        match event {
            Event::Tick => self.now += ticks(1),
            Event::Schedule(client) => {
                let now = self.clock(client);
                let one = &mut self.clients[client];
                if one.awaits.is_some() {
                    return false;
                }
                match one.lease.next(now) {
                    Step::Send(request) => self.send(client, request),
                    Step::Wait(_) | Step::Nothing => return false,
                }
            }
            Event::Release(client) => {
                let now = self.clock(client);
                let one = &mut self.clients[client];
                if one.lease.phase() != Phase::Holding || one.awaits.is_some() {
                    return false;
                }
                one.lease.release(now);
            }
            Event::Kill(client) => {
                let nonce = format!("{client} {}", self.killed.len());
                let one = &mut self.clients[client];
                // A process that has sent nothing is like a new one.
                if one.sent == 0 {
                    return false;
                }
                let fresh = Lease::new(Record::of_client(nonce), one.periods);
                let killed = std::mem::replace(&mut one.lease, fresh);
                one.awaits = None;
                self.killed.push((client, killed.nonce().to_owned()));
            }
            Event::Arrive(n) | Event::LoseAnswer(n) => {
                let sent = self.network.remove(n);
                let mut answer = self.process(sent.client, &sent.request);
                if matches!(event, Event::LoseAnswer(_)) {
                    answer = Answer::Lost;
                }
                self.answer(sent.client, sent.number, answer);
            }
            Event::ArriveTwice(n) => {
                let sent = self.network[n].clone();
                let answer = self.process(sent.client, &sent.request);
                self.answer(sent.client, sent.number, answer);
            }
            Event::LoseRequest(n) => {
                let sent = self.network.remove(n);
                self.answer(sent.client, sent.number, Answer::Lost);
            }
            Event::GiveUp(n) => {
                let sent = self.network[n].clone();
                if self.clients[sent.client].awaits != Some(sent.number) {
                    return false;
                }
                self.answer(sent.client, sent.number, Answer::Lost);
            }
        }
        true
    }

    fn events(&self) -> Vec<Event> {
        let mut events = vec![Event::Tick];
        for client in 0..2 {
            events.extend([Event::Schedule(client), Event::Release(client)]);
            if self.faults > 0 {
                events.push(Event::Kill(client));
            }
        }
        for (n, sent) in self.network.iter().enumerate() {
            events.push(Event::Arrive(n));
            if self.faults > 0 {
                events.push(Event::LoseRequest(n));
            }
            // A read without an answer is a lost one.
            if self.faults > 0 && sent.request != Request::Read {
                events.extend([
                    Event::LoseAnswer(n),
                    Event::ArriveTwice(n),
                    Event::GiveUp(n),
                ]);
            }
        }
        events
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// A search through all sequences of a few events.
#[derive(Default)]
struct Search {
    /// The states that it has seen, with the number of events that were left there.
    known: HashMap<u64, usize>,
    /// How many states it has seen after a takeover.
    takeovers: usize,
    path: Vec<Event>,
    /// The first way to two holders.
    wrong: Option<Vec<Event>>,
}

impl Search {
    /// Performs all sequences of at most `depth` events from this state.
    fn from(&mut self, world: &World, depth: usize) {
        if world.holders() > 1 {
            self.wrong = Some(self.path.clone());
        }
        let known = self.known.entry(world.fingerprint()).or_default();
        if self.wrong.is_some() || depth == 0 || *known >= depth {
            return;
        }
        *known = depth;
        let is_taken_over = |(record, _): &(Record, u32)| record.generation > 1;
        self.takeovers += usize::from(world.lease.as_ref().is_some_and(is_taken_over));
        for event in world.events() {
            let mut next = world.clone();
            if next.perform(event) {
                self.path.push(event);
                self.from(&next, depth - 1);
                self.path.pop();
            }
        }
    }
}

/// A state from which a search begins: the first client, which is like the second one,
/// has begun; or it holds the lease, and the second one has looked at it.
fn start(periods: Periods, is_held: bool) -> World {
    let mut world = World::new(periods, FAULTS);
    world.perform(Event::Schedule(0));
    if is_held {
        for event in [
            Event::Arrive(0),
            Event::Schedule(1),
            Event::Arrive(0),
            Event::Schedule(1),
            Event::Arrive(0),
        ] {
            assert!(world.perform(event));
        }
    }
    world
}

/// How many events follow on each start. A takeover needs six after the second one.
const DEPTH: usize = 9;

/// The most faults of a sequence.
const FAULTS: u32 = 2;

#[test]
#[expect(clippy::print_stdout, reason = "the counts belong to the proof")]
fn two_clients_never_hold_the_lease_at_the_same_time() {
    let mut search = Search::default();
    for is_held in [false, true] {
        search.from(&start(PERIODS, is_held), DEPTH);
    }
    assert!(search.wrong.is_none(), "{:?}", search.wrong);
    assert!(search.takeovers > 0, "the search must reach takeovers");
    println!(
        "{} states, {} after a takeover",
        search.known.len(),
        search.takeovers
    );
}

#[test]
fn the_search_finds_a_takeover_that_is_too_early() {
    let early = Periods {
        takeover: ticks(1),
        ..PERIODS
    };
    let mut search = Search::default();
    search.from(&start(early, true), DEPTH);
    assert!(search.wrong.is_some());
}

/// Performs a random schedule. Returns how often a client has taken the lease.
fn random_schedule(seed: u64) -> u64 {
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::new(PERIODS, u32::MAX);
    let mut performed = Vec::new();
    for _ in 0..60 {
        let events = world.events();
        // Without a preference, most requests would be lost.
        let event = if random.random_bool(0.5) {
            let normal = |event: &Event| matches!(event, Event::Arrive(_) | Event::Schedule(_));
            let normal: Vec<Event> = events.into_iter().filter(normal).collect();
            normal[random.random_range(0..normal.len())]
        } else {
            events[random.random_range(0..events.len())]
        };
        if world.perform(event) {
            performed.push(event);
            assert!(world.holders() <= 1, "seed {seed}: {performed:?}");
        }
        // A client that has ended begins again, as another process.
        for client in 0..2 {
            let phase = world.clients[client].lease.phase();
            if matches!(phase, Phase::Busy | Phase::Lost | Phase::Released) {
                let nonce = format!("{client} {}", performed.len());
                let fresh = Lease::new(Record::of_client(nonce), PERIODS);
                world.clients[client].lease = fresh;
                world.clients[client].awaits = None;
            }
        }
    }
    world.lease.map_or(0, |(record, _)| record.generation)
}

#[test]
fn random_schedules_have_one_holder_at_most() {
    let taken: u64 = (0..100_000).map(random_schedule).sum();
    assert!(
        taken > 100_000,
        "the schedules must take the lease: {taken}"
    );
}

#[test]
fn a_client_that_slept_may_not_act_and_does_not_take_the_lease_back() {
    let mut world = World::new(PERIODS, 0);
    let through = |world: &mut World, client: usize| {
        while world.perform(Event::Schedule(client)) {
            while !world.network.is_empty() {
                world.perform(Event::Arrive(0));
            }
        }
    };
    through(&mut world, 0);
    assert!(world.clients[0].lease.is_valid(world.clock(0)));
    for _ in 0..4 {
        world.perform(Event::Tick);
        through(&mut world, 1);
    }
    assert!(!world.clients[0].lease.is_valid(world.clock(0)));
    assert!(world.clients[1].lease.is_valid(world.clock(1)));
    through(&mut world, 0);
    assert_eq!(world.clients[0].lease.phase(), Phase::Lost);
    assert_eq!(world.clients[0].lease.other().unwrap().nonce, "b");
}

#[test]
fn a_living_holder_is_noticed_at_its_next_beat() {
    let mut world = World::new(PERIODS, 0);
    let once = |world: &mut World, client: usize| {
        world.perform(Event::Schedule(client));
        while !world.network.is_empty() {
            world.perform(Event::Arrive(0));
        }
    };
    once(&mut world, 0);
    // Its guess is refused, then it looks.
    once(&mut world, 1);
    once(&mut world, 1);
    world.perform(Event::Tick);
    once(&mut world, 0);
    once(&mut world, 1);
    assert_eq!(world.clients[1].lease.phase(), Phase::Busy);
    // After its release, it is free at once.
    world.perform(Event::Release(0));
    once(&mut world, 0);
    assert_eq!(world.clients[0].lease.phase(), Phase::Released);
    let again = Lease::new(Record::of_client("c".to_owned()), PERIODS);
    world.clients[1].lease = again.that_exists();
    once(&mut world, 1);
    assert!(world.clients[1].lease.is_valid(world.clock(1)));
    assert_eq!(world.clients[1].lease.generation(), 2);
}
