//! Pid 1 of a local instance: one process with one thread and an event loop.
//!
//! It confines itself to the instance (`jail`), then runs everything: ssh, user
//! data, units, the calls of the init programs, and the reaping of processes.
//! When the daemon ends, it ends too, and the kernel kills what runs in the
//! machine.

pub(super) mod client;
mod cloud_init;
mod commands;
mod console;
pub(super) mod control;
mod dial;
mod distribution;
mod first_boot;
mod host_keys;
mod journal;
mod power;
pub(super) mod reaper;
mod records;
mod run;
pub(super) mod spawn;
mod user_data;

pub(super) use run::{MachineParts, run};
