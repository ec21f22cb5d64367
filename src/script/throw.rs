//! Errors on their way into a playbook and out of it.

use rhai::{Dynamic, EvalAltResult, Map, NativeCallContext, Position};

use super::{to_dynamic, to_json};
use crate::error::{Error, ErrorKind, Place};

/// Makes an error the script's: a map that `catch` receives. A cancelled run
/// is stopped instead, and no `catch` can hold it up.
#[must_use]
pub fn throw(call: &NativeCallContext, mut error: Error) -> Box<EvalAltResult> {
    let position = call.call_position();
    // Only a signal cancels: a playbook may throw that word as well.
    if error.kind == ErrorKind::Cancelled && super::context(call).cancel.is_cancelled() {
        return EvalAltResult::ErrorTerminated(Dynamic::UNIT, position).into();
    }
    if error.place.line == 0 {
        error.place = place(call.call_source().unwrap_or_default(), position);
        error
            .function
            .get_or_insert_with(|| call.fn_name().to_owned());
    }
    EvalAltResult::ErrorRuntime(Dynamic::from_map(to_map(&error)), position).into()
}

/// The map that `catch` receives.
#[must_use]
pub fn to_map(error: &Error) -> Map {
    let text = |text: &Option<String>| text.clone().map_or(Dynamic::UNIT, Dynamic::from);
    let number = |n: usize| Dynamic::from_int(i64::try_from(n).unwrap_or(0));
    let causes: rhai::Array = error
        .causes
        .iter()
        .map(|cause| Dynamic::from_map(to_map(cause)))
        .collect();
    [
        ("kind", error.kind.as_str().into()),
        ("message", error.message.clone().into()),
        ("retryable", error.kind.retryable().into()),
        ("hint", text(&error.hint)),
        ("causes", causes.into()),
        ("function", text(&error.function)),
        ("line", number(error.place.line)),
        ("column", number(error.place.column)),
        ("source", error.place.source.clone().into()),
        ("detail", to_dynamic(&error.detail).unwrap_or_default()),
    ]
    .into_iter()
    .map(|(key, value): (&str, Dynamic)| (key.into(), value))
    .collect()
}

