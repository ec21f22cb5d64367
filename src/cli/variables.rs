//! Values for a playbook's variables: `--set` before `--vars` before the
//! environment's `AUTORUN_VAR_name` before the default.

use std::collections::BTreeMap;
use std::path::Path;

use regex_lite::Regex;
use serde_json::Value;

use crate::error::{Error, ErrorKind, Place, Result};
use crate::playbook::{Declared, Kind};
use crate::report::{Mask, SHORTEST, text};

/// What the caller gives.
#[derive(Debug, Default)]
pub(super) struct Given<'a> {
    /// `--set NAME=VALUE`, in order.
    pub(super) set: &'a [String],
    /// Values of `--vars` files, in order.
    pub(super) files: Vec<InFile>,
    /// `AUTORUN_VAR_name` without its prefix.
    pub(super) environment: Vec<(String, String)>,
}

/// The settled values, and what deserves a warning.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) values: BTreeMap<String, Value>,
    pub(super) warnings: Vec<String>,
}

/// A value of a `--vars` file, and where it stands.
#[derive(Debug)]
pub(super) struct InFile {
    pub(super) name: String,
    value: Value,
    place: Place,
}

impl InFile {
    /// A value that comes from something like a file.
    pub(super) fn of(source: &str, name: String, value: Value) -> Self {
        let place = Place {
            source: source.to_owned(),
            ..Place::default()
        };
        Self { name, value, place }
    }
}

/// Reads a `--vars` file: TOML, or JSON by its ending. What is wrong is shown
/// by its place, not by its line, which may hold a secret.
pub(super) fn read_file(path: &Path) -> Result<Vec<InFile>> {
    let bytes = std::fs::read(path).map_err(|e| Error::io("read the variables file", path, &e))?;
    let content = String::from_utf8(bytes).map_err(|e| {
        let before = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let place = place_of(path, &String::from_utf8_lossy(before));
        unreadable("it is not UTF-8 text", place)
    })?;
    let is_json = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("json"));
    let values = if is_json {
        read_json(path, &content)?
    } else {
        read_toml(path, &content)?
    };
    let in_file = values.into_iter().map(|(at, name, value)| InFile {
        name,
        value,
        place: place_of(path, content.get(..at).unwrap_or("")),
    });
    Ok(in_file.collect())
}

/// Where a key begins, the key, and its value.
type Entry = (usize, String, Value);

fn read_json(path: &Path, content: &str) -> Result<Vec<Entry>> {
    let values: serde_json::Map<String, Value> = serde_json::from_str(content).map_err(|e| {
        let said = e.to_string();
        let what = said.split(" at line ").next().unwrap_or(&said);
        let mut place = place_of(path, "");
        place.line = e.line();
        place.column = e.column().max(1);
        unreadable(what, place)
    })?;
    let keys = json_keys(content);
    let with_key = values.into_iter().map(|(name, value)| {
        let at = keys.iter().rfind(|(key, _)| *key == name);
        (at.map_or(0, |(_, at)| *at), name, value)
    });
    Ok(with_key.collect())
}

fn read_toml(path: &Path, content: &str) -> Result<Vec<Entry>> {
    let values: BTreeMap<toml::Spanned<String>, Value> =
        toml::from_str(content).map_err(|e: toml::de::Error| {
            let start = e.span().map_or(0, |span| span.start);
            let before = content.get(..start).unwrap_or("");
            unreadable(e.message(), place_of(path, before))
        })?;
    let with_key = values
        .into_iter()
        .map(|(name, value)| (name.span().start, name.into_inner(), value));
    Ok(with_key.collect())
}

fn unreadable(what: &str, place: Place) -> Error {
    let message = format!("cannot read the variables file `{}`: {what}", place.source);
    let mut error =
        Error::invalid(message).hint("a variables file is TOML, or JSON if its name ends in .json");
    error.place = place;
    error
}

/// The place in a file that comes after this text.
fn place_of(path: &Path, before: &str) -> Place {
    let line = before.rsplit('\n').next().unwrap_or("");
    Place {
        source: path.display().to_string(),
        line: before.matches('\n').count() + 1,
        column: line.chars().count() + 1,
    }
}

