//! Variables, functions and imports that nothing uses.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rhai::{Expr, FnAccess, FnCallExpr, Ident, Position, ScriptFuncDef, Stmt};

use super::super::called_in;
use super::super::finding::Finding;
use super::super::rules::{UNUSED_FUNCTION, UNUSED_IMPORT, UNUSED_VAR, UNUSED_VARIABLE};
use super::super::walk::{Origin, Visitor, walk};
use super::File;
use crate::playbook::source_file::SourceFile;
use crate::report::text;

/// How many unused variables of a file may be misspelt.
const MISSPELT: usize = 100;

/// A variable in a scope.
struct Variable {
    name: String,
    position: Position,
    origin: Origin,
    /// Whether its value is a `var()`.
    is_set_by_caller: bool,
    is_read: bool,
}

/// Which variables of a file are read.
#[derive(Default)]
struct Variables {
    all: Vec<Variable>,
    /// The last variable of each name in each open scope.
    scopes: Vec<HashMap<String, usize>>,
    /// Constants that functions read as `global::NAME`.
    global: BTreeSet<String>,
}

/// Returns a warning for each variable that is never read.
pub(super) fn variables(file: &File) -> Vec<Finding> {
    let mut variables = Variables::default();
    walk(file.ast, &mut variables);
    let Variables { all, global, .. } = variables;
    let names: BTreeSet<&str> = all.iter().map(|variable| variable.name.as_str()).collect();
    let unused = all.iter().filter(|variable| {
        matches!(variable.origin, Origin::Declared)
            && !variable.is_read
            && !variable.name.starts_with('_')
            && !global.contains(&variable.name)
    });
    let unused: Vec<&Variable> = unused.collect();
    // So many are not misspelt, and each is compared with all names.
    let are_many = unused.len() > MISSPELT;
    let finding = |variable: &Variable| {
        let name = &variable.name;
        if variable.is_set_by_caller {
            let message = format!("the variable `{name}` for --set is never read");
            let found = file.finding(&UNUSED_VAR, variable.position, message);
            return hinted(found, "use it, or remove its declaration".to_owned());
        }
        let message = format!("the variable `{name}` is never read");
        let found = file.finding(&UNUSED_VARIABLE, variable.position, message);
        let others = names.iter().copied().filter(|other| other != name);
        // One-letter names are always similar.
        let may_be_misspelt = name.len() > 3 && !are_many;
        let hint = match may_be_misspelt
            .then(|| text::nearest(name, others))
            .flatten()
        {
            Some(near) => format!("is it meant where `{near}` is used? If not, remove it"),
            None => format!("remove it, or name it `_{name}`"),
        };
        hinted(found, hint)
    };
    let dropped = file.ast.statements().iter().filter_map(dropped_var);
    let dropped = dropped.map(|(name, position)| {
        let message = format!("the variable `{name}` for --set is never read");
        let found = file.finding(&UNUSED_VAR, position, message);
        hinted(found, format!("keep its value: `let {name} = var(..)`"))
    });
    unused.into_iter().map(finding).chain(dropped).collect()
}

/// Returns the name and the place of a `var()` whose value is dropped.
fn dropped_var(statement: &Stmt) -> Option<(&str, Position)> {
    let (call, position) = match statement {
        Stmt::FnCall(call, position) => (&**call, *position),
        Stmt::Expr(expr) => match &**expr {
            Expr::FnCall(call, position) => (&**call, *position),
            _ => return None,
        },
        _ => return None,
    };
    match (call.name.as_str(), call.args.first()) {
        ("var", Some(Expr::StringConstant(name, _))) => Some((name, position)),
        _ => None,
    }
}

fn hinted(mut finding: Finding, hint: String) -> Finding {
    finding.error = finding.error.hint(hint);
    finding
}

impl Variables {
    fn read(&mut self, name: &str) {
        let mut inner = self.scopes.iter().rev();
        if let Some(found) = inner.find_map(|scope| scope.get(name)) {
            self.all[*found].is_read = true;
        }
    }

    fn call(&mut self, call: &FnCallExpr) {
        // `is_def_var("name")`, and a closure in a variable: `f(1)`.
        match (call.name.as_str(), call.args.first()) {
            ("is_def_var", Some(Expr::StringConstant(name, _))) => self.read(name),
            (name, _) => self.read(name),
        }
    }
}

impl Visitor for Variables {
    fn open(&mut self) {
        self.scopes.push(HashMap::new());
    }

    fn close(&mut self) {
        self.scopes.pop();
    }

    fn statement(&mut self, statement: &Stmt) {
        match statement {
            Stmt::FnCall(call, _) => self.call(call),
            Stmt::Export(names, _) => self.read(&names.0.name),
            _ => {}
        }
    }

