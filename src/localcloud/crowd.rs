//! Who may hold how many connections of a listener.
//!
//! A listener accepts all the time. When a source has its share, its oldest
//! connection goes for the new one; when all places are taken, the oldest of
//! the source that has most goes. A connection whose request was signed is
//! settled: it has a place that no other can take.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// How many connections there can be at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Of all sources, as long as they are not settled.
    pub(crate) all: usize,
    /// Of one source, as long as they are not settled.
    pub(crate) each: usize,
    /// Those that are settled.
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
    /// The numbers of a source's places, the oldest first.
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

    /// A place for a new connection; another one may have to go for it.
    pub(crate) fn enter(self: &Arc<Self>, source: K) -> Place<K> {
        let gone = CancellationToken::new();
        let mut places = self.places();
        if places.of.get(&source).map_or(0, BTreeSet::len) >= self.limits.each {
            places.evict_oldest_of(&source);
        } else if places.all.len() >= self.limits.all {
            places.evict_one();
        }
        let number = places.next;
        places.next += 1;
        places.of.entry(source.clone()).or_default().insert(number);
        places.all.insert(number, gone.clone());
        drop(places);
        Place {
            crowd: Arc::clone(self),
            source,
            number,
            gone,
        }
    }

    /// Ends the oldest connection of the source that has most.
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
        if let Some(gone) = oldest.and_then(|number| self.leave(source, number)) {
            gone.cancel();
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

/// The place of one connection; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place<K: Clone + Eq + Hash> {
    crowd: Arc<Crowd<K>>,
    source: K,
    number: u64,
    gone: CancellationToken,
}

impl<K: Clone + Eq + Hash> Place<K> {
    /// Keeps the place from being taken: the other side proved who it is.
    pub(crate) fn settle(&self) {
        let mut places = self.crowd.places();
        let room = places.settled.len() < self.crowd.limits.settled;
        if room && places.leave(&self.source, self.number).is_some() {
            places.settled.insert(self.number);
        }
    }

    /// Waits until another connection got this place.
    pub(crate) async fn taken(&self) {
        self.gone.cancelled().await;
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

    fn is_there(place: &Place<&str>) -> bool {
        !place.gone.is_cancelled()
    }

    #[test]
    fn a_source_takes_places_from_itself_first() {
        let crowd = Crowd::new(LIMITS);
        let owner = crowd.enter("owner");
        let flood: Vec<_> = (0..2100).map(|_| crowd.enter("other")).collect();
        assert!(is_there(&owner));
        assert_eq!(flood.iter().filter(|place| is_there(place)).count(), 4);
        assert!(flood[2096..].iter().all(is_there), "the oldest go");
    }

    #[test]
    fn when_all_places_are_taken_the_largest_source_gives_way() {
        let crowd = Crowd::new(LIMITS);
        let many: Vec<_> = (0..4).map(|_| crowd.enter("many")).collect();
        let few: Vec<_> = (0..2).map(|_| crowd.enter("few")).collect();
        let new = crowd.enter("new");
        assert!(!is_there(&many[0]) && many[1..].iter().all(is_there));
        assert!(few.iter().all(is_there) && is_there(&new));
        drop(many);
        let next = crowd.enter("next");
        assert!(is_there(&new) && is_there(&next) && few.iter().all(is_there));
    }

    #[test]
    fn one_that_proved_who_it_is_stays() {
        let crowd = Crowd::new(LIMITS);
        let settled = crowd.enter("other");
        settled.settle();
        let second = crowd.enter("other");
        second.settle();
        let flood: Vec<_> = (0..100).map(|_| crowd.enter("other")).collect();
        assert!(is_there(&settled) && !is_there(&second), "room for one");
        drop((settled, flood, second));
        let places = crowd.places();
        assert!(places.of.is_empty() && places.all.is_empty() && places.settled.is_empty());
    }
}
