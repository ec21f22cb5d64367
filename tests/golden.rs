//! Runs the playbooks that need neither a lab nor a local cloud: those that make their
//! assertions in Rhai (`primitives/`), and those that fail, with the error text that
//! the user sees (`diagnostics/`). `playbooks.rs` runs the others and describes the
//! lines at their heads.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::process::ExitCode;

use support::Autorun;
use support::rows::{self, Row};

mod support;

fn primitive(row: &Row) {
    row.check(row.run(Autorun::new()));
}

fn diagnostic(row: &Row) {
    row.check_golden(|row| row.run(Autorun::new()));
}

fn main() -> ExitCode {
    let of = |directory: &str| {
        let rows = Row::all(directory);
        rows.into_iter().filter(Row::needs_nothing)
    };
    let primitives = of("tests/primitives").map(|row| row.trial("primitive", primitive));
    let diagnostics = of("tests/diagnostics").map(|row| row.trial("diagnostic", diagnostic));
    rows::main(primitives.chain(diagnostics).collect())
}
