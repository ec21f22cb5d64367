//! The only place that knows how Rust meets Rhai.
//!
//! A primitive is a documented function in an `#[export_module]` that takes a
//! [`rhai::NativeCallContext`] first and does its work in [`run`]: plain Rust
//! in, plain Rust out. Its doc comment is its manual entry.

pub use call::{Outcome, branch_call, context, effect, note_wait, run, run_blocking, run_quietly};
pub use options::{argument, array_argument, options, to_dynamic, to_json};
pub use throw::{Frame, Understood, throw, to_map, understand, understand_caught};

mod call;
mod options;
mod throw;
