//! Which process works on a run: the one that has the lock of its file.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::store::Store;
use crate::error::{Error, Result};

/// How often a lock is looked at before it counts as held.
const LOOKS: usize = 3;

/// Says that this process works on a run. The kernel gives it up when the
/// process ends in any way.
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
    /// Holds a run; nothing when another process does.
    pub(super) fn hold(&self, run: &str) -> Result<Option<Hold>> {
        let path = self.hold_path(run);
        let failed = |e: &std::io::Error| Error::io("hold the run in", &path, e);
        if let Some(parent) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)
                .map_err(|e| failed(&e))?;
        }
        // Looking at a run takes it for a moment, so one refusal means little.
        for _ in 0..10 {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false) // it may be another holder's
                .mode(0o600)
                .open(&path)
                .map_err(|e| failed(&e))?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => {
                    let mut file = file;
                    // A killed process may have left a longer number.
                    file.set_len(0).map_err(|e| failed(&e))?;
                    write!(file, "{}", std::process::id()).map_err(|e| failed(&e))?;
                    return Ok(Some(Hold { path, _file: file }));
                }
                // The last holder removed it meanwhile.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
                Err(TryLockError::Error(e)) => return Err(failed(&e)),
            }
        }
        Ok(None)
    }

    /// Removes the lock files of processes that were killed.
    pub(super) fn clear_locks(&self) {
        let locks = std::fs::read_dir(self.directory().join("runs"));
        for lock in locks.into_iter().flatten().flatten() {
            let name = lock.file_name();
            if let Some(run) = name.to_str().and_then(|name| name.strip_suffix(".lock")) {
                // What is wrong with it is reported when it is needed.
                let _ = self.seems_held(run);
            }
        }
    }

    pub(super) fn is_held(&self, run: &str) -> Result<bool> {
        // A process that looks at a lock holds it for a moment.
        for _ in 0..LOOKS {
            if !self.seems_held(run)? {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.seems_held(run)
    }

    /// Whether a process has the lock of a run at this moment. A lock file that a
    /// killed process left is removed.
    fn seems_held(&self, run: &str) -> Result<bool> {
        let path = self.hold_path(run);
        match File::open(&path) {
            Ok(file) => match file.try_lock() {
                Ok(()) => {
                    // Held while it is removed, so that it cannot be a new
                    // holder's; see `hold`.
                    if is_at(&file, &path) {
                        let _ = std::fs::remove_file(&path);
                    }
                    Ok(false)
                }
                Err(TryLockError::WouldBlock) => Ok(true),
                Err(TryLockError::Error(e)) => Err(Error::io("look at", &path, &e)),
            },
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io("look at", &path, &e)),
        }
    }

    pub(super) fn hold_path(&self, run: &str) -> PathBuf {
        self.directory().join("runs").join(format!("{run}.lock"))
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let number = |about: std::fs::Metadata| (about.dev(), about.ino());
    let (file, path) = (
        file.metadata().map(number),
        std::fs::metadata(path).map(number),
    );
    matches!((file, path), (Ok(file), Ok(path)) if file == path)
}
