//! Connections that wait for their next use.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::host::Host;

/// How many connections stay open. Each takes about 100 KiB and a file descriptor,
/// so the number of hosts must not determine how many there are.
pub(super) const MOST: usize = 128;

/// A connection that was not used for this long makes room for a newer one.
const STALE: Duration = Duration::from_secs(60);

/// The idle connections of a run.
#[derive(Debug, Default)]
pub(super) struct Idle(Mutex<HashMap<Host, Vec<Kept>>>);

#[derive(Debug)]
struct Kept {
    connection: Connection,
    since: Instant,
}

impl Idle {
    /// Returns a connection to a host, which may have broken meanwhile.
    pub(super) fn take(&self, host: &Host) -> Option<Connection> {
        let mut all = self.all();
        let of_host = all.get_mut(host)?;
        let kept = of_host.pop();
        if of_host.is_empty() {
            all.remove(host);
        }
        kept.map(|kept| kept.connection)
    }

    /// Keeps a connection, if there is room.
    ///
    /// A playbook that works on many hosts does so in the same order again and
    /// again. To close the oldest connection would then close each one just before
    /// its next use, so without room the newest is closed.
    pub(super) fn keep(&self, host: Host, connection: Connection) {
        let mut all = self.all();
        let kept: usize = all.values().map(Vec::len).sum();
        let mut stale = None;
        if kept >= MOST {
            stale = take_stale(&mut all);
            if stale.is_none() {
                return;
            }
        }
        let since = Instant::now();
        all.entry(host)
            .or_default()
            .push(Kept { connection, since });
        // A connection is closed without the lock.
        drop(all);
        drop(stale);
    }

    /// Closes the connections to a host.
    pub(super) fn forget(&self, host: &Host) {
        let forgotten = self.all().remove(host);
        drop(forgotten);
    }

    /// Closes all connections.
    pub(super) fn close(&self) {
        let all = std::mem::take(&mut *self.all());
        drop(all);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Host, Vec<Kept>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the connection that was unused for the longest time, if that is long.
fn take_stale(all: &mut HashMap<Host, Vec<Kept>>) -> Option<Kept> {
    let hosts = all.iter();
    let oldest = hosts.flat_map(|(host, kept)| kept.iter().map(move |one| (one.since, host)));
    let (since, host) = oldest.min_by_key(|(since, _)| *since)?;
    if since.elapsed() < STALE {
        return None;
    }
    let host = host.clone();
    let of_host = all.get_mut(&host)?;
    let at = of_host.iter().position(|kept| kept.since == since)?;
    let stale = of_host.remove(at);
    if of_host.is_empty() {
        all.remove(&host);
    }
    Some(stale)
}
