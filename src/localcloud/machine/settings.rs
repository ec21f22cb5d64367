//! What the runtime of machines is started with.

use std::path::PathBuf;

use ipnet::Ipv4Net;

use super::disk::base::BaseSettings;

/// What a runtime is started with.
#[derive(Clone, Debug)]
pub(crate) struct RuntimeSettings {
    /// Where everything is kept; root's, 0700, locked by the caller.
    pub state_dir: PathBuf,
    /// The program that answers to the names of `multicall`: a copy that stays.
    pub binary: PathBuf,
    /// The only port of the host that machines can reach.
    pub endpoint_port: u16,
    /// The network used before; used again if it is still free.
    pub subnet: Option<Ipv4Net>,
    /// What the files of machines are made of.
    pub base: BaseSettings,
}
