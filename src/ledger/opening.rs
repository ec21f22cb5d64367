//! Opens the ledger's file, or says why it cannot be trusted: an empty, damaged,
//! older or incomplete one is never taken for one in which there is no more.
//!
//! Nothing is written before it is certain that the file is the newest, whole
//! and this ledger's own: SQLite would let another ledger's `-wal` be written
//! over it.

use std::path::{Path, PathBuf};

use autorun_private as private;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::store::{MIGRATIONS, OWNER_LETTERS, PATIENCE, new_id, unusable};
use super::witness::{Noted, Seen, Witness};
use crate::error::{Error, Result};

/// Says that a SQLite file is a ledger: "atrn".
const APPLICATION: i32 = 0x6174_726e;

/// Bytes of a `-wal` that holds no commit: nothing, or its header.
const WAL_HEADER: u64 = 32;

/// What `destroy --orphans` is for.
const BY_TAGS: &str = "`autorun destroy --orphans` finds what its runs made by their tags";

/// What happens when there was a ledger, and it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IfLost {
    Refuse,
    /// An empty one begins, under the same owner.
    BeginAgain,
}

/// An open ledger.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) owner: String,
    pub(super) witness: Witness,
    /// What the user should know: what was repaired.
    pub(super) said: Vec<String>,
}

/// Where the parts of a ledger are.
struct Files {
    directory: PathBuf,
    main: PathBuf,
    wal: PathBuf,
    journal: PathBuf,
    owner: PathBuf,
}

impl Files {
    fn of(directory: &Path) -> Self {
        let named = |name: &str| directory.join(name);
        Self {
            directory: directory.to_owned(),
            main: named("ledger.db"),
            wal: named("ledger.db-wal"),
            journal: named("ledger.db-journal"),
            owner: named("owner"),
        }
    }

    /// An error about the ledger, with what to do.
    fn refused(&self, what: &str, hint: String) -> Error {
        let shown = self.main.display();
        Error::internal(format!("cannot use the ledger `{shown}`: {what}")).hint(hint)
    }

    /// The same, with a hint that names its files for a shell.
    fn refused_unless(&self, what: &str, first: &str, then: &str) -> Error {
        let files = format!("{}*", shell_words::quote(&self.main.to_string_lossy()));
        self.refused(what, format!("{first}; or move {files} away: {then}"))
    }
}

/// What the ledger says of itself.
#[derive(Debug, PartialEq, Eq)]
struct Itself {
    owner: String,
    /// How many commits it has.
    commits: u64,
    /// Whether a process was about to write more, so that the main file may not
    /// be all.
    open: bool,
}

/// Opens the ledger in a directory; makes one if there never was one.
///
/// Throws what makes it unusable.
pub(super) fn open(directory: &Path, if_lost: IfLost) -> Result<Opened> {
    let files = Files::of(directory);
    make_directory(directory)?;
    refuse_another_programs(&files)?;
    let mut said = check_access(&files)?;
    let witness = Witness::open(&files.owner)?;
    match size(&files.main) {
        Some(0) => {
            let what = "it is empty, and autorun never leaves it so";
            return Err(files.refused_unless(
                what,
                "bring it back from a backup",
                &format!("then {BY_TAGS}"),
            ));
        }
        Some(_) => {}
        None => {
            refuse_what_is_left(&files)?;
            let before = witness.as_ref();
            if let Some(witness) = before {
                said.push(begun_again(&files, witness, if_lost)?);
            }
            make(&files, before)?;
        }
    }
    check_writable(&files.main)?;
    refuse_journal(&files)?;
    // Read before the connection is opened: to close another handle on the file
    // would give up the locks that this process has on it.
    let alone = main_file_alone(&files, witness.as_ref())?;
    let seen = Seen::of(&files.main);
    let failed = |e: &rusqlite::Error| unusable(&files.main, e);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&files.main, flags).map_err(|e| failed(&e))?;
    let wal = wal_holds_commits(&files);
    let noted = witness.as_ref().and_then(|w| w.noted);
    let itself = examine(&connection, &files, alone.as_ref(), witness.as_ref())?;
    // A file that is as it was left is as sound as it was then.
    let as_left = noted.is_some_and(|noted| Some(noted.file) == seen);
    if wal || !as_left {
        check_integrity(&connection, &files)?;
    }
    prepare(&mut connection, &files)?;
    let witness = match witness {
        Some(witness) if witness.noted.is_some() => witness,
        _ => {
            let written = itself.commits;
            let noted = Noted {
                written,
                ..Noted::default()
            };
            Witness::make(&files.owner, &itself.owner, noted)?
        }
    };
    Ok(Opened {
        connection,
        owner: itself.owner,
        witness,
        said,
    })
}

