//! Values for a playbook's variables: `--set` before `--vars` before the
//! environment's `AUTORUN_VAR_name` before the default.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex_lite::Regex;
use serde_json::Value;

use super::secret_source::{output_of, read_file as read_value};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::ledger::SecretSource;
use crate::playbook::{Declared, Kind};
use crate::report::{MASK, Mask, SHORTEST, is_too_short, text};

/// What the caller gives.
#[derive(Debug, Default)]
pub(super) struct Given<'a> {
    /// `--set NAME=VALUE`, in order.
    pub(super) set: &'a [String],
    /// Values of `--vars` files, in order.
    pub(super) files: Vec<InFile>,
    /// `AUTORUN_VAR_name` without its prefix.
    pub(super) environment: Vec<(String, String)>,
    /// Where the secrets of an earlier attempt came from.
    pub(super) remembered: BTreeMap<String, SecretSource>,
    /// Where the command line was called: its relative paths start there.
    pub(super) directory: PathBuf,
}

impl Given<'_> {
    /// Whether there is a value for a variable.
    pub(super) fn has(&self, name: &str) -> bool {
        let set = self
            .set
            .iter()
            .any(|set| set.split('=').next() == Some(name));
        set || self.files.iter().any(|value| value.name == name)
            || self.environment.iter().any(|(n, _)| n == name)
            || self.remembered.contains_key(name)
    }
}

/// The settled values, and what deserves a warning.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) values: BTreeMap<String, Value>,
    /// Where a secret can be read again.
    pub(super) sources: BTreeMap<String, SecretSource>,
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

/// The keys of the outermost object of valid JSON, and where they begin: serde
/// does not tell where a key is.
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
    let find = |name: &str| declared.iter().find(|d| d.name == name);
    // What the playbook itself says of a secret is one, too.
    for d in declared.iter().filter(|d| d.secret) {
        d.secrets().for_each(|value| mask.add_json(value));
    }

    let mut origins: BTreeMap<&str, Origin> = BTreeMap::new();
    for (name, source) in &given.remembered {
        if let Some(d) = find(name) {
            origins.insert(&d.name, Origin::remembered(source));
        }
    }
    for (name, value) in &given.environment {
        match find(name) {
            Some(d) => drop(origins.insert(&d.name, Origin::Text(value.clone()))),
            None => settled.warnings.push(format!(
                "AUTORUN_VAR_{name} is set, but the playbook has no variable `{name}`"
            )),
        }
    }
    for in_file in &given.files {
        if let Some(d) = find(&in_file.name) {
            origins.insert(&d.name, Origin::VariablesFile(in_file));
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
        match parse_set(set, declared, &given.directory) {
            Err(fault) => {
                not_read.extend(set.split('=').next());
                faults.push(fault);
            }
            Ok((name, origin)) => match find(name) {
                None => faults.push(undeclared(name, declared, "--set")),
                Some(d) => drop(origins.insert(&d.name, origin)),
            },
        }
    }
    for d in declared {
        // That it is missing has its reason named already.
        if not_read.contains(&d.name.as_str()) {
            continue;
        }
        let origin = origins.remove(d.name.as_str());
        // No password is asked for in vain.
        if !faults.is_empty() && matches!(origin, Some(Origin::Command(..))) {
            continue;
        }
        if d.secret && matches!(origin, Some(Origin::Literal(_))) {
            settled.warnings.push(in_command_line(&d.name));
        }
        let in_file = match origin {
            Some(Origin::VariablesFile(in_file)) => Some(in_file),
            _ => None,
        };
        let value = match &origin {
            None => d.default.clone().ok_or_else(|| missing(d)),
            Some(origin) => {
                let hears = |said| settled.warnings.push(said);
                origin.read(d, &given.directory, mask, hears)
            }
        };
        let value = value.and_then(|value| {
            if d.secret {
                check_length(d, &d.name, &value)?;
                mask.add_json(&value);
            }
            allowed(d, value)
        });
        match value {
            Ok(value) => {
                settled.values.insert(d.name.clone(), value);
                let source = origin.and_then(|origin| origin.source(&given.directory));
                settled.sources.extend(source.map(|s| (d.name.clone(), s)));
            }
            Err(fault) => faults.push(in_its_file(fault, in_file)),
        }
    }
    if faults.is_empty() {
        Ok(settled)
    } else {
        Err(faults)
    }
}

/// Where the value of a variable comes from.
enum Origin<'a> {
    /// It stands in the command line.
    Literal(String),
    /// It stands in the environment.
    Text(String),
    /// `@FILE`.
    File(PathBuf),
    /// `cmd:COMMAND`, and where it is run.
    Command(String, PathBuf),
    VariablesFile(&'a InFile),
    /// A file of an earlier attempt.
    RememberedVariables(PathBuf),
}

