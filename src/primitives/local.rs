//! Files on this machine.

use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, State, UndefinedBehavior};
use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use serde_json::Value;

use crate::context::Context;
use crate::error::{Error, Place, Result};
use crate::script::{self, Outcome};

#[export_module]
pub mod api {
    /// Reads a text file on this machine and returns its text.
    ///
    /// A relative path is relative to the working directory of autorun. A path
    /// can begin with `~/` for the home directory.
    ///
    /// Throws `not_found` if the file does not exist, `denied` if its
    /// permissions do not allow reading, and `invalid_option` if it is not
    /// UTF-8 text.
    ///
    /// ```rhai
    /// let script = read_file("assets/check_webserver.py");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn read_file(call: NativeCallContext, path: ImmutableString) -> Outcome<Dynamic> {
        script::run_blocking(&call, |cx| super::read_file(cx, &path))
    }

    /// Returns whether a path is a file that can be read.
    ///
    /// Use it to check the files that a playbook needs before it creates
    /// resources. Returns false for a directory.
    ///
    /// ```rhai
    /// assert(is_file("assets/logo.png"), "the picture is missing");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn is_file(call: NativeCallContext, path: ImmutableString) -> Outcome<Dynamic> {
        script::run_blocking(&call, |cx| {
            let path = cx.clients.local.expand(Path::new(path.as_str()));
            let opened = std::fs::File::open(path).and_then(|file| file.metadata());
            Ok(opened.is_ok_and(|about| about.is_file()))
        })
    }

    /// Fills a template file with values and returns the text.
    ///
    /// Templates use the Jinja2 syntax: `{{ name }}`, `{% if .. %}`,
    /// `{% for .. %}`. A name without a value is an error. The filter `sh`
    /// quotes a value for a shell, as in `{{ path | sh }}`; the filter `e`
    /// escapes it for HTML.
    ///
    /// Throws `not_found` if the file does not exist, `denied` if its
    /// permissions do not allow reading, and `invalid_option` with the line of
    /// the template if the template is wrong, a name has no value, or the file
    /// is not UTF-8 text.
    ///
    /// ```rhai
    /// let page = render("userdata/webserver.sh", #{
    ///     title: "hello",
    ///     picture: "https://example.com/logo.png",
    /// });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn render(call: NativeCallContext, path: ImmutableString, values: Map) -> Outcome<Dynamic> {
        script::run_blocking(&call, |cx| {
            super::render(cx, &path, &script::to_json(&Dynamic::from_map(values))?)
        })
    }
}

fn read_file(cx: &Context, path: &str) -> Result<String> {
    let path = cx.clients.local.expand(Path::new(path));
    let bytes = std::fs::read(&path).map_err(|e| Error::io("read", &path, &e))?;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Error::invalid(format!(
            "`{}` is not UTF-8 text (byte {at})",
            path.display()
        ))
        .hint("read_file and render accept text only; scp and upload_file accept any file")
    })
}

fn render(cx: &Context, path: &str, values: &Value) -> Result<String> {
    fill(path, &read_file(cx, path)?, values)
}

fn fill(path: &str, template: &str, values: &Value) -> Result<String> {
    let syntax = SyntaxConfig::builder()
        .keep_trailing_newline(true)
        .build()
        .map_err(|e| Error::internal(format!("cannot set up templates: {e}")))?;
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_syntax(syntax);
    // minijinja's own filters turn an undefined name into an empty text.
    environment.add_filter("e", html);
    environment.add_filter("escape", html);
    environment.add_filter("sh", |text: String| shell_words::quote(&text).into_owned());
    let context = minijinja::Value::from(minijinja::value::Serde(values));
    environment
        .render_named_str(path, template, context)
        .map_err(|e| {
            let what = e
                .detail()
                .map_or_else(|| e.kind().to_string(), str::to_owned);
            let line = e.line().unwrap_or(0);
            let text = template
                .lines()
                .nth(line.saturating_sub(1))
                .unwrap_or_default()
                .trim();
            let error = Error::invalid(format!("template `{path}`, line {line}: {what}: `{text}`"));
            let error = match e.kind() {
                minijinja::ErrorKind::UndefinedError => {
                    let known: Vec<_> = values.as_object().into_iter().flatten().collect();
                    let known: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
                    error.hint(format!("render() was given {}", known.join(", ")))
                }
                minijinja::ErrorKind::SyntaxError | minijinja::ErrorKind::UnknownFilter => {
                    error.hint("see `autorun docs render` for the syntax of templates")
                }
                _ => error,
            };
            error.detail(serde_json::json!(Place {
                source: path.to_owned(),
                line,
                column: 0
            }))
        })
}

/// Escapes HTML like minijinja's filter, but fails on an undefined name.
fn html(
    state: &mut State,
    value: &minijinja::Value,
) -> std::result::Result<minijinja::Value, minijinja::Error> {
    if value.is_undefined() {
        Err(minijinja::ErrorKind::UndefinedError.into())
    } else {
        minijinja::filters::escape(state, value)
    }
}

#[cfg(test)]
mod tests {
    use super::fill;
    use serde_json::json;

    #[test]
    fn the_shell_filter_quotes() {
        let values = json!({ "name": "it's $HOME" });
        assert_eq!(
            fill("t", "echo {{ name | sh }}\n", &values).unwrap(),
            "echo 'it'\\''s $HOME'\n"
        );
    }

    #[test]
    fn an_undefined_name_is_an_error_with_its_line() {
        for template in [
            "a\n{{ nmae | e }}",
            "a\n{{ nmae | sh }}",
            "a\n{{ nmae | escape }}",
        ] {
            assert!(
                fill("t", template, &json!({ "name": 1 })).is_err(),
                "{template}"
            );
        }
        let error = fill("t.sh", "a\n{{ nmae }}", &json!({ "name": 1 })).unwrap_err();
        assert!(
            error.to_string().contains("`t.sh`, line 2"),
            "{}",
            "{error}"
        );
        assert!(error.to_string().contains("{{ nmae }}"), "{error}");
        assert_eq!(error.hint.as_deref(), Some("render() was given name"));
    }
}
