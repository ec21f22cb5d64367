//! The command line: parses the arguments, dispatches to a command and returns
//! the exit code.
//!
//! Only this module reads environment variables that configure a run. The
//! clients, the ledger and the playbook receive the values from here.

pub use dispatch::main;

mod again;
mod args;
mod attempt;
mod check;
#[cfg(feature = "local-cloud")]
mod cloud;
mod config;
mod confirm;
mod destroy;
mod dispatch;
mod docs;
mod engine;
#[cfg(feature = "local-cloud")]
mod faults;
mod inputs;
mod ledger;
#[cfg(feature = "local-cloud")]
mod local;
mod lsp;
mod man;
mod new;
mod notify;
mod output;
mod output_file;
mod own_key;
mod pager;
#[cfg(feature = "local-cloud")]
mod plan;
mod policy;
mod prepared;
#[cfg(feature = "local-cloud")]
mod rehearsal;
mod resume;
mod run;
mod runs;
mod settings;
mod shared;
mod show;
mod signals;
mod ssh;
#[cfg(feature = "local-cloud")]
mod sudo;
mod target;
mod variables;
