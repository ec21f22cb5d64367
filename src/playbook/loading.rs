//! Loading: reads and compiles a playbook and its imports, each file once.

use std::collections::BTreeMap;
use std::path::Path;

use rhai::{Engine, EvalAltResult, Scope};
use serde_json::Value;

use super::source_file::SourceFile;
use super::{check, imports};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::script::understand;

/// Errors of loading, and the data to report them.
#[derive(Debug)]
pub struct LoadError {
    /// All errors.
    pub errors: Vec<Error>,
    /// Texts of the files read so far, which the report quotes.
    pub texts: BTreeMap<String, String>,
    /// Secrets in the files, which must be masked.
    pub secrets: Vec<Value>,
}

pub(super) struct Loader<'a> {
    pub(super) engine: &'a Engine,
    pub(super) files: BTreeMap<String, SourceFile>,
    pub(super) texts: BTreeMap<String, String>,
}

impl Loader<'_> {
    /// Compiles a file, then its imports. `from` is the place of the import statement.
    pub(super) fn load(
        &mut self,
        path: &str,
        importing: &mut Vec<String>,
        from: Option<Place>,
    ) -> Result<()> {
        if importing.iter().any(|file| file == path) {
            let message = format!("`{path}` imports itself: {}", importing.join(" -> "));
            let mut error = Error::new(ErrorKind::Script, message);
            error.place = from.unwrap_or_default();
            return Err(error);
        }
        if self.files.contains_key(path) {
            return Ok(());
        }
        let text = read(path).map_err(|error| at(from, error))?;
        self.texts.insert(path.to_owned(), text.clone());
        let mut ast = self
            .engine
            .compile_with_scope(&Scope::new(), &text)
            .map_err(|error| {
                let position = error.position();
                let raised = EvalAltResult::from(error);
                let mut error = understand(&raised, path).error;
                error.place.line = position.line().unwrap_or(0);
                check::explain(self.engine, &text, &raised, error)
            })?;
        ast.set_source(path);
        let imports = imports::of(path, &ast)?;
        self.files.insert(path.to_owned(), SourceFile { text, ast });
        importing.push(path.to_owned());
        for import in imports {
            self.load(&import.file, importing, Some(import.place))?;
        }
        importing.pop();
        Ok(())
    }
}

fn read(path: &str) -> Result<String> {
    let path = Path::new(path);
    let bytes = std::fs::read(path).map_err(|e| Error::io("read playbook", path, &e))?;
    String::from_utf8(bytes).map_err(|_| {
        Error::invalid(format!("playbook `{}` is not UTF-8 text", path.display()))
            .hint("a playbook is a text file in the language Rhai; see `autorun docs`")
    })
}

/// Sets the place of an error to the import statement that caused it.
fn at(place: Option<Place>, mut error: Error) -> Error {
    let Some(place) = place else { return error };
    error.place = place;
    error.hint("check the path: it is relative to the file with the import")
}
