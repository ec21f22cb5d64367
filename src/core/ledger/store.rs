//! The ledger's file: a SQLite database for all runs of a user. Several processes
//! can use it at the same time.
//!
//! A commit is on disk when it returns, unless the caller says that the next one is
//! early enough. Other processes see both at once. Only the user can access the
//! directory and the file. Commits are counted in the ledger and in a file beside it
//! (see [`super::witness`]). After its last commit, a process moves everything into the
//! main file, so that a copy of this file is a copy of the ledger.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::contents::{Contents, contents};
use super::creation::IfLost;
use super::faults::{PATIENCE, unusable};
use super::opening;
use super::shared::SharedLedger;
use super::witness::{FileStamp, Witness};
use crate::crash;
use crate::error::Result;

/// An open ledger file. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connection: Mutex<Connection>,
    owner: String,
    path: PathBuf,
    witness: Witness,
    warnings: Vec<String>,
    /// Whether a commit may not be on disk.
    unsynced: AtomicBool,
    /// Whether the main file does not show yet that its `-wal` has more commits.
    unmarked: AtomicBool,
    /// The shared ledger in which new runs are recorded.
    shared: OnceLock<SharedLedger>,
}

/// When a commit must be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durable {
    /// Before the call returns.
    Now,
    /// Not before the next commit that must be. Until then, a power failure loses it,
    /// but not the end of the process.
    WithNext,
    /// Like [`Self::WithNext`], for the last commit of this process: a checkpoint
    /// follows.
    WithCheckpoint,
}

impl Store {
    /// Opens the ledger in a directory. Creates it if there has never been one.
    ///
    /// Fails with [`ErrorKind::Denied`], [`ErrorKind::QuotaExceeded`],
    /// [`ErrorKind::Timeout`] if another process has locked it, and
    /// [`ErrorKind::Internal`] if it is damaged, incomplete, older than its last
    /// commit, or newer than this program.
    ///
    /// [`ErrorKind::Denied`]: crate::error::ErrorKind::Denied
    /// [`ErrorKind::QuotaExceeded`]: crate::error::ErrorKind::QuotaExceeded
    /// [`ErrorKind::Timeout`]: crate::error::ErrorKind::Timeout
    /// [`ErrorKind::Internal`]: crate::error::ErrorKind::Internal
    pub fn open(directory: &Path) -> Result<Self> {
        Self::opened(directory, IfLost::Refuse)
    }

    /// Like [`Self::open`], but replaces a lost ledger by an empty one with the
    /// same owner. For a search by tags.
    pub fn open_or_begin_again(directory: &Path) -> Result<Self> {
        Self::opened(directory, IfLost::BeginAgain)
    }

    fn opened(directory: &Path, if_lost: IfLost) -> Result<Self> {
        let opened = opening::open(directory, if_lost)?;
        let store = Self(Arc::new(Inner {
            connection: Mutex::new(opened.connection),
            owner: opened.owner,
            path: directory.join("ledger.db"),
            witness: opened.witness,
            warnings: opened.warnings,
            unsynced: AtomicBool::default(),
            unmarked: AtomicBool::default(),
            shared: OnceLock::new(),
        }));
        store.clear_locks();
        Ok(store)
    }

    /// Returns the warnings of the opening: repaired permissions, and a lost ledger
    /// that was replaced.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    /// Returns the ledger's ID: the tag `autorun:owner` of its resources. That of the
    /// shared ledger, if one is used.
    #[must_use]
    pub fn owner(&self) -> &str {
        self.shared().map_or(&self.0.owner, SharedLedger::owner)
    }

    /// Returns the ID of the ledger on this machine.
    #[must_use]
    pub(super) fn local_owner(&self) -> &str {
        &self.0.owner
    }

    /// Returns the shared ledger in which new runs are recorded.
    #[must_use]
    pub fn shared(&self) -> Option<&SharedLedger> {
        self.0.shared.get()
    }

    pub(super) fn set_shared(&self, shared: SharedLedger) {
        // A process opens one ledger.
        let _ = self.0.shared.set(shared);
    }

