//! Ends runs at every possible place, on the local cloud: afterwards `destroy`
//! leaves nothing, and `resume` creates exactly one of each resource. Runs are also
//! stopped there until another machine has taken them over.
//!
//! Without a harness, so that the counts are printed. `AUTORUN_SWEEP` is
//! `full` for every place, or the seed of a sample.

#[path = "../support/mod.rs"]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod support;

use std::process::{Command, ExitCode};

use support::cloud::LocalCloud;
use support::{Lab, root};

/// The arguments of sweep.py, and the number of places in a sample.
const SWEEPS: [(&str, &str); 32] = [
    ("crash --part destroy", "40"),
    ("crash --part resume", "25"),
    ("crash --part removal", "20"),
    (
        "crash --part destroy --playbook tests/crash/large.rhai",
        "6",
    ),
    ("crash --part resume --playbook tests/crash/large.rhai", "6"),
    // Two jobs where addresses are allocated: an account has at most 5.
    (
        "crash --part destroy --playbook tests/crash/addresses.rhai --jobs 2",
        "6",
    ),
    (
        "crash --part resume --playbook tests/crash/addresses.rhai --jobs 2",
        "8",
    ),
    ("faults --playbook tests/crash/addresses.rhai --jobs 2", "8"),
    (
        "crash --part destroy --playbook tests/crash/images.rhai",
        "6",
    ),
    (
        "crash --part resume --playbook tests/crash/images.rhai",
        "6",
    ),
    ("faults --playbook tests/crash/images.rhai", "6"),
    (
        "crash --part destroy --playbook tests/crash/network.rhai --jobs 2",
        "8",
    ),
    (
        "crash --part resume --playbook tests/crash/network.rhai --jobs 2",
        "8",
    ),
    (
        "crash --part removal --playbook tests/crash/network.rhai --jobs 2",
        "5",
    ),
    (
        "crash --part destroy --playbook tests/crash/types.rhai",
        "8",
    ),
    (
        "crash --part resume --playbook tests/crash/types.rhai",
        "10",
    ),
    ("faults --playbook tests/crash/types.rhai", "12"),
    (
        "crash --part destroy --playbook tests/crash/volumes.rhai",
        "8",
    ),
    (
        "crash --part resume --playbook tests/crash/volumes.rhai",
        "8",
    ),
    (
        "crash --part removal --playbook tests/crash/volumes.rhai",
        "5",
    ),
    ("faults --playbook tests/crash/volumes.rhai", "8"),
    (
        "crash --part destroy --playbook tests/crash/fleet.rhai",
        "8",
    ),
    (
        "crash --part resume --playbook tests/crash/fleet.rhai",
        "12",
    ),
    ("faults --playbook tests/crash/fleet.rhai", "12"),
    ("faults", "25"),
    ("faults --playbook tests/crash/network.rhai --jobs 2", "8"),
    // A ledger in a bucket, and another machine after each crash.
    ("crash --part destroy --shared", "12"),
    ("crash --part resume --shared", "10"),
    ("crash --part removal --shared", "6"),
    ("contend --part run --shared", "12"),
    ("contend --part removal --shared", "6"),
    ("moves --playbook tests/crash/moved.rhai --shared", "6"),
];

fn main() -> ExitCode {
    let filters: Vec<String> = std::env::args().skip(1).collect();
    if filters.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let words: Vec<&String> = filters.iter().filter(|f| !f.starts_with('-')).collect();
    let wanted = |what: &str| words.is_empty() || words.iter().any(|w| what.contains(w.as_str()));
    let seed = std::env::var("AUTORUN_SWEEP").unwrap_or_else(|_| "0".to_owned());
    let mut ok = true;
    // Each sweep has its own cloud: hundreds of terminated instances are slow.
    for (what, size) in SWEEPS.into_iter().filter(|(what, _)| wanted(what)) {
        let sample = match &*seed {
            "full" => vec![],
            seed => vec!["--sample", size, "--seed", seed],
        };
        let cloud = LocalCloud::start();
        let sweep = Command::new(Lab::python())
            .arg(root().join("tests/crash/sweep.py"))
            .arg(env!("CARGO_BIN_EXE_autorun"))
            .args(what.split(' '))
            .args(sample)
            .env("AUTORUN_CLOUD_HOME", cloud.home())
            .status();
        ok &= sweep.is_ok_and(|status| status.success());
    }
    if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
