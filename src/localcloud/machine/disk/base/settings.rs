//! What an administrator decides about base layers.

use std::path::PathBuf;

/// What base layers are made with.
#[derive(Clone, Debug)]
pub(crate) struct BaseSettings {
    /// Where they are kept; root's, 0700.
    pub directory: PathBuf,
    /// Further files and directories of the host that instances must not see.
    pub hidden: Vec<PathBuf>,
    /// Files are copied, not linked: takes the space of the system once more,
    /// and leaves the host's change times and link counts alone.
    pub copy: bool,
}
