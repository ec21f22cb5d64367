//! What a machine is booted with, and how it can end.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// Everything about one boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Boot {
    /// Name of the disk; an instance id.
    pub id: String,
    /// Private address, one of the subnet.
    pub address: Ipv4Addr,
    /// Host name, as `ip-10-77-0-5`.
    pub hostname: String,
    /// Public keys that may log in, as lines of `authorized_keys`.
    pub authorized_keys: Vec<String>,
    /// Login user, made at the first boot; may use sudo.
    pub user: String,
    /// User data, run once in the life of the disk.
    pub user_data: Option<Vec<u8>>,
    /// What it may use, by its type.
    pub limits: Limits,
    /// What is to go wrong.
    pub faults: Faults,
}

/// What an instance may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// MiB of memory.
    pub mebibytes: u32,
    /// Processors' time.
    pub vcpus: u32,
}

/// What is to go wrong with a boot, so that a playbook's answer can be rehearsed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "faults are independent")]
pub(crate) struct Faults {
    /// The user data runs, but this is its exit status.
    pub user_data_exit: Option<i32>,
    /// `cloud-init status` ends with 2, as after a recoverable error.
    pub degraded: bool,
    /// No ssh server is started.
    pub no_ssh: bool,
    /// Each ssh connection is reset after so many bytes from the client.
    pub drop_ssh_after: Option<u64>,
    /// There is no `cloud-init` program.
    pub no_cloud_init: bool,
    /// The console does not show the host keys.
    pub host_keys_not_in_console: bool,
    /// The console shows host keys that are not the machine's.
    pub other_host_keys_in_console: bool,
    /// The console shows the host keys only after the user data.
    pub host_keys_late_in_console: bool,
}

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ending {
    /// It was shut down, from inside or by [`super::Machine::stop`].
    PowerOff,
    /// It asked to be booted again.
    Reboot,
    /// It was killed or broke.
    Killed,
}
