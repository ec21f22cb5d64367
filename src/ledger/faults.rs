//! What SQLite says, in words that a person can act on.

use std::path::Path;
use std::time::Duration;

use rusqlite::ErrorCode;

use super::files::{BY_TAGS, Files, wal_holds_commits};
use crate::error::{Error, ErrorKind};

/// How long another process may hold the file.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// An error of SQLite, with what to do about it.
pub(super) fn unusable(path: &Path, error: &rusqlite::Error) -> Error {
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
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            return damaged(path, &error.to_string());
        }
        None if *error == rusqlite::Error::QueryReturnedNoRows => {
            return damaged(path, "it names no owner");
        }
        None if let rusqlite::Error::FromSqlConversionFailure(_, _, why) = error => (
            ErrorKind::Internal,
            format!("a row of it cannot be read: {why}"),
            format!(
                "another program changed it: bring it back from a backup; `sqlite3 {} .dump` shows \
                 what it has",
                shell_words::quote(&path.to_string_lossy())
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

/// An error about a damaged ledger, with what SQLite says of it.
pub(super) fn damaged(main: &Path, said: &str) -> Error {
    let said = said.lines().next().unwrap_or_default();
    let shown = shell_words::quote(&main.to_string_lossy()).into_owned();
    let files = Files::in_directory(main.parent().unwrap_or(Path::new(".")));
    let or_else = if wal_holds_commits(&files) {
        ", or the `-wal` beside it is not its own"
    } else {
        ""
    };
    files.refused_unless(
        &format!("it is damaged{or_else} ({said})"),
        &format!("bring it back from a backup; `sqlite3 {shown} .dump` shows what can be read"),
        &format!("then {BY_TAGS}"),
    )
}
