//! Variables of a playbook and facts about its run.
//!
//! `playbook::variables` reads the declarations and settles the values before
//! the playbook runs. `var` only returns the settled value.

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::report::{SHORTEST, is_too_short};
use crate::script::{self, Declared, Outcome};

#[export_module(manifest)]
pub mod api {
    /// Declares a variable and returns its value.
    ///
    /// There are three ways to set the variable from outside the playbook, in
    /// order of precedence: `--set name=value`, `--vars FILE`, and the
    /// environment variable `AUTORUN_VAR_name`. Without any of them, it has its
    /// default. The type of the variable is the type of its default. A missing
    /// or wrong value is an error before the playbook runs.
    ///
    /// The call must be at the top level of the playbook and its arguments must
    /// be literals, because autorun checks all names and types before it runs
    /// the playbook.
    ///
    /// `--set name=@FILE` sets the variable to the text of a file.
    /// `--set name=cmd:COMMAND` sets it to the output of a shell command
    /// without the last newline; for example, `cmd:pass show db` runs a
    /// password manager, which may ask for input on the terminal. For a secret,
    /// the ledger keeps the command instead of the value, and `autorun resume`
    /// runs the command again. To pass a value that begins with `@` or `cmd:`,
    /// write `@@` or `cmd::`. In files and in the environment, all of these are
    /// plain text.
    ///
    /// A map of options can replace the default and the help text.
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

    /// Marks a text as a secret and returns the text.
    ///
    /// Use it for secrets that do not come from a variable: a result of `env`
    /// or `read_file`, or a password that the playbook generates. From this
    /// call on the text is masked in every output, as a secret variable is, and
    /// refused where other users could read it: in names, tags and the
    /// arguments of programs. Earlier output stays as it is.
    ///
    /// Throws `invalid_option` if the text has fewer than 6 characters.
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

    /// Declares that the playbook may run again while instances of an earlier
    /// run are up.
    ///
    /// Call it in a playbook whose runs belong together, such as one that
    /// replaces the instances of the run before. Without this call, autorun
    /// asks before it runs a playbook that calls `launch_instance` if instances
    /// of an earlier run of the same playbook and name are up. Without a
    /// terminal it refuses, unless the caller passes `--again`. The call has
    /// this effect wherever it is in the playbook.
    ///
    /// ```rhai
    /// allow_again();
    /// ```
    #[rhai_fn(return_raw)]
    pub fn allow_again(call: NativeCallContext) -> Outcome<Dynamic> {
        script::run_quietly(&call, |_| Ok(()))
    }

    /// Returns the short random id of this run.
    ///
    /// Use it to make names unique. Every AWS resource that the run creates has
    /// this id in its tag `autorun:run`.
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
    /// `string`, `int`, `float`, `bool`, `array` or `map`. The default is the
    /// type of `default`.
    pub r#type: Option<VariableType>,
    /// The value if the caller sets none. Without a default, the variable must
    /// be set.
    pub default: Option<Value>,
    /// The allowed values.
    pub choices: Option<Vec<Value>>,
    /// A regular expression that the whole text must match, or each text of an
    /// array.
    pub pattern: Option<String>,
    /// Mask the value in every output, also if it is encoded in base64, in
    /// hexadecimal digits, or as in URLs, JSON, HTML and shells. Values that
    /// the playbook derives from it (a part, its upper case, a digest) are not
    /// masked. A secret must have at least 6 characters; an empty default means
    /// that there is no secret.
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
    /// The name of the type in a playbook.
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

    /// Returns the type of a value, `None` for `null`.
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

    /// Returns whether a value has this type. A whole number is also a float.
    #[must_use]
    pub fn fits(self, value: &Value) -> bool {
        match Self::of(value) {
            Some(Self::Int) => matches!(self, Self::Int | Self::Float),
            Some(kind) => kind == self,
            None => false,
        }
    }
}

/// Masks a text from now on. `what` names the text in the error.
pub(super) fn declare_secret(cx: &Context, what: &str, text: &str) -> Result<()> {
    if is_too_short(text) {
        return Err(Error::invalid(format!(
            "{what}: a secret must have at least {SHORTEST} characters"
        ))
        .hint("use a longer secret: a short one cannot be masked and is easy to guess"));
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