/// Everything that must hold of a ledger's contents before it is written to.
fn examine(
    connection: &Connection,
    files: &Files,
    alone: Option<&Itself>,
    witness: Option<&Witness>,
) -> Result<Itself> {
    let failed = |e: &rusqlite::Error| unusable(&files.main, e);
    connection.busy_timeout(PATIENCE).map_err(|e| failed(&e))?;
    // A `-wal` that turns out to be another ledger's must not be written into
    // this one when the connection is closed.
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(|e| failed(&e))?;
    connection
        .pragma_update(None, "cell_size_check", "ON")
        .map_err(|e| failed(&e))?;
    if let (Some(alone), Some(witness)) = (alone, witness) {
        compare(alone, Part::MainFile, files, witness)?;
    }
    check_version(connection, files)?;
    let itself = itself(connection).map_err(|e| failed(&e))?;
    match witness {
        Some(witness) => compare(&itself, Part::Whole, files, witness)?,
        None if itself.open && !wal_holds_commits(files) && is_still_open(connection) => {
            return Err(files.refused(
                "it is a copy without its `-wal`, made while a run was writing",
                format!(
                    "copy `ledger.db-wal` as well, or copy both once more when no run is in \
                     progress; `sqlite3 {} 'UPDATE written SET open = 0'` goes on with what it has",
                    shell_words::quote(&files.main.to_string_lossy())
                ),
            ));
        }
        None => {}
    }
    Ok(itself)
}

/// What of a ledger is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    MainFile,
    /// With its `-wal`.
    Whole,
}

/// Refuses what is another ledger's, or less than was written.
fn compare(itself: &Itself, part: Part, files: &Files, witness: &Witness) -> Result<()> {
    let go_on = format!(
        "or remove {} to go on with it as it is, and {BY_TAGS}",
        shell_words::quote(&files.owner.to_string_lossy())
    );
    if itself.owner != witness.owner {
        return Err(files.refused(
            &format!(
                "it, or its `-wal`, is another ledger's: the owner is `{}`, and the file `owner` \
                 beside it says `{}`",
                itself.owner, witness.owner
            ),
            format!("put the right one back, with its `-wal`; {go_on}"),
        ));
    }
    let (has, noted) = (itself.commits, witness.noted.unwrap_or_default());
    match part {
        Part::Whole if has < noted.written => Err(files.refused(
            &format!(
                "it is older than what was written last, or its `-wal` is lost: it has {has} of \
                 {} commits",
                noted.written
            ),
            format!("bring the newest back, with its `-wal`; {go_on}"),
        )),
        Part::MainFile if has < noted.in_file => Err(files.refused(
            &format!(
                "it is older than the `-wal` beside it: it has {has} of {} commits by itself",
                noted.in_file
            ),
            format!("bring both back as they were at one time; {go_on}"),
        )),
        Part::Whole | Part::MainFile => Ok(()),
    }
}

/// Refuses a file that is no ledger, or too new a one.
fn check_version(connection: &Connection, files: &Files) -> Result<()> {
    let about = || -> rusqlite::Result<(i32, i32, i64)> {
        let tables = "SELECT count(*) FROM sqlite_schema";
        Ok((
            pragma(connection, "application_id")?,
            pragma(connection, "user_version")?,
            connection.query_row(tables, [], |row| row.get(0))?,
        ))
    };
    let (application, version, tables) = about().map_err(|e| unusable(&files.main, &e))?;
    if application == 0 && tables == 0 {
        return Err(files.refused_unless(
            "it is a database without anything in it, and autorun never leaves it so",
            "bring it back from a backup",
            &format!("then {BY_TAGS}"),
        ));
    }
    let version = usize::try_from(version).unwrap_or_default();
    if application != APPLICATION || version == 0 {
        return Err(another_programs(files));
    }
    if version > MIGRATIONS.len() {
        let shown = files.main.display();
        return Err(Error::internal(format!(
            "the ledger `{shown}` was written by a newer autorun"
        ))
        .hint("use that version; this one could lose what it knows"));
    }
    Ok(())
}

fn itself(connection: &Connection) -> rusqlite::Result<Itself> {
    let counts = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'written')";
    // An older version neither counted nor said that it was writing.
    let sql = match connection.query_row(counts, [], |row| row.get(0))? {
        true => "SELECT owner, commits, open FROM written",
        false => "SELECT owner, 0, 0 FROM ledger",
    };
    connection.query_row(sql, [], |row| {
        Ok(Itself {
            owner: row.get(0)?,
            commits: row.get(1)?,
            open: row.get(2)?,
        })
    })
}

/// Asked once more: another process may just have brought everything into the
/// main file.
fn is_still_open(connection: &Connection) -> bool {
    itself(connection).is_ok_and(|itself| itself.open)
}

