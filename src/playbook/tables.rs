//! The lists of options and of what is returned, as the manual shows them.
//!
//! They stand behind a function's description, before what it throws and its
//! examples.

use std::fmt::Write as _;

use crate::primitives::{self, FAMILIES};
use crate::report::text;
use crate::script::schema::{Field, Kind};
use crate::script::{Declared, Shape};

/// Columns of the manual's lists.
const WIDTH: usize = 76;

/// A function's description with its lists.
pub(super) fn with_tables(function: &str, description: &str) -> String {
    let Some(row) = primitives::declared(function) else {
        return description.to_owned();
    };
    let (returned, options) = (returned(row), options(row));
    let heading = if returned.is_empty() || options.is_empty() {
        Vec::new()
    } else {
        vec!["Options:".to_owned()]
    };
    let lists = [returned, heading, options].concat();
    if lists.is_empty() {
        return description.to_owned();
    }
    let paragraphs: Vec<&str> = description.split("\n\n").collect();
    let behind = |paragraph: &&str| ["Throws ", "```"].iter().any(|s| paragraph.starts_with(s));
    let at = paragraphs.iter().position(behind);
    let (before, after) = paragraphs.split_at(at.unwrap_or(paragraphs.len()));
    let lists: Vec<&str> = lists.iter().map(String::as_str).collect();
    [before, &lists, after].concat().join("\n\n")
}

/// The options, as one paragraph.
fn options(row: &Declared) -> Vec<String> {
    let fields = row.takes.map(|takes| (takes.kind)());
    match fields.as_ref().and_then(Kind::fields) {
        Some(fields) if !fields.is_empty() => vec![list(fields, 0, true)],
        _ => Vec::new(),
    }
}

/// What is returned, in full where the first function is described that returns
/// it.
fn returned(row: &Declared) -> Vec<String> {
    let Some(gives) = row.gives else {
        return Vec::new();
    };
    let mut rows = FAMILIES.iter().flat_map(|family| family.declared);
    let same = |other: &&Declared| other.gives.is_some_and(|g| (g.id)() == (gives.id)());
    let first = rows.find(same).map_or(row.function, |row| row.function);
    let what = match gives.shape {
        Shape::One => "a map".to_owned(),
        Shape::Maybe => "a map or `()`".to_owned(),
        Shape::Many => "an array of maps".to_owned(),
        Shape::LikeArgument => "a map; for an array, an array of maps".to_owned(),
        Shape::ManyWith(option) => format!("a map; with `{option}`, an array of maps"),
    };
    if row.function != first {
        let text = format!("Gives {what}, with the keys that `{first}` lists.");
        return vec![text::wrap_to(&text, 0, WIDTH)];
    }
    let kind = (gives.kind)();
    let fields = kind.fields().unwrap_or_default();
    vec![
        text::wrap_to(&format!("Gives {what}:"), 0, WIDTH),
        list(fields, 0, false),
    ]
}

/// `` - `name` (type, default): text `` for each; nested maps are indented.
fn list(fields: &[Field], depth: usize, options: bool) -> String {
    let items: Vec<String> = fields.iter().map(|f| item(f, depth, options)).collect();
    items.join("\n")
}

fn item(field: &Field, depth: usize, options: bool) -> String {
    let mut facts: Vec<String> = field.kind.in_manual().into_iter().collect();
    match (&field.default, options) {
        (Some(default), _) => facts.push(default.to_string()),
        (None, true) if field.required => facts.push("required".to_owned()),
        (None, false) if field.nullable => {
            if let Some(kind) = facts.pop() {
                facts.push(format!("{kind} or ()"));
            }
        }
        (None, _) => {}
    }
    let mut line = format!("{}- `{}`", "  ".repeat(depth), field.name);
    if !facts.is_empty() {
        let _ = write!(line, " ({})", facts.join(", "));
    }
    let text = lower_first(&field.text.replace('\n', " "));
    match text.as_str() {
        "" => line.push('.'),
        text => {
            let _ = write!(line, ": {text}");
        }
    }
    let line = text::wrap_to(&line, 2 * depth + 2, WIDTH);
    match (&field.kind, options) {
        (Kind::Map(fields), true) => format!("{line}\n{}", list(fields, depth + 1, options)),
        (Kind::Array(items), true) => match &**items {
            Kind::Map(fields) => format!("{line}\n{}", list(fields, depth + 1, options)),
            _ => line,
        },
        _ => line,
    }
}

/// The text as it goes on behind a colon: names and units keep their case.
fn lower_first(text: &str) -> String {
    let word = text.split(' ').next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) if !word.chars().skip(1).any(char::is_uppercase) => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_stand_before_what_is_thrown() {
        let text = with_tables("http_get", "Fetches.\n\nThrows `timeout`.\n\n```rhai\n```");
        let paragraphs: Vec<&str> = text.split("\n\n").collect();
        assert_eq!(paragraphs[..2], ["Fetches.", "Gives a map:"]);
        assert!(paragraphs[2].starts_with("- `status` (integer): HTTP status"));
        assert_eq!(
            paragraphs[3..6],
            [
                "Options:",
                "- `timeout` (seconds, 30).",
                "Throws `timeout`."
            ]
        );
        assert_eq!(with_tables("run_id", "Gives it."), "Gives it.");
    }

    #[test]
    fn nested_maps_are_indented() {
        let text = with_tables("create_security_group", "Creates.");
        assert!(
            text.contains(
                "- `ingress` (array of maps): the rules.\n  - `port` (integer, required)"
            )
        );
        let longest = text.lines().map(|line| line.chars().count()).max();
        assert!(longest.unwrap() <= WIDTH);
    }

    #[test]
    fn names_keep_their_case() {
        assert_eq!(lower_first("The name"), "the name");
        assert_eq!(lower_first("AWS's id"), "AWS's id");
        assert_eq!(lower_first("GiB of it"), "GiB of it");
        assert_eq!(lower_first("`x` or `y`"), "`x` or `y`");
    }
}
