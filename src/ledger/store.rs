//! The ledger's file: SQLite, one for all runs of a user, used by several
//! processes at once.
//!
//! A commit is on the disk when it returns (`synchronous=FULL`). The directory
//! is the user's alone, and so is the file.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use crate::crash;
use crate::error::{Error, ErrorKind, Result};

/// Says that a SQLite file is a ledger: "atrn".
const APPLICATION: i32 = 0x6174_726e;

/// The schema, one entry per version: a ledger of version n gets those from n
/// on.
const MIGRATIONS: [&str; 2] = [
    "
CREATE TABLE ledger (owner TEXT NOT NULL) STRICT;
CREATE TABLE run (
    id TEXT PRIMARY KEY,
    playbook TEXT NOT NULL,
    name TEXT NOT NULL,
    target TEXT NOT NULL,
    account TEXT NOT NULL,
    about TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started INTEGER NOT NULL,
    ended INTEGER,
    outcome TEXT,
    error TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX run_started ON run (started);
CREATE TABLE step (
    run TEXT NOT NULL REFERENCES run (id),
    number INTEGER NOT NULL,
    key TEXT NOT NULL,
    branch TEXT NOT NULL,
    function TEXT NOT NULL,
    summary TEXT NOT NULL,
    place TEXT NOT NULL,
    state TEXT NOT NULL,
    result TEXT,
    altered INTEGER NOT NULL,
    error TEXT,
    started INTEGER NOT NULL,
    ended INTEGER,
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE resource (
    run TEXT NOT NULL REFERENCES run (id),
    row TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    id TEXT,
    state TEXT NOT NULL,
    step TEXT NOT NULL,
    intended INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    removed_by_playbook INTEGER NOT NULL,
    PRIMARY KEY (run, row)
) STRICT, WITHOUT ROWID;
CREATE INDEX resource_row ON resource (row);
CREATE INDEX resource_up ON resource (run) WHERE state IN ('intended', 'live', 'releasing');
",
    "
CREATE TABLE wait (
    run TEXT NOT NULL REFERENCES run (id),
    branch TEXT NOT NULL,
    function TEXT NOT NULL,
    place TEXT NOT NULL,
    error TEXT,
    started INTEGER NOT NULL,
    ended INTEGER NOT NULL
) STRICT;
CREATE INDEX wait_run ON wait (run);
",
];

/// How long another process may hold the file.
const PATIENCE: Duration = Duration::from_secs(5);

/// Letters and digits of ids: none that look alike, and no vowels, so that no
/// words arise.
const ID_LETTERS: &[u8] = b"23456789bcdfghjkmnpqrstvwxz";

/// Length of the ledger's own id.
const OWNER_LETTERS: usize = 16;

/// An open ledger file. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connection: Mutex<Connection>,
    owner: String,
    path: PathBuf,
}

impl Store {
    /// Opens the ledger in a directory, or makes one.
    ///
    /// Throws what makes it unusable: `denied`, `quota_exceeded`, `timeout` when
    /// another process holds it, `internal` when it is damaged or newer.
    pub fn open(directory: &Path) -> Result<Self> {
        let path = directory.join("ledger.db");
        private_directory(directory)?;
        // SQLite would let the group and others read it; its side files follow.
        private_file(&path)?;
        let failed = |e: &rusqlite::Error| unusable(&path, e);
        let mut connection = Connection::open(&path).map_err(|e| failed(&e))?;
        let owner = prepare(&mut connection, &path).map_err(|e| match e {
            Fault::Sqlite(e) => failed(&e),
            Fault::Ours(e) => e,
        })?;
        Ok(Self(Arc::new(Inner {
            connection: Mutex::new(connection),
            owner,
            path,
        })))
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
            crash::reached("before a ledger commit");
            tx.commit()?;
            crash::reached("after a ledger commit");
            Ok(done)
        };
        all().map_err(|e| unusable(&self.0.path, &e))
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

/// A random id of so many letters.
pub(super) fn new_id(letters: usize) -> String {
    (0..letters)
        .map(|_| char::from(ID_LETTERS[rand::random_range(0..ID_LETTERS.len())]))
        .collect()
}

enum Fault {
    Sqlite(rusqlite::Error),
    Ours(Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Sets the connection up, brings the schema up to date; gives the owner.
fn prepare(connection: &mut Connection, path: &Path) -> std::result::Result<String, Fault> {
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    let newest = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
    if pragma(connection, "user_version")? != newest {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version = pragma(&tx, "user_version")?;
        let tables: i64 = tx.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
        if (version == 0 && tables > 0) || (version > 0 && is_foreign(&tx)?) {
            return Err(Fault::Ours(foreign(path)));
        }
        if version > newest {
            return Err(Fault::Ours(newer(path)));
        }
        for migration in &MIGRATIONS[usize::try_from(version).unwrap_or(0)..] {
            tx.execute_batch(migration)?;
        }
        if version == 0 {
            tx.execute("INSERT INTO ledger (owner) VALUES (?1)", [owner(path)])?;
            tx.pragma_update(None, "application_id", APPLICATION)?;
        }
        tx.pragma_update(None, "user_version", newest)?;
        tx.commit()?;
    } else if is_foreign(connection)? {
        return Err(Fault::Ours(foreign(path)));
    }
    Ok(connection.query_row("SELECT owner FROM ledger", [], |row| row.get(0))?)
}

/// The ledger's id. It is kept beside the ledger, too: should that be lost, the
/// next one is known as its owner.
fn owner(ledger: &Path) -> String {
    let file = ledger.with_file_name("owner");
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    let kept = kept.trim();
    if kept.len() == OWNER_LETTERS && kept.bytes().all(|b| ID_LETTERS.contains(&b)) {
        return kept.to_owned();
    }
    let owner = new_id(OWNER_LETTERS);
    // Without it the ledger works as well.
    drop(std::fs::write(file, format!("{owner}\n")));
    owner
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

fn is_foreign(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(pragma(connection, "application_id")? != APPLICATION)
}

fn foreign(path: &Path) -> Error {
    Error::internal(format!(
        "`{}` is a database, but no ledger of autorun",
        path.display()
    ))
    .hint("set AUTORUN_HOME to another directory, or move the file away")
}

fn newer(path: &Path) -> Error {
    Error::internal(format!(
        "the ledger `{}` was written by a newer autorun",
        path.display()
    ))
    .hint("use that version; this one could lose what it knows")
}

/// What SQLite says, in words a person can act on.
fn unusable(path: &Path, error: &rusqlite::Error) -> Error {
    let shown = path.display();
    let (kind, what, hint) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            ErrorKind::Timeout,
            format!("another process has held it for {} s", PATIENCE.as_secs()),
            format!("`fuser -v {shown}` shows which; wait for it or end it"),
        ),
        Some(ErrorCode::DiskFull) => (
            ErrorKind::QuotaExceeded,
            "the disk is full".to_owned(),
            "make room: nothing is made that cannot be written down".to_owned(),
        ),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => (
            ErrorKind::Denied,
            "it cannot be written to".to_owned(),
            "give yourself write access to it and its directory, or set AUTORUN_HOME".to_owned(),
        ),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => (
            ErrorKind::Internal,
            "it is damaged".to_owned(),
            format!(
                "`sqlite3 {shown} .dump` shows what can be read of it; move it away, then \
                 `autorun destroy --orphans` finds what its runs left"
            ),
        ),
        _ => (
            ErrorKind::Internal,
            error.to_string(),
            "set AUTORUN_HOME to a directory on a local disk".to_owned(),
        ),
    };
    Error::new(kind, format!("cannot use the ledger `{shown}`: {what}")).hint(hint)
}

fn private_directory(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| {
            let error = Error::io("create the ledger's directory", path, &e);
            error.hint("set AUTORUN_HOME to a directory that you may write to")
        })
}

fn private_file(path: &Path) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let opened = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    opened.map(drop).map_err(|e| {
        let error = Error::io("write to the ledger", path, &e);
        match e.kind() {
            std::io::ErrorKind::StorageFull => error.hint("make room on the disk"),
            _ => error.hint("give yourself write access to it, or set AUTORUN_HOME"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
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
        assert_eq!(Store::open(&directory).unwrap().owner(), first);
    }

    #[test]
    fn a_newer_one_is_refused_and_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        store
            .connection()
            .pragma_update(None, "user_version", 99)
            .unwrap();
        assert!(fault(home.path()).message.contains("newer autorun"));
        assert_eq!(pragma(&store.connection(), "user_version").unwrap(), 99);
    }

    #[test]
    fn another_programs_database_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("ledger.db");
        let theirs = Connection::open(path).unwrap();
        theirs
            .execute_batch("CREATE TABLE t (x); PRAGMA user_version = 1")
            .unwrap();
        assert!(fault(home.path()).message.contains("no ledger"));
    }

    #[test]
    fn what_is_no_database_is_damaged() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("ledger.db"), "x".repeat(4096)).unwrap();
        let fault = fault(home.path());
        assert!(fault.message.contains("it is damaged"), "{}", fault.message);
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
