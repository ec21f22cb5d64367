//! The lists of options and of keys of the result in the manual.
//!
//! They are inserted after the description of a function, before the paragraph about
//! its errors and the examples.

use std::fmt::Write as _;

use crate::primitives::{self, FAMILIES};
use crate::report::text;
use crate::script::schema::{Field, Kind};
use crate::script::{Declared, Shape};

/// Width of the lists in columns.
const WIDTH: usize = 76;

/// Returns the description of a function with its lists.
pub(super) fn with_tables(function: &str, description: &str) -> String {
    let Some(row) = primitives::declared(function) else {
        return description.to_owned();
    };
    let lists = [returned(row), options(row)].concat();
    if lists.is_empty() {
        return description.to_owned();
    }
    let paragraphs: Vec<&str> = description.split("\n\n").collect();
    let is_after = |paragraph: &&str| ["Throws", "```"].iter().any(|s| paragraph.starts_with(s));
    let at = paragraphs.iter().position(is_after);
    let (before, after) = paragraphs.split_at(at.unwrap_or(paragraphs.len()));
    let lists: Vec<&str> = lists.iter().map(String::as_str).collect();
    [before, &lists, after].concat().join("\n\n")
}

/// Returns the heading and the list of options.
fn options(row: &Declared) -> Vec<String> {
    let Some(takes) = row.takes else {
        return Vec::new();
    };
    let heading = match takes.argument {
        "options" => "Options:".to_owned(),
        argument => format!("Keys of `{argument}`:"),
    };
    match takes.kind().fields() {
        Some(fields) if !fields.is_empty() => vec![heading, list(fields, 0, true)],
        _ => Vec::new(),
    }
}

/// Returns the description of the result. Only the first of the functions with the same
/// result lists its keys; the others refer to it.
fn returned(row: &Declared) -> Vec<String> {
    let Some(returns) = row.returns else {
        return Vec::new();
    };
    let mut rows = FAMILIES.iter().flat_map(|family| family.declared);
    let same = |other: &&Declared| other.returns.is_some_and(|r| (r.id)() == (returns.id)());
    let first = rows.find(same).map_or(row.function, |row| row.function);
    let what = match returns.shape {
        Shape::One => "a map".to_owned(),
        Shape::Maybe => "`()` or a map".to_owned(),
        Shape::Many => "an array of maps".to_owned(),
        Shape::LikeArgument => "a map (for an array: an array of maps)".to_owned(),
        Shape::ManyWith(option) => format!("a map (with `{option}`: an array of maps)"),
    };
    if row.function != first {
        let text = format!("Returns {what} with the same keys as `{first}`.");
        return vec![text::wrap_to(&text, 0, WIDTH)];
    }
    let fields = returns.kind().fields().unwrap_or_default();
    vec![
        text::wrap_to(&format!("Returns {what}:"), 0, WIDTH),
        list(fields, 0, false),
    ]
}

/// Formats each field as `` - `name` (type, default): text ``. Nested maps are indented.
fn list(fields: &[Field], depth: usize, options: bool) -> String {
    let items: Vec<String> = fields.iter().map(|f| item(f, depth, options)).collect();
    items.join("\n")
}

fn item(field: &Field, depth: usize, options: bool) -> String {
    let mut facts: Vec<String> = field.kind.in_manual().into_iter().collect();
    match (&field.default, options) {
        (Some(default), _) => facts.push(format!("default {default}")),
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

/// Converts the first letter to lower case, as the text follows a colon. Names and units
/// keep their case.
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
    fn lists_come_before_the_paragraph_about_errors() {
        let text = with_tables("http_get", "Fetches.\n\nThrows `timeout`.\n\n```rhai\n```");
        let paragraphs: Vec<&str> = text.split("\n\n").collect();
        assert_eq!(paragraphs[..2], ["Fetches.", "Returns a map:"]);
        assert!(paragraphs[2].starts_with("- `status` (integer): HTTP status"));
        assert_eq!(
            paragraphs[3..6],
            [
                "Options:",
                "- `timeout` (seconds, default 30): limit for the whole request.",
                "Throws `timeout`."
            ]
        );
        assert_eq!(with_tables("run_id", "Returns it."), "Returns it.");
    }

    #[test]
    fn keys_of_an_argument_have_a_heading() {
        let text = with_tables("open_port", "Opens.\n\nThrows `denied`.");
        assert!(text.starts_with("Opens.\n\nKeys of `rule`:\n\n- `port` (integer, required)"));
    }

    #[test]
    fn nested_maps_are_indented() {
        let text = with_tables("create_security_group", "Creates.");
        assert!(
            text.contains("\n- `ingress` (array of maps): rules for incoming connections.")
                && text.contains("\n  - `port` (integer, required)"),
            "{text}"
        );
        let longest = text.lines().map(|line| line.chars().count()).max();
        assert!(longest.unwrap() <= WIDTH);
    }

    #[test]
    fn names_keep_their_case() {
        assert_eq!(lower_first("The name"), "the name");
        assert_eq!(lower_first("AMI id"), "AMI id");
        assert_eq!(lower_first("GiB per second"), "GiB per second");
        assert_eq!(lower_first("`x` or `y`"), "`x` or `y`");
    }
}
