//! A playbook from file to end: load, check, run.
//!
//! Loading compiles the file and all that it imports, strictly, and reads its
//! variables; nothing is executed. What was checked is what runs: no file is
//! read a second time.

mod check;
mod compiled;
pub mod diagnostic;
mod engine;
mod imports;
mod literal;
mod loading;
pub mod reference;
mod tables;
mod variables;

pub use compiled::{Playbook, SourceFile};
pub use loading::LoadError;
pub use variables::{Declared, Kind};