    /// Returns the directory of the ledger.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.0.path.parent().unwrap_or(Path::new("."))
    }

    /// Reads from the ledger.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        work(&self.connection()).map_err(|e| unusable(&self.0.path, &e))
    }

    /// Writes durably, in one transaction.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&Transaction) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let mut connection = self.connection();
        self.commit(&mut connection, Durable::Now, work)
    }

    /// Writes in one transaction, on a connection that is already locked.
    pub(super) fn commit<T>(
        &self,
        connection: &mut Connection,
        durable: Durable,
        work: impl FnOnce(&Transaction) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let open = durable != Durable::WithCheckpoint;
        let all = || {
            set_synchronous(connection, durable)?;
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&tx)?;
            let (commits, was_open) = count(&tx, open)?;
            crash::reached("before a ledger commit");
            tx.commit()?;
            crash::reached("after a ledger commit");
            Ok((done, commits, was_open))
        };
        let (done, commits, was_open) = all().map_err(|e| unusable(&self.0.path, &e))?;
        if open && !was_open {
            self.0.unmarked.store(true, Ordering::Relaxed);
        }
        if durable == Durable::Now {
            self.synced(connection, commits)?;
        } else {
            self.0.unsynced.store(true, Ordering::Relaxed);
        }
        Ok(done)
    }

    /// Notes that everything is on disk, which has this number of commits.
    fn synced(&self, connection: &Connection, commits: u64) -> Result<()> {
        self.0.unsynced.store(false, Ordering::Relaxed);
        self.0.witness.note(|noted| noted.written = commits)?;
        if self.0.unmarked.swap(false, Ordering::Relaxed) {
            // Writes `open` into the main file, so that a copy without its `-wal`
            // is recognized. A failure because of a concurrent reader is harmless.
            let _ = checkpoint(connection, "PASSIVE");
        }
        Ok(())
    }

    /// Moves all commits into the main file, after the last commit of this process.
    /// Leaves this to another process if one is writing.
    pub fn checkpoint(&self) -> Result<()> {
        let mut connection = self.connection();
        // Do not wait for other processes: their commits are durable.
        let closed = connection
            .busy_timeout(Duration::ZERO)
            .and_then(|()| close_wal(&mut connection));
        let _ = connection.busy_timeout(PATIENCE);
        if let Ok(Some(commits)) = closed {
            // A checkpoint syncs the `-wal` first.
            self.0.unsynced.store(false, Ordering::Relaxed);
            if let Some(file) = FileStamp::read(&self.0.path) {
                // After a failure here, the next start checks the file's integrity.
                let _ = self.0.witness.note(|noted| {
                    noted.written = commits;
                    noted.in_file = commits;
                    noted.file = file;
                });
            }
        }
        if self.0.unsynced.load(Ordering::Relaxed) {
            self.commit(&mut connection, Durable::Now, |_| Ok(()))?;
        }
        Ok(())
    }

    /// Locks the only connection of this process. Waits for the commits of other
    /// branches.
    pub(super) fn connection(&self) -> MutexGuard<'_, Connection> {
        self.0
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Determines whether commits are on disk when they return.
fn set_synchronous(connection: &Connection, durable: Durable) -> rusqlite::Result<()> {
    let synchronous = match durable {
        Durable::Now => "FULL",
        Durable::WithNext | Durable::WithCheckpoint => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)
}

/// Increments the number of commits and sets `open`. Returns the new number and
/// the previous `open`.
fn count(tx: &Transaction, open: bool) -> rusqlite::Result<(u64, bool)> {
    let mut ask = tx.prepare_cached("SELECT commits, open FROM written")?;
    let (commits, was_open): (u64, bool) =
        ask.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut set = tx.prepare_cached("UPDATE written SET commits = ?1, open = ?2")?;
    set.execute(params![commits + 1, open])?;
    Ok((commits + 1, was_open))
}

/// Clears `open`, unless the last commit has, and moves the `-wal` into the main file.
/// Returns the number of commits, or `None` if another process prevented this.
fn close_wal(connection: &mut Connection) -> rusqlite::Result<Option<u64>> {
    set_synchronous(connection, Durable::WithCheckpoint)?;
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let Contents {
        mut commits, open, ..
    } = contents(&tx)?;
    if open {
        (commits, _) = count(&tx, false)?;
    }
    tx.commit()?;
    Ok(checkpoint(connection, "TRUNCATE")?.then_some(commits))
}

