//! Arrays in files: one item a line, as in a list of hosts.

use std::path::Path;

use serde_json::Value;

use super::value::{check_pattern, parse};
use crate::error::{Error, Place, Result};
use crate::playbook::{Declared, Kind};

/// Parses the text of a file or the output of a command as the declared type.
/// An array has one item a line, unless it is JSON. Blank lines and comments,
/// which begin with `#`, do not count. `file` is where the text comes from, for
/// errors.
pub(super) fn parse_text(d: &Declared, text: &str, file: Option<&Path>) -> Result<Value> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if d.kind != Kind::Array {
        return parse(d, text);
    }
    // `[::1]` is an address.
    if text.trim_start().starts_with('[')
        && let Ok(value) = parse(d, text)
    {
        return Ok(value);
    }
    let mut items = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let item = without_comment(line).trim();
        if item.is_empty() {
            continue;
        }
        let item = Value::String(item.to_owned());
        check_pattern(d, &item).map_err(|error| match file {
            Some(file) if !d.secret => located(error, file, number + 1),
            _ => error,
        })?;
        items.push(item);
    }
    Ok(Value::Array(items))
}

/// Cuts off a comment: `#` at the beginning of a line or after a space.
fn without_comment(line: &str) -> &str {
    let mut marks = line.match_indices('#');
    let comment = marks.find(|(at, _)| {
        line[..*at]
            .chars()
            .next_back()
            .is_none_or(char::is_whitespace)
    });
    comment.map_or(line, |(at, _)| &line[..at])
}

fn located(mut error: Error, file: &Path, line: usize) -> Error {
    error.place = Place {
        source: match file.to_str() {
            Some("-") => "standard input".to_owned(),
            _ => file.display().to_string(),
        },
        line,
        column: 1,
    };
    error
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hosts(pattern: Option<&str>) -> Declared {
        Declared {
            name: "hosts".to_owned(),
            kind: Kind::Array,
            default: None,
            choices: None,
            pattern: pattern.map(str::to_owned),
            secret: false,
            help: String::new(),
            place: Place::default(),
        }
    }

    #[test]
    fn a_file_has_one_item_a_line() {
        for (text, items) in [
            ("a\nb\n", json!(["a", "b"])),
            ("\u{feff}a\r\n\r\n  b  \r\n", json!(["a", "b"])),
            (
                "# web servers\na # the first\n\t#b\nc#d\n",
                json!(["a", "c#d"]),
            ),
            ("a,b\n", json!(["a,b"])),
            ("", json!([])),
            ("# nothing\n", json!([])),
            ("[\"a\", 1]\n", json!(["a", 1])),
            ("\u{feff}\n [\n\"a\"\n]", json!(["a"])),
        ] {
            assert_eq!(
                parse_text(&hosts(None), text, None).unwrap(),
                items,
                "{text}"
            );
        }
        let address = parse_text(&hosts(None), "[::1]\n[::1]:22\n", None);
        assert_eq!(address.unwrap(), json!(["[::1]", "[::1]:22"]));
    }

    #[test]
    fn an_item_that_does_not_match_is_located() {
        let d = hosts(Some("[^ ]+"));
        let text = "# hosts\na\n\ntwo words\n";
        let error = parse_text(&d, text, Some(Path::new("hosts.txt"))).unwrap_err();
        assert_eq!(
            (error.place.source.as_str(), error.place.line),
            ("hosts.txt", 4)
        );
        assert!(error.to_string().contains("two words"), "{error}");
    }
}
