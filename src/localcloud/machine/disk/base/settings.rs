//! The administrator's settings for base layers.

use std::path::PathBuf;

/// The settings of base layers.
#[derive(Clone, Debug)]
pub(crate) struct BaseSettings {
    /// The directory of the base layers. It belongs to root and has mode 0700.
    pub directory: PathBuf,
    /// Additional files and directories of the host that instances must not
    /// see.
    pub hidden: Vec<PathBuf>,
    /// Whether files are copied instead of linked. Copies need as much space as
    /// the installed system, but leave the host's change times and link counts
    /// alone.
    pub copy: bool,
}
