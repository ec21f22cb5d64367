//! Values for a playbook's variables: `--set` before `--vars` before the
//! environment's `AUTORUN_VAR_name` before the default.

use std::collections::BTreeMap;
use std::path::Path;

use regex_lite::Regex;
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::playbook::{Declared, Kind};
use crate::report::{Mask, SHORTEST, text};

/// What the caller gives.
#[derive(Debug, Default)]
pub(super) struct Given<'a> {
    /// `--set NAME=VALUE`, in order.
    pub(super) set: &'a [String],
    /// Values of `--vars` files, in order, with the file's name.
    pub(super) files: Vec<(String, serde_json::Map<String, Value>)>,
    /// `AUTORUN_VAR_name` without its prefix.
    pub(super) environment: Vec<(String, String)>,
}

/// The settled values, and what deserves a warning.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) values: BTreeMap<String, Value>,
    pub(super) warnings: Vec<String>,
}

/// Reads a `--vars` file: TOML, or JSON by its ending.
pub(super) fn read_file(path: &Path) -> Result<serde_json::Map<String, Value>> {
    let content = std::fs::read_to_string(path)
        .map_err(|e| Error::io("read the variables file", path, &e))?;
    let json = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("json"));
    let parsed = match json {
        true => serde_json::from_str(&content).map_err(|e| e.to_string()),
        // Without the line itself, which may hold a secret.
        false => toml::from_str(&content).map_err(|e: toml::de::Error| {
            let before = e
                .span()
                .and_then(|span| content.get(..span.start))
                .unwrap_or("");
            let column = before
                .rsplit('\n')
                .next()
                .map_or(0, |line| line.chars().count())
                + 1;
            let line = before.matches('\n').count() + 1;
            format!("{} at line {line} column {column}", e.message())
        }),
    };
    parsed.map_err(|e| Error::invalid(format!("cannot read `{}`: {e}", path.display())))
}

