//! Formats log records for the console.

use log::{Level as LogLevel, Record};

use super::live::Live;
use super::text;

/// Marks a record whose lines must not be wrapped.
pub(super) const VERBATIM: &str = "verbatim";

/// Returns `[branch] `, or an empty string outside `parallel`.
pub(super) fn prefix(record: &Record) -> String {
    match record.target() {
        "" => String::new(),
        branch => format!("[{branch}] "),
    }
}

/// Formats a record with its heading, wrapped for a terminal.
pub(super) fn console_line(record: &Record, color: bool, terminal: bool) -> String {
    let message = record.args().to_string();
    let (heading, code) = match record.level() {
        LogLevel::Error => ("error:", "1;31"),
        LogLevel::Warn => ("warning:", "1;33"),
        LogLevel::Info => ("", ""),
        LogLevel::Debug | LogLevel::Trace => ("debug:", "2"),
    };
    // A rendered error already has the heading.
    let body = match message.strip_prefix(heading) {
        Some(rest) if !heading.is_empty() => rest.trim_start(),
        _ => &message,
    };
    let space = if heading.is_empty() { "" } else { " " };
    let line = format!("{}{heading}{space}{body}", prefix(record));
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
