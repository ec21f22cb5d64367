//! The session tokens of the metadata service. Each instance has its own quota.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;

/// The maximum number of tokens of one instance. A new token replaces the one
/// that expires first.
const MOST: usize = 256;

/// All tokens, by the address of the instance.
#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<IpAddr, Kept>>);

/// The tokens of the instance that currently has an address.
struct Kept {
    instance: String,
    until: HashMap<String, Instant>,
}

impl Tokens {
    /// Issues a token. `is_up` returns whether an instance still has an
    /// address; tokens of instances that do not are removed.
    pub(super) fn issue(
        &self,
        address: IpAddr,
        instance: &str,
        lives: Duration,
        is_up: impl Fn(IpAddr, &str) -> bool,
    ) -> String {
        let token = URL_SAFE.encode(rand::random::<[u8; 32]>());
        let now = Instant::now();
        let mut all = self.all();
        if all
            .get(&address)
            .is_none_or(|kept| kept.instance != instance)
        {
            all.retain(|address, kept| is_up(*address, &kept.instance));
            let kept = Kept {
                instance: instance.to_owned(),
                until: HashMap::new(),
            };
            all.insert(address, kept);
        }
        if let Some(kept) = all.get_mut(&address) {
            kept.make_room(now);
            kept.until.insert(token.clone(), now + lives);
        }
        token
    }

    /// Whether a token was issued to this instance at this address and has not
    /// expired.
    pub(super) fn is_good(&self, address: IpAddr, instance: &str, token: &str) -> bool {
        let all = self.all();
        let kept = all.get(&address).filter(|kept| kept.instance == instance);
        let until = kept.and_then(|kept| kept.until.get(token));
        until.is_some_and(|until| *until > Instant::now())
    }

    fn all(&self) -> MutexGuard<'_, HashMap<IpAddr, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn make_room(&mut self, now: Instant) {
        if self.until.len() < MOST {
            return;
        }
        self.until.retain(|_, until| *until > now);
        let first = self.until.iter().min_by_key(|(_, until)| **until);
        if let Some(first) = first.map(|(token, _)| token.clone())
            && self.until.len() >= MOST
        {
            self.until.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn an_instance_replaces_only_its_own_tokens() {
        let tokens = Tokens::default();
        let [one, two] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        let up = |_: IpAddr, _: &str| true;
        let mine = tokens.issue(one, "i-1", Duration::from_secs(60), up);
        let first = tokens.issue(two, "i-2", Duration::from_secs(60), up);
        for _ in 0..3000 {
            let _ = tokens.issue(two, "i-2", HOUR, up);
        }
        assert!(tokens.is_good(one, "i-1", &mine));
        assert!(!tokens.is_good(two, "i-2", &first));
        assert!(
            !tokens.is_good(two, "i-2", &mine),
            "token of another instance"
        );
        assert_eq!(tokens.all()[&two].until.len(), MOST);
    }

    #[test]
    fn tokens_end_with_their_instance() {
        let tokens = Tokens::default();
        let [one, two] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        let old = tokens.issue(one, "i-1", HOUR, |_, _| true);
        assert!(
            !tokens.is_good(one, "i-3", &old),
            "the address has another instance"
        );
        let new = tokens.issue(one, "i-3", HOUR, |_, instance| instance == "i-3");
        assert!(!tokens.is_good(one, "i-1", &old) && tokens.is_good(one, "i-3", &new));
        let _ = tokens.issue(two, "i-4", HOUR, |_, instance| instance == "i-4");
        assert_eq!(tokens.all().len(), 1);
        let expired = tokens.issue(two, "i-4", Duration::ZERO, |_, _| true);
        assert!(!tokens.is_good(two, "i-4", &expired));
    }
}