/// What the main file says without its `-wal`; nothing where there is no need to
/// know.
fn main_file_alone(files: &Files, witness: Option<&Witness>) -> Result<Option<Itself>> {
    let in_file = witness.and_then(|w| w.noted).map_or(0, |n| n.in_file);
    if in_file == 0 || !wal_holds_commits(files) {
        return Ok(None);
    }
    let encoded = percent_encoding::percent_encode(
        std::os::unix::ffi::OsStrExt::as_bytes(files.main.as_os_str()),
        percent_encoding::NON_ALPHANUMERIC,
    );
    // SQLite then looks neither for a `-wal` nor for locks.
    let uri = format!("file:{encoded}?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let read = || {
        let connection = Connection::open_with_flags(&uri, flags)?;
        itself(&connection)
    };
    // Another process may be writing to it at this moment.
    let read = read().or_else(|_| read());
    read.map(Some).map_err(|e| unusable(&files.main, &e))
}

fn wal_holds_commits(files: &Files) -> bool {
    size(&files.wal).is_some_and(|size| size > WAL_HEADER)
}

/// Refuses what a file that was changed behind our back has lost: SQLite itself
/// notices only what it happens to read.
fn check_integrity(connection: &Connection, files: &Files) -> Result<()> {
    let check = "PRAGMA integrity_check(1)";
    let found: String = connection
        .query_row(check, [], |row| row.get(0))
        .map_err(|e| unusable(&files.main, &e))?;
    match found.as_str() {
        "ok" => Ok(()),
        found => Err(damaged(&files.main, found)),
    }
}

/// An error about a damaged ledger, with what SQLite says of it.
pub(super) fn damaged(main: &Path, said: &str) -> Error {
    let said = said.lines().next().unwrap_or_default();
    let shown = shell_words::quote(&main.to_string_lossy()).into_owned();
    let files = Files::of(main.parent().unwrap_or(Path::new(".")));
    let or_else = match wal_holds_commits(&files) {
        true => ", or the `-wal` beside it is not its own",
        false => "",
    };
    files.refused_unless(
        &format!("it is damaged{or_else} ({said})"),
        &format!("bring it back from a backup; `sqlite3 {shown} .dump` shows what can be read"),
        &format!("then {BY_TAGS}"),
    )
}

/// Sets the connection up and brings the schema up to date.
fn prepare(connection: &mut Connection, files: &Files) -> Result<()> {
    let mut all = || -> rusqlite::Result<()> {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", "ON")?;
        connection.pragma_update(None, "trusted_schema", "OFF")?;
        let newest = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
        if pragma(connection, "user_version")? == newest {
            return Ok(());
        }
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have done it meanwhile.
        let version = pragma(&tx, "user_version")?;
        for migration in &MIGRATIONS[usize::try_from(version).unwrap_or_default()..] {
            tx.execute_batch(migration)?;
        }
        tx.pragma_update(None, "user_version", newest)?;
        tx.commit()
    };
    all().map_err(|e| unusable(&files.main, &e))
}

