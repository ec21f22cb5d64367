//! Variables of a playbook and facts about its run.
//!
//! Declarations are read before anything runs (`playbook::variables`); here
//! only their settled values are handed out.

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::report::{SHORTEST, is_too_short};
use crate::script::{self, Declared, Outcome};

#[export_module]
pub mod api {
    /// Declares a variable that the caller may set, and gives its value.
    ///
    /// Stands at the top level with literal arguments, so that names and types
    /// are checked before anything runs. The type is the default's. Set it by
    /// `--set name=value`, `--vars FILE` or the environment's
    /// `AUTORUN_VAR_name`; the first of these that gives a value counts.
    ///
    /// `--set name=@FILE` gives it a file's text, and `--set name=cmd:COMMAND`
    /// what a shell command prints, without its last newline: `cmd:pass show db`
    /// asks a password manager, which may ask on the terminal. Of a secret the
    /// ledger keeps the command, not the value, and `autorun resume` runs it
    /// again. `@@` and `cmd::` begin a value with `@` and `cmd:`. In files and
    /// in the environment all of these are plain text.
    ///
    /// Instead of default and help a map may be given:
    ///
    /// ```rhai
    /// let name = var("name", "web", "Prefix of what this run creates");
    /// let size = var("size", #{ type: "int", default: 8, help: "GiB of disk" });
    /// assert(name == "web" && size == 8);
    /// ```
    #[rhai_fn(name = "var", return_raw)]
    pub fn var_with_help(
        call: NativeCallContext,
        name: ImmutableString,
        default: Dynamic,
        help: ImmutableString,
    ) -> Outcome<Dynamic> {
        let _ = (default, help);
        script::run_quietly(&call, |cx| super::var(cx, &name))
    }

    #[rhai_fn(name = "var", return_raw)]
    pub fn var_with_options(
        call: NativeCallContext,
        name: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        let _ = options;
        script::run_quietly(&call, |cx| super::var(cx, &name))
    }

    /// Makes a text a secret from here on, and gives it.
    ///
    /// For what is no variable: a value of `env` or `read_file`, a password that
    /// the playbook makes. It is masked in every output as a secret variable is,
    /// and refused where others could read it: in names, tags and the arguments
    /// of programs. What was written before stays as it is.
    ///
    /// Throws `invalid_option` when it has fewer than 6 characters.
    ///
    /// ```rhai
    /// let password = secret(uuid());
    /// print(password);                        // ****
    /// ```
    #[rhai_fn(return_raw)]
    pub fn secret(call: NativeCallContext, text: ImmutableString) -> Outcome<Dynamic> {
        script::run_quietly(&call, |cx| {
            super::declare_secret(cx, "argument `text`", &text)?;
            Ok(text.to_string())
        })
    }

    /// Gives the short random id of this run, for names that never collide.
    ///
    /// Everything the run makes carries it in the tag `autorun:run`.
    ///
    /// ```rhai
    /// let name = "web-" + run_id();
    /// ```
    #[rhai_fn(return_raw)]
    pub fn run_id(call: NativeCallContext) -> Outcome<Dynamic> {
        script::run_quietly(&call, |cx| Ok(cx.ledger.run().to_owned()))
    }
}

pub(super) const DECLARED: &[Declared] = &[Declared::of("var").takes::<Declaration>("options")];

/// The declaration of a variable as a map.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// `string`, `int`, `float`, `bool`, `array` or `map`; without it the
    /// default's type.
    pub r#type: Option<VariableType>,
    /// The value if none is set; without it one must be set.
    pub default: Option<Value>,
    /// The values allowed.
    pub choices: Option<Vec<Value>>,
    /// A regular expression that the whole text matches.
    pub pattern: Option<String>,
    /// Masked in every output, also in base64, in hexadecimal digits, and as
    /// URLs, JSON, HTML and shells write it; not what a playbook makes of it, as
    /// a part, its upper case or a digest. It must have 6 characters at least;
    /// an empty default stands for none.
    #[serde(default)]
    pub secret: bool,
    /// Shown by `autorun docs PLAYBOOK`.
    #[serde(default)]
    pub help: String,
}

/// Type of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VariableType {
    /// Text.
    String,
    /// Whole number.
    Int,
    /// Number.
    Float,
    /// `true` or `false`.
    Bool,
    /// Several values.
    Array,
    /// Names with values.
    Map,
}

impl VariableType {
    /// As it is written in a playbook.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Int => "int",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Array => "array",
            Self::Map => "map",
        }
    }

    /// The type of a value; none of nothing.
    #[must_use]
    pub fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => return None,
            Value::Bool(_) => Self::Bool,
            Value::Number(n) if n.is_f64() => Self::Float,
            Value::Number(_) => Self::Int,
            Value::String(_) => Self::String,
            Value::Array(_) => Self::Array,
            Value::Object(_) => Self::Map,
        })
    }

    /// Whether a value is of this type; a whole number is also a float.
    #[must_use]
    pub fn fits(self, value: &Value) -> bool {
        match Self::of(value) {
            Some(Self::Int) => matches!(self, Self::Int | Self::Float),
            Some(kind) => kind == self,
            None => false,
        }
    }
}

/// Has a text masked from here on. `what` names it.
pub(super) fn declare_secret(cx: &Context, what: &str, text: &str) -> Result<()> {
    if is_too_short(text) {
        return Err(Error::invalid(format!(
            "{what}: a secret has {SHORTEST} characters at least"
        ))
        .hint("a shorter one cannot be masked in the output, and is soon guessed"));
    }
    cx.report.mask().add(text);
    Ok(())
}

fn var(cx: &Context, name: &str) -> Result<serde_json::Value> {
    cx.variables
        .get(name)
        .cloned()
        .ok_or_else(|| Error::internal(format!("variable `{name}` was not read before the run")))
}
