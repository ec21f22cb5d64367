//! Finds the variables that always hold the result of a function.
//!
//! A variable is not among them if it is declared twice in a function, if it is
//! assigned other values, or if keys may be added to it.

use std::collections::{BTreeSet, HashMap, HashSet};

use rhai::{AST, ASTNode, Expr, FnCallExpr, Stmt};

use super::bodies::Bodies;
use super::chain::{Link, chain, variable};
use super::closures::Closure;
use super::known::{Known, Reader, Variables};
use super::written::Literal;
use crate::primitives;

/// Methods that add no key to a map and no item to an array.
const READING: [&str; 19] = [
    "all",
    "drain",
    "filter",
    "find",
    "find_map",
    "index_of",
    "map",
    "reduce",
    "retain",
    "some",
    "contains",
    "get",
    "keys",
    "values",
    "len",
    "is_empty",
    "to_string",
    "to_json",
    "type_of",
];

/// What is known about the variables of a file.
pub(super) struct Facts {
    bodies: Bodies,
    /// Of the file outside of functions, and of each function.
    scopes: Vec<(Variables, Values)>,
}

impl Facts {
    /// Reads a file. `own` contains the functions that the playbook itself defines.
    pub(super) fn of(ast: &AST, own: &BTreeSet<String>) -> Self {
        let bodies = Bodies::of(ast);
        let uses = Uses::of_file(ast, own);
        let scopes = Scope::all(ast, &bodies);
        let results = uses.variables(&scopes).into_iter();
        let values = scopes.iter().map(|scope| uses.unchanged(scope));
        Self {
            scopes: results.zip(values).collect(),
            bodies,
        }
    }

    /// Returns the number of the function with a name that is around a node, counted from
    /// 1; 0 outside of functions.
    pub(super) fn function(&self, nodes: &[ASTNode]) -> usize {
        self.bodies.function(nodes)
    }

    /// Returns whether no closure is around a node.
    pub(super) fn is_direct(&self, nodes: &[ASTNode]) -> bool {
        self.bodies.around(nodes) == self.bodies.function(nodes)
    }

    /// Returns the results that variables hold in the function around a node.
    pub(super) fn results(&self, nodes: &[ASTNode]) -> &Variables {
        &self.scopes[self.bodies.around(nodes)].0
    }

    /// Returns the values of the variables in the function around a node that never
    /// change.
    pub(super) fn values(&self, nodes: &[ASTNode]) -> &Values {
        &self.scopes[self.bodies.around(nodes)].1
    }
}

/// The values of variables that never change.
pub(super) struct Values(HashMap<String, Expr>);

impl Values {
    /// Returns the literal that a variable stands for; another expression as it is.
    pub(super) fn literal<'a>(&'a self, expr: &'a Expr) -> &'a Expr {
        let value = self.of(expr).filter(|value| Literal::of(value).is_some());
        value.unwrap_or(expr)
    }

    /// Returns the initial value of a variable.
    pub(super) fn of(&self, expr: &Expr) -> Option<&Expr> {
        self.0.get(variable(expr)?)
    }
}

/// The variables that one function, or the file outside of functions, declares.
#[derive(Default)]
struct Scope {
    /// The variables in the order of their declarations.
    names: Vec<String>,
    /// The initial value of each variable.
    declared: HashMap<String, Initial>,
    /// The scope around a closure.
    around: Option<usize>,
}

/// Methods of an array that call a closure with each item.
const FOR_EACH: [&str; 10] = [
    "all", "drain", "filter", "find", "find_map", "for_each", "index_of", "map", "retain", "some",
];

/// The initial value of a variable. The expression is cloned, because a walk only lends
/// its nodes.
enum Initial {
    Value(Expr),
    /// Each item of an array.
    EachItem(Expr),
    /// Each item of an array around a closure.
    EachItemAround(Expr),
    /// The variable of this name around a closure.
    Captured,
    /// Not known, or the variable is declared twice.
    Unknown,
}

