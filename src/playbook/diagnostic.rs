//! Rendering of errors, always in this order: message, place with caret, call trail,
//! causes, facts of AWS, hint.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use crate::error::{Error, Place};
use crate::report::text;
use crate::script::Understood;

/// Texts of the source files by path.
pub type Texts = BTreeMap<String, String>;

/// Renders an error and the calls that led to it.
#[must_use]
pub fn render(understood: &Understood, texts: &Texts) -> String {
    rendered(understood, "error", texts)
}

/// Renders a finding of the check. `level` replaces the word at the beginning.
#[must_use]
pub fn render_finding(error: &Error, level: &str, texts: &Texts) -> String {
    let understood = Understood {
        error: error.clone(),
        trail: Vec::new(),
    };
    rendered(&understood, level, texts)
}

fn rendered(understood: &Understood, level: &str, texts: &Texts) -> String {
    let Understood { error, trail } = understood;
    let mut out = text::wrap(&format!("{level}: {error}"), 2);
    snippet(&mut out, &error.place, texts);
    for frame in trail {
        let what = match &frame.function {
            Some(function) => format!("in `{function}`, called at"),
            None => "in a closure, called at".to_owned(),
        };
        let at = &frame.called_at;
        let _ = write!(out, "\n  {what} {}:{}:{}", at.source, at.line, at.column);
    }
    causes(&mut out, &error.causes, 1);
    facts(&mut out, error);
    if let Some(hint) = &error.hint {
        let _ = write!(out, "\n{}", text::wrap(&format!("hint: {hint}"), 6));
    }
    out
}

/// Renders an error that has no call trail.
#[must_use]
pub fn render_error(error: &Error, texts: &Texts) -> String {
    render(
        &Understood {
            error: error.clone(),
            trail: Vec::new(),
        },
        texts,
    )
}

/// How many of the hosts or items with the same cause are named.
const NAMED: usize = 8;

