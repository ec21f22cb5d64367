//! Conversion of errors to Rhai, for a playbook, and from Rhai, for the report.

use rhai::{Dynamic, EvalAltResult, Map, NativeCallContext, Position};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::call_context::context;
use super::caught::{lower_first, understand_caught};
use super::options::to_dynamic;
use crate::error::{Error, ErrorKind, Place};

/// Converts an error for the script: `catch` receives a map. A cancelled run is
/// terminated instead, which no `catch` can prevent.
#[must_use]
pub fn throw(call: &NativeCallContext, mut error: Error) -> Box<EvalAltResult> {
    let position = call.call_position();
    // Only a signal cancels the run: a playbook may throw an error of the kind
    // `cancelled` too.
    if error.kind == ErrorKind::Cancelled && context(call).cancel.is_cancelled() {
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
#[derive(Serialize, JsonSchema)]
pub struct ErrorInfo {
    /// Kind of the error.
    #[schemars(with = "ErrorKind")]
    kind: &'static str,
    /// What failed and why, without a final period.
    message: String,
    /// Whether the same call may succeed a little later.
    retryable: bool,
    /// What to do about the error.
    hint: Option<String>,
    /// Errors that led to this one, as maps like this one, nearest first. For
    /// `parallel` and arrays of hosts, all failures.
    #[schemars(with = "Vec<Value>")]
    causes: Vec<ErrorInfo>,
    /// In the causes: the host, or the item of `parallel`, on which it failed.
    on: Option<String>,
    /// Name of the function that failed.
    function: Option<String>,
    /// Line of the failed call, counted from 1; 0 if unknown.
    line: usize,
    /// Column of the failed call, counted from 1; 0 if unknown.
    column: usize,
    /// Path of the playbook or of the imported file.
    source: String,
    /// Further facts, such as `status`, `stdout` and `stderr` of a command, or
    /// `code` and `request_id` of AWS; `()` for most errors.
    #[schemars(with = "Value")]
    detail: Dynamic,
}

impl ErrorInfo {
    fn new(error: &Error) -> Self {
        Self {
            kind: error.kind.as_str(),
            message: error.to_string(),
            retryable: error.kind.retryable(),
            hint: error.hint.clone(),
            causes: error.causes.iter().map(Self::new).collect(),
            on: error.on.clone(),
            function: error.function.clone(),
            line: error.place.line,
            column: error.place.column,
            source: error.place.source.clone(),
            detail: to_dynamic(&error.detail).unwrap_or_default(),
        }
    }
}

/// Converts an error to the map that `catch` receives.
#[must_use]
pub fn to_map(error: &Error) -> Map {
    let map = to_dynamic(&ErrorInfo::new(error)).ok();
    map.and_then(Dynamic::try_cast).unwrap_or_default()
}

/// A function that was running when an error occurred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its name; `None` for a closure.
    pub function: Option<String>,
    /// The place of the call.
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

/// Converts an error of Rhai to an [`Error`] and the call trail. `source` is the
/// file that was run.
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

/// Converts the innermost error. Its place is set only if the error has its own.
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
            "no function accepts these arguments: {}",
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
        EvalAltResult::ErrorStackOverflow(_) => script("too many nested function calls".into()),
        EvalAltResult::ErrorDataTooLarge(what, _) => script(format!("too large: {what}")),
        other => {
            // Rhai appends the position to its message. The report shows the place
            // with a caret instead.
            let text = other.to_string();
            let place = format!(" ({})", other.position());
            script(lower_first(text.strip_suffix(&place).unwrap_or(&text)))
        }
    }
}

/// Replaces Rust's type names in a signature.
fn readable(signature: &str) -> String {
    signature
        .replace("&str | ImmutableString | String", "string")
        .replace("i64", "integer")
        .replace("f64", "float")
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
    fn an_error_is_unchanged_after_a_catch() {
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
        assert!(error.to_string().contains("nosuch"), "{error}");
        assert_eq!(understand_caught(&"text".into()).to_string(), "text");
    }
}
