//! Machines: real instances made of Linux namespaces. They need root, `mkfs.ext4`,
//! and a kernel with namespaces, overlayfs, veth interfaces and nf_tables. Limits
//! for their processes also need cgroups. `checks` has all requirements.
//!
//! There are three kinds of process:
//!
//! ```text
//! daemon   owns a Runtime: boots, stops and watches machines, owns the addresses
//! zygote   one thread; its network namespace is the switch; forks machines
//!          without exec, so that they share memory
//! init     pid 1 of a machine: mounts, network, ssh, user data, units, reaping
//! ```
//!
//! All processes depend on sockets: when the daemon ends, even by a crash,
//! zygote and inits read an end of file and end too, and with them their
//! namespaces, mounts and interfaces. The host stays unchanged: the content of
//! its files, its firewall and its sysctls. Only one network interface with its
//! route is added.
//!
//! - `message`, `boot` are the messages between the processes.
//! - `claims` are numbers that only one cloud of the host uses at a time, `ids`
//!   the user ids of a machine, `cgroups` its resource limits.
//! - `creation` creates a machine, `zygote_handle` requests one.
//! - `disk` provides a machine's files, `jail` confines a process to them.
//! - `volumes` are disks that are attached to a machine and detached from it.
//! - `network` is the switch: addresses, veth pairs, firewall.
//! - `init` runs inside, with `units` as its service manager.
//! - `journal` keeps what programs report; `tools` are the programs that use it,
//!   and others of an init system.
//! - `multicall` selects the program by the name under which it was called.

mod boot;
mod cgroups;
mod checks;
mod claims;
mod creation;
mod dial;
mod disk;
mod dmi;
mod error;
mod execution;
mod hooks;
mod ids;
mod init;
mod instance;
mod jail;
mod journal;
mod message;
mod multicall;
pub(crate) mod network;
mod packages;
mod process;
mod runtime;
mod settings;
mod stderr_log;
mod system;
mod tools;
mod units;
mod volumes;
mod zygote;
mod zygote_handle;

pub(crate) use boot::{AgentFault, Boot, Ending, Faults, Limits};
pub use checks::Check;
pub(crate) use checks::checks;
pub(crate) use disk::base::BaseSettings;
pub(crate) use execution::{Ended, Execution, Running};
pub(crate) use hooks::{Hooks, SshServer};
pub(crate) use init::reaper::Reaper;
pub(crate) use instance::Machine;
pub(crate) use multicall::multicall;
pub(crate) use network::firewall::{Ingress, Port, Protocol};
pub(crate) use packages::adopt as adopt_packages;
pub(crate) use runtime::Runtime;
pub(crate) use settings::RuntimeSettings;
pub(crate) use system::System;
pub(crate) use volumes::{DataVolume, Naming};
