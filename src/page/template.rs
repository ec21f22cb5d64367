//! The templates of pages and pictures. Whatever they are given is data: markup
//! in it is shown, not obeyed, and so are control characters, which XML forbids.

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, HtmlEscape, UndefinedBehavior};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::report::text;

const TEMPLATES: [(&str, &str); 2] = [
    ("page.html", include_str!("page.html")),
    ("timeline.svg", include_str!("timeline.svg")),
];

/// The rules of the picture, for a page and for itself.
pub(super) const TIMELINE_STYLE: &str = include_str!("timeline.css");
/// The rules of the page.
pub(super) const PAGE_STYLE: &str = include_str!("page.css");

/// Fills a template in.
pub(super) fn render(name: &str, values: &impl Serialize) -> Result<String> {
    let broken =
        |e: &minijinja::Error| Error::internal(format!("the template {name} does not work: {e:#}"));
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

/// Text without what a terminal, a browser or XML would stumble over.
fn for_xml(text: &str) -> String {
    text::harmless(text)
        .replace('\u{fffe}', "\\u{fffe}")
        .replace('\u{ffff}', "\\u{ffff}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_xml_forbids_are_shown() {
        assert_eq!(
            for_xml("a\u{0}\u{1b}\u{fffe}\u{202e}\n\tz"),
            "a\\u{0}\\u{1b}\\u{fffe}\\u{202e}\n\tz"
        );
    }
}
