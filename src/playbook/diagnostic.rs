//! Rendering of errors, always in this order: message, place with caret, call trail,
//! causes, facts of AWS, hint.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::error::{Error, Place};
use crate::report::text;
use crate::script::Understood;

/// Texts of the source files by path.
pub type Texts = BTreeMap<String, String>;

/// Renders an error and the calls that led to it.
#[must_use]
pub fn render(understood: &Understood, texts: &Texts) -> String {
    let Understood { error, trail } = understood;
    let mut out = text::wrap(&format!("error: {error}"), 2);
    snippet(&mut out, &error.place, texts);
    for frame in trail {
        let what = match &frame.function {
            Some(function) => format!("in `{function}`, called at"),
            None => "in a closure, called at".to_owned(),
        };
        let at = &frame.called_at;
        let _ = write!(out, "\n  {what} {}:{}:{}", at.source, at.line, at.column);
    }
    for cause in &error.causes {
        self::cause(&mut out, cause, 1);
    }
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
    for inner in &cause.causes {
        self::cause(out, inner, depth + 1);
    }
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
    // Keep tabs, so that the caret is below its column.
    let before: String = text.chars().take(place.column.saturating_sub(1)).collect();
    let pad: String = before
        .chars()
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    let _ = write!(
        out,
        "\n{gap} |\n{number} | {}\n{gap} | {pad}^",
        text.trim_end()
    );
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
}