/// Runs a checkpoint. Returns whether it moved the whole `-wal` into the main file.
fn checkpoint(connection: &Connection, how: &str) -> rusqlite::Result<bool> {
    let sql = format!("PRAGMA wal_checkpoint({how})");
    connection.query_row(&sql, [], |row| {
        let (busy, frames, moved): (bool, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(!busy && frames == moved)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::ledger::{About, Run};
    use crate::report::Outcome;
    use rusqlite::OpenFlags;
    use std::os::unix::fs::PermissionsExt as _;

    fn fault(directory: &Path) -> Error {
        Store::open(directory).unwrap_err()
    }

    #[test]
    fn only_the_user_has_access_and_the_owner_stays() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("deep/autorun");
        let first = Store::open(&directory).unwrap().owner().to_owned();
        let mode = |name: &str| {
            let about = std::fs::metadata(directory.join(name)).unwrap();
            about.permissions().mode() & 0o777
        };
        assert_eq!(mode(""), 0o700);
        assert_eq!(mode("ledger.db"), 0o600);
        let again = Store::open(&directory).unwrap();
        assert_eq!(again.owner(), first);
        again.write(|tx| tx.execute("DELETE FROM run", [])).unwrap();
        assert_eq!(mode("ledger.db-wal"), 0o600);
        drop(again);
        for file in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
            drop(std::fs::remove_file(directory.join(file)));
        }
        let lost = fault(&directory);
        assert!(lost.to_string().contains("it is missing"), "{lost}");
        let again = Store::open_or_begin_again(&directory).unwrap();
        assert_eq!(again.owner(), first);
        assert!(
            again.warnings()[0].contains("was lost"),
            "{:?}",
            again.warnings()
        );
    }

    #[test]
    fn a_newer_ledger_is_refused_and_not_changed() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        store
            .connection()
            .pragma_update(None, "user_version", 99)
            .unwrap();
        assert!(fault(home.path()).to_string().contains("newer autorun"));
        let version = opening::pragma(&store.connection(), "user_version");
        assert_eq!(version.unwrap(), 99);
    }

    #[test]
    fn another_programs_database_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("ledger.db");
        let theirs = Connection::open(path).unwrap();
        theirs
            .execute_batch("CREATE TABLE t (x); PRAGMA user_version = 1")
            .unwrap();
        assert!(fault(home.path()).to_string().contains("not a ledger"));
    }

    #[test]
    fn a_file_that_is_not_a_database_is_damaged() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("ledger.db"), "x".repeat(4096)).unwrap();
        let fault = fault(home.path());
        assert!(fault.to_string().contains("it is damaged"), "{fault}");
        assert!(fault.hint.as_deref().unwrap().contains("--orphans"));
    }

    #[test]
    fn two_processes_can_write_in_turn() {
        let home = tempfile::tempdir().unwrap();
        let one = Store::open(home.path()).unwrap();
        let two = Store::open(home.path()).unwrap();
        assert_eq!(one.owner(), two.owner());
        std::thread::scope(|scope| {
            for store in [&one, &two] {
                scope.spawn(move || {
                    for _ in 0..50 {
                        store.write(|tx| tx.execute("DELETE FROM run", [])).unwrap();
                    }
                });
            }
        });
    }

    #[test]
    fn a_run_is_visible_at_once_and_durable_with_its_first_step() {
        let home = tempfile::tempdir().unwrap();
        let one = Store::open(home.path()).unwrap();
        let two = Store::open(home.path()).unwrap();
        let noted = || {
            Witness::open(&home.path().join("owner"))
                .unwrap()
                .unwrap()
                .noted
        };
        let before = noted().unwrap().written;
        let run = Run::new(Path::new("/srv/a.rhai"), "", About::default());
        let hold = one.begin(&run).unwrap();
        assert_eq!(two.runs().unwrap().len(), 1);
        assert_eq!(noted().unwrap().written, before);
        one.write(|tx| tx.execute("DELETE FROM wait", [])).unwrap();
        assert_eq!(noted().unwrap().written, before + 2);
        // The main file says that its `-wal` has more.
        let alone = Connection::open_with_flags(
            format!(
                "file:{}?immutable=1",
                home.path().join("ledger.db").display()
            ),
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI,
        );
        assert!(contents(&alone.unwrap()).unwrap().open);
        drop(hold);
    }

    #[test]
    fn everything_is_in_the_main_file_after_the_end() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let run = Run::new(Path::new("/srv/a.rhai"), "", About::default());
        drop(store.begin(&run).unwrap());
        store.end(&run.id, Outcome::Done, None).unwrap();
        store.checkpoint().unwrap();
        let copy = tempfile::tempdir().unwrap();
        for file in ["ledger.db", "owner"] {
            std::fs::copy(home.path().join(file), copy.path().join(file)).unwrap();
        }
        let copied = Store::open(copy.path()).unwrap();
        assert_eq!(copied.runs().unwrap()[0].outcome, Some(Outcome::Done));
    }
}
