//! The log of zygote and inits: standard error, which is the zygote's log file
//! in the one, the machine's console in the others. Both have a bounded size.

use std::io::Write;

use log::{LevelFilter, Log, Metadata, Record};
use nix::sys::stat::{SFlag, fstat};

use super::super::logbook::{self, Limiter};

/// A file that has this many bytes gets no more lines.
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
        // There is no other place to say that this one cannot be written.
        let _ = write!(std::io::stderr(), "autorun: {line}\r\n");
    }

    fn flush(&self) {}
}

/// Makes it the log of this process.
pub(super) fn start() {
    if log::set_boxed_logger(Box::new(StandardError::default())).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}
