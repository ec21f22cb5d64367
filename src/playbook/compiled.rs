//! A compiled and checked playbook, and how to run it.

use std::collections::BTreeMap;
use std::path::Path;

use rhai::{Engine, Scope};

use super::loading::{LoadError, Loader};
use super::source_file::SourceFile;
use super::variables::{self, Declared};
use super::{check, engine, imports, reading};
use crate::context::{Context, ScriptFile};
use crate::error::Error;
use crate::primitives::{ALLOWS_AGAIN, LAUNCHES, aws_functions};
use crate::script::{Understood, understand};

/// A compiled and checked playbook.
#[derive(Debug)]
pub struct Playbook {
    path: String,
    files: BTreeMap<String, SourceFile>,
    engine: Engine,
    /// Its variables, in the order of their declarations.
    pub variables: Vec<Declared>,
}

impl Playbook {
    /// Reads, compiles and checks a playbook and its imports.
    pub fn load(path: &Path) -> std::result::Result<Self, LoadError> {
        let engine = engine::build();
        let mut loader = Loader {
            engine: &engine,
            files: BTreeMap::new(),
            texts: BTreeMap::new(),
        };
        let outcome = loader.load(path, &mut Vec::new(), None);
        let path = reading::name_of(path);
        let Loader { files, texts, .. } = loader;
        let failed = |errors, secrets| LoadError {
            errors,
            texts: texts.clone(),
            secrets,
        };
        outcome.map_err(|error| failed(vec![error], Vec::new()))?;
        let variables = variables::declared(&path, &files);
        let faults = check::faults(&engine, &path, &files);
        if !faults.is_empty() {
            let secrets = variables.iter().flatten().flat_map(Declared::secrets);
            return Err(failed(faults, secrets.cloned().collect()));
        }
        let variables = variables.map_err(|error| failed(vec![error], Vec::new()))?;
        variables::check_secrets(&variables).map_err(|error| LoadError {
            errors: vec![error],
            // Do not quote the line: it contains a secret that is too short to be
            // masked.
            texts: BTreeMap::new(),
            secrets: Vec::new(),
        })?;
        Ok(Self {
            path,
            files,
            engine,
            variables,
        })
    }

    /// Returns the path of the playbook as it was given, or `<stdin>`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the description of the playbook in its `//!` lines.
    #[must_use]
    pub fn description(&self) -> String {
        let doc = self.files.get(&self.path).map_or("", |file| file.ast.doc());
        let lines = doc.lines().map(|line| {
            let line = line.trim_start().trim_start_matches("//!");
            line.strip_prefix(' ').unwrap_or(line)
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Returns whether the playbook has no statement, so that running it does nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let main = self.files.get(&self.path);
        main.is_none_or(|file| file.ast.statements().is_empty())
    }

    /// Returns its files, as `script_dir()` needs them.
    #[must_use]
    pub fn script_files(&self) -> BTreeMap<String, ScriptFile> {
        let file = |file: &SourceFile| {
            let mut closures = file.ast.clone_functions_only();
            closures.retain_functions(|_, _, name, _| name.starts_with("anon$"));
            ScriptFile {
                directory: file.script_dir(),
                calls: check::places(&file.ast, "script_dir"),
                in_closures: check::places(&closures, "script_dir"),
            }
        };
        let all = self.files.iter();
        all.map(|(path, source)| (path.clone(), file(source)))
            .collect()
    }

    /// Returns whether the playbook calls a function that sends requests to AWS.
    #[must_use]
    pub fn uses_aws(&self) -> bool {
        !check::called(&self.files).is_disjoint(&aws_functions())
    }

    /// Returns whether the playbook calls a function that launches instances.
    #[must_use]
    pub fn launches_instances(&self) -> bool {
        check::called(&self.files).contains(LAUNCHES)
    }

    /// Returns whether the playbook declares that it may run again while
    /// instances of an earlier run are up.
    #[must_use]
    pub fn allows_again(&self) -> bool {
        check::called(&self.files).contains(ALLOWS_AGAIN)
    }

    /// Returns the texts of its files, which error messages quote.
    #[must_use]
    pub fn texts(&self) -> BTreeMap<String, String> {
        self.files
            .iter()
            .map(|(path, file)| (path.clone(), file.text.clone()))
            .collect()
    }

    /// Runs the playbook to its end on this thread.
    pub fn run(mut self, cx: &Context) -> std::result::Result<(), Understood> {
        let Some(main) = self.files.get(&self.path).map(|file| file.ast.clone()) else {
            return Ok(());
        };
        engine::attach(&mut self.engine, cx);
        let texts = self.texts();
        self.engine
            .set_module_resolver(imports::Loaded::new(self.files));
        let result = self.engine.run_ast_with_scope(&mut Scope::new(), &main);
        result.map_err(|error| {
            let Understood {
                error: known,
                trail,
            } = understand(&error, &self.path);
            let known = check::explain(&self.engine, "", &error, known);
            let error = relocate(&texts, known);
            Understood { error, trail }
        })
    }
}

/// Corrects the file of an error in a closure that another file calls: Rhai reports
/// the right line but the wrong file. The right file has the name of the function at
/// that place.
fn relocate(texts: &BTreeMap<String, String>, mut error: Error) -> Error {
    let Some(function) = error.function.clone() else {
        return error;
    };
    let is_in = |source: &String| {
        let line = texts
            .get(source)
            .and_then(|t| t.lines().nth(error.place.line.checked_sub(1)?));
        let column = error.place.column.saturating_sub(1);
        line.is_some_and(|line| {
            line.chars()
                .skip(column)
                .collect::<String>()
                .starts_with(&function)
        })
    };
    if !is_in(&error.place.source)
        && let Some(source) = texts.keys().find(|source| is_in(source)).cloned()
    {
        error.place.source = source;
    }
    error
}
