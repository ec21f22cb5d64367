//! Checks before the run: every function called exists, with so many
//! arguments; every literal is of a type that is taken there, and every literal
//! option is one that the manual names.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rhai::{AST, ASTNode, Dynamic, Engine, Expr, FnCallExpr, Position, Stmt};

use super::{SourceFile, imports, literal, reference};
use serde_json::Value;

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
    // The playbook's own functions come before those of the program, also in
    // what it imports.
    let mut own = BTreeSet::new();
    for (path, file) in ordered {
        if path == main {
            own = functions(&file.ast);
        }
        let own: BTreeSet<String> = own.union(&functions(&file.ast)).cloned().collect();
        let mut known = natives.clone();
        add_script_functions(&mut known, &file.ast);
        let modules = modules(path, &file.ast, files);
        let variables = variables(&file.ast);
        let mut here = Vec::new();
        file.ast.walk(&mut |nodes| {
            let Some((call, position)) = nodes.last().and_then(call) else {
                return true;
            };
            let checked = Call {
                expr: call,
                position,
                path,
            };
            let unknown = checked.unknown(&known, &modules, &variables);
            if unknown.is_none() && !own.contains(call.name.as_str()) {
                here.extend(checked.wrong_arguments());
                here.extend(checked.wrong_options(&options));
            }
            here.extend(unknown);
            true
        });
        here.sort_by_key(|fault: &Error| (fault.place.line, fault.place.column));
        faults.append(&mut here);
    }
    faults
}

fn functions(ast: &AST) -> BTreeSet<String> {
    ast.iter_fn_def().map(|f| f.name.to_string()).collect()
}

/// The names of all functions that are called in any file: as functions, as
/// methods, or through `Fn("name")`.
pub(super) fn called(files: &BTreeMap<String, SourceFile>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files.values() {
        file.ast.walk(&mut |nodes| {
            names.extend(nodes.last().and_then(called_name));
            true
        });
    }
    names
}

fn called_name(node: &ASTNode) -> Option<String> {
    if let ASTNode::Expr(Expr::MethodCall(call, _)) = node {
        return Some(call.name.to_string());
    }
    let (call, _) = call(node)?;
    let pointed = (call.name == "Fn").then(|| call.args.first().and_then(literal));
    match pointed.flatten() {
        Some(Value::String(name)) => Some(name),
        _ => Some(call.name.to_string()),
    }
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

    /// What the calls of this function take that have so many arguments.
    fn overloads(&self) -> impl Iterator<Item = &'static Vec<String>> + Clone {
        let given = self.expr.args.len();
        let overloads = reference::overloads(self.expr.name.as_str()).iter();
        overloads.filter(move |types| types.len() == given)
    }

    /// Literal arguments of a type that no call of this function takes.
    fn wrong_arguments(&self) -> Option<Error> {
        let name = self.expr.name.as_str();
        if !self.expr.namespace.path.is_empty() {
            return None;
        }
        let given = &self.expr.args;
        let fitting = self.overloads();
        let fits = |types: &&Vec<String>| {
            let mut pairs = types.iter().zip(given);
            pairs.all(|(wanted, given)| Literal::of(given).is_none_or(|l| l.is_a(wanted)))
        };
        if fitting.clone().next().is_none() || fitting.clone().any(|types| fits(&types)) {
            return None;
        }
        let wrong = given.iter().enumerate().find_map(|(at, given)| {
            let literal = Literal::of(given)?;
            let fits = fitting.clone().any(|types| literal.is_a(&types[at]));
            (!fits).then_some((at, literal, given.position()))
        });
        let (at, literal, position) = wrong?;
        let mut error = self.fault(format!(
            "`{name}` does not take {} as its {} argument",
            literal.with_article(),
            ORDINALS.get(at).unwrap_or(&"last")
        ));
        error.place = imports::place(self.path, position);
        Some(error.hint(format!(
            "call it as {}",
            reference::signatures(name).join(" or ")
        )))
    }

    /// Entries of a literal options map that the manual does not name, or whose
    /// literal value is not of the type named there.
    fn wrong_options(&self, options: &HashMap<String, Vec<(String, String)>>) -> Vec<Error> {
        let name = self.expr.name.as_str();
        let (Some(known), true) = (options.get(name), self.expr.namespace.path.is_empty()) else {
            return Vec::new();
        };
        let takes_options = |types: &Vec<String>| types.last().is_some_and(|last| last == "Map");
        let (Some(last), true) = (self.expr.args.last(), self.overloads().any(takes_options))
        else {
            return Vec::new();
        };
        let entries: Vec<(String, Option<Literal>, Position)> = match last {
            Expr::Map(map, _) => map
                .0
                .iter()
                .map(|(key, value)| (key.name.to_string(), Literal::of(value), key.pos))
                .collect(),
            Expr::DynamicConstant(value, position) => {
                let map = value.read_lock::<rhai::Map>();
                map.iter()
                    .flat_map(|m| m.iter())
                    .map(|(key, value)| (key.to_string(), Literal::of_value(value), *position))
                    .collect()
            }
            _ => Vec::new(),
        };
        let wrong = |(key, given, position): (String, Option<Literal>, Position)| {
            let option = known.iter().find(|(name, _)| *name == key);
            let mut error = match (option, given) {
                (None, _) => {
                    let error = self.fault(format!("`{name}` has no option `{key}`"));
                    let mut names = known.iter().map(|(name, _)| name.as_str());
                    match text::nearest(&key, names.clone()) {
                        Some(near) => error.hint(format!("did you mean `{near}`?")),
                        None => error.hint(format!(
                            "it has {}",
                            names.by_ref().collect::<Vec<_>>().join(", ")
                        )),
                    }
                }
                (Some((_, kind)), Some(given)) => {
                    let (wanted, taken) = wanted(kind)?;
                    if taken.contains(&given) {
                        return None;
                    }
                    self.fault(format!(
                        "option `{key}` of `{name}` takes {wanted}, not {}",
                        given.with_article()
                    ))
                    .hint(format!("`autorun docs {name}` has all its options"))
                }
                _ => return None,
            };
            error.place = imports::place(self.path, position);
            Some(error)
        };
        entries.into_iter().filter_map(wrong).collect()
    }

    fn fault(&self, message: String) -> Error {
        let mut error = Error::new(ErrorKind::Script, message);
        error.place = imports::place(self.path, self.position);
        error
    }
}

