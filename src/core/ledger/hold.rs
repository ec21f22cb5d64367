//! The lock of a run: the process that has locked its lock file works on it. A client
//! of a shared ledger has such a lock as well.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::store::Store;
use crate::error::{Error, Result};

/// How often a lock is checked before it counts as held.
const CHECKS: usize = 3;

/// The lock of a run. The kernel releases it when the process ends, also after a
/// crash.
#[derive(Debug)]
pub struct Hold {
    path: PathBuf,
    _file: File,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Store {
    /// Locks a run. Returns `None` if another process has locked it.
    pub(super) fn hold(&self, run: &str) -> Result<Option<Hold>> {
        let path = self.hold_path(run);
        let failed = |e: &std::io::Error| Error::io("lock the run in", &path, e);
        if let Some(parent) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)
                .map_err(|e| failed(&e))?;
        }
        // Retry: a process that checks the lock holds it for a moment.
        for _ in 0..10 {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false) // another process may have locked it
                .mode(0o600)
                .open(&path)
                .map_err(|e| failed(&e))?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => {
                    let mut file = file;
                    // A killed process may have left a longer process ID.
                    file.set_len(0).map_err(|e| failed(&e))?;
                    write!(file, "{}", std::process::id()).map_err(|e| failed(&e))?;
                    return Ok(Some(Hold { path, _file: file }));
                }
                // The last holder removed the file meanwhile: try again.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
                Err(TryLockError::Error(e)) => return Err(failed(&e)),
            }
        }
        Ok(None)
    }

    /// Removes the lock files of processes that were killed.
    pub(super) fn clear_locks(&self) {
        let locks = std::fs::read_dir(self.locks());
        for lock in locks.into_iter().flatten().flatten() {
            let name = lock.file_name();
            if let Some(run) = name.to_str().and_then(|name| name.strip_suffix(".lock")) {
                // Errors are reported when the lock is needed.
                let _ = self.seems_held(run);
            }
        }
    }

    pub(super) fn is_held(&self, run: &str) -> Result<bool> {
        // Another process that checks the lock holds it for a moment.
        for _ in 0..CHECKS {
            if !self.seems_held(run)? {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.seems_held(run)
    }

    /// Returns whether a process has the lock of a run at this moment. Removes the
    /// lock file of a killed process.
    fn seems_held(&self, run: &str) -> Result<bool> {
        let path = self.hold_path(run);
        match File::open(&path) {
            Ok(file) => match file.try_lock() {
                Ok(()) => {
                    // This process has the lock, so no other process can lock
                    // the file before it is removed; see `hold`.
                    if is_at(&file, &path) {
                        let _ = std::fs::remove_file(&path);
                    }
                    Ok(false)
                }
                Err(TryLockError::WouldBlock) => Ok(true),
                Err(TryLockError::Error(e)) => Err(Error::io("check the lock", &path, &e)),
            },
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io("check the lock", &path, &e)),
        }
    }

    pub(super) fn hold_path(&self, run: &str) -> PathBuf {
        self.locks().join(format!("{run}.lock"))
    }

    /// Returns the directory of lock files.
    pub(super) fn locks(&self) -> PathBuf {
        self.directory().join("runs")
    }
}

/// Returns whether the open file is still the one at this path.
fn is_at(file: &File, path: &Path) -> bool {
    let number = |about: std::fs::Metadata| (about.dev(), about.ino());
    let (file, path) = (
        file.metadata().map(number),
        std::fs::metadata(path).map(number),
    );
    matches!((file, path), (Ok(file), Ok(path)) if file == path)
}
