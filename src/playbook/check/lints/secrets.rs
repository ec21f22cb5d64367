//! Secret variables in texts that others can read.

use std::collections::{BTreeMap, BTreeSet};

use rhai::{ASTNode, Expr, FnCallExpr, ImmutableString, Position, Stmt};

use super::super::calls::{Call, call};
use super::super::finding::Finding;
use super::super::literals::overloads;
use super::super::rules::EXPOSED_SECRET;
use super::super::written::Written;
use super::File;

/// Arguments that others can read, by function. `*` stands for every function.
const PUBLIC: &[(&str, &str)] = &[
    ("create_bucket", "prefix"),
    ("create_image", "name"),
    ("create_key_pair", "name"),
    ("create_network", "name"),
    ("create_security_group", "name"),
    ("elastic_ip", "name"),
    ("fleet_exec", "command"),
    ("import_key_pair", "name"),
    ("instance_role", "name"),
    ("local_exec", "command"),
    ("scp", "source"),
    ("scp", "target"),
    ("scp_from", "source"),
    ("scp_from", "target"),
    ("ssh_exec", "command"),
    ("tag", "tags"),
    ("upload_file", "file"),
    ("upload_dir", "directory"),
];

/// Options that others can read, of every function.
const PUBLIC_OPTIONS: [&str; 6] = [
    "name",
    "tags",
    "key",
    "prefix",
    "description",
    "content_type",
];

pub(super) fn findings(file: &File) -> Vec<Finding> {
    let secrets = Secrets::of(file);
    if secrets.variables.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    file.ast.walk(&mut |nodes| {
        let Some((expr, position)) = nodes.last().and_then(call) else {
            return true;
        };
        if expr.namespace.path.is_empty() && !file.own.contains(expr.name.as_str()) {
            let checked = Call {
                expr,
                position,
                path: file.path,
                values: file.facts.values(nodes),
            };
            let function = file.facts.function(nodes);
            found.extend(in_call(file, &checked, &secrets, function));
        }
        true
    });
    found
}

fn in_call(file: &File, call: &Call, secrets: &Secrets, around: usize) -> Vec<Finding> {
    let function = call.expr.name.as_str();
    let parameters = overloads(call).next();
    let mut found = Vec::new();
    let mut look = |given: &Expr, what: &str| {
        if let Some((secret, at)) = secrets.first(given, around) {
            found.push(exposed(file, at, &secret, function, what));
        }
    };
    for (parameter, given) in parameters.into_iter().flatten().zip(&call.expr.args) {
        let name = parameter.name.as_str();
        if PUBLIC.contains(&(function, name)) {
            look(given, &format!("argument `{name}`"));
        }
        if parameter.kind != "Map" {
            continue;
        }
        for (key, value, _) in Written::Code(given).entries() {
            if let Written::Entry(value, _) = value
                && PUBLIC_OPTIONS.contains(&key.as_str())
            {
                look(value, &format!("option `{key}`"));
            }
        }
    }
    found
}

fn exposed(file: &File, at: Position, secret: &str, function: &str, what: &str) -> Finding {
    let message =
        format!("others can read {what} of `{function}`, which contains the secret in `{secret}`");
    let mut found = file.finding(&EXPOSED_SECRET, at, message);
    found.error = found.error.hint(match function {
        "ssh_exec" | "local_exec" => {
            "pass it with `env` or `stdin`, as in #{ env: #{ PASSWORD: password } }"
        }
        _ => "leave the secret out of it",
    });
    found
}

/// What holds a secret, or a text that contains one.
struct Secrets<'a> {
    /// The functions of the file and their parameters, by number.
    functions: Vec<(&'a str, Vec<&'a str>)>,
    /// Variables, with the number of the function around them.
    variables: BTreeSet<(usize, String)>,
    /// Functions whose result contains what they get.
    results: BTreeSet<&'a str>,
}

