//! Runs ended at every place where they can end, on the local cloud: `destroy`
//! leaves nothing, `resume` makes exactly one of each.
//!
//! Without a harness, so that what was counted is printed.

#[path = "../support/mod.rs"]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod support;

use std::process::{Command, ExitCode};

use support::cloud::LocalCloud;
use support::{Lab, root};

/// What sweep.py is asked for.
const SWEEPS: [&str; 4] = [
    "crash --part destroy",
    "crash --part resume",
    "crash --part removal",
    "faults",
];

fn main() -> ExitCode {
    let filters: Vec<String> = std::env::args().skip(1).collect();
    if filters.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let words: Vec<&String> = filters.iter().filter(|f| !f.starts_with('-')).collect();
    let wanted = |what: &str| words.is_empty() || words.iter().any(|w| what.contains(w.as_str()));
    let mut ok = true;
    // Each on a cloud of its own: hundreds of terminated instances are slow.
    for what in SWEEPS.into_iter().filter(|what| wanted(what)) {
        let cloud = LocalCloud::start();
        let sweep = Command::new(Lab::python())
            .arg(root().join("tests/crash/sweep.py"))
            .arg(env!("CARGO_BIN_EXE_autorun"))
            .args(what.split(' '))
            .env("AUTORUN_CLOUD_HOME", cloud.home())
            .status();
        ok &= sweep.is_ok_and(|status| status.success());
    }
    match ok {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
