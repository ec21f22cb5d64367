//! Converts values to the types that the playbook declares, and checks them.

use regex_lite::Regex;
use serde_json::Value;

use super::faults::{at, wrong_type};
use crate::error::{Error, Result};
use crate::playbook::{Declared, Kind};
use crate::report::{MASK, SHORTEST, is_too_short};

/// Parses text from the command line or the environment as the declared type.
pub(super) fn parse(d: &Declared, given: &str) -> Result<Value> {
    let value = match d.kind {
        Kind::String => Some(Value::String(given.to_owned())),
        Kind::Int => given.parse::<i64>().ok().map(Value::from),
        Kind::Float => given
            .parse::<f64>()
            .ok()
            .filter(|f| f.is_finite())
            .map(Value::from),
        Kind::Bool => given.parse::<bool>().ok().map(Value::from),
        Kind::Array if given.trim_start().starts_with('[') => serde_json::from_str(given).ok(),
        Kind::Array => Some(list(given)),
        Kind::Map => serde_json::from_str(given).ok(),
    };
    value
        .filter(|value| d.kind.fits(value))
        .ok_or_else(|| wrong_type(d, given))
}

/// Parses `a,b,c` as an array of strings.
fn list(given: &str) -> Value {
    let items = given
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty());
    items.map(|item| Value::String(item.to_owned())).collect()
}

/// Checks the type of a value from a file, and converts integers to floats.
pub(super) fn typed(d: &Declared, value: Value) -> Result<Value> {
    if !d.kind.fits(&value) {
        return Err(wrong_type(d, &value.to_string()));
    }
    if d.kind == Kind::Float {
        return Ok(value.as_f64().map_or(value, Value::from));
    }
    Ok(value)
}

/// Rejects a secret that is too short to be masked, also as a part of an array
/// or map. The default is always accepted: an empty one means that there is no
/// secret.
pub(super) fn check_length(d: &Declared, path: &str, value: &Value) -> Result<()> {
    let text = match value {
        _ if d.default.as_ref() == Some(value) => return Ok(()),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            return items.try_for_each(|(n, item)| check_length(d, &format!("{path}[{n}]"), item));
        }
        Value::Object(map) => {
            let mut items = map.iter();
            return items
                .try_for_each(|(key, item)| check_length(d, &format!("{path}.{key}"), item));
        }
        _ => return Ok(()),
    };
    if !is_too_short(&text) {
        return Ok(());
    }
    let error = at(
        d,
        format!("the secret `{path}` has fewer than {SHORTEST} characters"),
    );
    Err(if path == d.name {
        error.hint("use a longer secret: a short one cannot be masked and is easily guessed")
    } else {
        error.hint("use another variable for values that are not secret")
    })
}

pub(super) fn allowed(d: &Declared, value: Value) -> Result<Value> {
    let shown = if d.secret {
        MASK.to_owned()
    } else {
        value.to_string()
    };
    if let Some(choices) = &d.choices
        && !choices.contains(&value)
    {
        let choices: Vec<String> = choices.iter().map(ToString::to_string).collect();
        let error = at(d, format!("variable `{}`: {shown} is not allowed", d.name));
        return Err(if d.secret {
            error.hint("see the playbook for the allowed values")
        } else {
            error.hint(format!("choose one of {}", choices.join(", ")))
        });
    }
    match &value {
        Value::Array(items) => items.iter().try_for_each(|item| check_pattern(d, item))?,
        one => check_pattern(d, one)?,
    }
    Ok(value)
}

/// Checks that a text, or an item of an array, matches the declared pattern.
pub(super) fn check_pattern(d: &Declared, value: &Value) -> Result<()> {
    let (Some(pattern), Some(text)) = (&d.pattern, value.as_str()) else {
        return Ok(());
    };
    let whole = Regex::new(&format!("^(?:{pattern})$"))
        .map_err(|e| Error::internal(format!("`{pattern}` is not a regular expression: {e}")))?;
    if whole.is_match(text) {
        return Ok(());
    }
    let shown = if d.secret {
        MASK.to_owned()
    } else {
        value.to_string()
    };
    let message = format!("variable `{}`: {shown} does not match the pattern", d.name);
    let error = at(d, message);
    Err(match d.help.as_str() {
        "" => error.hint(format!("it must match {pattern}")),
        help => error.hint(format!("{help}; it must match {pattern}")),
    })
}