/// Anything a `catch` can see, as an [`Error`].
#[must_use]
pub fn understand_caught(caught: &Dynamic) -> Error {
    let Some(map) = caught.read_lock::<Map>() else {
        let said = match caught.is_unit() {
            true => "something failed without a word".to_owned(),
            false => caught.to_string(),
        };
        return Error::new(ErrorKind::Script, said);
    };
    let wordless = || "something failed without a word".to_owned();
    let text = |key: &str| {
        map.get(key)
            .and_then(|v| v.clone().into_string().ok())
            .filter(|text| !text.is_empty())
    };
    let number = |key: &str| {
        map.get(key)
            .and_then(|v| v.as_int().ok())
            .and_then(|n| usize::try_from(n).ok())
    };
    let kind = text("kind").and_then(|kind| serde_json::from_value(kind.into()).ok());
    let message = match map.contains_key("error") {
        // Rhai's own: its text goes on with where it was, which `place` says.
        true => text("message").map(|text| bare(&text)),
        false => text("message"),
    };
    let message = message.unwrap_or_else(|| match map.contains_key("message") {
        true => wordless(),
        // A map somebody threw that is not ours: shown as it is.
        false => caught.to_string(),
    });
    let mut error = Error::new(kind.unwrap_or(ErrorKind::Script), message);
    error.hint = text("hint");
    error.function = text("function");
    error.place = Place {
        source: text("source").unwrap_or_default(),
        line: number("line").unwrap_or(0),
        column: number("column").or_else(|| number("position")).unwrap_or(0),
    };
    if map.contains_key("error")
        && let Some(place) = text("message").and_then(|text| innermost(&text))
    {
        // Rhai's keys tell where the outermost call stood.
        error.place.line = place.line;
        error.place.column = place.column;
        if !place.source.is_empty() {
            error.place.source = place.source;
        }
        error.function = text("message").and_then(|text| innermost_function(&text));
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

/// A function that was being executed when an error happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its name; nothing for a closure.
    pub function: Option<String>,
    /// Where it was called.
    pub called_at: Place,
}

/// An error with the calls that led to it, innermost first.
#[derive(Clone, Debug)]
pub struct Understood {
    /// The error, with its place.
    pub error: Error,
    /// The call trail.
    pub trail: Vec<Frame>,
}

/// What Rhai says -> an [`Error`] and the call trail. `source` is the file
/// that was run.
#[must_use]
pub fn understand(error: &EvalAltResult, source: &str) -> Understood {
    let mut trail: Vec<Frame> = Vec::new();
    let mut inner = error;
    let mut source = source.to_owned();
    loop {
        match inner {
            EvalAltResult::ErrorInFunctionCall(function, file, next, position) => {
                trail.insert(
                    0,
                    Frame {
                        function: (!function.starts_with("anon$")).then(|| function.clone()),
                        called_at: place(&source, *position),
                    },
                );
                if !file.is_empty() {
                    source.clone_from(file);
                }
                inner = next;
            }
            EvalAltResult::ErrorInModule(file, next, position) => {
                trail.insert(
                    0,
                    Frame {
                        function: Some(format!("import \"{file}\"")),
                        called_at: place(&source, *position),
                    },
                );
                source.clone_from(file);
                inner = next;
            }
            root => {
                let mut error = root_error(root);
                if error.place.line == 0 {
                    error.place = place(&source, root.position());
                }
                if error.place.source.is_empty() {
                    error.place.source = source;
                }
                return Understood { error, trail };
            }
        }
    }
}

/// The innermost error, without its place unless it brings one.
fn root_error(root: &EvalAltResult) -> Error {
    let script = |message: String| Error::new(ErrorKind::Script, message);
    match root {
        EvalAltResult::ErrorRuntime(thrown, _) if thrown.is_unit() => {
            script("the playbook threw ()".to_owned())
        }
        EvalAltResult::ErrorRuntime(thrown, _) => understand_caught(thrown),
        EvalAltResult::ErrorTerminated(..) => Error::cancelled(),
        EvalAltResult::ErrorParsing(parse, _) => script(lower_first(&parse.to_string())),
        EvalAltResult::ErrorFunctionNotFound(signature, _) => script(format!(
            "no function takes these arguments: {}",
            readable(signature)
        )),
        EvalAltResult::ErrorPropertyNotFound(name, _) => {
            script(format!("the map has no key `{name}`"))
        }
        EvalAltResult::ErrorVariableNotFound(name, _) => {
            script(format!("unknown variable `{name}`"))
        }
        EvalAltResult::ErrorModuleNotFound(path, _) => {
            script(format!("cannot import \"{path}\": no such file"))
        }
        EvalAltResult::ErrorStackOverflow(_) => {
            script("functions call each other too deeply".into())
        }
        EvalAltResult::ErrorDataTooLarge(what, _) => script(format!("too large: {what}")),
        other => {
            // Rhai puts the position behind its text; ours is shown with a caret.
            let text = other.to_string();
            let text = text
                .rsplit_once(" (line ")
                .map_or(text.as_str(), |(text, _)| text);
            script(lower_first(text))
        }
    }
}

/// Where Rhai's text says that it happened:
/// `.. @ 'file' (line 6, position 9)`.
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

/// `in call to function 'divide'` on Rhai's second line; nothing for a closure.
fn innermost_function(text: &str) -> Option<String> {
    let name = text
        .lines()
        .nth(1)?
        .strip_prefix("in call to function '")?
        .split('\'')
        .next()?;
    (!name.starts_with("anon$")).then(|| name.to_owned())
}

/// Rhai's text without the places behind it: ours are shown with a caret.
fn bare(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    let ends = [" @ '", " (line ", " (position "]
        .iter()
        .filter_map(|end| first.find(end));
    lower_first(&first[..ends.min().unwrap_or(first.len())])
}

/// Rhai's type names in a signature, as a person writes them.
fn readable(signature: &str) -> String {
    signature
        .replace("&str | ImmutableString | String", "string")
        .replace("i64", "integer")
        .replace("f64", "float")
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

fn place(source: &str, position: Position) -> Place {
    Place {
        source: source.to_owned(),
        line: position.line().unwrap_or(0),
        column: position.position().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_the_way_through_a_catch() {
        let error = Error::new(ErrorKind::Timeout, "no answer")
            .hint("try again")
            .detail(serde_json::json!({ "status": 3 }))
            .caused_by([Error::invalid("inner")]);
        let back = understand_caught(&Dynamic::from_map(to_map(&error)));
        assert_eq!(back, error);
    }

    #[test]
    fn rhais_own_errors_are_of_kind_script() {
        let engine = rhai::Engine::new();
        let caught: Dynamic = engine
            .eval("let e = (); try { nosuch(1) } catch (c) { e = c; } e")
            .unwrap();
        let error = understand_caught(&caught);
        assert_eq!(error.kind, ErrorKind::Script);
        assert!(error.message.contains("nosuch"), "{}", error.message);
        assert_eq!(understand_caught(&"text".into()).message, "text");
    }
}
