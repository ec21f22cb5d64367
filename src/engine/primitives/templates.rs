//! Templates: text with values in the syntax of Jinja2.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, ErrorKind, Output, State, UndefinedBehavior};
use serde_json::{Value, json};

use crate::error::{Error, Place, Result};
use crate::report::text;

/// The longest part of a template's line that an error shows, in characters.
const SHOWN: usize = 60;

/// Fills a template with values. `path` is its name in errors.
pub(super) fn fill(path: &str, template: &str, values: &Value) -> Result<String> {
    let filling = Filling {
        path,
        template,
        values,
    };
    if let Some(error) = filling.unreadable() {
        return Err(error);
    }
    let environment = environment()?;
    let context = minijinja::Value::from(minijinja::value::Serde(values));
    environment
        .render_named_str(path, template, context)
        .map_err(|error| filling.error(&error))
}

fn environment() -> Result<Environment<'static>> {
    let syntax = SyntaxConfig::builder()
        .keep_trailing_newline(true)
        .build()
        .map_err(|e| Error::internal(format!("cannot set up templates: {e}")))?;
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_formatter(|out, _, value| write(out, value));
    environment.set_syntax(syntax);
    // With the place of an error in its line.
    environment.set_debug(true);
    // minijinja's own filters turn an undefined name into an empty text.
    environment.add_filter("e", html);
    environment.add_filter("escape", html);
    // As playbooks and JSON write the values, and as Jinja2 does.
    environment.add_filter("join", joined);
    environment.add_filter("string", |value: minijinja::Value| text_of(&value));
    environment.add_filter("tojson", json_of);
    environment.add_filter("sh", |value: minijinja::Value| {
        text_of(&value).map(|text| shell_words::quote(&text).into_owned())
    });
    Ok(environment)
}

/// The filters of templates, for hints.
const FILTERS: [&str; 38] = [
    "abs", "attr", "batch", "bool", "chain", "count", "d", "default", "e", "escape", "first",
    "float", "format", "int", "items", "join", "last", "length", "lines", "list", "lower", "map",
    "max", "min", "reject", "round", "select", "sh", "slice", "sort", "split", "string", "sum",
    "title", "tojson", "trim", "upper", "zip",
];

/// The result of a filter.
type Filtered<T> = std::result::Result<T, minijinja::Error>;

/// Writes a value as it is written in a playbook and in JSON: minijinja writes `True`,
/// as Python does.
fn write(out: &mut Output, value: &minijinja::Value) -> Filtered<()> {
    out.write_str(&text_of(value)?)?;
    Ok(())
}

fn text_of(value: &minijinja::Value) -> Filtered<String> {
    match value.kind() {
        ValueKind::Undefined => Err(ErrorKind::UndefinedError.into()),
        ValueKind::None => Err(minijinja::Error::new(
            ErrorKind::InvalidOperation,
            "the value is ()",
        )
        .with_source(NoValue)),
        ValueKind::Bool => Ok(value.is_true().to_string()),
        ValueKind::Seq | ValueKind::Map => serde_json::to_string(value).map_err(|e| {
            let what = format!("the value cannot be written as JSON: {e}");
            minijinja::Error::new(ErrorKind::InvalidOperation, what)
        }),
        _ => Ok(value.to_string()),
    }
}

/// The cause of the error about `()`, which has no text.
#[derive(Debug)]
struct NoValue;

impl std::fmt::Display for NoValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the value is ()")
    }
}

impl std::error::Error for NoValue {}

fn is_unit(error: &minijinja::Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<NoValue>)
}

/// Escapes HTML like minijinja's filter, but fails on an undefined name.
fn html(state: &mut State, value: &minijinja::Value) -> Filtered<minijinja::Value> {
    if value.is_safe() {
        return Ok(value.clone());
    }
    minijinja::filters::escape(state, &text_of(value)?.into())
}

/// A template, its name, and its values.
struct Filling<'a> {
    path: &'a str,
    template: &'a str,
    values: &'a Value,
}

