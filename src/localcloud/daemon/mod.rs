//! The background process, started by `autorun cloud up` or `--local`. It
//! outlives the command that started it, so that an instance can still be
//! inspected after the run. The process of a rehearsal (`autorun plan`) ends
//! with the command that started it, and removes its state.

#[cfg(target_os = "linux")]
mod hosting;
mod keys;
mod lifetime;
mod network_record;
#[cfg(not(target_os = "linux"))]
mod no_hosting;
mod process;
#[cfg(target_os = "linux")]
mod settings;
mod sockets;
mod start;
mod status;

#[cfg(not(target_os = "linux"))]
use no_hosting as hosting;

pub use hosting::{Check, checks};
pub(crate) use process::main;
pub(crate) use start::NAME;
pub use start::{OfCaller, start, start_for_caller};
pub(crate) use status::ACCOUNT;
