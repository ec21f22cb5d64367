//! A log record as the console shows it.

use log::{Level as LogLevel, Record};

use super::live::Live;
use super::text;

/// Marks a record whose lines must not be broken.
pub(super) const AS_IT_IS: &str = "as it is";

/// `[branch] `, or nothing outside `parallel`.
pub(super) fn prefix(record: &Record) -> String {
    match record.target() {
        "" => String::new(),
        branch => format!("[{branch}] "),
    }
}

/// A record with its heading, broken to fit a terminal.
pub(super) fn console_line(record: &Record, color: bool, terminal: bool) -> String {
    let message = record.args().to_string();
    let (heading, code) = match record.level() {
        LogLevel::Error => ("error:", "1;31"),
        LogLevel::Warn => ("warning:", "1;33"),
        LogLevel::Info => ("", ""),
        LogLevel::Debug | LogLevel::Trace => ("debug:", "2"),
    };
    // A rendered error brings its own heading.
    let said = match message.strip_prefix(heading) {
        Some(rest) if !heading.is_empty() => rest.trim_start(),
        _ => &message,
    };
    let space = if heading.is_empty() { "" } else { " " };
    let line = format!("{}{heading}{space}{said}", prefix(record));
    let line = match record.module_path() {
        None if terminal => text::wrap_to(&line, 2, Live::columns()),
        _ => line,
    };
    if color && !heading.is_empty() {
        line.replacen(heading, &format!("\x1b[{code}m{heading}\x1b[0m"), 1)
    } else {
        line
    }
}
