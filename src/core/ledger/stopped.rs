//! Distinguishes instances that the playbook stopped from instances that stopped
//! with the local cloud or its machine. A resumed run starts only the latter
//! again.

use std::time::{Duration, Instant};

use super::handle::Ledger;

impl Ledger {
    /// Records, with the next commit, that the playbook stops an instance.
    pub fn note_stop(&self, id: &str) {
        let mut memory = self.memory();
        memory.stopped_here.insert(id.to_owned());
        memory.set_stopped(id, true);
    }

    /// Records, with the next commit, that the playbook starts an instance.
    pub fn note_start(&self, id: &str) {
        let mut memory = self.memory();
        memory.stopped_here.remove(id);
        memory.set_stopped(id, false);
    }

    /// Notes that a resumed run replayed a stop.
    pub fn replayed_stop(&self, id: &str) {
        self.memory().stopped_here.insert(id.to_owned());
    }

    /// Notes that a resumed run replayed a start. Returns true if the playbook
    /// stopped the instance later, so that it must stay stopped.
    #[must_use]
    pub fn replayed_start(&self, id: &str) -> bool {
        let mut memory = self.memory();
        memory.stopped_here.remove(id);
        memory.row_of_instance(id).is_some_and(|row| row.stopped)
    }

    /// Returns whether an earlier attempt stopped an instance at a place of the
    /// playbook that this attempt has not reached.
    #[must_use]
    pub fn is_stopped_later(&self, id: &str) -> bool {
        let memory = self.memory();
        !memory.stopped_here.contains(id)
            && memory.row_of_instance(id).is_some_and(|row| row.stopped)
    }

    /// Returns whether to start a stopped instance again: an earlier attempt
    /// created it, and the playbook did not stop it. Returns true only once in an
    /// attempt, because the instance may stop itself.
    #[must_use]
    pub fn needs_restart(&self, id: &str) -> bool {
        let mut memory = self.memory();
        let stopped_by_other = memory.row_of_instance(id).is_some_and(|row| !row.stopped);
        if !stopped_by_other || memory.started_again.contains_key(id) {
            return false;
        }
        memory.started_again.insert(id.to_owned(), Instant::now());
        true
    }

    /// Returns how long ago this attempt started an instance again.
    #[must_use]
    pub fn started_again(&self, id: &str) -> Option<Duration> {
        self.memory().started_again.get(id).map(Instant::elapsed)
    }
}
