//! Checks of the compiled files before the run, without executing anything.

pub(super) use explain::explain;
pub(super) use faults::{called, faults};

mod calls;
mod chain;
mod explain;
mod faults;
mod known;
mod literals;
mod results;
mod variables;
mod written;
