//! The command line: parses, dispatches, gives the exit code.
//!
//! What the environment says of a run is read here and passed on: the clients,
//! the ledger and the playbook read none of it.

pub use dispatch::main;

mod args;
mod attempt;
#[cfg(feature = "local-cloud")]
mod cloud;
mod confirm;
mod destroy;
mod dispatch;
mod docs;
mod engine;
mod inputs;
#[cfg(feature = "local-cloud")]
mod local;
mod man;
mod output;
mod output_file;
mod resume;
mod run;
mod runs;
mod settings;
mod show;
mod signals;
mod ssh;
#[cfg(feature = "local-cloud")]
mod sudo;
mod target;
mod variables;
