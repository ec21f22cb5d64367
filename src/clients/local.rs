//! Facts about the user's machine that the clients need.

use std::path::{Path, PathBuf};

/// Facts about the user's machine.
#[derive(Clone, Debug, Default)]
pub struct Local {
    /// The directory for pinned host keys and private keys.
    pub data_dir: PathBuf,
    /// The user's home directory, if there is one.
    pub home: Option<PathBuf>,
    /// The user's name, the default for ssh.
    pub user: Option<String>,
    /// The file to read in place of `~/.ssh/config`; `none` means no file.
    pub ssh_config: Option<PathBuf>,
}

impl Local {
    /// Expands a leading `~/` to the user's home directory.
    #[must_use]
    pub fn expand(&self, path: &Path) -> PathBuf {
        match (&self.home, path.strip_prefix("~")) {
            (Some(home), Ok(rest)) => home.join(rest),
            _ => path.to_owned(),
        }
    }
}
