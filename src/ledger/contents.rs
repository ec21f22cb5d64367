//! What a ledger says of its owner and of how much was written to it, compared
//! with what the file beside it says.

use rusqlite::{Connection, OpenFlags};

use super::faults::unusable;
use super::files::{BY_TAGS, Files, wal_holds_commits};
use super::witness::Witness;
use crate::error::Result;

/// What the ledger says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) owner: String,
    /// How many commits it has.
    pub(super) commits: u64,
    /// Whether a process was about to write more, so that the main file may not
    /// be all.
    pub(super) open: bool,
}

/// What of a ledger is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    MainFile,
    /// With its `-wal`.
    Whole,
}

/// Refuses what is another ledger's, or less than was written.
pub(super) fn compare(
    contents: &Contents,
    part: Part,
    files: &Files,
    witness: &Witness,
) -> Result<()> {
    let go_on = format!(
        "or remove {} to go on with it as it is, and {BY_TAGS}",
        shell_words::quote(&files.owner.to_string_lossy())
    );
    if contents.owner != witness.owner {
        return Err(files.refused(
            &format!(
                "it, or its `-wal`, is another ledger's: the owner is `{}`, and the file `owner` \
                 beside it says `{}`",
                contents.owner, witness.owner
            ),
            format!("put the right one back, with its `-wal`; {go_on}"),
        ));
    }
    let (has, noted) = (contents.commits, witness.noted.unwrap_or_default());
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
                "it is older than the `-wal` beside it: it has {has} of {} commits by contents",
                noted.in_file
            ),
            format!("bring both back as they were at one time; {go_on}"),
        )),
        Part::Whole | Part::MainFile => Ok(()),
    }
}

/// What a connection reads.
pub(super) fn contents(connection: &Connection) -> rusqlite::Result<Contents> {
    let counts = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'written')";
    // An older version neither counted nor said that it was writing.
    let sql = if connection.query_row(counts, [], |row| row.get(0))? {
        "SELECT owner, commits, open FROM written"
    } else {
        "SELECT owner, 0, 0 FROM ledger"
    };
    connection.query_row(sql, [], |row| {
        Ok(Contents {
            owner: row.get(0)?,
            commits: row.get(1)?,
            open: row.get(2)?,
        })
    })
}

/// Asked once more: another process may just have brought everything into the
/// main file.
pub(super) fn is_still_open(connection: &Connection) -> bool {
    contents(connection).is_ok_and(|contents| contents.open)
}

/// What the main file says without its `-wal`; nothing where there is no need to
/// know.
pub(super) fn main_file_alone(
    files: &Files,
    witness: Option<&Witness>,
) -> Result<Option<Contents>> {
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
        contents(&connection)
    };
    // Another process may be writing to it at this moment.
    let read = read().or_else(|_| read());
    read.map(Some).map_err(|e| unusable(&files.main, &e))
}
