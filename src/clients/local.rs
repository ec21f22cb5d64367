//! What the clients need to know of the user's machine.

use std::path::{Path, PathBuf};

/// The user's machine.
#[derive(Clone, Debug, Default)]
pub struct Local {
    /// Directory for pinned host keys and private keys.
    pub data_dir: PathBuf,
    /// The user's home directory, if there is one.
    pub home: Option<PathBuf>,
    /// Name of the user, the default for ssh.
    pub user: Option<String>,
}

impl Local {
    /// The path with `~/` as the user's home directory.
    #[must_use]
    pub fn expand(&self, path: &Path) -> PathBuf {
        match (&self.home, path.strip_prefix("~")) {
            (Some(home), Ok(rest)) => home.join(rest),
            _ => path.to_owned(),
        }
    }
}