impl Filling<'_> {
    /// Returns an error at a byte offset of the template.
    fn at(&self, offset: usize, what: &str) -> Error {
        let before = &self.template[..offset];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        let whole = self.template.lines().nth(line - 1).unwrap_or_default();
        let path = self.path;
        let shown = part_of(whole, column - 1);
        let message = format!("template `{path}`, line {line}, column {column}: {what}: `{shown}`");
        Error::invalid(message).detail(json!(Place {
            source: path.to_owned(),
            line,
            column,
        }))
    }

    /// Finds what the lexer of minijinja reports at the end of the template or not at
    /// all: comments and blocks without an end, and `${#`, which begins a comment.
    fn unreadable(&self) -> Option<Error> {
        let template = self.template;
        let mut at = 0;
        while let Some(found) = template[at..].find('{') {
            let start = at + found;
            let rest = &template[start..];
            let end = |closing: &str| rest.find(closing).map(|end| start + end + closing.len());
            at = if rest.starts_with("{#") {
                if template[..start].ends_with('$') {
                    let error = self.at(start - 1, "`{#` begins a comment of the template");
                    return Some(error.hint(AS_IT_IS));
                }
                let Some(end) = end("#}") else {
                    let error = self.at(start, "the comment that begins here has no end");
                    return Some(error.hint(
                        "end it with `#}`; if it is not a comment, put it between {% raw %} and \
                         {% endraw %}",
                    ));
                };
                end
            } else if let Some(inside) = is_tag(rest, "raw") {
                let Some(end) = end_of_raw(template, start + inside) else {
                    let error = self.at(start, "the block that begins here has no end");
                    return Some(error.hint("end it with {% endraw %}"));
                };
                end
            } else if rest.starts_with("{{") || rest.starts_with("{%") {
                let closing = if rest.starts_with("{{") { "}}" } else { "%}" };
                let Some(end) = end(closing) else {
                    let error = self.at(start, &format!("`{}` has no `{closing}`", &rest[..2]));
                    return Some(error.hint(SYNTAX));
                };
                end
            } else {
                start + 1
            };
        }
        None
    }

    fn error(&self, error: &minijinja::Error) -> Error {
        let what = match error.detail() {
            Some(detail) => detail.to_owned(),
            None => error.kind().to_string(),
        };
        let line = error.line().unwrap_or(1);
        let starts = self.template.match_indices('\n').map(|(at, _)| at + 1);
        let start = std::iter::once(0).chain(starts).nth(line.saturating_sub(1));
        let range = error
            .range()
            .filter(|range| self.template.get(range.clone()).is_some());
        let offset = range
            .clone()
            .map_or(start.unwrap_or(0), |range| range.start);
        let source = range.map_or("", |range| self.template[range].trim());
        match error.kind() {
            ErrorKind::UndefinedError => self.undefined(offset, source),
            ErrorKind::SyntaxError => {
                if let Some((start, name)) = self.open_block()
                    && self.template[offset..].trim().lines().count() <= 1
                {
                    let error = self.at(start, "the block that begins here has no end");
                    return error.hint(format!("end it with {{% end{name} %}}"));
                }
                self.at(offset, &what).hint(SYNTAX)
            }
            ErrorKind::UnknownFilter => self.at(offset, &what).hint(filters(source)),
            ErrorKind::UnknownMethod => self.at(offset, &what).hint(
                "values have no methods: use a filter, as in `{{ name|upper }}` and `{% for key, \
                 value in map|items %}`",
            ),
            ErrorKind::UnknownFunction | ErrorKind::UnknownTest => self
                .at(offset, &what)
                .hint("see `autorun docs render` for the syntax of templates"),
            ErrorKind::TemplateNotFound => self
                .at(offset, "a template cannot include another file")
                .hint("render the other file first, and pass its text as a value"),
            ErrorKind::InvalidOperation if is_unit(error) => self
                .at(offset, &what)
                .hint("write `{{ name or \"\" }}`, or `{% if name %}..{% endif %}` around it"),
            _ => self.at(offset, &what),
        }
    }

    /// Returns the error about a name without a value. `source` is the expression.
    fn undefined(&self, offset: usize, source: &str) -> Error {
        let (offset, source) = self.before_filter(offset).unwrap_or((offset, source));
        let is_path = |c: char| c.is_alphanumeric() || "_.".contains(c);
        // The range may begin within a path, such as `.b` of `a.b`.
        let end = offset + source.len();
        let before = &self.template[..offset];
        let offset = if source.starts_with('.') {
            before.trim_end_matches(is_path).len()
        } else {
            offset
        };
        let source = &self.template[offset..end];
        let path = &source[..source.find(|c| !is_path(c)).unwrap_or(source.len())];
        let mut values = self.values;
        let mut missing = None;
        for part in path.split('.') {
            if let Some(value) = values.get(part) {
                values = value;
            } else {
                missing = Some(part);
                break;
            }
        }
        let shown = if missing.is_some() { path } else { source };
        let error = self.at(offset, &format!("`{shown}` has no value"));
        if source.contains(" .") {
            // `{{json .State}}`, in the templates of Go.
            return error.hint(AS_IT_IS);
        }
        let known = values.as_object().into_iter().flatten();
        let known: Vec<&str> = known.map(|(name, _)| name.as_str()).collect();
        let near = missing.and_then(|missing| text::nearest(missing, known.iter().copied()));
        match (near, missing) {
            (Some(near), _) => {
                error.hint(format!("did you mean `{near}`, which render() was given?"))
            }
            (None, Some(_)) if !known.is_empty() => {
                error.hint(format!("render() was given {}", known.join(", ")))
            }
            _ => error,
        }
    }

    /// Returns the value before a filter and its offset, if a filter is at this offset.
    fn before_filter(&self, offset: usize) -> Option<(usize, &str)> {
        let before = self.template[..offset].trim_end().strip_suffix('|')?;
        let start = before.rfind(['{', '(', ',']).map_or(0, |at| at + 1);
        let value = before[start..].split('|').next().unwrap_or_default();
        let start = start + value.len() - value.trim_start().len();
        Some((start, value.trim()))
    }

    /// Returns where the innermost block begins that has no end, and its name.
    fn open_block(&self) -> Option<(usize, String)> {
        const BLOCKS: [&str; 7] = [
            "if",
            "for",
            "filter",
            "macro",
            "block",
            "with",
            "autoescape",
        ];
        let mut open: Vec<(usize, String)> = Vec::new();
        let mut at = 0;
        while let Some(found) = self.template[at..].find("{%") {
            let start = at + found;
            let inside = self.template[start + 2..].trim_start_matches(['-', '+', ' ', '\t', '\n']);
            let word: String = inside
                .chars()
                .take_while(char::is_ascii_alphabetic)
                .collect();
            at = start + 2;
            if word == "raw" {
                at = end_of_raw(self.template, at).unwrap_or(self.template.len());
            } else if BLOCKS.contains(&word.as_str()) {
                open.push((start, word));
            } else if let Some(name) = word.strip_prefix("end")
                && open.last().is_some_and(|(_, last)| last == name)
            {
                open.pop();
            }
        }
        open.pop()
    }
}