impl Scope {
    /// Returns the scope of the file outside of functions, and of each function.
    fn all(ast: &AST, bodies: &Bodies) -> Vec<Self> {
        let parameters = ast.iter_fn_def().map(|f| {
            let mut scope = Self::default();
            for parameter in &f.params {
                scope.declare(parameter, Initial::Unknown);
            }
            scope
        });
        let file = Self::default();
        let mut scopes: Vec<Self> = std::iter::once(file).chain(parameters).collect();
        let functions = ast.iter_fn_def().enumerate();
        let functions: HashMap<&str, _> = functions
            .map(|(at, f)| (f.name.as_str(), (at + 1, &f.params)))
            .collect();
        let parameters_of = |closure: &Closure| functions.get(closure.function.as_str()).copied();
        ast.walk(&mut |nodes| {
            let around = bodies.around(nodes);
            if let Some(ASTNode::Expr(expr)) = nodes.last() {
                if let Some(closure) = Closure::of(expr)
                    && let Some((at, parameters)) = parameters_of(&closure)
                {
                    scopes[at].around = Some(around);
                    for captured in parameters.iter().take(closure.captured) {
                        scopes[at].set(captured, Initial::Captured);
                    }
                }
                if let Some((items, closure)) = for_each(expr)
                    && let Some((at, parameters)) = parameters_of(&closure)
                    && let Some(item) = parameters.get(closure.captured)
                {
                    scopes[at].set(item, Initial::EachItemAround(items.clone()));
                }
            }
            let scope = &mut scopes[around];
            match nodes.last() {
                Some(ASTNode::Stmt(Stmt::FnCall(call, _))) => {
                    if let Some((items, closure)) = parallel(call)
                        && let Some((at, parameters)) = parameters_of(&closure)
                        && let Some(item) = parameters.get(closure.captured)
                    {
                        scopes[at].set(item, Initial::EachItemAround(items.clone()));
                    }
                }
                Some(ASTNode::Stmt(Stmt::Var(var, ..))) => {
                    scope.declare(&var.0.name, Initial::Value(var.1.clone()));
                }
                Some(ASTNode::Stmt(Stmt::For(each, _))) => {
                    scope.declare(&each.0.name, Initial::EachItem(each.2.expr.clone()));
                    if let Some(counter) = &each.1 {
                        scope.declare(&counter.name, Initial::Unknown);
                    }
                }
                Some(ASTNode::Stmt(Stmt::TryCatch(parts, _))) => {
                    if let Expr::Variable(caught, ..) = &parts.expr {
                        scope.declare(&caught.1, Initial::Unknown);
                    }
                }
                _ => {}
            }
            true
        });
        scopes
    }

    /// Sets what a parameter holds.
    fn set(&mut self, parameter: &str, initial: Initial) {
        self.declared.insert(parameter.to_owned(), initial);
    }

    fn declare(&mut self, name: &str, initial: Initial) {
        if let Some(known) = self.declared.get_mut(name) {
            *known = Initial::Unknown;
        } else {
            self.names.push(name.to_owned());
            self.declared.insert(name.to_owned(), initial);
        }
    }
}

