//! The service manager of a machine. It supports the parts of systemd's unit
//! files that servers use.
//!
//! It works without cgroups: the processes of a service are found by session,
//! descent and the invocation id in their environment. Units other than
//! services (sockets, timers, mounts) can be started and stopped without
//! effect, and so can services that init itself provides, such as sshd.
//!
//! No crate does this: the systemd crates bind its library or write unit files,
//! and none of them parses and runs services.

mod arguments;
mod definition;
mod directories;
mod enablement;
mod exec;
mod file;
mod launch;
mod loader;
mod manager;
mod processes;
mod queries;
mod service;
mod stages;
mod state;
mod stop;
mod systemctl;
mod values;
mod wording;

pub(super) use loader::full_name;
pub(super) use manager::{Manager, is_built_in};
pub(super) use stages::{Stage, Stages};
