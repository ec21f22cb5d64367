//! Access to the files of the ledger: only for the user, and only if the files
//! belong to a ledger.

use std::path::Path;

use autorun_private as private;

use super::files::{Files, size};
use super::schema::APPLICATION;
use crate::error::{Error, Result};

/// Rejects a `ledger.db` of another program, before anything in its directory is
/// changed, even a mode.
pub(super) fn refuse_another_programs(files: &Files) -> Result<()> {
    use std::io::Read as _;
    // The header of a SQLite file has the application ID at this offset.
    const MAGIC: &[u8] = b"SQLite format 3\0";
    const APPLICATION_ID: std::ops::Range<usize> = 68..72;
    let is_file = std::fs::symlink_metadata(&files.main).is_ok_and(|about| about.is_file());
    if !is_file || size(&files.owner).is_some() {
        return Ok(());
    }
    let mut head = [0; APPLICATION_ID.end];
    let read = std::fs::File::open(&files.main).and_then(|mut file| file.read_exact(&mut head));
    match read {
        Ok(()) if head.starts_with(MAGIC) && head[APPLICATION_ID] != APPLICATION.to_be_bytes() => {
            Err(another_programs(files))
        }
        _ => Ok(()),
    }
}

pub(super) fn another_programs(files: &Files) -> Error {
    let shown = files.main.display();
    Error::internal(format!(
        "`{shown}` is a database, but not a ledger of autorun"
    ))
    .hint("set AUTORUN_HOME to another directory, or move the file away")
}

pub(super) fn make_directory(path: &Path) -> Result<()> {
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

/// Restricts the ledger and the files beside it to this user. Returns a warning
/// for each repair.
pub(super) fn check_access(files: &Files) -> Result<Vec<String>> {
    let all = || -> Result<Vec<String>> {
        let is_ours = [&files.main, &files.owner]
            .iter()
            .any(|f| size(f).is_some());
        let is_empty = std::fs::read_dir(&files.directory).is_ok_and(|mut d| d.next().is_none());
        let mut warnings = private::directory(&files.directory, is_ours || is_empty)?;
        for name in [
            "ledger.db",
            "ledger.db-wal",
            "ledger.db-shm",
            "ledger.db-journal",
            "owner",
        ] {
            warnings.extend(private::file(&files.directory.join(name))?);
        }
        for name in ["runs", "keys", "notify"] {
            warnings.extend(private::tree(&files.directory.join(name))?);
        }
        // Host key files that others could write are not repaired, because they
        // may already be changed: the ssh client rejects them.
        let pins = files.directory.join("hosts");
        if pins.symlink_metadata().is_ok() {
            warnings.extend(private::own_directory(&pins, false)?);
        }
        Ok(warnings)
    };
    all().map_err(|e| e.while_doing("cannot use the ledger"))
}

/// Checks that a file is writable. SQLite would open it read-only and fail later.
pub(super) fn check_writable(path: &Path) -> Result<()> {
    let opened = std::fs::OpenOptions::new().write(true).open(path);
    opened.map(drop).map_err(|e| {
        let error = Error::io("write to the ledger", path, &e);
        match e.kind() {
            std::io::ErrorKind::StorageFull => error.hint("free disk space"),
            _ => error.hint("give yourself write access to it, or set AUTORUN_HOME"),
        }
    })
}
