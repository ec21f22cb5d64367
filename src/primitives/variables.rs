//! Variables of a playbook and facts about its run.
//!
//! Declarations are read before anything runs (`playbook::variables`); here
//! only their settled values are handed out.

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};

use crate::context::Context;
use crate::error::{Error, Result};
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
    /// Instead of default and help a map may be given:
    ///
    /// - `type` (string): `string`, `int`, `float`, `bool`, `array` or `map`;
    ///   without it the default's type.
    /// - `default`: the value if none is set; without it one must be set.
    /// - `choices` (array): the values allowed.
    /// - `pattern` (string): a regular expression that the whole text matches.
    /// - `secret` (bool, false): masked in every output, as it is; not what a
    ///   playbook makes of it, as a part or its upper case.
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

fn var(cx: &Context, name: &str) -> Result<serde_json::Value> {
    cx.variables
        .get(name)
        .cloned()
        .ok_or_else(|| Error::internal(format!("variable `{name}` was not read before the run")))
}