impl Origin<'_> {
    fn remembered(source: &SecretSource) -> Self {
        match source {
            // Where the run began, which is where a resumed one is.
            SecretSource::Command(command) => Self::Command(command.clone(), ".".into()),
            SecretSource::File(file) => Self::File(file.clone()),
            SecretSource::Variables(file) => Self::RememberedVariables(file.clone()),
        }
    }

    fn read(
        &self,
        d: &Declared,
        directory: &Path,
        mask: &Mask,
        hears: impl FnOnce(String),
    ) -> Result<Value> {
        match self {
            Self::Literal(text) | Self::Text(text) => parse(d, text),
            Self::File(file) => parse(d, &read_value(&d.name, file, directory)?),
            Self::Command(command, place) => {
                parse(d, &output_of(&d.name, command, place, mask, hears)?)
            }
            Self::VariablesFile(in_file) => typed(d, in_file.value.clone()),
            Self::RememberedVariables(file) => {
                let found = read_file(file)?.into_iter().find(|v| v.name == d.name);
                found.map_or_else(|| Err(missing(d)), |found| typed(d, found.value))
            }
        }
    }

    /// What can be read again later: a pipe cannot.
    fn source(self, directory: &Path) -> Option<SecretSource> {
        let file = |file: PathBuf| {
            let file = directory.join(file);
            file.is_file().then_some(file)
        };
        match self {
            Self::Literal(_) | Self::Text(_) => None,
            Self::Command(command, _) => Some(SecretSource::Command(command)),
            Self::File(name) => file(name).map(SecretSource::File),
            Self::VariablesFile(in_file) if in_file.place.line == 0 => None,
            Self::VariablesFile(in_file) => {
                file(in_file.place.source.clone().into()).map(SecretSource::Variables)
            }
            Self::RememberedVariables(name) => Some(SecretSource::Variables(name)),
        }
    }
}

fn in_command_line(name: &str) -> String {
    format!(
        "the secret `{name}` stands in the command line, where other users can read it; use \
         --set {name}=@FILE, --set {name}=cmd:COMMAND or AUTORUN_VAR_{name}, or leave it out to \
         be asked on a terminal"
    )
}

