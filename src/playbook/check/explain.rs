//! Hints for errors of Rhai: the most similar name or the right call.

use rhai::{Engine, EvalAltResult, LexError, ParseErrorType, Position};

use super::calls::native;
use super::habits;
use crate::error::Error;
use crate::playbook::reference;
use crate::playbook::scan::Scan;
use crate::report::text;

/// Adds the most similar name or the right call to an error that Rhai raised. `text` is
/// the text of the file.
pub(in crate::playbook) fn explain(
    engine: &Engine,
    text: &str,
    raised: &EvalAltResult,
    error: Error,
) -> Error {
    match raised.unwrap_inner() {
        EvalAltResult::ErrorParsing(ParseErrorType::VariableUndefined(name), position)
        | EvalAltResult::ErrorVariableNotFound(name, position) => {
            unknown_variable(engine, text, name, *position, error)
        }
        EvalAltResult::ErrorParsing(
            ParseErrorType::BadInput(LexError::MalformedChar(quoted)),
            _,
        ) => {
            let inside = quoted.trim_matches('\'').replace('"', "\\\"");
            error.hint(format!("write text in double quotes: \"{inside}\""))
        }
        EvalAltResult::ErrorFunctionNotFound(signature, _) => {
            // `name (type, type)`
            let name = signature.split(' ').next().unwrap_or_default();
            match reference::signatures(name) {
                calls if calls.is_empty() => error,
                calls => error.hint(format!("call it as {}", calls.join(" or "))),
            }
        }
        _ => error,
    }
}

/// How other languages write Rhai's values.
const FOREIGN: &[(&str, &str)] = &[
    ("True", "true"),
    ("False", "false"),
    ("None", "()"),
    ("null", "()"),
    ("nil", "()"),
];

pub(super) fn in_rhai(word: &str) -> Option<&'static str> {
    let found = FOREIGN.iter().find(|(foreign, _)| *foreign == word);
    found.map(|(_, value)| *value)
}

fn unknown_variable(
    engine: &Engine,
    text: &str,
    name: &str,
    position: Position,
    error: Error,
) -> Error {
    let error = error.with_message(format!("unknown variable `{name}`"));
    if let Some(value) = in_rhai(name) {
        return error.hint(format!("Rhai writes it as `{value}`"));
    }
    if let Some(hint) = habit(text, position) {
        return error.hint(hint);
    }
    if !declared(text).contains(&name) && is_assigned(text, name, position) {
        return error.hint(format!("declare it first: `let {name} = ..`"));
    }
    if is_declared_outside(text, name) {
        return error.hint(
            "pass it as an argument, because functions cannot use variables of the playbook; \
             or declare it with `const` and write global::NAME",
        );
    }
    if declared(text).contains(&name) {
        return error.hint(
            "it is known only in the block that declares it: declare it before the block, or \
             pass it to the function as an argument",
        );
    }
    if native(engine, name).is_some() {
        return error.hint(format!("`{name}` is a function: call it as {name}(..)"));
    }
    match text::nearest(name, declared(text)) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error,
    }
}

/// Returns what to write instead of a habit of another language at this place.
fn habit(text: &str, position: Position) -> Option<String> {
    let (line, column) = (position.line()?, position.position()?);
    let scan = Scan::of(text);
    let at = scan.index(line, column);
    (at < scan.chars.len()).then(|| habits::hint(&scan, at))?
}

/// Whether the text at this place assigns to the name.
fn is_assigned(text: &str, name: &str, position: Position) -> bool {
    let (Some(line), Some(column)) = (position.line(), position.position()) else {
        return false;
    };
    let line = text.lines().nth(line - 1).unwrap_or_default();
    let rest: String = line.chars().skip(column - 1).collect();
    let after = rest.strip_prefix(name).map_or("", str::trim_start);
    after.starts_with('=') && !after.starts_with("==") && !after.starts_with("=>")
}

/// Returns whether a line declares the name without being indented, so outside of blocks.
fn is_declared_outside(text: &str, name: &str) -> bool {
    text.lines().any(|line| {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        matches!(words.next(), Some("let" | "const")) && words.next() == Some(name)
    })
}

/// Returns the names that a script declares. They are read from its text, because it
/// did not compile.
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
