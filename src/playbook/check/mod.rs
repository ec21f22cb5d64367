//! Checks of the compiled files before the run, without executing anything.

pub(super) use explain::explain;
pub(super) use faults::{called, faults, places};
pub(super) use syntax::{endless, explain as explain_syntax};

mod calls;
mod chain;
mod explain;
mod faults;
mod habits;
mod known;
mod literals;
mod results;
mod syntax;
mod variables;
mod written;
