//! The service manager of a machine: unit files as systemd has them, as far as
//! servers use them.
//!
//! Without control groups: the processes of a service are found by session,
//! descent and the invocation id in their environment. Units other than services
//! (sockets, timers, mounts) can be started and stopped, which does nothing, and
//! so can services that init itself stands for, as sshd.
//!
//! No crate does this: those named after systemd bind its library or write unit
//! files, and none of them reads and runs services.

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
mod state;
mod stop;
mod systemctl;
mod values;
mod wording;

pub(super) use manager::Manager;
