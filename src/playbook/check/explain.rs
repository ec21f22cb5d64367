//! Hints for errors of Rhai: the most similar name or the right call.

use rhai::{Engine, EvalAltResult, ParseErrorType};

use super::calls::natives;
use crate::error::Error;
use crate::playbook::reference;
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
        EvalAltResult::ErrorParsing(ParseErrorType::VariableUndefined(name), _)
        | EvalAltResult::ErrorVariableNotFound(name, _) => {
            unknown_variable(engine, text, name, error)
        }
        // Rhai's place is the token after the gap, often on the next line.
        EvalAltResult::ErrorParsing(ParseErrorType::MissingToken(token, _), _) if token == ";" => {
            error.hint("add `;` at the end of the statement before this place")
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

fn unknown_variable(engine: &Engine, text: &str, name: &str, error: Error) -> Error {
    let error = error.with_message(format!("unknown variable `{name}`"));
    if natives(engine).contains_key(name) {
        return error.hint(format!("`{name}` is a function: call it as {name}(..)"));
    }
    if declared(text).contains(&name) {
        return error.hint(
            "pass it as an argument, because functions cannot use variables of the playbook; \
             or declare it with `const` and write global::NAME",
        );
    }
    match text::nearest(name, declared(text)) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error,
    }
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
