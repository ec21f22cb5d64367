//! Variables of a playbook, read from the compiled script before the run.

use std::collections::{BTreeMap, BTreeSet};

use rhai::{ASTNode, Expr, FnCallExpr, Position, Stmt};
use serde_json::Value;

use super::imports;
use super::literal::literal;
use super::source_file::SourceFile;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::primitives::variables::Declaration;
pub use crate::primitives::variables::VariableType as Kind;
use crate::report::{SHORTEST, is_too_short};
use crate::script;

/// The declaration of a variable.
#[derive(Clone, Debug)]
pub struct Declared {
    /// Its name, for `--set`.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// Its value if the caller sets none. Without a default, it must be set.
    pub default: Option<Value>,
    /// The allowed values.
    pub choices: Option<Vec<Value>>,
    /// A regular expression that the whole text must match.
    pub pattern: Option<String>,
    /// Whether the value is masked in every output.
    pub secret: bool,
    /// Its description.
    pub help: String,
    /// The place of the declaration.
    pub place: Place,
}

impl Declared {
    /// Returns the values of a secret in the playbook itself: its default and its
    /// choices.
    pub fn secrets(&self) -> impl Iterator<Item = &Value> {
        let values = self.default.iter().chain(self.choices.iter().flatten());
        values.filter(|_| self.secret)
    }
}

/// Returns the variables of a playbook and of its imports.
pub(super) fn declared(main: &str, files: &BTreeMap<String, SourceFile>) -> Result<Vec<Declared>> {
    let mut all: Vec<Declared> = Vec::new();
    let mut ordered: Vec<_> = files.iter().collect();
    ordered.sort_by_key(|(path, _)| path.as_str() != main);
    for (path, file) in ordered {
        for found in in_file(path, file)? {
            if let Some(first) = all.iter().find(|d| d.name == found.name) {
                let at = format!("{}:{}", first.place.source, first.place.line);
                return Err(fault(
                    found.place,
                    &format!("variable `{}` is declared twice, first at {at}", found.name),
                ));
            }
            all.push(found);
        }
    }
    Ok(all)
}

fn in_file(path: &str, file: &SourceFile) -> Result<Vec<Declared>> {
    let top: Vec<(&FnCallExpr, Position)> =
        file.ast.statements().iter().filter_map(top_level).collect();
    let known: BTreeSet<Position> = top.iter().map(|(_, position)| *position).collect();
    // A declaration anywhere else would be found only during the run.
    let mut stray = None;
    file.ast.walk(&mut |nodes| {
        if let Some((_, position)) = nodes.last().and_then(any_call)
            && !known.contains(&position)
        {
            stray = Some(position);
        }
        stray.is_none()
    });
    if let Some(position) = stray {
        return Err(fault(
            imports::place(path, position),
            "var() must be at the top level, as in `let name = var(..);`",
        ));
    }
    top.iter()
        .map(|(call, position)| read(call, imports::place(path, *position)))
        .collect()
}

fn is_var(call: &FnCallExpr) -> bool {
    call.name == "var" && call.namespace.path.is_empty()
}

/// Returns the call in `let x = var(..)`, `const x = var(..)`, or `var(..)` alone.
fn top_level(statement: &Stmt) -> Option<(&FnCallExpr, Position)> {
    let expression = match statement {
        Stmt::FnCall(call, position) if is_var(call) => return Some((call, *position)),
        Stmt::Var(var, ..) => &var.1,
        Stmt::Expr(expression) => expression,
        _ => return None,
    };
    match expression {
        Expr::FnCall(call, position) if is_var(call) => Some((call, *position)),
        _ => None,
    }
}

fn any_call<'a>(node: &'a ASTNode<'a>) -> Option<(&'a FnCallExpr, Position)> {
    match node {
        ASTNode::Expr(Expr::FnCall(call, position) | Expr::MethodCall(call, position))
        | ASTNode::Stmt(Stmt::FnCall(call, position))
            if is_var(call) =>
        {
            Some((call, *position))
        }
        _ => None,
    }
}