/// Returns the hint for a filter that does not exist.
fn filters(name: &str) -> String {
    match text::nearest(name, FILTERS) {
        Some(near) => format!("did you mean the filter `{near}`?"),
        None => format!("the filters are {}", FILTERS.join(", ")),
    }
}

/// Joins the items of a list.
fn joined(list: &minijinja::Value, separator: Option<String>) -> Filtered<String> {
    let items = list.try_iter()?.map(|item| text_of(&item));
    let items = items.collect::<Filtered<Vec<_>>>()?;
    Ok(items.join(&separator.unwrap_or_default()))
}

/// Returns a value as JSON that can be part of a script in a page, as in Jinja2.
fn json_of(value: &minijinja::Value) -> Filtered<String> {
    let text = serde_json::to_string(value).map_err(|e| {
        minijinja::Error::new(
            ErrorKind::BadSerialization,
            format!("it cannot be written as JSON: {e}"),
        )
    })?;
    let safe = [
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("&", "\\u0026"),
        ("'", "\\u0027"),
    ];
    Ok(safe
        .into_iter()
        .fold(text, |text, (c, code)| text.replace(c, code)))
}

/// The hint about a syntax error.
const SYNTAX: &str = "see `autorun docs render` for the syntax; put text that only looks like it \
                      between {% raw %} and {% endraw %}";