const ORDINALS: [&str; 4] = ["first", "second", "third", "fourth"];

/// The type of a value that is written out in a playbook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Literal {
    String,
    Integer,
    Float,
    Bool,
    Array,
    Map,
}

impl Literal {
    /// Nothing for what is known at run time alone, and for `()`, which stands
    /// for an option that is left out.
    fn of(expr: &Expr) -> Option<Self> {
        match expr {
            Expr::StringConstant(..) | Expr::InterpolatedString(..) => Some(Self::String),
            Expr::IntegerConstant(..) => Some(Self::Integer),
            Expr::FloatConstant(..) => Some(Self::Float),
            Expr::BoolConstant(..) => Some(Self::Bool),
            Expr::Array(..) => Some(Self::Array),
            Expr::Map(..) => Some(Self::Map),
            Expr::DynamicConstant(value, _) => Self::of_value(value),
            _ => None,
        }
    }

    fn of_value(value: &Dynamic) -> Option<Self> {
        match value.type_name() {
            "string" => Some(Self::String),
            "i64" => Some(Self::Integer),
            "f64" => Some(Self::Float),
            "bool" => Some(Self::Bool),
            "array" => Some(Self::Array),
            "map" => Some(Self::Map),
            _ => None,
        }
    }

    /// Whether a parameter of this Rust type takes it.
    fn is_a(self, rust: &str) -> bool {
        match rust {
            "Dynamic" => true,
            "i64" => self == Self::Integer,
            "f64" => self == Self::Float,
            "bool" => self == Self::Bool,
            "Array" => self == Self::Array,
            "Map" => self == Self::Map,
            "FnPtr" => false,
            rust => self == Self::String || !rust.contains("String"),
        }
    }

    fn with_article(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Integer => "an integer",
            Self::Float => "a float",
            Self::Bool => "a bool",
            Self::Array => "an array",
            Self::Map => "a map",
        }
    }
}

/// What an option takes that the manual describes so: in words, and as types.
fn wanted(kind: &str) -> Option<(&'static str, &'static [Literal])> {
    use Literal::{Array, Bool, Float, Integer, Map, String};
    Some(match kind {
        "string" => ("a string", &[String]),
        "integer" => ("an integer", &[Integer]),
        "seconds" => ("a number of seconds", &[Integer, Float]),
        "bool" => ("true or false", &[Bool]),
        "array" => ("an array", &[Array]),
        "array of maps" => ("an array of maps", &[Array]),
        "map of strings" => ("a map of strings", &[Map]),
        "string or map" => ("a string or a map", &[String, Map]),
        "host" => ("a host", &[String, Map]),
        _ => return None,
    })
}
