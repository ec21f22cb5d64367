//! Checks that every called function exists and accepts the number of arguments.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::OnceLock;

use rhai::{AST, ASTNode, Engine, Expr, FnCallExpr, Position, Stmt};

use super::finding::Finding;
use super::rules::{ARGUMENT_COUNT, UNKNOWN_FUNCTION};
use super::variables::Values;
use crate::error::{Error, ErrorKind};
use crate::playbook::source_file::SourceFile;
use crate::playbook::{imports, reference};
use crate::primitives;
use crate::report::text;

/// Function names with the numbers of arguments that they accept.
type Table = BTreeMap<String, BTreeSet<usize>>;

/// Functions that Rhai handles itself and does not list in its metadata.
const KEYWORDS: [&str; 10] = [
    "print",
    "debug",
    "type_of",
    "Fn",
    "call",
    "curry",
    "is_def_var",
    "is_def_fn",
    "is_shared",
    "this",
];

/// Returns the numbers of arguments that a function of autorun or of Rhai accepts.
///
/// Rhai has a function `tag` of its own, which playbooks have no use for.
pub(super) fn native(engine: &Engine, name: &str) -> Option<&'static BTreeSet<usize>> {
    primitives::arities(name).or_else(|| of_rhai(engine).get(name))
}

/// Returns the names of the functions of autorun and of Rhai.
pub(super) fn natives<'a>(engine: &Engine) -> impl Iterator<Item = &'a str> + use<'a> {
    let rhai = of_rhai(engine).keys().map(String::as_str);
    let all = primitives::names().chain(rhai);
    all.map(|name| -> &'a str { name })
}

/// Returns the functions of Rhai, which are the same in every engine. Most playbooks call
/// them only as methods, so they are collected at the first use.
fn of_rhai(engine: &Engine) -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = Table::new();
        let signatures = engine.collect_fn_metadata(
            None,
            |f| Some((f.metadata.name.to_string(), f.metadata.num_params)),
            true,
        );
        for (name, arity) in signatures {
            table.entry(name).or_default().insert(arity);
        }
        table
    })
}

/// The functions that a file can call, or those of a module that it imports.
pub(super) struct Functions<'a> {
    /// The engine, whose functions a file can call too.
    engine: Option<&'a Engine>,
    /// Those that a file defines.
    defined: Table,
}

impl<'a> Functions<'a> {
    /// Returns the functions that a file can call without a module.
    pub(super) fn in_file(engine: &'a Engine, ast: &AST) -> Self {
        Self {
            engine: Some(engine),
            defined: defined(ast),
        }
    }

    /// Returns the functions of an imported file.
    fn of_module(file: Option<&SourceFile>) -> Self {
        Self {
            engine: None,
            defined: file.map(|file| defined(&file.ast)).unwrap_or_default(),
        }
    }

    /// Returns the numbers of arguments that a function accepts.
    fn arities(&self, name: &str) -> Option<BTreeSet<usize>> {
        let native = self.engine.and_then(|engine| native(engine, name));
        match (native, self.defined.get(name)) {
            (None, None) => None,
            (native, defined) => Some(
                native
                    .into_iter()
                    .chain(defined)
                    .flatten()
                    .copied()
                    .collect(),
            ),
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let natives = self.engine.into_iter().flat_map(natives);
        natives.chain(self.defined.keys().map(String::as_str))
    }
}

/// Returns the functions that a file defines.
fn defined(ast: &AST) -> Table {
    let mut table = Table::new();
    for function in ast.iter_fn_def() {
        table
            .entry(function.name.to_string())
            .or_default()
            .insert(function.params.len());
    }
    table
}

/// Returns the functions of imported files, by alias.
pub(super) fn modules<'a>(
    path: &str,
    ast: &AST,
    files: &BTreeMap<String, SourceFile>,
) -> HashMap<String, Functions<'a>> {
    let imports = files.get(path).and_then(|file| {
        let all = imports::of(path, &file.directory, ast);
        all.ok()
    });
    let imports = imports.into_iter().flatten();
    imports
        .map(|import| (import.alias, Functions::of_module(files.get(&import.file))))
        .collect()
}

/// Returns every variable that may hold a function pointer, which `f(x)` calls.
pub(super) fn variables(ast: &AST) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for function in ast.iter_fn_def() {
        names.extend(function.params.iter().map(ToString::to_string));
    }
    ast.walk(&mut |nodes| {
        match nodes.last() {
            Some(ASTNode::Stmt(Stmt::Var(var, ..))) => {
                names.insert(var.0.name.to_string());
            }
            Some(ASTNode::Stmt(Stmt::For(each, _))) => {
                names.insert(each.0.name.to_string());
            }
            _ => {}
        }
        true
    });
    names
}

pub(super) fn call<'a>(node: &'a ASTNode<'a>) -> Option<(&'a FnCallExpr, Position)> {
    match node {
        ASTNode::Expr(Expr::FnCall(call, position))
        | ASTNode::Stmt(Stmt::FnCall(call, position)) => {
            (!call.is_operator_call()).then_some((call, *position))
        }
        _ => None,
    }
}

/// One function call in a file. Method calls are not checked, because a map may contain
/// functions with any name.
pub(super) struct Call<'a> {
    pub(super) expr: &'a FnCallExpr,
    pub(super) position: Position,
    pub(super) path: &'a str,
    /// What the variables among its arguments stand for.
    pub(super) values: &'a Values,
}

impl Call<'_> {
    pub(super) fn unknown(
        &self,
        known: &Functions,
        modules: &HashMap<String, Functions>,
        variables: &BTreeSet<String>,
    ) -> Option<Finding> {
        let name = self.expr.name.as_str();
        let given = self.expr.args.len();
        let functions = match self.expr.namespace.path.as_slice() {
            [] if KEYWORDS.contains(&name) || variables.contains(name) => return None,
            [] => known,
            [module] => modules.get(module.name.as_str())?,
            _ => return None,
        };
        let Some(arities) = functions.arities(name) else {
            let error = self.fault(format!("unknown function `{name}`"));
            let near = text::nearest(name, functions.names());
            let error = match near {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint("see `autorun docs` for a list of functions"),
            };
            return Some(Finding::new(&UNKNOWN_FUNCTION, error));
        };
        if arities.contains(&given) {
            return None;
        }
        let expected: Vec<String> = arities.iter().map(ToString::to_string).collect();
        let expected = expected.join(" or ");
        let error = self.fault(format!(
            "`{name}` expects {expected} {}, got {given}",
            if expected == "1" {
                "argument"
            } else {
                "arguments"
            }
        ));
        let error = match reference::signatures(name) {
            signatures if signatures.is_empty() => error,
            signatures => error.hint(format!("call it as {}", signatures.join(" or "))),
        };
        Some(Finding::new(&ARGUMENT_COUNT, error))
    }

    pub(super) fn fault(&self, message: String) -> Error {
        let mut error = Error::new(ErrorKind::Script, message);
        error.place = imports::place(self.path, self.position);
        error
    }
}
