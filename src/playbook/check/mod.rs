//! Checks before the run, of the compiled files alone: nothing is executed.

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
