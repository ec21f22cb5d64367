//! Lines for the log.

use rhai::plugin::*;
use rhai::{Dynamic, NativeCallContext};

use crate::report::Level;
use crate::script::{self, Outcome};

#[export_module]
pub mod api {
    /// Logs for finding out why; shown with `-v`.
    ///
    /// ```rhai
    /// log_debug("about to ask");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn log_debug(call: NativeCallContext, message: Dynamic) -> Outcome<Dynamic> {
        super::log(&call, Level::Debug, &message)
    }

    /// Logs what was done.
    ///
    /// ```rhai
    /// log_info("the server is up");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn log_info(call: NativeCallContext, message: Dynamic) -> Outcome<Dynamic> {
        super::log(&call, Level::Info, &message)
    }

    /// Logs what deserves attention.
    ///
    /// ```rhai
    /// log_warn("the disk is nearly full");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn log_warn(call: NativeCallContext, message: Dynamic) -> Outcome<Dynamic> {
        super::log(&call, Level::Warn, &message)
    }

    /// Logs what failed. The playbook goes on; `fail` stops it.
    ///
    /// ```rhai
    /// log_error("the backup did not work");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn log_error(call: NativeCallContext, message: Dynamic) -> Outcome<Dynamic> {
        super::log(&call, Level::Error, &message)
    }
}

fn log(call: &NativeCallContext, level: Level, message: &Dynamic) -> Outcome<Dynamic> {
    script::run_quietly(call, |cx| {
        cx.report.log(level, message.to_string());
        Ok(())
    })
}
