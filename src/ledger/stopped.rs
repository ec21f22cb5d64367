//! Instances that the playbook stopped, and instances that something else did:
//! the end of the local cloud or of its computer. A resumed run starts only the
//! latter again.

use std::time::{Duration, Instant};

use super::handle::Ledger;

impl Ledger {
    /// The playbook stops an instance; the next commit makes that durable.
    pub fn note_stop(&self, id: &str) {
        let mut memory = self.memory();
        memory.stopped_here.insert(id.to_owned());
        memory.set_stopped(id, true);
    }

    /// The playbook starts an instance; the next commit makes that durable.
    pub fn note_start(&self, id: &str) {
        let mut memory = self.memory();
        memory.stopped_here.remove(id);
        memory.set_stopped(id, false);
    }

    /// A resumed run comes by a stop that it did before.
    pub fn comes_by_stop(&self, id: &str) {
        self.memory().stopped_here.insert(id.to_owned());
    }

    /// A resumed run comes by a start that it did before. True if the playbook
    /// has stopped the instance after it, so that it is to stay so.
    #[must_use]
    pub fn comes_by_start(&self, id: &str) -> bool {
        let mut memory = self.memory();
        memory.stopped_here.remove(id);
        memory.row_of_instance(id).is_some_and(|row| row.stopped)
    }

    /// Whether an earlier attempt has stopped an instance at a place of the
    /// playbook that this one has not come to.
    #[must_use]
    pub fn is_stopped_later_on(&self, id: &str) -> bool {
        let memory = self.memory();
        !memory.stopped_here.contains(id)
            && memory.row_of_instance(id).is_some_and(|row| row.stopped)
    }

    /// Whether a stopped instance is to be started again: an earlier attempt made
    /// it, and the playbook did not stop it. True once in an attempt, for it may
    /// stop itself.
    #[must_use]
    pub fn starts_again(&self, id: &str) -> bool {
        let mut memory = self.memory();
        let stopped_by_other = memory.row_of_instance(id).is_some_and(|row| !row.stopped);
        if !stopped_by_other || memory.started_again.contains_key(id) {
            return false;
        }
        memory.started_again.insert(id.to_owned(), Instant::now());
        true
    }

    /// How long ago this attempt started an instance again.
    #[must_use]
    pub fn started_again(&self, id: &str) -> Option<Duration> {
        self.memory().started_again.get(id).map(Instant::elapsed)
    }
}
