//! Literal values that no service accepts.

use rhai::{Dynamic, Expr, Map, Position};

use super::super::calls::{Call, call};
use super::super::finding::Finding;
use super::super::literals::{overloads, wrong_options};
use super::super::rules::{IMPOSSIBLE_VALUE, USER_DATA};
use super::super::written::{Literal, Written};
use super::File;
use crate::error::{Error, Result};
use crate::playbook::imports;
use crate::primitives::{self, literals};

pub(super) fn findings(file: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    file.ast.walk(&mut |nodes| {
        let Some((expr, position)) = nodes.last().and_then(call) else {
            return true;
        };
        let is_ours = expr.namespace.path.is_empty() && !file.own.contains(expr.name.as_str());
        if is_ours && primitives::is_function(&expr.name) {
            let checked = Call {
                expr,
                position,
                path: file.path,
                values: file.facts.values(nodes),
            };
            found.extend(in_call(file, &checked));
        }
        true
    });
    found
}

fn in_call(file: &File, call: &Call) -> Vec<Finding> {
    let function = call.expr.name.as_str();
    let parameters = overloads(call).next();
    let takes = primitives::declared(function).and_then(|row| row.takes);
    let mut found = Vec::new();
    let options = takes.and_then(|takes| {
        let at = parameters?.iter().position(|p| p.name == takes.argument)?;
        let given = call.values.literal(call.expr.args.get(at)?);
        (Literal::of(given) == Some(Literal::Map)).then_some((takes, Written::Code(given)))
    });
    let is_exact = options
        .as_ref()
        .is_some_and(|(_, map)| is_set(map, "exact"));
    for (parameter, given) in parameters.into_iter().flatten().zip(&call.expr.args) {
        let checked = match call.values.literal(given) {
            Expr::StringConstant(text, _) => {
                literals::check_text(function, &parameter.name, text, is_exact)
            }
            given => match number(given) {
                Some(number) => literals::check_number(&parameter.name, number),
                None => Ok(()),
            },
        };
        found.extend(checked.err().map(|e| impossible(file, given.position(), e)));
    }
    if let Some((takes, map)) = options {
        let are_known = wrong_options(call).is_empty();
        let read = are_known.then_some(takes.read);
        found.extend(in_options(file, call, &map, read));
    }
    if function == "tag"
        && let Some(tags) = call.expr.args.get(1)
    {
        found.extend(in_tags(file, call, &Written::Code(tags)));
    }
    found
}

/// The function that reads the options of a function.
type Read = fn(&str, Map) -> Result<()>;

/// Checks texts and tags among the options. Then reads the literal options as the
/// function does, unless there is a fault among their names and types.
fn in_options(file: &File, call: &Call, map: &Written, read: Option<Read>) -> Vec<Finding> {
    let function = call.expr.name.as_str();
    let entries = map.entries();
    let mut found = Vec::new();
    let mut known: Vec<(String, Dynamic, Position)> = Vec::new();
    let mut is_whole = true;
    for (key, value, position) in &entries {
        let value = &value.resolved(call.values);
        let texts = Texts {
            file,
            call,
            function,
        };
        texts.check(key, value, *position, &mut found);
        if key == "tags" {
            found.extend(in_tags(file, call, value));
        }
        match value.value(call.values) {
            Some(value) => known.push((key.clone(), value, *position)),
            None => is_whole = false,
        }
    }
    // Options whose values are not known before the run may be required.
    let Some(read) = read.filter(|_| found.is_empty() && is_whole) else {
        return found;
    };
    let without = |left_out: Option<&str>| {
        let kept = known
            .iter()
            .filter(|(key, ..)| Some(key.as_str()) != left_out);
        let map = kept.map(|(key, value, _)| (key.as_str().into(), value.clone()));
        read(function, map.collect()).err()
    };
    if let Some(error) = without(None) {
        // The option to blame is the one whose removal changes the outcome. Removing a
        // required option leads to another error.
        let to_blame = known
            .iter()
            .find(|(key, ..)| without(Some(key)).as_ref() != Some(&error));
        let position = to_blame.map_or(map.position(), |(_, _, position)| *position);
        found.push(impossible(file, position, error));
    }
    found
}

/// Checks the texts among the options of a call.
struct Texts<'a> {
    file: &'a File<'a>,
    call: &'a Call<'a>,
    function: &'a str,
}

impl Texts<'_> {
    /// Checks the text of an option, or the texts in its map or array. `path` names the
    /// option, such as `ingress.from`.
    fn check(&self, path: &str, value: &Written, position: Position, found: &mut Vec<Finding>) {
        let value = &value.resolved(self.call.values);
        if let Some(text) = value.text() {
            let checked = literals::check_text(self.function, path, &text, false);
            found.extend(checked.err().map(|e| {
                let rule = match path {
                    "user_data" => &USER_DATA,
                    _ => &IMPOSSIBLE_VALUE,
                };
                Finding {
                    rule,
                    ..impossible(self.file, position, e)
                }
            }));
        }
        for item in value.items() {
            self.check(path, &item, item.position(), found);
        }
        for (key, value, position) in value.entries() {
            self.check(&format!("{path}.{key}"), &value, position, found);
        }
    }
}

fn in_tags(file: &File, call: &Call, tags: &Written) -> Vec<Finding> {
    let tags = tags.resolved(call.values);
    let entries = tags.entries();
    let checked = entries.iter().filter_map(|(key, value, position)| {
        let value = value.resolved(call.values);
        let checked = literals::check_tag(key, &value.text().unwrap_or_default());
        checked.err().map(|e| impossible(file, *position, e))
    });
    checked.collect()
}

fn impossible(file: &File, position: Position, mut error: Error) -> Finding {
    error.place = imports::place(file.path, position);
    Finding::new(&IMPOSSIBLE_VALUE, error)
}

/// Returns whether an option is the literal `true`.
fn is_set(map: &Written, option: &str) -> bool {
    let entries = map.entries();
    let found = entries.iter().find(|(key, ..)| key == option);
    found.is_some_and(|(_, value, _)| value.is_true())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "only compared with small limits"
)]
fn number(expr: &Expr) -> Option<f64> {
    let value = expr.get_literal_value(None)?;
    value
        .as_float()
        .ok()
        .or_else(|| value.as_int().ok().map(|n| n as f64))
}
