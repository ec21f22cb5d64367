//! Variables of a playbook and facts about its run.
//!
//! Declarations are read before anything runs (`playbook::variables`); here
//! only their settled values are handed out.

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};

use crate::context::Context;
use crate::error::{Error, Result};
use crate::report::{SHORTEST, is_too_short};
use crate::script::{self, Outcome};

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
    /// - `type` (string): `string`, `int`, `float`, `bool`, `array` or `map`;
    ///   without it the default's type.
    /// - `default`: the value if none is set; without it one must be set.
    /// - `choices` (array): the values allowed.
    /// - `pattern` (string): a regular expression that the whole text matches.
    /// - `secret` (bool, false): masked in every output, also in base64, in
    ///   hexadecimal digits, and as URLs, JSON, HTML and shells write it; not
    ///   what a playbook makes of it, as a part, its upper case or a digest. It
    ///   must have 6 characters at least; an empty default stands for none.
    /// - `help` (string): shown by `autorun docs PLAYBOOK`.
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
