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
mod source_file;
mod tables;
mod variables;

pub use compiled::Playbook;
pub use loading::LoadError;
pub use source_file::SourceFile;
pub use variables::{Declared, Kind};
