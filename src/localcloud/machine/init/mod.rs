//! Pid 1 of a machine: one process, one thread, everything by events.
//!
//! It makes the machine around itself (`jail`), then serves: ssh, user data,
//! units, the programs that talk to it, and the end of every process. When the
//! daemon is gone it goes too, and the kernel ends what runs in the machine.

pub(super) mod client;
mod cloud_init;
mod console;
pub(super) mod control;
mod first_boot;
mod host_keys;
mod journal;
mod power;
pub(super) mod reaper;
mod run;
pub(super) mod spawn;
mod user_data;

pub(super) use run::{MachineParts, run};
