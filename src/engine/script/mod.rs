//! The bridge between Rust and Rhai: calls, values and errors.
//!
//! A primitive is a documented function in an `#[export_module]` whose first
//! parameter is a [`rhai::NativeCallContext`]. It does its work in
//! [`run_quietly`], [`run`] or [`effect`], with plain Rust values. Its doc comment is its manual entry.

pub use call::{Outcome, branch_call, effect, files, note_wait, run, run_blocking, run_quietly};
pub use call_context::context;
pub use caught::understand_caught;
pub use declared::{Consistent, Declared, Shape};
pub use identity::ResultKind;
pub use module::{arities, documented_module, module};
pub use options::{argument, options, options_of, to_dynamic, to_json};
pub use share::Share;
pub use throw::{ErrorInfo, Frame, Understood, throw, to_map, understand};
pub use types::{HostValue, NameOr, Named, Seconds, integer, seconds, yes};

mod call;
mod call_context;
mod caught;
mod declared;
mod fault;
mod identity;
mod module;
mod options;
pub mod schema;
mod share;
mod throw;
mod types;
mod value;
