//! Conversion of a caught value to an [`Error`].
//!
//! An error of this program is the map that was thrown. For its own errors, Rhai
//! passes a map with the rendered message to `catch`. Only this message contains the
//! place of the innermost call, so this file parses it; no other file does.

use rhai::{Dynamic, Map};

use super::options::to_json;
use crate::error::{Error, ErrorKind, Place};

/// Converts any value that a `catch` can receive to an [`Error`].
#[must_use]
pub fn understand_caught(caught: &Dynamic) -> Error {
    let Some(map) = caught.read_lock::<Map>() else {
        let message = if caught.is_unit() {
            UNKNOWN.to_owned()
        } else {
            caught.to_string()
        };
        return Error::new(ErrorKind::Script, message);
    };
    // Only maps of Rhai's own errors have this key.
    let rhais_own = map.contains_key("error");
    let mut error = Error::new(kind(&map), message(caught, &map, rhais_own));
    error.hint = text(&map, "hint");
    error.on = text(&map, "on");
    error.function = text(&map, "function");
    error.place = Place {
        source: text(&map, "source").unwrap_or_default(),
        line: number(&map, "line").unwrap_or(0),
        column: number(&map, "column")
            .or_else(|| number(&map, "position"))
            .unwrap_or(0),
    };
    if rhais_own
        && let Some(rendered) = text(&map, "message")
        && let Some(place) = innermost(&rendered)
    {
        // Rhai's keys contain the place of the outermost call.
        error.place.line = place.line;
        error.place.column = place.column;
        if !place.source.is_empty() {
            error.place.source = place.source;
        }
        error.function = innermost_function(&rendered);
    }
    error.detail = map
        .get("detail")
        .and_then(|v| to_json(v).ok())
        .unwrap_or_default();
    if let Some(causes) = map
        .get("causes")
        .and_then(rhai::Dynamic::read_lock::<rhai::Array>)
    {
        error.causes = causes.iter().map(understand_caught).collect();
    }
    error
}

/// Message of an error that was thrown without a text.
const UNKNOWN: &str = "unknown error";

fn kind(map: &Map) -> ErrorKind {
    let kind = text(map, "kind").and_then(|kind| serde_json::from_value(kind.into()).ok());
    kind.unwrap_or(ErrorKind::Script)
}

fn message(caught: &Dynamic, map: &Map, rhais_own: bool) -> String {
    match text(map, "message") {
        Some(text) if rhais_own => bare(&text),
        Some(text) => text,
        None if map.contains_key("message") => UNKNOWN.to_owned(),
        // A map that the playbook threw.
        None => caught.to_string(),
    }
}

fn text(map: &Map, key: &str) -> Option<String> {
    map.get(key)
        .and_then(|v| v.clone().into_string().ok())
        .filter(|text| !text.is_empty())
}

fn number(map: &Map, key: &str) -> Option<usize> {
    map.get(key)
        .and_then(|v| v.as_int().ok())
        .and_then(|n| usize::try_from(n).ok())
}

/// Parses the place in Rhai's message: `.. @ 'file' (line 6, position 9)`.
fn innermost(text: &str) -> Option<Place> {
    let first = text.lines().next()?;
    let (before, place) = first.rsplit_once("(line ")?;
    let (line, column) = place.trim_end_matches(')').split_once(", position ")?;
    let source = before
        .trim_end()
        .strip_suffix('\'')
        .and_then(|b| b.rsplit_once(" @ '"));
    Some(Place {
        source: source.map_or("", |(_, source)| source).to_owned(),
        line: line.parse().ok()?,
        column: column.parse().ok()?,
    })
}

/// Parses `in call to function 'divide'` in the second line of Rhai's message. Returns
/// `None` for a closure.
fn innermost_function(text: &str) -> Option<String> {
    let name = text
        .lines()
        .nth(1)?
        .strip_prefix("in call to function '")?
        .split('\'')
        .next()?;
    (!name.starts_with("anon$")).then(|| name.to_owned())
}

/// Removes the places at the end of Rhai's message. The report shows them with a caret.
fn bare(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    let ends = [" @ '", " (line ", " (position "]
        .iter()
        .filter_map(|end| first.find(end));
    lower_first(&first[..ends.min().unwrap_or(first.len())])
}

pub(super) fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}
