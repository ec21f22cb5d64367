//! Machines: real instances made of Linux namespaces, by root, with nothing
//! but this program and `mkfs.ext4`.
//!
//! Three kinds of process:
//!
//! ```text
//! daemon   owns a Runtime: boots, stops and watches machines, owns the addresses
//! zygote   one thread; its network namespace is the switch; forks machines
//!          without exec, so that they share memory
//! init     pid 1 of a machine: mounts, network, ssh, user data, units, reaping
//! ```
//!
//! Everything hangs on sockets: when the daemon dies, however it dies, zygote
//! and inits read an end of file and go, and their namespaces, mounts and
//! interfaces with them. Nothing of the host is changed: not the content of its
//! files, not its firewall, not its sysctls; its routes only by the one interface.
//!
//! - `message`, `boot` are what the processes tell each other.
//! - `claims` are numbers that one cloud of the host has to itself, `ids` the user
//!   ids of a machine, `cgroups` what it may use.
//! - `creation` is how a machine is made, `zygote_handle` how the daemon orders one.
//! - `disk` is what a machine's files are made of, `jail` puts a process into them.
//! - `network` is the switch: addresses, cables, firewall.
//! - `init` runs inside, with `units` as its service manager.
//! - `multicall` is the other face of this program: the names it answers to.

mod boot;
mod cgroups;
mod checks;
mod claims;
mod creation;
mod disk;
mod error;
mod hooks;
mod ids;
mod init;
mod instance;
mod jail;
mod message;
mod multicall;
mod network;
mod packages;
mod process;
mod runtime;
mod settings;
mod stderr_log;
mod system;
mod units;
mod zygote;
mod zygote_handle;

pub(crate) use boot::{Boot, Ending, Faults, Limits};
pub use checks::Check;
pub(crate) use checks::checks;
pub(crate) use disk::base::BaseSettings;
pub(crate) use hooks::{Hooks, SshServer};
pub(crate) use init::reaper::Reaper;
pub(crate) use instance::Machine;
pub(crate) use multicall::multicall;
pub(crate) use network::firewall::{Ingress, Port, Protocol};
pub(crate) use runtime::Runtime;
pub(crate) use settings::RuntimeSettings;
