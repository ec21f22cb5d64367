//! Checks before the run: every function called exists, with so many
//! arguments; every literal option is one that the manual names.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rhai::{AST, ASTNode, Engine, Expr, FnCallExpr, Position, Stmt};

use super::{SourceFile, imports, reference};
use crate::error::{Error, ErrorKind};
use crate::report::text;

/// Function names with the numbers of arguments they take.
type Table = HashMap<String, BTreeSet<usize>>;

/// What Rhai itself handles and lists nowhere.
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

/// All faults found in all files.
pub(super) fn faults(
    engine: &Engine,
    main: &str,
    files: &BTreeMap<String, SourceFile>,
) -> Vec<Error> {
    let natives = natives(engine);
    let options = reference::options();
    // The playbook's own faults first, then those of what it imports.
    let mut ordered: Vec<_> = files.iter().collect();
    ordered.sort_by_key(|(path, _)| path.as_str() != main);
    let mut faults = Vec::new();
    for (path, file) in ordered {
        let mut known = natives.clone();
        add_script_functions(&mut known, &file.ast);
        let modules = modules(path, &file.ast, files);
        let variables = variables(&file.ast);
        file.ast.walk(&mut |nodes| {
            let Some((call, position)) = nodes.last().and_then(call) else {
                return true;
            };
            let checked = Call {
                expr: call,
                position,
                path,
            };
            faults.extend(checked.unknown(&known, &modules, &variables));
            faults.extend(checked.unknown_options(&options));
            true
        });
    }
    faults
}

/// The names of all functions that are called in any file.
pub(super) fn called(files: &BTreeMap<String, SourceFile>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files.values() {
        file.ast.walk(&mut |nodes| {
            names.extend(
                nodes
                    .last()
                    .and_then(call)
                    .map(|(call, _)| call.name.to_string()),
            );
            true
        });
    }
    names
}

/// Adds the nearest right name, or the right call, to an error of Rhai's.
/// `text` is the file's.
pub(super) fn explain(engine: &Engine, text: &str, mut error: Error) -> Error {
    if let Some(name) = error
        .message
        .strip_prefix("undefined variable: ")
        .map(str::to_owned)
    {
        error.message = format!("unknown variable `{name}`");
        if natives(engine).contains_key(&name) {
            return error.hint(format!("`{name}` is a function: call it as {name}(..)"));
        }
        if declared(text).contains(&name.as_str()) {
            return error.hint(
                "a function does not see the playbook's variables: pass it as an argument, \
                 or make it a `const` and write global::NAME",
            );
        }
        return match text::nearest(&name, declared(text)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error,
        };
    }
    if let Some(call) = error
        .message
        .strip_prefix("no function takes these arguments: ")
    {
        let signatures = reference::signatures(call.split(' ').next().unwrap_or_default());
        if !signatures.is_empty() {
            return error.hint(format!("call it as {}", signatures.join(" or ")));
        }
    }
    error
}

/// The names that a script declares, read from its text: it did not compile.
fn declared(text: &str) -> Vec<&str> {
    let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    let mut names = Vec::new();
    while let Some(word) = words.next() {
        if matches!(word, "let" | "const" | "for") {
            names.extend(words.next());
        }
    }
    names
}

fn natives(engine: &Engine) -> Table {
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
}

fn add_script_functions(table: &mut Table, ast: &AST) {
    for function in ast.iter_fn_def() {
        table
            .entry(function.name.to_string())
            .or_default()
            .insert(function.params.len());
    }
}

/// The functions of imported files, by alias.
fn modules(path: &str, ast: &AST, files: &BTreeMap<String, SourceFile>) -> HashMap<String, Table> {
    let imports = imports::of(path, ast).unwrap_or_default();
    let table = |file: &str| {
        let mut table = Table::new();
        if let Some(file) = files.get(file) {
            add_script_functions(&mut table, &file.ast);
        }
        table
    };
    imports
        .into_iter()
        .map(|import| (import.alias, table(&import.file)))
        .collect()
}

/// Every name that may hold a function pointer: `f(x)` calls it.
fn variables(ast: &AST) -> BTreeSet<String> {
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

fn call<'a>(node: &'a ASTNode<'a>) -> Option<(&'a FnCallExpr, Position)> {
    match node {
        ASTNode::Expr(Expr::FnCall(call, position))
        | ASTNode::Stmt(Stmt::FnCall(call, position)) => {
            (!call.is_operator_call()).then_some((call, *position))
        }
        _ => None,
    }
}

/// One function call in a file. Method calls are left to the run: a map may
/// hold functions of any name.
struct Call<'a> {
    expr: &'a FnCallExpr,
    position: Position,
    path: &'a str,
}

impl Call<'_> {
    fn unknown(
        &self,
        known: &Table,
        modules: &HashMap<String, Table>,
        variables: &BTreeSet<String>,
    ) -> Option<Error> {
        let name = self.expr.name.as_str();
        let given = self.expr.args.len();
        let table = match self.expr.namespace.path.as_slice() {
            [] if KEYWORDS.contains(&name) || variables.contains(name) => return None,
            [] => known,
            [module] => modules.get(module.name.as_str())?,
            _ => return None,
        };
        let Some(arities) = table.get(name) else {
            let error = self.fault(format!("unknown function `{name}`"));
            let near = text::nearest(name, table.keys().map(String::as_str));
            return Some(match near {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint("`autorun docs` lists the functions"),
            });
        };
        if arities.contains(&given) {
            return None;
        }
        let takes: Vec<String> = arities.iter().map(ToString::to_string).collect();
        let takes = takes.join(" or ");
        let error = self.fault(format!(
            "`{name}` takes {takes} {}, not {given}",
            if takes == "1" {
                "argument"
            } else {
                "arguments"
            }
        ));
        Some(match reference::signatures(name) {
            signatures if signatures.is_empty() => error,
            signatures => error.hint(format!("call it as {}", signatures.join(" or "))),
        })
    }

    /// Keys of a literal options map that the manual does not name.
    fn unknown_options(&self, options: &HashMap<String, Vec<String>>) -> Vec<Error> {
        let name = self.expr.name.as_str();
        let (Some(known), true) = (options.get(name), self.expr.namespace.path.is_empty()) else {
            return Vec::new();
        };
        let Some(last) = self.expr.args.last() else {
            return Vec::new();
        };
        let keys: Vec<(String, Position)> = match last {
            Expr::Map(map, _) => map
                .0
                .iter()
                .map(|(key, _)| (key.name.to_string(), key.pos))
                .collect(),
            Expr::DynamicConstant(value, position) => {
                let map = value.read_lock::<rhai::Map>();
                map.iter()
                    .flat_map(|m| m.keys())
                    .map(|k| (k.to_string(), *position))
                    .collect()
            }
            _ => Vec::new(),
        };
        let unknown = keys.into_iter().filter(|(key, _)| !known.contains(key));
        unknown
            .map(|(key, position)| {
                let mut error = self.fault(format!("`{name}` has no option `{key}`"));
                error.place = imports::place(self.path, position);
                match text::nearest(&key, known.iter().map(String::as_str)) {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error.hint(format!("it has {}", known.join(", "))),
                }
            })
            .collect()
    }

    fn fault(&self, message: String) -> Error {
        let mut error = Error::new(ErrorKind::Script, message);
        error.place = imports::place(self.path, self.position);
        error
    }
}
