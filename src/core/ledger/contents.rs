//! The owner and the number of commits in the ledger, compared with the record in
//! the file `owner` beside it.

use rusqlite::{Connection, OpenFlags};

use super::faults::unusable;
use super::files::{BY_TAGS, Files, wal_holds_commits};
use super::witness::Witness;
use crate::error::Result;

/// What the ledger records about itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) owner: String,
    /// The number of commits.
    pub(super) commits: u64,
    /// Whether a process may have written more, so that the main file may be
    /// incomplete without its `-wal`.
    pub(super) open: bool,
}

/// The part of a ledger that is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    MainFile,
    /// With its `-wal`.
    Whole,
}

/// Rejects files that belong to another ledger or have fewer commits than the
/// witness recorded.
pub(super) fn compare(
    contents: &Contents,
    part: Part,
    files: &Files,
    witness: &Witness,
) -> Result<()> {
    let or_continue = format!(
        "or remove {} to continue with it as it is: then {BY_TAGS}",
        shell_words::quote(&files.owner.to_string_lossy())
    );
    if contents.owner != witness.owner {
        return Err(files.refused(
            &format!(
                "it or its `-wal` belongs to another ledger: its owner is `{}`, but the file \
                 `owner` beside it has `{}`",
                contents.owner, witness.owner
            ),
            format!("restore the right file with its `-wal`; {or_continue}"),
        ));
    }
    let (has, noted) = (contents.commits, witness.noted.unwrap_or_default());
    match part {
        Part::Whole if has < noted.written => Err(files.refused(
            &format!(
                "it is older than the last commit, or its `-wal` is missing: it has {has} of {} \
                 commits",
                noted.written
            ),
            format!("restore the newest copy with its `-wal`; {or_continue}"),
        )),
        Part::MainFile if has < noted.in_file => Err(files.refused(
            &format!(
                "it is older than the `-wal` beside it: the main file has {has} of {} commits",
                noted.in_file
            ),
            format!("restore both from the same backup; {or_continue}"),
        )),
        Part::Whole | Part::MainFile => Ok(()),
    }
}

/// Reads the owner and the number of commits.
pub(super) fn contents(connection: &Connection) -> rusqlite::Result<Contents> {
    let counts = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'written')";
    // Older versions have no table `written`.
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

/// Reads `open` again, because another process may have checkpointed the `-wal`
/// meanwhile.
pub(super) fn is_still_open(connection: &Connection) -> bool {
    contents(connection).is_ok_and(|contents| contents.open)
}

/// Reads the main file without its `-wal`. Returns `None` if there is nothing to
/// compare.
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
    // With `immutable`, SQLite reads neither a `-wal` nor locks.
    let uri = format!("file:{encoded}?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let read = || {
        let connection = Connection::open_with_flags(&uri, flags)?;
        contents(&connection)
    };
    // Retry once: another process may be writing to the file at this moment.
    let read = read().or_else(|_| read());
    read.map(Some).map_err(|e| unusable(&files.main, &e))
}
