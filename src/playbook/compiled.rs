//! A compiled and checked playbook, and how to run it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rhai::{Engine, Scope};

use super::buffers::Buffers;
use super::check::rules::{DECLARATION, MISSING_FILE};
use super::check::{Finding, Subject};
use super::loading::{LoadError, Loader};
use super::source_file::SourceFile;
use super::stack::on_large_stack;
use super::variables::{self, Declared};
use super::{check, engine, imports, reading};
use crate::context::{Context, ScriptFile};
use crate::error::{Error, Result};
use crate::primitives::{ALLOWS_AGAIN, LAUNCHES, is_aws_function};
use crate::script::{Understood, understand};

/// A compiled and checked playbook.
#[derive(Debug)]
pub struct Playbook {
    path: String,
    files: BTreeMap<String, SourceFile>,
    engine: Engine,
    /// The names of the functions that it calls.
    called: BTreeSet<String>,
    /// Its variables, in the order of their declarations.
    pub variables: Vec<Declared>,
}

/// The result of `autorun check` for one playbook.
#[derive(Debug)]
pub struct Checked {
    /// All findings, in the order of their places.
    pub findings: Vec<Finding>,
    /// Texts of the files, which the report quotes.
    pub texts: BTreeMap<String, String>,
    /// Secrets in the files, which must be masked.
    pub secrets: Vec<serde_json::Value>,
}

/// Compiled files of a playbook, not checked yet.
struct Compiled {
    path: String,
    files: BTreeMap<String, SourceFile>,
    engine: Engine,
    variables: Result<Vec<Declared>>,
}

impl Compiled {
    fn read(path: &Path, buffers: &Buffers) -> std::result::Result<Self, LoadError> {
        let engine = engine::build();
        let mut loader = Loader {
            engine: &engine,
            buffers,
            files: BTreeMap::new(),
            texts: BTreeMap::new(),
        };
        let outcome = loader.load(path, &mut Vec::new(), None);
        let Loader { files, texts, .. } = loader;
        outcome.map_err(|finding| LoadError {
            findings: vec![finding],
            texts,
            secrets: Vec::new(),
        })?;
        let path = reading::name_of(path);
        Ok(Self {
            variables: variables::declared(&path, &files),
            path,
            files,
            engine,
        })
    }

    /// Returns what a check is about.
    fn subject(&self) -> Subject<'_> {
        Subject::new(&self.engine, &self.path, &self.files)
    }

    /// Returns the secrets that stand in the files.
    fn secrets(&self) -> Vec<serde_json::Value> {
        let secrets = self.variables.iter().flatten().flat_map(Declared::secrets);
        secrets.cloned().collect()
    }
}

impl Playbook {
    /// Reads and compiles a playbook and its imports, and finds what is wrong in them
    /// and what is probably a mistake.
    #[must_use]
    pub fn check(path: &Path) -> Checked {
        Self::check_with(path, &Buffers::default())
    }

    /// Like [`Playbook::check`], with texts that an editor has not saved yet.
    #[must_use]
    pub fn check_with(path: &Path, buffers: &Buffers) -> Checked {
        on_large_stack(|| Self::checked(path, buffers))
    }

    fn checked(path: &Path, buffers: &Buffers) -> Checked {
        let compiled = match Compiled::read(path, buffers) {
            Ok(compiled) => compiled,
            Err(failed) => {
                return Checked {
                    findings: failed.findings,
                    texts: failed.texts,
                    secrets: failed.secrets,
                };
            }
        };
        let subject = compiled.subject();
        let mut findings = check::faults(&subject);
        let declared = compiled.variables.as_ref();
        let declared = declared.map_err(Clone::clone);
        let wrong = declared.and_then(|all| variables::check_secrets(all)).err();
        // A line with a secret that is too short to be masked is not quoted.
        let is_quoted = compiled.variables.is_err() || wrong.is_none();
        // A wrong option of var() was found twice.
        let wrong = wrong.filter(|error| {
            let line = |finding: &Finding| finding.error.place.line;
            !findings.iter().any(|found| line(found) == error.place.line)
        });
        findings.extend(wrong.map(|error| Finding::new(&DECLARATION, error)));
        findings.extend(check::findings(&subject));
        // The same place may break a rule of each pass.
        let mut seen = BTreeSet::new();
        findings.retain(|finding| seen.insert(finding.identity()));
        findings.sort_by_key(|finding| finding.order(&compiled.path));
        Checked {
            findings,
            texts: if is_quoted {
                texts(&compiled.files)
            } else {
                BTreeMap::new()
            },
            secrets: compiled.secrets(),
        }
    }

    /// Reads, compiles and checks a playbook and its imports.
    pub fn load(path: &Path) -> std::result::Result<Self, LoadError> {
        on_large_stack(|| Self::loaded(path))
    }

    fn loaded(path: &Path) -> std::result::Result<Self, LoadError> {
        let compiled = Compiled::read(path, &Buffers::default())?;
        // The mistakes for which no run begins.
        let faults = check::faults(&compiled.subject());
        if !faults.is_empty() {
            return Err(LoadError {
                findings: faults,
                texts: texts(&compiled.files),
                secrets: compiled.secrets(),
            });
        }
        let Compiled {
            path,
            files,
            engine,
            variables,
        } = compiled;
        let failed = |error, texts| LoadError {
            findings: vec![Finding::new(&DECLARATION, error)],
            texts,
            secrets: Vec::new(),
        };
        let variables = match variables {
            Ok(variables) => variables,
            Err(error) => return Err(failed(error, texts(&files))),
        };
        // Do not quote the line: it contains a secret that is too short to be masked.
        variables::check_secrets(&variables).map_err(|error| failed(error, BTreeMap::new()))?;
        Ok(Self {
            called: check::called(&files),
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

    /// Returns a finding for each local file that the playbook names and that cannot be
    /// read.
    #[must_use]
    pub fn unreadable_files(&self) -> Vec<Finding> {
        let subject = Subject::new(&self.engine, &self.path, &self.files);
        let mut findings = check::findings(&subject);
        findings.retain(|finding| finding.rule.code == MISSING_FILE.code);
        findings
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

    /// Returns file, line and column of the calls whose results the playbook does not
    /// use.
    #[must_use]
    pub fn unused_results(&self) -> BTreeSet<(String, usize, usize)> {
        let files = self.files.iter().flat_map(|(path, file)| {
            let places = check::unused_results(&file.ast).into_iter();
            places.map(|(line, column)| (path.clone(), line, column))
        });
        files.collect()
    }

    /// Returns whether the playbook calls a function that sends requests to AWS.
    #[must_use]
    pub fn uses_aws(&self) -> bool {
        self.called.iter().any(|name| is_aws_function(name))
    }

    /// Returns whether the playbook calls a function that launches instances.
    #[must_use]
    pub fn launches_instances(&self) -> bool {
        self.called.contains(LAUNCHES)
    }

    /// Returns whether the playbook declares that it may run again while
    /// instances of an earlier run are up.
    #[must_use]
    pub fn allows_again(&self) -> bool {
        self.called.contains(ALLOWS_AGAIN)
    }

    /// Returns the texts of its files, which error messages quote.
    #[must_use]
    pub fn texts(&self) -> BTreeMap<String, String> {
        texts(&self.files)
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

fn texts(files: &BTreeMap<String, SourceFile>) -> BTreeMap<String, String> {
    let text = |(path, file): (&String, &SourceFile)| (path.clone(), file.text.clone());
    files.iter().map(text).collect()
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
