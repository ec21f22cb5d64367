//! Converts SQLite's errors to errors with a hint.

use std::path::Path;
use std::time::Duration;

use rusqlite::ErrorCode;

use super::files::{BY_TAGS, Files, wal_holds_commits};
use crate::error::{Error, ErrorKind};

/// How long to wait for another process that has locked the file.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Converts an error of SQLite.
pub(super) fn unusable(path: &Path, error: &rusqlite::Error) -> Error {
    let shown = path.display();
    let (kind, what, hint) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            ErrorKind::Timeout,
            format!("another process has locked it for {} s", PATIENCE.as_secs()),
            format!("`fuser -v {shown}` shows the process; wait for it or stop it"),
        ),
        Some(ErrorCode::DiskFull) => (
            ErrorKind::QuotaExceeded,
            "the disk is full".to_owned(),
            "free disk space: resources that cannot be recorded are not created".to_owned(),
        ),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => (
            ErrorKind::Denied,
            "it is not writable".to_owned(),
            "give yourself write access to it and its directory, or set AUTORUN_HOME".to_owned(),
        ),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            return damaged(path, &error.to_string());
        }
        None if *error == rusqlite::Error::QueryReturnedNoRows => {
            return damaged(path, "it has no owner");
        }
        None if let rusqlite::Error::FromSqlConversionFailure(_, _, why) = error => (
            ErrorKind::Internal,
            format!("cannot read a row: {why}"),
            format!(
                "another program changed it: restore it from a backup; `sqlite3 {} .dump` shows \
                 its content",
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

/// Creates the error for a damaged ledger, with the first line of the reason.
pub(super) fn damaged(main: &Path, reason: &str) -> Error {
    let reason = reason.lines().next().unwrap_or_default();
    let shown = shell_words::quote(&main.to_string_lossy()).into_owned();
    let files = Files::in_directory(main.parent().unwrap_or(Path::new(".")));
    let or_else = if wal_holds_commits(&files) {
        ", or the `-wal` beside it belongs to another file"
    } else {
        ""
    };
    files.refused_or_moved(
        &format!("it is damaged{or_else} ({reason})"),
        &format!("restore it from a backup; `sqlite3 {shown} .dump` shows what is readable"),
        &format!("then {BY_TAGS}"),
    )
}
