//! Limits on the connections of a listener, overall and for each source.
//!
//! A listener accepts every connection. If a source already has its share, its
//! oldest connection is closed for the new one. If all places are taken, the
//! oldest connection of the source with the most connections is closed. A
//! connection that sent a validly signed request is settled: its place is never
//! taken.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// The maximum number of connections at the same time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Unsettled connections of all sources.
    pub(crate) all: usize,
    /// Unsettled connections of one source.
    pub(crate) each: usize,
    /// Settled connections of all sources.
    pub(crate) settled: usize,
}

/// The connections of one listener, by source.
#[derive(Debug)]
pub(crate) struct Crowd<K: Clone + Eq + Hash> {
    limits: Limits,
    places: Mutex<Places<K>>,
}

#[derive(Debug)]
struct Places<K> {
    next: u64,
    /// The place numbers of each source, the oldest first.
    of: HashMap<K, BTreeSet<u64>>,
    all: HashMap<u64, CancellationToken>,
    settled: BTreeSet<u64>,
}

impl<K: Clone + Eq + Hash> Crowd<K> {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        let places = Mutex::new(Places {
            next: 0,
            of: HashMap::new(),
            all: HashMap::new(),
            settled: BTreeSet::new(),
        });
        Arc::new(Self { limits, places })
    }

    /// Returns a place for a new connection. It may close another connection.
    pub(crate) fn enter(self: &Arc<Self>, source: K) -> Place<K> {
        let evicted = CancellationToken::new();
        let mut places = self.places();
        if places.of.get(&source).map_or(0, BTreeSet::len) >= self.limits.each {
            places.evict_oldest_of(&source);
        } else if places.all.len() >= self.limits.all {
            places.evict_one();
        }
        let number = places.next;
        places.next += 1;
        places.of.entry(source.clone()).or_default().insert(number);
        places.all.insert(number, evicted.clone());
        drop(places);
        Place {
            crowd: Arc::clone(self),
            source,
            number,
            evicted,
        }
    }

    /// Closes the oldest connection of the source that has the most.
    pub(crate) fn evict_one(&self) {
        self.places().evict_one();
    }

    fn places(&self) -> MutexGuard<'_, Places<K>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> Places<K> {
    fn evict_one(&mut self) {
        let oldest = |numbers: &BTreeSet<u64>| std::cmp::Reverse(numbers.first().copied());
        let most = self.of.iter().max_by_key(|(_, n)| (n.len(), oldest(n)));
        if let Some(source) = most.map(|(source, _)| source.clone()) {
            self.evict_oldest_of(&source);
        }
    }

    fn evict_oldest_of(&mut self, source: &K) {
        let oldest = self.of.get(source).and_then(|n| n.first().copied());
        if let Some(evicted) = oldest.and_then(|number| self.leave(source, number)) {
            evicted.cancel();
        }
    }

    fn leave(&mut self, source: &K, number: u64) -> Option<CancellationToken> {
        if let Some(numbers) = self.of.get_mut(source) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.of.remove(source);
            }
        }
        self.settled.remove(&number);
        self.all.remove(&number)
    }
}

/// The place of one connection, free again when this value is dropped.
#[derive(Debug)]
pub(crate) struct Place<K: Clone + Eq + Hash> {
    crowd: Arc<Crowd<K>>,
    source: K,
    number: u64,
    evicted: CancellationToken,
}

impl<K: Clone + Eq + Hash> Place<K> {
    /// Protects the place from eviction, because the client has proved its
    /// identity. Does nothing if there are already too many settled
    /// connections.
    pub(crate) fn settle(&self) {
        let mut places = self.crowd.places();
        let room = places.settled.len() < self.crowd.limits.settled;
        if room && places.leave(&self.source, self.number).is_some() {
            places.settled.insert(self.number);
        }
    }

    /// Waits until this place is taken for another connection.
    pub(crate) async fn taken(&self) {
        self.evicted.cancelled().await;
    }
}

impl<K: Clone + Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut places = self.crowd.places();
        places.leave(&self.source, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        all: 6,
        each: 4,
        settled: 1,
    };

    fn is_open(place: &Place<&str>) -> bool {
        !place.evicted.is_cancelled()
    }

    #[test]
    fn a_source_takes_places_from_itself_first() {
        let crowd = Crowd::new(LIMITS);
        let owner = crowd.enter("owner");
        let flood: Vec<_> = (0..2100).map(|_| crowd.enter("other")).collect();
        assert!(is_open(&owner));
        assert_eq!(flood.iter().filter(|place| is_open(place)).count(), 4);
        assert!(flood[2096..].iter().all(is_open), "the oldest are closed");
    }

    #[test]
    fn when_all_places_are_taken_the_largest_source_gives_way() {
        let crowd = Crowd::new(LIMITS);
        let many: Vec<_> = (0..4).map(|_| crowd.enter("many")).collect();
        let few: Vec<_> = (0..2).map(|_| crowd.enter("few")).collect();
        let new = crowd.enter("new");
        assert!(!is_open(&many[0]) && many[1..].iter().all(is_open));
        assert!(few.iter().all(is_open) && is_open(&new));
        drop(many);
        let next = crowd.enter("next");
        assert!(is_open(&new) && is_open(&next) && few.iter().all(is_open));
    }

    #[test]
    fn a_settled_connection_stays() {
        let crowd = Crowd::new(LIMITS);
        let settled = crowd.enter("other");
        settled.settle();
        let second = crowd.enter("other");
        second.settle();
        let flood: Vec<_> = (0..100).map(|_| crowd.enter("other")).collect();
        assert!(is_open(&settled) && !is_open(&second), "room for one");
        drop((settled, flood, second));
        let places = crowd.places();
        assert!(places.of.is_empty() && places.all.is_empty() && places.settled.is_empty());
    }
}
