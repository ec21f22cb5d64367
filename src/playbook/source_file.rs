//! A source file: its text and its compiled form.

use rhai::AST;

/// A playbook or an imported file.
#[derive(Debug)]
pub struct SourceFile {
    /// Its text, which error messages quote.
    pub text: String,
    pub(super) ast: AST,
}
