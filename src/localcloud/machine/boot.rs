//! The parameters of a boot, and the ways in which a machine ends.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::volumes::{DataVolume, Naming};
use crate::as_text;

/// The parameters of one boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Boot {
    /// The name of the disk: an instance id.
    pub id: String,
    /// The snapshot of which a new disk is a copy; the default is an empty disk.
    pub snapshot: Option<String>,
    /// The private address.
    pub address: Ipv4Addr,
    /// The network of the private address: that of all machines, or the CIDR
    /// block of a VPC.
    #[serde(with = "as_text")]
    pub network: Ipv4Net,
    /// The address from the network of all machines, if the private address is
    /// in another network.
    pub outside: Option<Ipv4Addr>,
    /// The host name, such as `ip-10-77-0-5`.
    pub hostname: String,
    /// The public keys that may log in, as lines of `authorized_keys`.
    pub authorized_keys: Vec<String>,
    /// The login user, created at the first boot. It may use sudo.
    pub user: String,
    /// The user data. It runs once for each disk.
    pub user_data: Option<Vec<u8>>,
    /// The volumes besides the disk, and how the machine names them.
    pub volumes: Vec<DataVolume>,
    pub naming: Naming,
    /// The limits of the instance type.
    pub limits: Limits,
    /// The faults of this boot.
    pub faults: Faults,
}

impl Boot {
    /// Returns all addresses of the machine.
    pub(super) fn addresses(&self) -> Vec<Ipv4Addr> {
        let addresses = [Some(self.address), self.outside];
        addresses.into_iter().flatten().collect()
    }
}

/// The limits of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Memory in MiB.
    pub mebibytes: u32,
    /// The number of CPUs whose time the instance may use.
    pub vcpus: u32,
}

/// The faults of a boot, which rehearse a playbook's error handling.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "faults are independent")]
pub(crate) struct Faults {
    /// The exit status that the user data seems to have; it runs nevertheless.
    pub user_data_exit: Option<i32>,
    /// Whether cloud-init logs a warning, as after a recoverable error.
    pub degraded: bool,
    /// Whether no ssh server starts.
    pub no_ssh: bool,
    /// The number of bytes from the client after which each ssh connection is
    /// reset.
    pub drop_ssh_after: Option<u64>,
    /// Whether the `cloud-init` program is missing.
    pub no_cloud_init: bool,
    /// Whether the console does not show the host keys.
    pub host_keys_not_in_console: bool,
    /// Whether the console shows host keys of another machine.
    pub other_host_keys_in_console: bool,
    /// Whether the console shows the host keys only after the user data.
    pub host_keys_late_in_console: bool,
    /// What is wrong with the agent of Systems Manager.
    pub agent: Option<AgentFault>,
}

/// What is wrong with the agent of Systems Manager in a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AgentFault {
    /// It is not installed.
    Missing,
    /// It has lost its connection after it had registered.
    Offline,
}

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ending {
    /// A shutdown from inside or by [`super::Machine::stop`].
    PowerOff,
    /// A reboot, requested from inside.
    Reboot,
    /// A kill or a failure.
    Killed,
}
