//! Checks the types of literal arguments and options, and the names of options.

use rhai::{Expr, Position};

use super::calls::Call;
use super::finding::Finding;
use super::rules::{ARGUMENT_TYPE, MISSING_OPTION, OPTION_TYPE, UNKNOWN_OPTION};
use super::written::{Literal, Written};
use crate::error::Error;
use crate::playbook::{imports, reference};
use crate::primitives;
use crate::report::text;
use crate::script::schema::{Field, Kind};

const ORDINALS: [&str; 4] = ["first", "second", "third", "fourth"];

/// Returns an error if a literal argument has a type that no overload accepts.
pub(super) fn wrong_argument(call: &Call) -> Option<Finding> {
    let name = call.expr.name.as_str();
    if !call.expr.namespace.path.is_empty() {
        return None;
    }
    let given = &call.expr.args;
    let fitting = overloads(call);
    let type_of = |given: &Expr| Literal::of(call.values.literal(given));
    let fits = |parameters: &&Vec<reference::Parameter>| {
        let mut pairs = parameters.iter().zip(given);
        pairs.all(|(wanted, given)| type_of(given).is_none_or(|l| l.is_a(&wanted.kind)))
    };
    if fitting.clone().next().is_none() || fitting.clone().any(|types| fits(&types)) {
        return None;
    }
    let wrong = given.iter().enumerate().find_map(|(at, given)| {
        let literal = type_of(given)?;
        let fits = fitting.clone().any(|types| literal.is_a(&types[at].kind));
        (!fits).then_some((at, literal, given.position()))
    });
    let (at, literal, position) = wrong?;
    let mut error = call.fault(format!(
        "`{name}` does not accept {} as its {} argument",
        literal.with_article(),
        ORDINALS.get(at).unwrap_or(&"last")
    ));
    error.place = imports::place(call.path, position);
    let calls = reference::signatures(name).join(" or ");
    let error = error.hint(format!("call it as {calls}"));
    Some(Finding::new(&ARGUMENT_TYPE, error))
}

/// Returns the overloads of the function with this number of arguments.
pub(super) fn overloads<'a>(
    call: &Call<'a>,
) -> impl Iterator<Item = &'static Vec<reference::Parameter>> + Clone + use<'a> {
    let given = call.expr.args.len();
    let overloads = reference::overloads(call.expr.name.as_str()).iter();
    overloads.filter(move |parameters| parameters.len() == given)
}

/// Returns an error for each literal option that is unknown, missing or of a wrong type.
pub(super) fn wrong_options(call: &Call) -> Vec<Finding> {
    let takes = primitives::declared(call.expr.name.as_str()).and_then(|row| row.takes);
    let (Some(takes), true) = (takes, call.expr.namespace.path.is_empty()) else {
        return Vec::new();
    };
    let at = overloads(call).find_map(|parameters| {
        let named = |parameter: &reference::Parameter| parameter.name == takes.argument;
        parameters.iter().position(named)
    });
    let Some(given) = at.and_then(|at| call.expr.args.get(at)) else {
        return Vec::new();
    };
    let given = call.values.literal(given);
    let mut options = Options {
        call,
        faults: Vec::new(),
    };
    // `retry` also accepts a number instead of a map.
    if Literal::of(given) == Some(Literal::Map) {
        options.check(takes.kind(), &Written::Code(given), "");
    }
    options.faults
}

/// The options of one call.
struct Options<'a> {
    call: &'a Call<'a>,
    faults: Vec<Finding>,
}

impl Options<'_> {
    /// Checks the value at `path` against the expected type.
    fn check(&mut self, kind: &Kind, written: &Written, path: &str) {
        let written = &written.resolved(self.call.values);
        match (kind, written.literal()) {
            (_, None) | (Kind::Any, _) => {}
            (Kind::Map(fields), Some(Literal::Map)) => self.check_map(fields, written, path),
            (Kind::MapOf(values), Some(Literal::Map)) => {
                for (key, value, _) in written.entries() {
                    self.check(values, &value, &joined(path, &key));
                }
            }
            (Kind::Array(items), Some(Literal::Array)) => {
                for (n, item) in written.items().iter().enumerate() {
                    self.check(items, item, &format!("{path}[{n}]"));
                }
            }
            (Kind::Choice(all), Some(Literal::String)) => {
                if let Some(text) = written.text()
                    && !all.contains(&text)
                {
                    self.is_not(kind, &format!("{text:?}"), written, path);
                }
            }
            (kind, Some(literal)) if literal.fits(kind) => {}
            (kind, Some(literal)) => self.is_not(kind, literal.with_article(), written, path),
        }
    }

    fn check_map(&mut self, fields: &[Field], written: &Written, path: &str) {
        let name = self.call.expr.name.as_str();
        let entries = written.entries();
        for (key, value, position) in &entries {
            if let Some(field) = fields.iter().find(|field| field.name == *key) {
                self.check(&field.kind, value, &joined(path, key));
                continue;
            }
            let unknown = joined(path, key);
            let error = self.fault(format!("`{name}` has no option `{unknown}`"), *position);
            let names = fields.iter().map(|field| field.name.as_str());
            let error = match text::nearest(key, names.clone()) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!(
                    "valid options: {}",
                    names.collect::<Vec<_>>().join(", ")
                )),
            };
            self.faults.push(Finding::new(&UNKNOWN_OPTION, error));
        }
        let known = |key: &String| fields.iter().any(|field| field.name == *key);
        if !entries.iter().all(|(key, ..)| known(key)) {
            // The missing option may be the one that is misspelt.
            return;
        }
        let given = |field: &&Field| entries.iter().any(|(key, ..)| *key == field.name);
        for missing in fields
            .iter()
            .filter(|field| field.required && !given(field))
        {
            let missing = joined(path, &missing.name);
            let message = format!("`{name}` requires the option `{missing}`");
            let error = self.fault(message, written.position());
            let error = error.hint(all_options(name));
            self.faults.push(Finding::new(&MISSING_OPTION, error));
        }
    }

    fn is_not(&mut self, kind: &Kind, given: &str, written: &Written, path: &str) {
        let name = self.call.expr.name.as_str();
        let wanted = kind.with_article();
        let message = format!("option `{path}` of `{name}`: expected {wanted}, got {given}");
        let error = self.fault(message, written.position());
        let error = error.hint(all_options(name));
        self.faults.push(Finding::new(&OPTION_TYPE, error));
    }

    fn fault(&self, message: String, position: Position) -> Error {
        let mut error = self.call.fault(message);
        error.place = imports::place(self.call.path, position);
        error
    }
}

fn all_options(function: &str) -> String {
    format!("see `autorun docs {function}` for all options")
}

fn joined(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    }
}