/// The keys of the outermost object of valid JSON, and where they begin.
fn json_keys(content: &str) -> Vec<(String, usize)> {
    let bytes = content.as_bytes();
    let mut keys = Vec::new();
    let (mut at, mut depth) = (0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b'"' => {
                let start = at;
                at += 1;
                while bytes.get(at).is_some_and(|b| *b != b'"') {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                let text = content.get(start..=at).unwrap_or("");
                let is_key = content
                    .get(at + 1..)
                    .is_some_and(|rest| rest.trim_start().starts_with(':'));
                if depth == 1
                    && is_key
                    && let Ok(key) = serde_json::from_str(text)
                {
                    keys.push((key, start));
                }
            }
            _ => {}
        }
        at += 1;
    }
    keys
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
    let mut values: BTreeMap<&str, &InFile> = BTreeMap::new();
    for in_file in &given.files {
        if let Some(d) = find(&in_file.name) {
            texts.remove(d.name.as_str());
            values.insert(&d.name, in_file);
        } else {
            let mut fault = undeclared(&in_file.name, declared, &in_file.place.source);
            if in_file.place.line > 0 {
                fault.place = in_file.place.clone();
            }
            faults.push(fault);
        }
    }
    let mut not_read = Vec::new();
    for set in given.set {
        match parse_set(set) {
            Err(fault) => {
                not_read.extend(set.split('=').next());
                faults.push(fault);
            }
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
        let text = texts.remove(d.name.as_str());
        let in_file = values.remove(d.name.as_str());
        let value = match (text, in_file) {
            (Some(Value::String(given)), _) => parse(d, &given),
            (_, Some(in_file)) => typed(d, in_file.value.clone()),
            _ => d.default.clone().ok_or_else(|| missing(d)),
        };
        let value = value.and_then(|value| allowed(d, value));
        match value.map_err(|fault| in_its_file(fault, in_file)) {
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
            // That it is missing has its reason named already.
            Err(_) if not_read.contains(&d.name.as_str()) => {}
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() {
        Ok(settled)
    } else {
        Err(faults)
    }
}

/// A fault of a value is where the value stands; its declaration comes next.
fn in_its_file(mut fault: Error, in_file: Option<&InFile>) -> Error {
    if let Some(in_file) = in_file
        && in_file.place.line > 0
    {
        let declared = std::mem::replace(&mut fault.place, in_file.place.clone());
        let hint = fault.hint.take().unwrap_or_default();
        let Place {
            source,
            line,
            column,
        } = declared;
        fault.hint = Some(format!(
            "{hint}; it is declared at {source}:{line}:{column}"
        ));
    }
    fault
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
            let error = at(d, format!("variable `{}`: {shown} does not fit", d.name));
            return Err(match d.help.as_str() {
                "" => error.hint(format!("it must match {pattern}")),
                help => error.hint(format!("{help}; it must match {pattern}")),
            });
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
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("vars.json");
        std::fs::write(&file, r#"{ "a": "file", "b": "file" }"#).unwrap();
        let given = Given {
            set: &["a=set".to_owned()],
            files: read_file(&file).unwrap(),
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
    fn a_value_in_a_file_has_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let places = |name: &str, content: &str| -> Vec<(String, usize, usize)> {
            let file = dir.path().join(name);
            std::fs::write(&file, content).unwrap();
            let values = read_file(&file).unwrap().into_iter();
            values
                .map(|v| (v.name, v.place.line, v.place.column))
                .collect()
        };
        let json = "{ \"a\": { \"b\": \"\\\"c\\\": {\" },\n  \"d\\u0065\" : [\"x\"] }";
        let found = places("v.json", json);
        assert_eq!(found, [("a".to_owned(), 1, 3), ("de".to_owned(), 2, 3)]);
        let found = places("v.toml", "# é\n  a = 1\n[t]\nb = 2\n");
        assert_eq!(found, [("a".to_owned(), 2, 3), ("t".to_owned(), 3, 2)]);
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
