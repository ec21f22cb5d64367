//! The log of zygote and inits: standard error, which is the zygote's log file
//! in the one, the machine's console in the others.

use std::io::Write;

use log::{LevelFilter, Log, Metadata, Record};

struct StandardError;

impl Log for StandardError {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        // There is no other place to say that this one cannot be written.
        let _ = write!(std::io::stderr(), "autorun: {}\r\n", record.args());
    }

    fn flush(&self) {}
}

/// Makes it the log of this process.
pub(super) fn start() {
    if log::set_logger(&StandardError).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}
