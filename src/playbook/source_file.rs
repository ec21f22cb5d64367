//! The text of a playbook or of a file that it imports, compiled.

use rhai::AST;

/// A playbook or an imported file.
#[derive(Debug)]
pub struct SourceFile {
    /// Its text, for carets.
    pub text: String,
    pub(super) ast: AST,
}