/// Writes the causes. Those that differ only in the names of their hosts are written
/// once, for the first host, with the names of the others.
fn causes(out: &mut String, causes: &[Error], depth: usize) {
    let mut shown: Vec<(String, Vec<String>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for cause in causes {
        let mut text = String::new();
        self::cause(&mut text, cause, depth);
        let place = *places.entry(without_name(cause, depth)).or_insert_with(|| {
            shown.push((text, Vec::new()));
            shown.len() - 1
        });
        shown[place].1.extend(cause.on.clone());
    }
    let indent = "  ".repeat(depth);
    for (text, names) in shown {
        out.push_str(&text);
        let mut others = names.into_iter();
        let _first = others.next();
        if others.len() > 0 {
            let others = text::some_of(others, NAMED);
            let line = format!("{indent}and the same on {others}");
            let _ = write!(out, "\n{}", text::wrap(&line, 2 * depth + 2));
        }
    }
}

/// Returns the text of a cause without the name of its host. A very short name
/// may be a part of other words, so it stays.
fn without_name(cause: &Error, depth: usize) -> String {
    let mut text = String::new();
    self::cause(&mut text, cause, depth);
    // The name changes where lines are broken.
    let text: Vec<&str> = text.split_whitespace().collect();
    let text = text.join(" ");
    match &cause.on {
        Some(name) if name.len() > 2 => text.replace(name.as_str(), ""),
        Some(name) => text.replace(&format!("[{name}]"), "[]"),
        None => text,
    }
}

fn cause(out: &mut String, cause: &Error, depth: usize) {
    let indent = "  ".repeat(depth - 1);
    let message = cause.to_string().replace('\n', &format!("\n{indent}  "));
    let line = text::wrap(&format!("{indent}caused by: {message}"), 2 * depth);
    let _ = write!(out, "\n{line}");
    if cause.place.line > 0 {
        let Place {
            source,
            line,
            column,
        } = &cause.place;
        let _ = write!(out, "\n{indent}  --> {source}:{line}:{column}");
    }
    if let Some(hint) = &cause.hint {
        let line = text::wrap(&format!("{indent}  hint: {hint}"), 2 * depth + 6);
        let _ = write!(out, "\n{line}");
    }
    causes(out, &cause.causes, depth + 1);
}

/// Writes the facts that AWS support needs: code, HTTP status and request id.
fn facts(out: &mut String, error: &Error) {
    let Some(code) = error.detail.get("code").and_then(|code| code.as_str()) else {
        return;
    };
    let _ = write!(out, "\naws: {code}");
    if let Some(status) = error
        .detail
        .get("status")
        .and_then(serde_json::Value::as_i64)
    {
        let _ = write!(out, ", HTTP {status}");
    }
    if let Some(id) = error.detail.get("request_id").and_then(|id| id.as_str()) {
        let _ = write!(out, ", request {id}");
    }
}

/// Writes the line of the source with a caret under the column.
fn snippet(out: &mut String, place: &Place, texts: &Texts) {
    if place.source.is_empty() {
        return;
    }
    if place.line == 0 {
        let _ = write!(out, "\n  --> {}", place.source);
        return;
    }
    let _ = write!(
        out,
        "\n  --> {}:{}:{}",
        place.source, place.line, place.column
    );
    let text = texts
        .get(&place.source)
        .and_then(|text| text.lines().nth(place.line - 1));
    let Some(text) = text else { return };
    let number = place.line.to_string();
    let gap = " ".repeat(number.len());
    let (line, pad) = excerpt(text, place.column, COLUMNS - gap.len() - " | ".len());
    let _ = write!(out, "\n{gap} |\n{number} | {line}\n{gap} | {pad}^");
}

/// The width of a report.
const COLUMNS: usize = 80;

/// The distance between two tab stops of a terminal.
const TAB: usize = 8;

/// Returns the line, and the blanks that put a caret below the column. A line that is
/// too long for the room is cut around the column.
fn excerpt(text: &str, column: usize, room: usize) -> (String, String) {
    let text = text.trim_end();
    let shown: Vec<(String, usize)> = text.chars().map(as_shown).collect();
    let at = column.saturating_sub(1).min(shown.len());
    let width = |cells: &[(String, usize)]| cells.iter().map(|(_, width)| width).sum::<usize>();
    let line = |cells: &[(String, usize)]| -> String {
        cells.iter().map(|(shown, _)| shown.as_str()).collect()
    };
    // Keep tabs, so that the caret is below its column.
    if width(&shown) <= room {
        let pad = shown[..at]
            .iter()
            .map(|(shown, width)| match shown.as_str() {
                "\t" => "\t".to_owned(),
                _ => " ".repeat(*width),
            });
        return (line(&shown), pad.collect());
    }
    let shown: Vec<(String, usize)> = shown
        .into_iter()
        .map(|(shown, width)| match shown.as_str() {
            "\t" => (" ".to_owned(), 1),
            _ => (shown, width),
        })
        .collect();
    // Two thirds of the room are for what is before the caret.
    let inside = room - 2 * CUT.len();
    let mut start = at;
    while start > 0 && width(&shown[start - 1..at]) <= inside * 2 / 3 {
        start -= 1;
    }
    let mut end = start;
    while end < shown.len() && width(&shown[start..=end]) <= inside {
        end += 1;
    }
    while start > 0 && end == shown.len() && width(&shown[start - 1..]) <= inside {
        start -= 1;
    }
    let (left, right) = (
        if start > 0 { CUT } else { "" },
        if end < shown.len() { CUT } else { "" },
    );
    let pad = " ".repeat(left.len() + width(&shown[start..at]));
    (format!("{left}{}{right}", line(&shown[start..end])), pad)
}

/// Stands for the part of a line that is left out.
const CUT: &str = "..";

/// Returns a character as a terminal shows it, and its width.
fn as_shown(c: char) -> (String, usize) {
    let shown = text::harmless(c.encode_utf8(&mut [0; 4]));
    let width = match c {
        '\t' => TAB,
        _ => console::measure_text_width(&shown),
    };
    (shown, width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn the_parts_of_an_error_have_a_fixed_order() {
        let mut error = Error::new(ErrorKind::Denied, "cannot launch")
            .hint("ask for a policy")
            .detail(serde_json::json!({ "code": "X", "status": 403, "request_id": "r-1" }))
            .caused_by([Error::invalid("inner")]);
        error.place = Place {
            source: "a.rhai".to_owned(),
            line: 2,
            column: 5,
        };
        let texts = Texts::from([("a.rhai".to_owned(), "one\n\tx = launch();\n".to_owned())]);
        assert_eq!(
            render_error(&error, &texts),
            "error: cannot launch\n  --> a.rhai:2:5\n  |\n2 | \tx = launch();\n  | \t   ^\n\
             caused by: inner\naws: X, HTTP 403, request r-1\nhint: ask for a policy"
        );
    }

    #[test]
    fn the_caret_is_below_its_column() {
        for (text, column, line, pad) in [
            ("a = b", 5, "a = b", "    "),
            ("\ta = b", 6, "\ta = b", "\t    "),
            ("\"日本\" b", 6, "\"日本\" b", "       "),
            ("e\u{301} b", 4, "e\u{301} b", "  "),
            ("\u{1b} b", 3, "\\u{1b} b", "       "),
            ("a", 9, "a", " "),
        ] {
            let shown = excerpt(text, column, 40);
            assert_eq!(shown, (line.to_owned(), pad.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let long = format!("{}X{}", "ab\t".repeat(5000), "日".repeat(5000));
        for (text, column) in [
            (long.as_str(), 15_001),
            (&long, 1),
            (&long, 20_001),
            (&long, 99),
        ] {
            let (line, pad) = excerpt(text, column, 76);
            let width = console::measure_text_width(&line);
            assert!((70..=76).contains(&width), "{width}: {line}");
            assert!(pad.len() <= width, "{line}");
            assert_eq!(line.starts_with(".."), column > 50, "{line}");
        }
        let (line, pad) = excerpt(&long, 15_001, 76);
        assert_eq!(line.as_bytes()[pad.len()], b'X', "{line}");
    }
}