    fn declare(&mut self, name: &Ident, origin: Origin, initial: Option<&Expr>) {
        let is_set_by_caller = matches!(initial, Some(Expr::FnCall(call, _))
            if call.name == "var" && call.namespace.path.is_empty());
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.name.to_string(), self.all.len());
        }
        self.all.push(Variable {
            name: name.name.to_string(),
            position: name.pos,
            origin,
            is_set_by_caller,
            is_read: false,
        });
    }

    fn expression(&mut self, expr: &Expr, _: bool) {
        match expr {
            Expr::Variable(names, ..) => match names.2.path.as_slice() {
                [] => self.read(&names.1),
                [root] if root.name == "global" => {
                    self.global.insert(names.1.to_string());
                }
                _ => {}
            },
            Expr::FnCall(call, _) => self.call(call),
            _ => {}
        }
    }

    /// An assignment alone does not read the variable.
    fn assign(&mut self, expr: &Expr) -> bool {
        matches!(expr, Expr::Variable(names, ..) if names.2.path.is_empty())
    }
}

/// Returns a warning for each function of the playbook that is never called. `called`
/// contains the names of all functions that any file calls.
pub(in crate::playbook::check) fn functions(
    file: &File,
    called: &BTreeSet<String>,
) -> Vec<Finding> {
    never_called(file, |function| !called.contains(function.name.as_str()))
}

/// Returns a warning for each function of a library that only the library could call, and
/// does not.
pub(in crate::playbook::check) fn private_functions(file: &File) -> Vec<Finding> {
    let called = called_in(file.ast);
    never_called(file, |function| {
        function.access == FnAccess::Private && !called.contains(function.name.as_str())
    })
}

fn never_called(file: &File, is_unused: impl Fn(&ScriptFuncDef) -> bool) -> Vec<Finding> {
    let unused = file.ast.iter_fn_def().filter(|function| {
        let name = function.name.as_str();
        !name.starts_with("anon$") && !name.starts_with('_') && is_unused(function)
    });
    let found = unused.map(|function| {
        let name = &function.name;
        let position = function.body.start_position();
        let message = format!("the function `{name}` is never called");
        let found = file.finding(&UNUSED_FUNCTION, place_of(file, name, position), message);
        hinted(found, "call it, or remove it".to_owned())
    });
    found.collect()
}

/// Returns the place of a function's name, which is before its body.
fn place_of(file: &File, name: &str, body: Position) -> Position {
    let (Some(line), Some(column)) = (body.line(), body.position()) else {
        return body;
    };
    let scan = file.scan;
    let mut at = scan.index(line, column);
    while at > 0 {
        at -= 1;
        if scan.word(at) == name && scan.word_before(at).is_empty() {
            let (line, column) = scan.place(at);
            let small = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
            return Position::new(small(line), small(column));
        }
    }
    body
}

/// Returns a warning for each import of a file whose alias is never used.
pub(in crate::playbook::check) fn imports(
    file: &File,
    files: &BTreeMap<String, SourceFile>,
) -> Vec<Finding> {
    let source = files.get(file.path);
    let Some(Ok(imports)) =
        source.map(|source| crate::playbook::imports::of(file.path, &source.directory, file.ast))
    else {
        return Vec::new();
    };
    let mut used = Aliases::default();
    walk(file.ast, &mut used);
    // An import whose file has statements may be there for what they do.
    let is_silent = |name: &str| {
        let imported = files.get(name);
        imported.is_some_and(|imported| imported.ast.statements().is_empty())
    };
    let unused = imports
        .iter()
        .filter(|import| !used.0.contains(&import.alias) && is_silent(&import.file));
    let found = unused.map(|import| {
        let message = format!("the import `{}` is never used", import.alias);
        let mut found = file.finding(&UNUSED_IMPORT, Position::NONE, message);
        found.error.place = import.place.clone();
        hinted(
            found,
            format!(
                "call a function of it as {}::name(..), or remove it",
                import.alias
            ),
        )
    });
    found.collect()
}

/// The namespaces that a file uses.
#[derive(Default)]
struct Aliases(BTreeSet<String>);

impl Aliases {
    fn add(&mut self, path: &[Ident]) {
        self.0
            .extend(path.first().map(|root| root.name.to_string()));
    }
}

impl Visitor for Aliases {
    fn statement(&mut self, statement: &Stmt) {
        if let Stmt::FnCall(call, _) = statement {
            self.add(&call.namespace.path);
        }
    }

    fn expression(&mut self, expr: &Expr, _: bool) {
        match expr {
            Expr::FnCall(call, _) => self.add(&call.namespace.path),
            Expr::Variable(names, ..) => self.add(&names.2.path),
            _ => {}
        }
    }
}
