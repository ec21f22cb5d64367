//! Playbooks: loading, checking, running.
//!
//! Loading compiles the file and its imports in strict mode and reads the variables,
//! without executing anything. Each file is read once, so the code that runs is the
//! code that was checked.

mod buffers;
pub mod check;
mod compiled;
pub mod diagnostic;
mod engine;
mod imports;
pub mod language;
mod literal;
mod loading;
mod reading;
pub mod reference;
mod scan;
mod source_file;
mod stack;
mod strange;
mod tables;
#[cfg(test)]
mod tests;
mod variables;

pub use buffers::{Buffers, identity};
pub use check::Finding;
pub use compiled::{Checked, Playbook};
pub use engine::write_definitions;
pub use loading::LoadError;
pub use reading::{can_be_read_again, is_stdin, name_of};
pub use source_file::SourceFile;
pub use variables::{Declared, Kind};

/// What a function does to the world, for those who list its calls.
pub use crate::primitives::{Effect, effect_of};