/// Settles every declared variable, or gives every fault found. Secrets are
/// masked from here on.
pub(super) fn settle(
    declared: &[Declared],
    given: &Given,
    mask: &Mask,
) -> std::result::Result<Settled, Vec<Error>> {
    let mut settled = Settled::default();
    let mut faults = Vec::new();
    let mut texts: BTreeMap<&str, Value> = BTreeMap::new();
    let find = |name: &str| declared.iter().find(|d| d.name == name);

    for (name, value) in &given.environment {
        match find(name) {
            Some(d) => drop(texts.insert(&d.name, Value::String(value.clone()))),
            None => settled.warnings.push(format!(
                "AUTORUN_VAR_{name} is set, but the playbook has no variable `{name}`"
            )),
        }
    }
    let mut values: BTreeMap<&str, Value> = BTreeMap::new();
    for (file, entries) in &given.files {
        for (name, value) in entries {
            match find(name) {
                Some(d) => {
                    texts.remove(d.name.as_str());
                    values.insert(&d.name, value.clone());
                }
                None => faults.push(undeclared(name, declared, file)),
            }
        }
    }
    for set in given.set {
        match parse_set(set) {
            Err(fault) => faults.push(fault),
            Ok((name, value, literally)) => match find(name) {
                None => faults.push(undeclared(name, declared, "--set")),
                Some(d) => {
                    if d.secret && literally {
                        settled.warnings.push(format!(
                            "the secret `{name}` stands in the command line, where other users \
                             can read it; use --set {name}=@FILE or AUTORUN_VAR_{name}"
                        ));
                    }
                    values.remove(d.name.as_str());
                    texts.insert(&d.name, Value::String(value));
                }
            },
        }
    }
    for d in declared {
        let value = match (
            texts.remove(d.name.as_str()),
            values.remove(d.name.as_str()),
        ) {
            (Some(Value::String(given)), _) => parse(d, &given),
            (_, Some(value)) => typed(d, value),
            _ => d.default.clone().ok_or_else(|| missing(d)),
        };
        match value.and_then(|value| allowed(d, value)) {
            Ok(value) => {
                if d.secret {
                    hide(mask, &value);
                    if value
                        .as_str()
                        .is_some_and(|text| !text.is_empty() && text.len() < SHORTEST)
                    {
                        settled.warnings.push(format!(
                            "the secret `{}` is too short to be masked in the output",
                            d.name
                        ));
                    }
                }
                settled.values.insert(d.name.clone(), value);
            }
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() {
        Ok(settled)
    } else {
        Err(faults)
    }
}

/// `NAME=VALUE` or `NAME=@FILE`; whether the value stands there literally.
fn parse_set(set: &str) -> Result<(&str, String, bool)> {
    let Some((name, value)) = set.split_once('=') else {
        return Err(Error::invalid(format!("`--set {set}` has no `=`"))
            .hint("write it as --set name=value"));
    };
    if let Some(literal) = value.strip_prefix("@@") {
        return Ok((name, format!("@{literal}"), true));
    }
    let Some(file) = value.strip_prefix('@') else {
        return Ok((name, value.to_owned(), true));
    };
    let path = Path::new(file);
    let content = std::fs::read_to_string(path)
        .map_err(|e| Error::io(&format!("read the value of `{name}` from"), path, &e))?;
    // The newline that every editor adds is not meant.
    let content = content.strip_suffix('\n').unwrap_or(&content).to_owned();
    Ok((name, content, false))
}

/// Text from the command line or environment as the declared type.
fn parse(d: &Declared, given: &str) -> Result<Value> {
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

/// `a,b,c` as an array of texts.
fn list(given: &str) -> Value {
    let items = given
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty());
    items.map(|item| Value::String(item.to_owned())).collect()
}

/// A value from a file, which has its own type.
fn typed(d: &Declared, value: Value) -> Result<Value> {
    match d.kind.fits(&value) {
        true if d.kind == Kind::Float => Ok(value.as_f64().map_or(value, Value::from)),
        true => Ok(value),
        false => Err(wrong_type(d, &value.to_string())),
    }
}

fn wrong_type(d: &Declared, given: &str) -> Error {
    let given = if d.secret { "****" } else { given };
    let hint = match d.kind {
        Kind::Bool => "give true or false",
        Kind::Int => "give a whole number",
        Kind::Float => "give a number",
        Kind::Array => "give a,b,c or a JSON array",
        Kind::Map => "give a JSON object",
        Kind::String => "give a text",
    };
    at(
        d,
        format!(
            "variable `{}`: `{given}` is not of type {}",
            d.name,
            d.kind.as_str()
        ),
    )
    .hint(hint)
}

fn allowed(d: &Declared, value: Value) -> Result<Value> {
    let shown = if d.secret {
        "****".to_owned()
    } else {
        value.to_string()
    };
    if let Some(choices) = &d.choices
        && !choices.contains(&value)
    {
        let choices: Vec<String> = choices.iter().map(ToString::to_string).collect();
        return Err(
            at(d, format!("variable `{}`: {shown} is not allowed", d.name))
                .hint(format!("choose {}", choices.join(", "))),
        );
    }
    if let (Some(pattern), Some(text)) = (&d.pattern, value.as_str()) {
        let whole = Regex::new(&format!("^(?:{pattern})$"))
            .map_err(|e| Error::internal(format!("`{pattern}` is no regular expression: {e}")))?;
        if !whole.is_match(text) {
            return Err(
                at(d, format!("variable `{}`: {shown} does not fit", d.name))
                    .hint(format!("it must match {pattern}")),
            );
        }
    }
    Ok(value)
}

fn missing(d: &Declared) -> Error {
    let error = at(d, format!("variable `{}` must be set", d.name));
    let help = if d.help.is_empty() {
        String::new()
    } else {
        format!(" ({})", d.help)
    };
    let name = &d.name;
    match d.secret {
        true => error.hint(format!(
            "pass --set {name}=@FILE or set AUTORUN_VAR_{name}{help}"
        )),
        false => error.hint(format!("pass --set {name}=VALUE{help}")),
    }
}

fn undeclared(name: &str, declared: &[Declared], from: &str) -> Error {
    let error = Error::invalid(format!("{from}: the playbook has no variable `{name}`"));
    let names: Vec<&str> = declared.iter().map(|d| d.name.as_str()).collect();
    match text::nearest(name, names.iter().copied()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None if names.is_empty() => error.hint("it has none"),
        None => error.hint(format!("it has {}", names.join(", "))),
    }
}

/// An error that points at the declaration.
fn at(d: &Declared, message: String) -> Error {
    let mut error = Error::new(ErrorKind::InvalidOption, message);
    error.place = d.place.clone();
    error
}

/// Masks a secret and every text in it.
fn hide(mask: &Mask, value: &Value) {
    match value {
        Value::Null => {}
        Value::String(text) => mask.add(text),
        Value::Array(items) => items.iter().for_each(|item| hide(mask, item)),
        Value::Object(map) => map.values().for_each(|item| hide(mask, item)),
        other => mask.add(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Place;

    fn declared(name: &str, kind: Kind, default: Option<Value>) -> Declared {
        Declared {
            name: name.to_owned(),
            kind,
            default,
            choices: None,
            pattern: None,
            secret: false,
            help: String::new(),
            place: Place::default(),
        }
    }

    fn set(d: Declared, set: &[&str]) -> std::result::Result<Value, String> {
        let name = d.name.clone();
        let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
        let given = Given {
            set: &set,
            ..Given::default()
        };
        settle(&[d], &given, &Mask::default())
            .map(|settled| settled.values[&name].clone())
            .map_err(|faults| faults[0].message.clone())
    }

    #[test]
    fn false_is_false() {
        let flag = || declared("flag", Kind::Bool, Some(true.into()));
        assert_eq!(set(flag(), &["flag=false"]), Ok(Value::Bool(false)));
        assert_eq!(set(flag(), &[]), Ok(Value::Bool(true)));
        assert_eq!(
            set(flag(), &["flag=no"]),
            Err("variable `flag`: `no` is not of type bool".to_owned())
        );
    }

    #[test]
    fn arrays_are_lists_or_json() {
        let hosts = || declared("hosts", Kind::Array, None);
        assert_eq!(
            set(hosts(), &["hosts=a, b"]),
            Ok(serde_json::json!(["a", "b"]))
        );
        assert_eq!(set(hosts(), &["hosts=[1]"]), Ok(serde_json::json!([1])));
        assert_eq!(
            set(hosts(), &[]),
            Err("variable `hosts` must be set".to_owned())
        );
    }

    #[test]
    fn an_undeclared_name_offers_the_nearest() {
        let given = Given {
            set: &["nmae=x".to_owned()],
            ..Given::default()
        };
        let name = declared("name", Kind::String, Some("web".into()));
        let faults = settle(&[name], &given, &Mask::default()).unwrap_err();
        assert_eq!(faults[0].hint.as_deref(), Some("did you mean `name`?"));
    }

    #[test]
    fn the_command_line_stands_above_files_above_the_environment() {
        let file = serde_json::from_str(r#"{ "a": "file", "b": "file" }"#).unwrap();
        let given = Given {
            set: &["a=set".to_owned()],
            files: vec![("f".to_owned(), file)],
            environment: ["a", "b", "c"]
                .map(|n| (n.to_owned(), "env".to_owned()))
                .into(),
        };
        let all = ["a", "b", "c"].map(|n| declared(n, Kind::String, Some("default".into())));
        let values = settle(&all, &given, &Mask::default()).unwrap().values;
        assert_eq!(
            (&values["a"], &values["b"], &values["c"]),
            (&"set".into(), &"file".into(), &"env".into())
        );
    }

    #[test]
    fn a_literal_secret_is_masked_and_warned_of() {
        let mut token = declared("token", Kind::String, None);
        token.secret = true;
        let given = Given {
            set: &["token=hunter22".to_owned()],
            ..Given::default()
        };
        let mask = Mask::default();
        let settled = settle(&[token], &given, &mask).unwrap();
        assert_eq!(settled.warnings.len(), 1);
        assert_eq!(mask.apply("it is hunter22"), "it is ****");
    }
}