fn read(call: &FnCallExpr, place: Place) -> Result<Declared> {
    let arguments: Option<Vec<Value>> = call.args.iter().map(literal).collect();
    let Some(arguments) = arguments else {
        return Err(fault(place, "the arguments of var() must be literals")
            .hint("write the values in the call itself: they are read before the run"));
    };
    let (name, options) = match arguments.as_slice() {
        [Value::String(name), default, Value::String(help)] => {
            let options = Declaration {
                default: Some(default.clone()),
                help: help.clone(),
                ..Declaration::default()
            };
            (name, options)
        }
        [Value::String(name), options @ Value::Object(_)] => {
            let map = script::to_dynamic(options)?.try_cast::<rhai::Map>();
            let options = script::options_of::<Declaration>("var", map.unwrap_or_default())
                .map_err(|mut error| {
                    error = error.while_doing(&format!("var(\"{name}\")"));
                    error.kind = ErrorKind::Script;
                    error.place = place.clone();
                    error
                })?;
            (name, options)
        }
        _ => {
            return Err(
                fault(place, "var() expects a name, a default and a help text").hint(
                    "call it as var(\"name\", \"default\", \"help\") or var(\"name\", #{ type: \
                     \"int\" })",
                ),
            );
        }
    };
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(good) {
        return Err(
            fault(place, &format!("`{name}` is not a valid variable name"))
                .hint("use letters, digits and underscores"),
        );
    }
    let from_default = options.default.as_ref().and_then(Kind::of);
    let Some(kind) = options.r#type.or(from_default) else {
        return Err(fault(
            place,
            &format!("variable `{name}` has neither a type nor a default"),
        ));
    };
    let declared = Declared {
        name: name.clone(),
        kind,
        default: options.default,
        choices: options.choices,
        pattern: options.pattern,
        secret: options.secret,
        help: options.help,
        place,
    };
    check(&declared)?;
    Ok(declared)
}

/// Checks that a declaration does not contradict itself.
fn check(declared: &Declared) -> Result<()> {
    let wrong = |what: String| {
        Err(fault(
            declared.place.clone(),
            &format!("variable `{}`: {what}", declared.name),
        ))
    };
    let values = declared
        .default
        .iter()
        .chain(declared.choices.iter().flatten());
    if let Some(value) = values.into_iter().find(|value| !declared.kind.fits(value)) {
        return wrong(format!("{value} is not of type {}", declared.kind.as_str()));
    }
    if let (Some(default), Some(choices)) = (&declared.default, &declared.choices)
        && !choices.contains(default)
    {
        return wrong(format!("the default {default} is not one of the choices"));
    }
    if let Some(pattern) = &declared.pattern {
        if !matches!(declared.kind, Kind::String | Kind::Array) {
            return wrong("only a string or an array can have a `pattern`".to_owned());
        }
        if let Err(error) = regex_lite::Regex::new(pattern) {
            return wrong(format!(
                "`{pattern}` is not a valid regular expression: {error}"
            ));
        }
    }
    Ok(())
}

/// Checks that all secrets can be masked. An empty default means that there is no
/// secret.
pub(super) fn check_secrets(declared: &[Declared]) -> Result<()> {
    for d in declared.iter().filter(|d| d.secret) {
        let wrong = |what: &str| Error::invalid(format!("variable `{}`: {what}", d.name));
        let mut error = match d.kind {
            Kind::Bool => wrong("true and false cannot be secrets"),
            _ if d.secrets().any(is_unmaskable) => wrong(&format!(
                "its default or a choice has fewer than {SHORTEST} characters"
            ))
            .hint(
                "use a longer secret, because a short one cannot be masked, or an empty default \
                 for no secret",
            ),
            _ => continue,
        };
        error.place = d.place.clone();
        return Err(error);
    }
    Ok(())
}

fn is_unmaskable(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty() && is_too_short(text),
        Value::Number(number) => is_too_short(&number.to_string()),
        Value::Array(items) => items.iter().any(is_unmaskable),
        Value::Object(map) => map.values().any(is_unmaskable),
        Value::Bool(_) | Value::Null => false,
    }
}

fn fault(place: Place, message: &str) -> Error {
    let mut error = Error::new(ErrorKind::Script, message);
    error.place = place;
    error
}
