//! Secret variables in texts that others can read.

use std::collections::BTreeSet;

use rhai::{ASTNode, Expr, FnCallExpr, Position, Stmt};

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
    ("import_key_pair", "name"),
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
    let secrets = secrets(file);
    if secrets.is_empty() {
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
            };
            found.extend(in_call(file, &checked, &secrets));
        }
        true
    });
    found
}

fn in_call(file: &File, call: &Call, secrets: &BTreeSet<String>) -> Vec<Finding> {
    let function = call.expr.name.as_str();
    let parameters = overloads(call).next();
    let mut found = Vec::new();
    let mut look = |given: &Expr, what: &str| {
        if let Some((secret, at)) = first(given, secrets) {
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

/// Returns the variables that hold a secret, or a text that contains one.
fn secrets(file: &File) -> BTreeSet<String> {
    let mut secrets = BTreeSet::new();
    // A variable may get the secret of another one.
    loop {
        let before = secrets.len();
        file.ast.walk(&mut |nodes| {
            match nodes.last() {
                Some(ASTNode::Stmt(Stmt::Var(parts, ..)))
                    if is_secret(&parts.1) || first(&parts.1, &secrets).is_some() =>
                {
                    secrets.insert(parts.0.name.to_string());
                }
                Some(ASTNode::Stmt(Stmt::Assignment(parts))) => {
                    if let Expr::Variable(names, ..) = &parts.1.lhs
                        && first(&parts.1.rhs, &secrets).is_some()
                    {
                        secrets.insert(names.1.to_string());
                    }
                }
                _ => {}
            }
            true
        });
        if secrets.len() == before {
            return secrets;
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
            map.entries().iter().any(|(key, value, _)| {
                key == "secret" && value.value().is_some_and(|v| v.as_bool() == Ok(true))
            })
        }),
        _ => false,
    }
}

/// Returns the first secret whose text is part of the value of an expression. The
/// result of a call is not: `sha256(password)` does not contain it.
fn first(expr: &Expr, secrets: &BTreeSet<String>) -> Option<(String, Position)> {
    let any = |parts: &[Expr]| parts.iter().find_map(|part| first(part, secrets));
    match expr {
        Expr::Variable(names, _, position) if secrets.contains(names.1.as_str()) => {
            Some((names.1.to_string(), *position))
        }
        Expr::InterpolatedString(parts, _) | Expr::Array(parts, _) => any(parts),
        Expr::Map(map, _) => map.0.iter().find_map(|(_, value)| first(value, secrets)),
        Expr::FnCall(call, _) if is_plus(call) => any(&call.args),
        Expr::Stmt(block) => match block.statements() {
            [Stmt::Expr(inner)] => first(inner, secrets),
            _ => None,
        },
        Expr::Coalesce(parts, _) => any(parts),
        _ => None,
    }
}

fn is_plus(call: &FnCallExpr) -> bool {
    call.is_operator_call() && call.name == "+"
}