impl<'a> Secrets<'a> {
    fn of(file: &File<'a>) -> Self {
        let functions = file.ast.iter_fn_def().map(|f| {
            let parameters = f.params.iter().map(ImmutableString::as_str);
            (f.name.as_str(), parameters.collect())
        });
        let mut secrets = Self {
            functions: functions.collect(),
            variables: BTreeSet::new(),
            results: BTreeSet::new(),
        };
        // A variable may get the secret of another one.
        loop {
            let before = (secrets.variables.len(), secrets.results.len());
            // Whether the last statement of each function is such a text.
            let mut last = BTreeMap::new();
            file.ast.walk(&mut |nodes| {
                let around = file.facts.function(nodes);
                if let ([ASTNode::Stmt(statement)], true) = (nodes, file.facts.is_direct(nodes)) {
                    let is_text = matches!(statement, Stmt::Expr(value)
                        if secrets.first(value, around).is_some());
                    last.insert(around, is_text);
                }
                secrets.follow(nodes, around);
                true
            });
            for (around, _) in last
                .iter()
                .filter(|(around, is_text)| **around > 0 && **is_text)
            {
                secrets.results.insert(secrets.functions[around - 1].0);
            }
            if before == (secrets.variables.len(), secrets.results.len()) {
                return secrets;
            }
        }
    }

    /// Follows a secret through one node.
    fn follow(&mut self, nodes: &[ASTNode], around: usize) {
        let Some(node) = nodes.last() else { return };
        match node {
            ASTNode::Stmt(Stmt::Var(parts, ..))
                if is_secret(&parts.1) || self.first(&parts.1, around).is_some() =>
            {
                self.variables.insert((around, parts.0.name.to_string()));
            }
            ASTNode::Stmt(Stmt::Assignment(parts)) => {
                if let Expr::Variable(names, ..) = &parts.1.lhs
                    && self.first(&parts.1.rhs, around).is_some()
                {
                    self.variables.insert((around, names.1.to_string()));
                }
            }
            ASTNode::Stmt(Stmt::Return(Some(value), ..)) if around > 0 => {
                if self.first(value, around).is_some() {
                    self.results.insert(self.functions[around - 1].0);
                }
            }
            node => {
                if let Some((call, _)) = call(node) {
                    self.enter(call, around);
                }
            }
        }
    }

    /// Follows the secrets among the arguments of a call into the function.
    fn enter(&mut self, call: &FnCallExpr, around: usize) {
        let given = call.args.iter().enumerate();
        let secret = given.filter(|(_, given)| self.first(given, around).is_some());
        let secret: Vec<usize> = secret.map(|(number, _)| number).collect();
        // Most calls have none, and a playbook may have many functions.
        if secret.is_empty() {
            return;
        }
        let is_it = |(name, parameters): &(&str, Vec<&str>)| {
            *name == call.name && parameters.len() == call.args.len()
        };
        let Some(at) = self.functions.iter().position(is_it) else {
            return;
        };
        for number in secret {
            let parameter = self.functions[at].1[number].to_owned();
            self.variables.insert((at + 1, parameter));
        }
    }

    /// Returns the first secret whose text is part of the value of an expression. The
    /// result of another function is not: `sha256(password)` does not contain it.
    fn first(&self, expr: &Expr, around: usize) -> Option<(String, Position)> {
        if self.variables.is_empty() && self.results.is_empty() {
            return None;
        }
        let any = |parts: &[Expr]| parts.iter().find_map(|part| self.first(part, around));
        match expr {
            Expr::Variable(names, _, position)
                if self.variables.contains(&(around, names.1.to_string())) =>
            {
                Some((names.1.to_string(), *position))
            }
            Expr::InterpolatedString(parts, _) | Expr::Array(parts, _) => any(parts),
            Expr::Map(map, _) => map
                .0
                .iter()
                .find_map(|(_, value)| self.first(value, around)),
            Expr::FnCall(call, _) if is_plus(call) || self.results.contains(call.name.as_str()) => {
                any(&call.args)
            }
            Expr::Stmt(block) => match block.statements() {
                [Stmt::Expr(inner)] => self.first(inner, around),
                _ => None,
            },
            Expr::Coalesce(parts, _) => any(parts),
            _ => None,
        }
    }
}

/// Whether an expression declares a secret variable, or marks its value as a secret.
fn is_secret(expr: &Expr) -> bool {
    let Expr::FnCall(call, _) = expr else {
        return false;
    };
    match call.name.as_str() {
        "secret" => true,
        "var" => call.args.iter().any(|given| {
            let map = Written::Code(given);
            map.entries()
                .iter()
                .any(|(key, value, _)| key == "secret" && value.is_true())
        }),
        _ => false,
    }
}

fn is_plus(call: &FnCallExpr) -> bool {
    call.is_operator_call() && call.name == "+"
}