/// The hint for text of another language that looks like a template.
const AS_IT_IS: &str = "put text that is not part of the template between {% raw %} and \
                        {% endraw %}, such as `${#list}` or `{{.State}}`";

/// Returns the length of a tag if the text begins with this one.
fn is_tag(text: &str, name: &str) -> Option<usize> {
    let inside = text.strip_prefix("{%")?;
    let inside = inside.trim_start_matches(['-', '+']).trim_start();
    let inside = inside.strip_prefix(name)?.trim_start();
    let rest = inside.trim_start_matches(['-', '+']).strip_prefix("%}")?;
    Some(text.len() - rest.len())
}

/// Returns the offset after the tag that ends a raw block.
fn end_of_raw(template: &str, from: usize) -> Option<usize> {
    let tags = template[from..].match_indices("{%");
    let mut ends = tags.filter_map(|(at, _)| {
        let length = is_tag(&template[from + at..], "endraw")?;
        Some(from + at + length)
    });
    ends.next()
}

/// Returns the part of a line around a character, if the line is long.
fn part_of(line: &str, at: usize) -> String {
    let trimmed = line.trim();
    if trimmed.chars().count() <= SHOWN {
        return trimmed.to_owned();
    }
    let start = at.saturating_sub(SHOWN / 3);
    let part: String = line.chars().skip(start).take(SHOWN).collect();
    let (left, right) = (
        if start > 0 { ".." } else { "" },
        if start + SHOWN < line.chars().count() {
            ".."
        } else {
            ""
        },
    );
    format!("{left}{}{right}", part.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str, values: &Value) -> String {
        fill("t", template, values).unwrap()
    }

    #[test]
    fn values_are_written_as_in_json() {
        for (value, written) in [
            (json!(true), "true"),
            (json!(false), "false"),
            (json!(0), "0"),
            (json!(i64::MAX), "9223372036854775807"),
            (json!(9_007_199_254_740_993_i64), "9007199254740993"),
            (json!(-1.5), "-1.5"),
            (json!(1.0), "1.0"),
            (
                json!("a \"b\" 'c' <d>\n\u{feff}\r\n"),
                "a \"b\" 'c' <d>\n\u{feff}\r\n",
            ),
            (json!([1, "a", true, null]), "[1,\"a\",true,null]"),
            (json!({ "a": { "b": [false] } }), "{\"a\":{\"b\":[false]}}"),
        ] {
            assert_eq!(filled("{{ x }}", &json!({ "x": value })), written);
        }
        assert_eq!(
            filled("{{ x | e }}{{ x | sh }}", &json!({ "x": true })),
            "truetrue"
        );
        let x = json!({ "x": [true, 1, "<'>"] });
        assert_eq!(filled("{{ x | join('-') }}", &x), "true-1-<'>");
        assert_eq!(
            filled("{{ x | join }} {{ x[0] | string }}", &x),
            "true1<'> true"
        );
        assert_eq!(
            filled("{{ x | tojson }}", &x),
            "[true,1,\"\\u003c\\u0027\\u003e\"]"
        );
        let error = fill("t", "a\n {{ x }}", &json!({ "x": null })).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("line 2, column 5: the value is ()"),
            "{error}"
        );
        assert_eq!(filled("{{ x or \"\" }}", &json!({ "x": null })), "");
    }

    #[test]
    fn text_stays_as_it_is() {
        for text in [
            "\u{feff}a\r\nb\r\n",
            "a",
            "a\n\n",
            "",
            "$(date +%H) ${x%%y} %{z%} {x} #} }} %}",
            "awk '{print $1}' }}{",
        ] {
            assert_eq!(filled(text, &json!({})), text);
        }
        let raw = "{% raw %}${#x} {{.State}} {%H}{% endraw %}\n";
        assert_eq!(filled(raw, &json!({})), "${#x} {{.State}} {%H}\n");
        assert_eq!(filled("a{# b #}c", &json!({})), "ac");
    }

    #[test]
    fn the_shell_filter_quotes() {
        let values = json!({ "name": "it's $HOME" });
        assert_eq!(
            filled("echo {{ name | sh }}\n", &values),
            "echo 'it'\\''s $HOME'\n"
        );
    }

    /// Wrong templates, the line and the column of the fault, and parts of the message
    /// and of the hint.
    const WRONG: &[(&str, (usize, usize), &str, &str)] = &[
        (
            "a\n{{ nmae }}",
            (2, 4),
            "`nmae` has no value",
            "mean `name`,",
        ),
        ("a\n{{ nmae | e }}", (2, 4), "has no value", "mean `name`,"),
        ("a\n{{ nmae | sh }}", (2, 4), "has no value", "mean `name`,"),
        (
            "a {{ server.pi }}",
            (1, 6),
            "`server.pi` has no value",
            "mean `ip`,",
        ),
        (
            "{{ color }}",
            (1, 4),
            "`color` has no value",
            "given name, server, list",
        ),
        (
            "{% for x in list %}{{ x.no }}{% endfor %}",
            (1, 23),
            "`x.no` has no value",
            "",
        ),
        (
            "a\n {# b\nc",
            (2, 2),
            "comment that begins here has no end",
            "`#}`",
        ),
        ("echo ${#x}\n", (1, 6), "begins a comment", "{% raw %}"),
        ("echo ${#x} #}\n", (1, 6), "begins a comment", "{% raw %}"),
        (
            "a {% raw %} b",
            (1, 3),
            "block that begins here has no end",
            "{% endraw %}",
        ),
        (
            "{% if name %}\nb\n",
            (1, 1),
            "block that begins here has no end",
            "{% endif %}",
        ),
        (
            "{% if name %}\n {% for x in list %}\nb\n{% endif %}",
            (2, 2),
            "",
            "{% endfor %}",
        ),
        ("a {{ name \n b", (1, 3), "`{{` has no `}}`", "{% raw %}"),
        ("date +{%H", (1, 7), "`{%` has no `%}`", "{% raw %}"),
        (
            "docker inspect -f '{{.State}}'",
            (1, 22),
            "unexpected",
            "{% raw %}",
        ),
        (
            "-f '{{json .State}}'",
            (1, 7),
            "`json` has no value",
            "{% raw %}",
        ),
        ("{{ name[5] }}", (1, 4), "`name[5]` has no value", ""),
        ("{{ map.a.b.c }}", (1, 4), "`map.a` has no value", ""),
        (
            "{{ name.upper() }}",
            (1, 8),
            "no method",
            "{{ name|upper }}",
        ),
        (
            "{{ name|tojsn }}",
            (1, 9),
            "filter tojsn",
            "the filter `tojson`",
        ),
        (
            "{{ name|qqqq }}",
            (1, 9),
            "filter qqqq",
            "the filters are abs",
        ),
        (
            "printf '{%s}%}'",
            (1, 11),
            "unknown statement s",
            "{% raw %}",
        ),
        (
            "{{ name | uper }}",
            (1, 11),
            "filter uper is unknown",
            "the filter `upper`",
        ),
        (
            "{% include \"b\" %}",
            (1, 4),
            "cannot include another file",
            "as a value",
        ),
        ("{% for x in name.no.no %}{% endfor %}", (1, 13), "", ""),
    ];

    #[test]
    fn an_error_has_its_place_and_a_hint() {
        let values = json!({ "name": "web", "server": { "ip": "x" }, "list": [{ "id": 1 }] });
        for (template, place, what, hint) in WRONG {
            let error = fill("t.sh", template, &values).unwrap_err();
            let seen = (&error.detail["line"], &error.detail["column"]);
            assert_eq!(
                seen,
                (&json!(place.0), &json!(place.1)),
                "{template}: {error}"
            );
            assert!(error.to_string().contains(what), "{template}: {error}");
            let shown = error.hint.clone().unwrap_or_default();
            assert!(shown.contains(hint), "{template}: {error}: {shown}");
        }
    }

    #[test]
    fn a_long_line_is_cut() {
        let template = format!("{}{{{{ nmae }}}}{}", "a".repeat(500), "b".repeat(500));
        let error = fill("t", &template, &json!({})).unwrap_err().to_string();
        assert!(
            error.len() < 160 && error.contains("aa{{ nmae }}bb"),
            "{error}"
        );
    }
}