/// Makes a ledger. It has its name when it is whole, so an empty one is never
/// one that was just begun.
fn make(files: &Files, before: Option<&Witness>) -> Result<()> {
    let failed = |e: std::io::Error| {
        let error = Error::io("make the ledger", &files.main, &e);
        match e.kind() {
            std::io::ErrorKind::StorageFull => error.hint("make room on the disk"),
            _ => error.hint("give yourself write access to its directory, or set AUTORUN_HOME"),
        }
    };
    // 0600 from the start, and so are SQLite's own files beside it.
    let unfinished = tempfile::Builder::new()
        .prefix(".ledger-")
        .tempfile_in(&files.directory)
        .map_err(failed)?;
    let owner = before.map_or_else(|| new_id(OWNER_LETTERS), |w| w.owner.clone());
    let commits = before.and_then(|w| w.noted).map_or(0, |n| n.written);
    let fill = || -> rusqlite::Result<()> {
        let mut connection = Connection::open(unfinished.path())?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        let tx = connection.transaction()?;
        for migration in MIGRATIONS {
            tx.execute_batch(migration)?;
        }
        tx.execute("INSERT INTO ledger (owner) VALUES (?1)", [&owner])?;
        let insert = "INSERT INTO written (owner, commits, open) VALUES (?1, ?2, 0)";
        tx.execute(insert, rusqlite::params![owner, commits])?;
        tx.pragma_update(None, "application_id", APPLICATION)?;
        let newest = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
        tx.pragma_update(None, "user_version", newest)?;
        tx.commit()?;
        connection.close().map_err(|(_, e)| e)
    };
    fill().map_err(|e| unusable(&files.main, &e))?;
    unfinished.as_file().sync_all().map_err(failed)?;
    match unfinished.persist_noclobber(&files.main) {
        // Another process was first: its ledger is as good.
        Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(failed(e.error)),
        Ok(_) => std::fs::File::open(&files.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(failed),
    }
}

/// There was a ledger: what is to be said when another one begins.
fn begun_again(files: &Files, witness: &Witness, if_lost: IfLost) -> Result<String> {
    let knew = match witness.noted {
        Some(Noted { written: 1, .. }) => "one commit".to_owned(),
        Some(noted) => format!("{} commits", noted.written),
        None => "one".to_owned(),
    };
    let what = format!("it is gone, and the file `owner` beside it knows of {knew}");
    if if_lost == IfLost::Refuse {
        return Err(files.refused(
            &what,
            format!(
                "bring it back from a backup, with its `-wal`; or begin an empty one: {BY_TAGS}"
            ),
        ));
    }
    let shown = files.main.display();
    Ok(format!(
        "the ledger `{shown}` was lost: an empty one begins"
    ))
}

/// A `-wal` without its ledger: SQLite would delete it.
fn refuse_what_is_left(files: &Files) -> Result<()> {
    let left = [&files.wal, &files.journal];
    match left
        .into_iter()
        .find(|path| size(path).is_some_and(|s| s > 0))
    {
        None => Ok(()),
        Some(left) => Err(files.refused_unless(
            &format!("it is gone, and `{}` is still there", left.display()),
            "bring it back",
            &format!("then {BY_TAGS}"),
        )),
    }
}

/// SQLite would write the pages of a journal over the ledger, whoever's it is.
fn refuse_journal(files: &Files) -> Result<()> {
    if size(&files.journal).is_none_or(|size| size == 0) {
        return Ok(());
    }
    let journal = shell_words::quote(&files.journal.to_string_lossy()).into_owned();
    Err(files.refused(
        &format!(
            "`{}` is beside it, which autorun does not make",
            files.journal.display()
        ),
        format!("another program was writing to the ledger: let it finish, or move {journal} away"),
    ))
}

/// Another program may have a `ledger.db` in a directory of its own: that is left
/// as it is, its mode too.
fn refuse_another_programs(files: &Files) -> Result<()> {
    use std::io::Read as _;
    // In its head SQLite keeps who made it.
    const MAGIC: &[u8] = b"SQLite format 3\0";
    const MADE_BY: std::ops::Range<usize> = 68..72;
    let is_file = std::fs::symlink_metadata(&files.main).is_ok_and(|about| about.is_file());
    if !is_file || size(&files.owner).is_some() {
        return Ok(());
    }
    let mut head = [0; MADE_BY.end];
    let read = std::fs::File::open(&files.main).and_then(|mut file| file.read_exact(&mut head));
    match read {
        Ok(()) if head.starts_with(MAGIC) && head[MADE_BY] != APPLICATION.to_be_bytes() => {
            Err(another_programs(files))
        }
        _ => Ok(()),
    }
}

fn another_programs(files: &Files) -> Error {
    let shown = files.main.display();
    Error::internal(format!("`{shown}` is a database, but no ledger of autorun"))
        .hint("set AUTORUN_HOME to another directory, or move the file away")
}

fn size(path: &Path) -> Option<u64> {
    std::fs::symlink_metadata(path)
        .ok()
        .map(|about| about.len())
}

fn make_directory(path: &Path) -> Result<()> {
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

/// Whether it is this user's alone, with all that is kept beside it.
fn check_access(files: &Files) -> Result<Vec<String>> {
    let all = || -> Result<Vec<String>> {
        let is_ours = [&files.main, &files.owner]
            .iter()
            .any(|f| size(f).is_some());
        let is_empty = std::fs::read_dir(&files.directory).is_ok_and(|mut d| d.next().is_none());
        let mut said = private::directory(&files.directory, is_ours || is_empty)?;
        for name in [
            "ledger.db",
            "ledger.db-wal",
            "ledger.db-shm",
            "ledger.db-journal",
            "owner",
        ] {
            said.extend(private::file(&files.directory.join(name))?);
        }
        for name in ["runs", "keys"] {
            said.extend(private::tree(&files.directory.join(name))?);
        }
        // A pin that others could write to is not repaired: whoever reads it
        // refuses it.
        let pins = files.directory.join("hosts");
        if pins.symlink_metadata().is_ok() {
            said.extend(private::own_directory(&pins, false)?);
        }
        Ok(said)
    };
    all().map_err(|e| e.while_doing("cannot use the ledger"))
}

/// SQLite would open a file that cannot be written to, and fail later.
fn check_writable(path: &Path) -> Result<()> {
    let opened = std::fs::OpenOptions::new().write(true).open(path);
    opened.map(drop).map_err(|e| {
        let error = Error::io("write to the ledger", path, &e);
        match e.kind() {
            std::io::ErrorKind::StorageFull => error.hint("make room on the disk"),
            _ => error.hint("give yourself write access to it, or set AUTORUN_HOME"),
        }
    })
}

pub(super) fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}