/// Returns the array and the closure of an expression that calls the closure with each
/// item of the array.
fn for_each(expr: &Expr) -> Option<(&Expr, Closure)> {
    match expr {
        Expr::FnCall(call, _) => parallel(call),
        Expr::Dot(parts, ..) => match &parts.rhs {
            Expr::MethodCall(call, _) if FOR_EACH.contains(&call.name.as_str()) => {
                Some((&parts.lhs, Closure::of(call.args.first()?)?))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Like [`for_each`], for a call of `parallel`.
fn parallel(call: &FnCallExpr) -> Option<(&Expr, Closure)> {
    let is_parallel = call.name == "parallel" && call.namespace.path.is_empty();
    match call.args.as_slice() {
        [items, closure, ..] if is_parallel => Some((items, Closure::of(closure)?)),
        _ => None,
    }
}

/// The changes to variables in a whole file. They are not separated by function, because
/// a closure can change the variables around it.
struct Uses<'a> {
    /// The values that are assigned to each variable.
    assigned: HashMap<String, Vec<Expr>>,
    /// The keys of each variable that are written.
    written: HashMap<String, BTreeSet<String>>,
    /// Variables to which keys may be added in another way.
    extended: HashSet<String>,
    own: &'a BTreeSet<String>,
}

impl<'a> Uses<'a> {
    fn of_file(ast: &AST, own: &'a BTreeSet<String>) -> Self {
        let mut uses = Self {
            assigned: HashMap::new(),
            written: HashMap::new(),
            extended: HashSet::new(),
            own,
        };
        ast.walk(&mut |nodes| {
            match nodes.last() {
                Some(ASTNode::Stmt(Stmt::Assignment(assignment))) => {
                    let (operator, sides) = &**assignment;
                    uses.assign(&sides.lhs, &sides.rhs, operator.is_op_assignment());
                }
                Some(ASTNode::Expr(expr @ (Expr::Dot(..) | Expr::Index(..)))) => {
                    uses.call_method(expr);
                }
                Some(
                    ASTNode::Expr(Expr::FnCall(call, _)) | ASTNode::Stmt(Stmt::FnCall(call, _)),
                ) => uses.call(call),
                _ => {}
            }
            true
        });
        uses
    }

    fn assign(&mut self, to: &Expr, value: &Expr, combined: bool) {
        if let Some(name) = variable(to) {
            if combined {
                self.extended.insert(name.to_owned());
            } else {
                let values = self.assigned.entry(name.to_owned()).or_default();
                values.push(value.clone());
            }
            return;
        }
        let Some((root, links)) = chain(to) else {
            return;
        };
        let Some(name) = variable(root) else { return };
        match links.first().and_then(Link::key) {
            Some((key, _)) => {
                let keys = self.written.entry(name.to_owned()).or_default();
                keys.insert(key.to_owned());
            }
            None => {
                self.extended.insert(name.to_owned());
            }
        }
    }

    /// Records a method call, which may change its object.
    fn call_method(&mut self, expr: &Expr) {
        if let Some((root, links)) = chain(expr)
            && let Some(name) = variable(root)
            && let Some(Link::Method(method)) = links.first()
            && !READING.contains(method)
        {
            self.extended.insert(name.to_owned());
        }
    }

    /// Records a call of a function of Rhai, which may change its first argument.
    /// Primitives and functions of the playbook receive a copy.
    fn call(&mut self, call: &FnCallExpr) {
        let name = call.name.as_str();
        let copies = call.is_operator_call()
            || !call.namespace.path.is_empty()
            || self.own.contains(name)
            || READING.contains(&name)
            || ["print", "debug"].contains(&name)
            || primitives::is_function(name);
        if !copies && let Some(argument) = call.args.first().and_then(variable) {
            self.extended.insert(argument.to_owned());
        }
    }

    /// Returns the variables of each scope whose value is known everywhere.
    fn variables(&self, scopes: &[Scope]) -> Vec<Variables> {
        let mut known: Vec<Option<Variables>> = scopes.iter().map(|_| None).collect();
        for scope in 0..scopes.len() {
            self.learn(scopes, scope, &mut known);
        }
        known.into_iter().map(Option::unwrap_or_default).collect()
    }

    /// Finds out the variables of a scope, after those of the scope around it.
    fn learn(&self, scopes: &[Scope], at: usize, known: &mut Vec<Option<Variables>>) {
        if known[at].is_some() {
            return;
        }
        // An empty value ends the recursion if two closures have one name.
        known[at] = Some(Variables::new());
        let around = scopes[at].around;
        if let Some(around) = around {
            self.learn(scopes, around, known);
        }
        let none = Variables::new();
        let outer = around.and_then(|at| known[at].as_ref()).unwrap_or(&none);
        known[at] = Some(self.variables_of(&scopes[at], outer));
    }

    fn variables_of(&self, scope: &Scope, outer: &Variables) -> Variables {
        let around = Reader {
            variables: outer,
            own: self.own,
        };
        let mut variables = Variables::new();
        // The variables whose values come from another one.
        let mut from: HashMap<&str, Vec<&String>> = HashMap::new();
        for name in scope.names.iter().filter(|it| !self.extended.contains(*it)) {
            let initial = scope.declared.get(name).unwrap_or(&Initial::Unknown);
            let reader = Reader {
                variables: &variables,
                own: self.own,
            };
            let known = match initial {
                Initial::Value(expr) => reader.known(expr),
                Initial::EachItem(expr) => reader.item_of(expr),
                Initial::EachItemAround(expr) => around.item_of(expr),
                Initial::Captured => outer.get(name).cloned(),
                Initial::Unknown => None,
            };
            let Some(known) = known else { continue };
            variables.insert(name.clone(), known);
            let own = match initial {
                Initial::Value(expr) | Initial::EachItem(expr) => Some(expr),
                Initial::EachItemAround(_) | Initial::Captured | Initial::Unknown => None,
            };
            let assigned = self.assigned.get(name).into_iter().flatten();
            for source in assigned.chain(own).filter_map(comes_from) {
                from.entry(source).or_default().push(name);
            }
        }
        // Without a variable, those whose values come from it are not known either.
        let mut doubtful: Vec<&String> = scope.names.iter().collect();
        while let Some(name) = doubtful.pop() {
            let known = variables.get(name);
            if known.is_some_and(|known| !self.keeps(name, known, scope, &variables)) {
                variables.remove(name);
                doubtful.extend(from.remove(name.as_str()).unwrap_or_default());
            }
        }
        variables
    }

    /// Returns the values of the variables of a scope that are declared once and never
    /// changed.
    fn unchanged(&self, scope: &Scope) -> Values {
        let values = scope.declared.iter().filter_map(|(name, initial)| {
            let Initial::Value(value) = initial else {
                return None;
            };
            let is_changed = self.extended.contains(name)
                || self.assigned.contains_key(name)
                || self.written.contains_key(name);
            (!is_changed).then(|| (name.clone(), value.clone()))
        });
        Values(values.collect())
    }

    /// Returns whether a variable has this kind at first, and keeps it after all
    /// assignments.
    fn keeps(&self, name: &str, known: &Known, scope: &Scope, variables: &Variables) -> bool {
        let reader = Reader {
            variables,
            own: self.own,
        };
        let initial = match scope.declared.get(name) {
            Some(Initial::Value(expr)) => reader.known(expr).is_some(),
            Some(Initial::EachItem(expr)) => reader.item_of(expr).is_some(),
            _ => true,
        };
        let mut assigned = self.assigned.get(name).into_iter().flatten();
        let mut written = self.written.get(name).into_iter().flatten();
        let has_key = |key: &str| match known {
            Known::Map(returned) => returned.fields.iter().any(|field| field.name == key),
            Known::Array(_) => false,
        };
        initial
            && assigned.all(|value| {
                let value = reader.known(value);
                value.is_some_and(|value| value.is_like(known))
            })
            && written.all(|key| has_key(key))
    }
}

/// Returns the variable from which a value comes.
fn comes_from(value: &Expr) -> Option<&str> {
    match value {
        Expr::FnCall(call, _) => comes_from(call.args.first()?),
        Expr::Dot(..) | Expr::Index(..) => comes_from(chain(value)?.0),
        value => variable(value),
    }
}
