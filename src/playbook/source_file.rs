//! A source file: its text and its compiled form.

use std::path::{Path, PathBuf};

use rhai::AST;

/// A playbook or an imported file.
#[derive(Debug)]
pub struct SourceFile {
    /// Its text, which error messages quote.
    pub text: String,
    pub(super) ast: AST,
    /// The directory of its imports, as messages show it.
    pub(super) directory: PathBuf,
}

impl SourceFile {
    /// Returns the absolute path of its directory.
    pub(super) fn script_dir(&self) -> PathBuf {
        let directory = match self.directory.as_os_str() {
            here if here.is_empty() => Path::new("."),
            _ => &self.directory,
        };
        let absolute = directory.canonicalize();
        absolute.unwrap_or_else(|_| directory.to_owned())
    }
}
