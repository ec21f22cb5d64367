//! Where the parts of a ledger are, and errors that name them.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// Bytes of a `-wal` that holds no commit: nothing, or its header.
const WAL_HEADER: u64 = 32;

/// What `destroy --orphans` is for.
pub(super) const BY_TAGS: &str =
    "`autorun destroy --orphans` finds what its runs made by their tags";

/// Where the parts of a ledger are.
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

    /// An error about the ledger, with what to do.
    pub(super) fn refused(&self, what: &str, hint: String) -> Error {
        let shown = self.main.display();
        Error::internal(format!("cannot use the ledger `{shown}`: {what}")).hint(hint)
    }

    /// The same, with a hint that names its files for a shell.
    pub(super) fn refused_unless(&self, what: &str, first: &str, then: &str) -> Error {
        let files = format!("{}*", shell_words::quote(&self.main.to_string_lossy()));
        self.refused(what, format!("{first}; or move {files} away: {then}"))
    }
}

/// The size of a file; nothing where there is none.
pub(super) fn size(path: &Path) -> Option<u64> {
    std::fs::symlink_metadata(path)
        .ok()
        .map(|about| about.len())
}

/// Whether the `-wal` may have what the main file has not.
pub(super) fn wal_holds_commits(files: &Files) -> bool {
    size(&files.wal).is_some_and(|size| size > WAL_HEADER)
}
