//! Output of commands that have no reporter: results to stdout, messages to
//! stderr.

use std::io::Write as _;

use crate::report::text;

/// Writes a message to stderr.
pub(super) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Wraps long lines as the reporter does. A line with a place stays whole, so
/// that it can be copied.
pub(super) fn fitted(text: &str) -> String {
    let lines = text.lines().map(|line| match line {
        line if line.starts_with("  -->") => line.to_owned(),
        line if line.starts_with("hint:") => text::wrap(line, 6),
        line => text::wrap(line, 2),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Writes a result to stdout. A closed stdout is not an error.
pub(super) fn answer(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
