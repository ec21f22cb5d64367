//! Tests what a hostile or broken host can do to the program, with `tests/hostile`.

use std::process::Command;

use crate::support::{Lab, root};

/// Runs every attack of the script against the program.
#[test]
fn every_attack_by_a_host_is_refused() {
    // -B: leaves no compiled files beside the script.
    let attacks = Command::new(Lab::python())
        .arg("-B")
        .arg(root().join("tests/hostile/run.py"))
        .arg(env!("CARGO_BIN_EXE_autorun"))
        .output()
        .unwrap();
    let report = String::from_utf8(attacks.stdout).unwrap();
    let errors = String::from_utf8(attacks.stderr).unwrap();
    println!("{report}");
    assert!(attacks.status.success(), "{report}{errors}");
}
