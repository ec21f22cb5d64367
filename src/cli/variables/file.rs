//! Variables files: TOML, or JSON if the name ends in `.json`, with the place of
//! each value.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Place, Result};

/// A value of a `--vars` file and its place.
#[derive(Debug)]
pub(in crate::cli) struct InFile {
    pub(in crate::cli) name: String,
    pub(super) value: Value,
    pub(super) place: Place,
}

impl InFile {
    /// Creates a value from another source, such as the ledger.
    pub(in crate::cli) fn from_other(source: &str, name: String, value: Value) -> Self {
        let place = Place {
            source: source.to_owned(),
            ..Place::default()
        };
        Self { name, value, place }
    }
}

/// Reads a `--vars` file. Errors have a place but do not quote the line, which
/// may contain a secret.
pub(in crate::cli) fn read_file(path: &Path) -> Result<Vec<InFile>> {
    let bytes = std::fs::read(path).map_err(|e| Error::io("read the variables file", path, &e))?;
    let content = String::from_utf8(bytes).map_err(|e| {
        let before = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let place = place_of(path, &String::from_utf8_lossy(before));
        unreadable("it is not UTF-8 text", place)
    })?;
    // PowerShell and editors of Windows begin files with it.
    let content = content.trim_start_matches('\u{feff}');
    let is_json = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("json"));
    let values = if is_json {
        read_json(path, content)?
    } else {
        read_toml(path, content)?
    };
    let in_file = values.into_iter().map(|(at, name, value)| InFile {
        name,
        value,
        place: place_of(path, content.get(..at).unwrap_or("")),
    });
    Ok(in_file.collect())
}

/// The offset of a key, the key, and its value.
type Entry = (usize, String, Value);

fn read_json(path: &Path, content: &str) -> Result<Vec<Entry>> {
    let values: serde_json::Map<String, Value> = serde_json::from_str(content).map_err(|e| {
        let message = e.to_string();
        let what = message.split(" at line ").next().unwrap_or(&message);
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
        Error::invalid(message).hint("use TOML, or JSON if the name of the file ends in .json");
    error.place = place;
    error
}

/// Returns the place in a file that follows the text `before`.
fn place_of(path: &Path, before: &str) -> Place {
    let line = before.rsplit('\n').next().unwrap_or("");
    Place {
        source: path.display().to_string(),
        line: before.matches('\n').count() + 1,
        column: line.chars().count() + 1,
    }
}

/// Finds the keys of the outermost object in valid JSON, with their offsets.
/// serde_json does not provide the positions of keys.
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
