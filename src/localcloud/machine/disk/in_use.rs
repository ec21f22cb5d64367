//! Prevents two machines from using the same disk, which would destroy it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The disks in use.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct DisksInUse(Arc<Mutex<BTreeSet<String>>>);

/// A disk that is in use until this value is dropped.
#[derive(Debug)]
pub(in super::super) struct DiskInUse {
    id: String,
    all: DisksInUse,
}

impl DisksInUse {
    /// Marks a disk as in use. Returns `None` if it already is.
    pub(in super::super) fn take(&self, id: &str) -> Option<DiskInUse> {
        let is_new = self.ids().insert(id.to_owned());
        is_new.then(|| DiskInUse {
            id: id.to_owned(),
            all: self.clone(),
        })
    }

    fn ids(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for DiskInUse {
    fn drop(&mut self) {
        self.all.ids().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_used_once_at_a_time() {
        let disks = DisksInUse::default();
        let disk = disks.take("i-1");
        assert!(disk.is_some() && disks.take("i-1").is_none());
        assert!(disks.take("i-2").is_some());
        drop(disk);
        assert!(disks.take("i-1").is_some());
    }
}
