//! Instances that the playbook stopped, and instances that something else did:
//! the end of the local cloud or of its computer. A resumed run starts only the
//! latter again.

use std::time::{Duration, Instant};

use rusqlite::Transaction;

use super::{Ledger, Memory, Resource, ResourceKind, State};

impl Ledger {
    /// The playbook stops an instance; the next commit makes that durable.
    pub fn note_stop(&self, id: &str) {
        let mut state = self.state();
        state.stopped_here.insert(id.to_owned());
        state.set_stopped(id, true);
    }

    /// The playbook starts an instance; the next commit makes that durable.
    pub fn note_start(&self, id: &str) {
        let mut state = self.state();
        state.stopped_here.remove(id);
        state.set_stopped(id, false);
    }

    /// A resumed run comes by a stop that it did before.
    pub fn comes_by_stop(&self, id: &str) {
        self.state().stopped_here.insert(id.to_owned());
    }

    /// A resumed run comes by a start that it did before. True if the playbook
    /// has stopped the instance after it, so that it is to stay so.
    #[must_use]
    pub fn comes_by_start(&self, id: &str) -> bool {
        let mut state = self.state();
        state.stopped_here.remove(id);
        state.row_of_instance(id).is_some_and(|row| row.stopped)
    }

    /// Whether an earlier attempt has stopped an instance at a place of the
    /// playbook that this one has not come to.
    #[must_use]
    pub fn is_stopped_later_on(&self, id: &str) -> bool {
        let state = self.state();
        !state.stopped_here.contains(id) && state.row_of_instance(id).is_some_and(|row| row.stopped)
    }

    /// Whether a stopped instance is to be started again: an earlier attempt made
    /// it, and the playbook did not stop it. True once in an attempt, for it may
    /// stop itself.
    #[must_use]
    pub fn starts_again(&self, id: &str) -> bool {
        let mut state = self.state();
        let stopped_by_other = state.row_of_instance(id).is_some_and(|row| !row.stopped);
        if !stopped_by_other || state.started_again.contains_key(id) {
            return false;
        }
        state.started_again.insert(id.to_owned(), Instant::now());
        true
    }

    /// How long ago this attempt started an instance again.
    #[must_use]
    pub fn started_again(&self, id: &str) -> Option<Duration> {
        self.state().started_again.get(id).map(Instant::elapsed)
    }
}

impl Memory {
    /// The row of an instance that an earlier attempt made.
    fn row_of_instance(&self, id: &str) -> Option<&Resource> {
        self.resources[..self.known.min(self.resources.len())]
            .iter()
            .find(|row| is_instance(row, id))
    }

    fn set_stopped(&mut self, id: &str, stopped: bool) {
        let found = self.resources.iter().position(|row| is_instance(row, id));
        if let Some(index) = found
            && self.resources[index].stopped != stopped
        {
            self.resources[index].stopped = stopped;
            self.changed_resources.insert(index);
        }
    }
}

pub(super) fn write_stopped(tx: &Transaction, run: &str, row: &Resource) -> rusqlite::Result<()> {
    if row.kind != ResourceKind::Instance {
        return Ok(());
    }
    let mut write = tx.prepare_cached(match row.stopped {
        true => "INSERT OR IGNORE INTO stopped (run, row) VALUES (?1, ?2)",
        false => "DELETE FROM stopped WHERE run = ?1 AND row = ?2",
    })?;
    write.execute([run, &row.row])?;
    Ok(())
}

fn is_instance(row: &Resource, id: &str) -> bool {
    row.kind == ResourceKind::Instance
        && row.id.as_deref() == Some(id)
        && matches!(row.state, State::Live | State::Releasing)
}
