//! The paths of a ledger's files, and errors that name them.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// The largest size, in bytes, of a `-wal` without commits: its header.
const WAL_HEADER: u64 = 32;

/// A hint about `destroy --orphans`.
pub(super) const BY_TAGS: &str =
    "`autorun destroy --orphans` finds the resources of its runs by their tags";

/// The paths of a ledger's files.
pub(super) struct Files {
    pub(super) directory: PathBuf,
    pub(super) main: PathBuf,
    pub(super) wal: PathBuf,
    pub(super) journal: PathBuf,
    pub(super) owner: PathBuf,
}

impl Files {
    pub(super) fn in_directory(directory: &Path) -> Self {
        let named = |name: &str| directory.join(name);
        Self {
            directory: directory.to_owned(),
            main: named("ledger.db"),
            wal: named("ledger.db-wal"),
            journal: named("ledger.db-journal"),
            owner: named("owner"),
        }
    }

    /// Creates an error about the ledger.
    pub(super) fn refused(&self, what: &str, hint: String) -> Error {
        let shown = self.main.display();
        Error::internal(format!("cannot use the ledger `{shown}`: {what}")).hint(hint)
    }

    /// Creates an error about the ledger whose hint also offers to move the files
    /// away.
    pub(super) fn refused_or_moved(&self, what: &str, first: &str, then: &str) -> Error {
        let files = format!("{}*", shell_words::quote(&self.main.to_string_lossy()));
        self.refused(what, format!("{first}; or move {files} away: {then}"))
    }
}

/// Returns the size of a file, or `None` if it does not exist.
pub(super) fn size(path: &Path) -> Option<u64> {
    std::fs::symlink_metadata(path)
        .ok()
        .map(|about| about.len())
}

/// Returns whether the `-wal` may have commits that the main file does not have.
pub(super) fn wal_holds_commits(files: &Files) -> bool {
    size(&files.wal).is_some_and(|size| size > WAL_HEADER)
}
