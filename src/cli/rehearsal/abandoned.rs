//! Removes the directories of rehearsals whose processes were all killed at once,
//! so that none of them could remove its directory.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

/// How long a new rehearsal may take to lock its directory.
const STARTS_WITHIN: Duration = Duration::from_secs(300);

/// Removes the abandoned directories. A failure is harmless: the next rehearsal
/// tries again.
pub(super) fn remove(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let directory = entry.path();
        if is_abandoned(&directory) {
            let _remains = fs::remove_dir_all(&directory);
        }
    }
}

/// Returns whether no process has the lock of a rehearsal that is not new. The
/// kernel releases the lock however the process ends.
fn is_abandoned(directory: &Path) -> bool {
    let modified = fs::symlink_metadata(directory).and_then(|found| found.modified());
    let is_old = modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > STARTS_WITHIN));
    if !is_old {
        return false;
    }
    match File::open(directory.join("state/lock")) {
        Ok(lock) => flock(lock, FlockOperation::NonBlockingLockExclusive).is_ok(),
        Err(e) => e.kind() == std::io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn only_old_directories_without_a_lock_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let before = SystemTime::now() - STARTS_WITHIN * 2;
        let made = |name: &str, modified: SystemTime| {
            let directory = parent.path().join(name);
            fs::create_dir_all(directory.join("state")).unwrap();
            let lock = File::create(directory.join("state/lock")).unwrap();
            File::open(&directory)
                .unwrap()
                .set_modified(modified)
                .unwrap();
            (directory, lock)
        };
        let (abandoned, _) = made("abandoned", before);
        let (new, _) = made("new", SystemTime::now());
        let (held, lock) = made("held", before);
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        remove(parent.path());
        assert!(!abandoned.exists());
        assert!(new.exists() && held.exists());
    }
}
