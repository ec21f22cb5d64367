//! Playbooks: loading, checking, running.
//!
//! Loading compiles the file and its imports in strict mode and reads the variables,
//! without executing anything. Each file is read once, so the code that runs is the
//! code that was checked.

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
