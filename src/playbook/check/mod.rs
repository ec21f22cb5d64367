//! Checks of the compiled files before the run, without executing anything.
//!
//! The faults are found before every run. `autorun check` finds what is probably a
//! mistake as well.

pub use finding::Finding;
pub use rules::{Level, RULES, Rule, overview};

pub(super) use explain::explain;
use faults::called_in;
pub(super) use faults::{called, faults, places};
pub(super) use known::{Known, Reader, Variables};
pub(super) use lints::READ as FILE_ARGUMENTS;
pub(super) use more::findings;
pub(super) use subject::Subject;
pub(super) use syntax::{endless, explain as explain_syntax};
pub(super) use unused_results::unused_results;
pub(super) use written::{Literal, kind_of_var};

mod bodies;
mod calls;
mod chain;
mod closures;
mod explain;
mod faults;
mod finding;
mod habits;
mod known;
mod lints;
mod literals;
mod more;
mod results;
pub(super) mod rules;
mod subject;
mod syntax;
#[cfg(test)]
mod tests;
mod unused_results;
mod variables;
mod walk;
mod written;
