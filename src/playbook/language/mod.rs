//! What an editor asks about a playbook: completions, descriptions, signatures and
//! definitions.
//!
//! The text of a playbook rarely compiles while it is written. So the answers are made
//! from its tokens; only the value of a variable and the value before a dot are
//! compiled, each on its own. Mistakes are found by the check, from the whole file.

pub use completion::{Completion, CompletionKind};
pub use definition::Target;
pub use document::Document;
pub use hover::Hover;
pub use signature::{Signature, Signatures};

mod call;
mod completion;
mod cursor;
mod definition;
mod document;
mod hover;
mod inference;
mod members;
mod outline;
mod paths;
mod signature;
#[cfg(test)]
mod tests;
mod tokens;