/// Refuses a secret that cannot be masked, or a part of one. That there is none
/// only the playbook can say, by its default.
fn check_length(d: &Declared, path: &str, value: &Value) -> Result<()> {
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
    Err(match path == d.name {
        true => error.hint("a shorter one cannot be masked in the output, and is soon guessed"),
        false => error.hint("what is no secret has its place in another variable"),
    })
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

/// `NAME=VALUE`, `NAME=@FILE` or `NAME=cmd:COMMAND`; `@@` and `cmd::` begin a
/// value with `@` and `cmd:`.
fn parse_set<'a>(
    set: &'a str,
    declared: &[Declared],
    directory: &Path,
) -> Result<(&'a str, Origin<'static>)> {
    let Some((name, value)) = set.split_once('=') else {
        // What is no variable's name may be a secret.
        let said = match declared.iter().any(|d| d.name == set) {
            true => format!("`--set {set}`"),
            false => "`--set`".to_owned(),
        };
        return Err(
            Error::invalid(format!("{said} has no `=`")).hint("write it as --set name=value")
        );
    };
    let origin = match (value.strip_prefix('@'), value.strip_prefix("cmd:")) {
        (Some(literal), _) if literal.starts_with('@') => Origin::Literal(literal.to_owned()),
        (Some(file), _) => Origin::File(file.into()),
        (_, Some(literal)) if literal.starts_with(':') => Origin::Literal(format!("cmd{literal}")),
        (_, Some(command)) => Origin::Command(command.to_owned(), directory.to_owned()),
        (None, None) => Origin::Literal(value.to_owned()),
    };
    Ok((name, origin))
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
    let given = if d.secret { MASK } else { given };
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
        MASK.to_owned()
    } else {
        value.to_string()
    };
    if let Some(choices) = &d.choices
        && !choices.contains(&value)
    {
        let choices: Vec<String> = choices.iter().map(ToString::to_string).collect();
        let error = at(d, format!("variable `{}`: {shown} is not allowed", d.name));
        return Err(match d.secret {
            true => error.hint("the playbook says which are"),
            false => error.hint(format!("choose {}", choices.join(", "))),
        });
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
            "pass --set {name}=@FILE or --set {name}=cmd:COMMAND, or set AUTORUN_VAR_{name}{help}"
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
            directory: "/".into(),
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
            ..Given::default()
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
        for way in [
            "token=@FILE",
            "token=cmd:COMMAND",
            "AUTORUN_VAR_token",
            "asked",
        ] {
            assert!(settled.warnings[0].contains(way), "{}", settled.warnings[0]);
        }
        assert_eq!(mask.apply("it is hunter22"), "it is ****");
    }

    fn secret(kind: Kind, default: Option<Value>) -> Declared {
        Declared {
            secret: true,
            ..declared("pw", kind, default)
        }
    }

    #[test]
    fn a_short_secret_is_refused_and_not_shown() {
        for (kind, given) in [
            (Kind::String, "abc12"),
            (Kind::String, "  abc12   "),
            (Kind::String, ""),
            (Kind::String, "cmd:echo abc12"),
            (Kind::Int, "12345"),
            (Kind::Array, "long-enough,abc12"),
            (Kind::Map, r#"{"a": {"b": "abc12"}}"#),
        ] {
            let fault = set(secret(kind, None), &[&format!("pw={given}")]).unwrap_err();
            assert!(
                fault.contains("fewer than 6 characters"),
                "{given}: {fault}"
            );
            assert!(fault.contains("`pw") && !fault.contains("abc12"), "{fault}");
        }
        for (kind, given) in [
            (Kind::String, "hunter"),
            (Kind::Int, "123456"),
            (Kind::Array, "hunter,hunter2"),
            (Kind::Map, r#"{"a": true, "b": "hunter2"}"#),
        ] {
            assert!(
                set(secret(kind, None), &[&format!("pw={given}")]).is_ok(),
                "{given}"
            );
        }
        let none = secret(Kind::String, Some("".into()));
        assert_eq!(set(none.clone(), &[]), Ok("".into()));
        assert_eq!(set(none, &["pw="]), Ok("".into()));
    }

    #[test]
    fn a_value_comes_from_where_it_is_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "in a file\n").unwrap();
        for (given, value, source) in [
            ("hunter22", "hunter22", None),
            ("@@at-home", "@at-home", None),
            ("cmd::list", "cmd:list", None),
            (
                "@file",
                "in a file",
                Some(SecretSource::File(dir.path().join("file"))),
            ),
            (
                "cmd:cat file | tr a-z A-Z",
                "IN A FILE",
                Some(SecretSource::Command("cat file | tr a-z A-Z".to_owned())),
            ),
        ] {
            let set = [format!("pw={given}")];
            let given = Given {
                set: &set,
                directory: dir.path().to_owned(),
                ..Given::default()
            };
            let settled = settle(&[secret(Kind::String, None)], &given, &Mask::default()).unwrap();
            assert_eq!(settled.values["pw"], value, "{set:?}");
            assert_eq!(settled.sources.get("pw"), source.as_ref(), "{set:?}");
        }
    }

    #[test]
    fn only_the_command_that_counts_is_run() {
        let dir = tempfile::tempdir().unwrap();
        let set = [
            "pw=cmd:touch ran; echo hunter22",
            "no=cmd:touch ran",
            "pw=hunter23",
        ];
        let given = Given {
            set: &set.map(str::to_owned),
            directory: dir.path().to_owned(),
            ..Given::default()
        };
        assert!(settle(&[secret(Kind::String, None)], &given, &Mask::default()).is_err());
        assert!(!dir.path().join("ran").exists());
    }

    #[test]
    fn what_an_earlier_attempt_read_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("vars.toml");
        std::fs::write(&file, "pw = 'from a file'\n").unwrap();
        for (source, value) in [
            (
                SecretSource::Command("echo again-and-again".to_owned()),
                "again-and-again",
            ),
            (SecretSource::Variables(file.clone()), "from a file"),
            (SecretSource::File(file.clone()), "pw = 'from a file'"),
        ] {
            let given = Given {
                remembered: [("pw".to_owned(), source.clone())].into(),
                directory: dir.path().to_owned(),
                ..Given::default()
            };
            let all = [secret(Kind::String, None)];
            let settled = settle(&all, &given, &Mask::default()).unwrap();
            assert_eq!(settled.values["pw"], value);
            assert_eq!(settled.sources["pw"], source);
        }
    }

    #[test]
    fn what_may_be_a_secret_is_not_repeated() {
        let given = Given {
            set: &["hunter22".to_owned()],
            ..Given::default()
        };
        let pw = || secret(Kind::String, Some("".into()));
        let faults = settle(&[pw()], &given, &Mask::default()).unwrap_err();
        assert_eq!(faults[0].message, "`--set` has no `=`");
        let chosen = Declared {
            choices: Some(vec!["correct horse".into()]),
            ..pw()
        };
        let given = Given {
            set: &["pw=battery staple".to_owned()],
            ..Given::default()
        };
        let mask = Mask::default();
        let faults = settle(&[chosen], &given, &mask).unwrap_err();
        let said = format!("{faults:?}");
        assert!(
            !said.contains("correct horse") && !said.contains("battery"),
            "{said}"
        );
        assert!(mask.finds_in("correct horse") && mask.finds_in("battery staple"));
    }
}
