//! Log messages of a playbook.

use rhai::plugin::*;
use rhai::{Dynamic, NativeCallContext};

use crate::report::Level;
use crate::script::{self, Outcome};

#[export_module(manifest)]
pub mod api {
    /// Logs a debug message, which is shown only with `-v`.
    ///
    /// ```rhai
    /// log_debug("connecting to the database");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn log_debug(call: NativeCallContext, message: Dynamic) -> Outcome<Dynamic> {
        super::log(&call, Level::Debug, &message)
    }

    /// Logs a message about normal progress.
    ///
    /// ```rhai
    /// log_info("the server is up");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn log_info(call: NativeCallContext, message: Dynamic) -> Outcome<Dynamic> {
        super::log(&call, Level::Info, &message)
    }

    /// Logs a warning.
    ///
    /// ```rhai
    /// log_warn("the disk is nearly full");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn log_warn(call: NativeCallContext, message: Dynamic) -> Outcome<Dynamic> {
        super::log(&call, Level::Warn, &message)
    }

    /// Logs an error message.
    ///
    /// The playbook continues; to stop it, use `fail`.
    ///
    /// ```rhai
    /// log_error("the backup failed");
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
