//! What commands write where no run reports: answers to stdout, complaints to
//! stderr.

use std::io::Write as _;

use crate::report::text;

/// Writes to stderr where there is no reporter.
pub(super) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Breaks long lines as reports do; a place is to be copied whole.
pub(super) fn fitted(text: &str) -> String {
    let lines = text.lines().map(|line| match line {
        line if line.starts_with("  -->") => line.to_owned(),
        line if line.starts_with("hint:") => text::wrap(line, 6),
        line => text::wrap(line, 2),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Writes a result to stdout; a reader that went away is no failure.
pub(super) fn answer(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
