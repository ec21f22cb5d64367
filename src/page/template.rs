//! The templates of the page and the timeline. All values are escaped: markup is
//! shown as text, and so are control characters, which XML forbids.

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, HtmlEscape, UndefinedBehavior};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::report::text;

const TEMPLATES: [(&str, &str); 2] = [
    ("page.html", include_str!("page.html")),
    ("timeline.svg", include_str!("timeline.svg")),
];

/// The CSS of the timeline, in a page or in its own file.
pub(super) const TIMELINE_STYLE: &str = include_str!("timeline.css");
/// The CSS of the page.
pub(super) const PAGE_STYLE: &str = include_str!("page.css");

/// Renders a template.
pub(super) fn render(name: &str, values: &impl Serialize) -> Result<String> {
    let broken =
        |e: &minijinja::Error| Error::internal(format!("cannot render template {name}: {e:#}"));
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()
        .map_err(|e| broken(&e))?;
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_syntax(syntax);
    environment.set_formatter(|out, state, value| match value.as_str() {
        Some(text) if !value.is_safe() => {
            write!(out, "{}", HtmlEscape(&for_xml(text))).map_err(Into::into)
        }
        _ => minijinja::escape_formatter(out, state, value),
    });
    for (name, text) in TEMPLATES {
        environment
            .add_template(name, text)
            .map_err(|e| broken(&e))?;
    }
    let template = environment.get_template(name).map_err(|e| broken(&e))?;
    template
        .render(minijinja::Value::from(minijinja::value::Serde(values)))
        .map_err(|e| broken(&e))
}

/// Escapes control characters and characters that XML forbids.
fn for_xml(text: &str) -> String {
    text::harmless(text)
        .replace('\u{fffe}', "\\u{fffe}")
        .replace('\u{ffff}', "\\u{ffff}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_xml_forbids_are_escaped() {
        assert_eq!(
            for_xml("a\u{0}\u{1b}\u{fffe}\u{202e}\n\tz"),
            "a\\u{0}\\u{1b}\\u{fffe}\\u{202e}\n\tz"
        );
    }
}
