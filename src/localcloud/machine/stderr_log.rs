//! The log of the zygote and of inits: standard error. In the zygote that is
//! its log file, in an init the machine's console. Both have a bounded size.

use std::io::Write;

use log::{LevelFilter, Log, Metadata, Record};
use nix::sys::stat::{SFlag, fstat};

use super::super::logbook::{self, Limiter};

/// The length in bytes from which a file gets no more lines.
const LONGEST: i64 = 5 << 20;

#[derive(Default)]
struct StandardError(Limiter);

impl StandardError {
    fn has_room() -> bool {
        fstat(std::io::stderr()).is_ok_and(|found| {
            let is_file =
                SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG;
            !is_file || found.st_size < LONGEST
        })
    }
}

impl Log for StandardError {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        if !self.0.allows(record.target()) || !Self::has_room() {
            return;
        }
        let line = logbook::line(&record.args().to_string());
        // If this write fails, there is no other place to report it.
        let _ = write!(std::io::stderr(), "autorun: {line}\r\n");
    }

    fn flush(&self) {}
}

/// Directs the log messages of this process to standard error.
pub(super) fn start() {
    if log::set_boxed_logger(Box::new(StandardError::default())).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}
