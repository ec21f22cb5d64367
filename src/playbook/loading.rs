//! Loading: reads and compiles a playbook and its imports, each file once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rhai::{AST, Engine, EvalAltResult, ParseErrorType, Scope};
use serde_json::Value;

use super::buffers::Buffers;
use super::check::Finding;
use super::check::rules::{IMPORT, SYNTAX, UNKNOWN_VARIABLE};
use super::reading::{Source, read};
use super::scan::Scan;
use super::source_file::SourceFile;
use super::{check, imports, strange};
use crate::error::{Error, ErrorKind, Place};
use crate::report::text;
use crate::script::understand;

/// How many characters of a `#!` line a hint shows.
const LONGEST_LINE: usize = 40;

/// Errors of loading, and the data to report them.
#[derive(Debug)]
pub struct LoadError {
    /// All errors.
    pub findings: Vec<Finding>,
    /// Texts of the files read so far, which the report quotes.
    pub texts: BTreeMap<String, String>,
    /// Secrets in the files, which must be masked.
    pub secrets: Vec<Value>,
}

pub(super) struct Loader<'a> {
    pub(super) engine: &'a Engine,
    pub(super) buffers: &'a Buffers,
    pub(super) files: BTreeMap<String, SourceFile>,
    pub(super) texts: BTreeMap<String, String>,
}

/// A file whose imports are being loaded.
pub(super) struct Importing {
    name: String,
    /// Its path without symbolic links, which identifies it.
    file: PathBuf,
}

impl Loader<'_> {
    /// Compiles a file, then its imports. `from` is the place of the import statement.
    pub(super) fn load(
        &mut self,
        path: &Path,
        importing: &mut Vec<Importing>,
        from: Option<Place>,
    ) -> std::result::Result<(), Finding> {
        let unreadable = |error| Finding::new(&IMPORT, error);
        let file = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if importing.iter().any(|outer| outer.file == file) {
            let chain: Vec<&str> = importing.iter().map(|outer| outer.name.as_str()).collect();
            let message = format!(
                "`{}` imports itself: {}",
                path.display(),
                chain.join(" -> ")
            );
            let mut error = Error::new(ErrorKind::Script, message);
            error.place = from.unwrap_or_default();
            return Err(unreadable(error));
        }
        if self.files.contains_key(&path.display().to_string()) {
            return Ok(());
        }
        let Source {
            name,
            text,
            directory,
        } = read(path, self.buffers).map_err(|error| unreadable(at(from, error)))?;
        self.texts.insert(name.clone(), text.clone());
        let mut ast = self.compile(&name, &text)?;
        ast.set_source(name.as_str());
        let imports = imports::of(&name, &directory, &ast).map_err(unreadable)?;
        let source = SourceFile {
            text,
            ast,
            directory,
        };
        self.files.insert(name.clone(), source);
        importing.push(Importing { name, file });
        for import in imports {
            self.load(Path::new(&import.file), importing, Some(import.place))?;
        }
        importing.pop();
        Ok(())
    }

    fn compile(&self, name: &str, text: &str) -> std::result::Result<AST, Finding> {
        let scan = Scan::of(text);
        let placed = |rule, (at, mut error): (usize, Error)| {
            let (line, column) = scan.place(at);
            error.place = Place {
                source: name.to_owned(),
                line,
                column,
            };
            Finding::new(rule, error)
        };
        if let Some(found) = strange::first(&scan) {
            return Err(placed(&SYNTAX, found));
        }
        let compiled = self
            .engine
            .compile_with_scope(&Scope::new(), without_interpreter(text));
        match compiled {
            Ok(ast) => check::endless(&scan).map_or(Ok(ast), |found| Err(placed(&SYNTAX, found))),
            Err(error) => {
                let position = error.position();
                let at = position.line().map_or(scan.chars.len(), |line| {
                    scan.index(line, position.position().unwrap_or(0))
                });
                let kind = error.err_type().clone();
                let rule = match kind {
                    ParseErrorType::VariableUndefined(_) => &UNKNOWN_VARIABLE,
                    _ => &SYNTAX,
                };
                let raised = EvalAltResult::from(error);
                let known = understand(&raised, name).error;
                let known = check::explain(self.engine, text, &raised, known);
                let (at, error) = check::explain_syntax(&scan, &kind, at, known);
                let error = match of_another_program(text) {
                    Some(line) => error.hint(format!(
                        "the first line, `{line}`, says that another program runs this file"
                    )),
                    None => error,
                };
                Err(placed(rule, (at, error)))
            }
        }
    }
}

/// Returns the text without the `#!` line that names the program to run it. The line
/// itself stays, so that the others keep their numbers.
fn without_interpreter(text: &str) -> &str {
    if text.starts_with("#!") {
        &text[text.find('\n').unwrap_or(text.len())..]
    } else {
        text
    }
}

/// Returns the first line of a file if it names another program to run the file.
fn of_another_program(text: &str) -> Option<String> {
    let line = text.lines().next()?;
    let is_foreign = line.starts_with("#!") && !line.contains("autorun");
    is_foreign.then(|| text::harmless(&line.chars().take(LONGEST_LINE).collect::<String>()))
}

/// Sets the place of an error to the import statement that caused it.
fn at(place: Option<Place>, mut error: Error) -> Error {
    let Some(place) = place else { return error };
    if error.place.line > 0 {
        return error;
    }
    error.place = place;
    if error.kind == ErrorKind::NotFound {
        return error.hint("check the path: it is relative to the file with the import");
    }
    error
}
