//! The ledger's file: SQLite, one for all runs of a user, used by several
//! processes at once.
//!
//! A commit is on the disk when it returns (`synchronous=FULL`). The directory
//! is the user's alone, and so is the file. Commits are counted, in the ledger
//! and beside it (see [`super::witness`]), and a process that is done writing brings
//! everything into the one file, so that a copy of it is a copy of the ledger.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::creation::IfLost;
use super::faults::{PATIENCE, unusable};
use super::opening;
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
}

impl Store {
    /// Opens the ledger in a directory, or makes one where there never was one.
    ///
    /// Throws what makes it unusable: `denied`, `quota_exceeded`, `timeout` when
    /// another process holds it, `internal` when it is damaged, incomplete, older
    /// than it was, or newer than this program.
    pub fn open(directory: &Path) -> Result<Self> {
        Self::opened(directory, IfLost::Refuse)
    }

    /// The same, and where the ledger is lost an empty one begins under the same
    /// owner: for a search by tags.
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
        }));
        store.clear_locks();
        Ok(store)
    }

    /// What the user should know of the opening: whose access was taken away,
    /// and that an empty ledger began.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    /// The ledger's id: the tag `autorun:owner` on all that its runs make.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.0.owner
    }

    /// The directory it is in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.0.path.parent().unwrap_or(Path::new("."))
    }

    /// Reads.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        work(&self.connection()).map_err(|e| unusable(&self.0.path, &e))
    }

    /// Writes durably: all of it, or nothing.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&Transaction) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let mut connection = self.connection();
        self.commit(&mut connection, work)
    }

    /// The same on the connection already taken.
    pub(super) fn commit<T>(
        &self,
        connection: &mut Connection,
        work: impl FnOnce(&Transaction) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let all = || {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&tx)?;
            let (commits, was_open) = count(&tx, true)?;
            crash::reached("before a ledger commit");
            tx.commit()?;
            crash::reached("after a ledger commit");
            Ok((done, commits, was_open))
        };
        let (done, commits, was_open) = all().map_err(|e| unusable(&self.0.path, &e))?;
        self.0.witness.note(|noted| noted.written = commits)?;
        if !was_open {
            // From now on a copy of the main file alone is known as one. Where
            // another process reads just now, it cannot be said there, and need not.
            let _ = checkpoint(connection, "PASSIVE");
        }
        Ok(done)
    }

    /// Brings everything into the main file, when this process has written what
    /// it had to write. Where another one is at work it is left to that one.
    pub fn rest(&self) {
        let mut connection = self.connection();
        // It waits for no other process: what is in the `-wal` is as safe.
        let rested = connection
            .busy_timeout(Duration::ZERO)
            .and_then(|()| rest(&mut connection));
        let _ = connection.busy_timeout(PATIENCE);
        if let Ok(Some(commits)) = rested
            && let Some(file) = FileStamp::read(&self.0.path)
        {
            // Not noted, the next start looks at the file more closely.
            let _ = self.0.witness.note(|noted| {
                noted.written = commits;
                noted.in_file = commits;
                noted.file = file;
            });
        }
    }

    /// The one connection of this process. Who waits for it waits for the
    /// commit of another branch.
    pub(super) fn connection(&self) -> MutexGuard<'_, Connection> {
        self.0
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a commit, and says whether more is to follow; gives the count, and
/// what was said before.
fn count(tx: &Transaction, open: bool) -> rusqlite::Result<(u64, bool)> {
    let mut ask = tx.prepare_cached("SELECT commits, open FROM written")?;
    let (commits, was_open): (u64, bool) =
        ask.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut set = tx.prepare_cached("UPDATE written SET commits = ?1, open = ?2")?;
    set.execute(params![commits + 1, open])?;
    Ok((commits + 1, was_open))
}

/// Nothing when another process kept some of it from coming into the main file.
fn rest(connection: &mut Connection) -> rusqlite::Result<Option<u64>> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (commits, _) = count(&tx, false)?;
    tx.commit()?;
    Ok(checkpoint(connection, "TRUNCATE")?.then_some(commits))
}

/// Whether all that is in the `-wal` came into the main file.
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
    use std::os::unix::fs::PermissionsExt as _;

    fn fault(directory: &Path) -> Error {
        Store::open(directory).unwrap_err()
    }

    #[test]
    fn it_is_the_users_alone_and_keeps_its_owner() {
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
        assert!(lost.to_string().contains("it is gone"), "{lost}");
        let again = Store::open_or_begin_again(&directory).unwrap();
        assert_eq!(again.owner(), first);
        assert!(
            again.warnings()[0].contains("was lost"),
            "{:?}",
            again.warnings()
        );
    }

    #[test]
    fn a_newer_one_is_refused_and_left_alone() {
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
        assert!(fault(home.path()).to_string().contains("no ledger"));
    }

    #[test]
    fn what_is_no_database_is_damaged() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("ledger.db"), "x".repeat(4096)).unwrap();
        let fault = fault(home.path());
        assert!(fault.to_string().contains("it is damaged"), "{fault}");
        assert!(fault.hint.as_deref().unwrap().contains("--orphans"));
    }

    #[test]
    fn two_processes_may_write_in_turn() {
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
}
