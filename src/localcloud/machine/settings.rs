//! The settings of the runtime of machines.

use std::path::PathBuf;

use ipnet::Ipv4Net;

use super::disk::base::BaseSettings;

/// The settings of a runtime.
#[derive(Clone, Debug)]
pub(crate) struct RuntimeSettings {
    /// The state directory. It belongs to root, has mode 0700 and is locked by
    /// the caller.
    pub state_dir: PathBuf,
    /// The program of `multicall`: a copy that an upgrade does not replace.
    pub binary: PathBuf,
    /// The only port of the host that machines can reach.
    pub endpoint_port: u16,
    /// The previous subnet, which is preferred if it is still free.
    pub subnet: Option<Ipv4Net>,
    /// The settings of base layers.
    pub base: BaseSettings,
}
