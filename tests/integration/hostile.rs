//! What a hostile or broken host can do to us, by `tests/hostile`.

use std::process::Command;

use crate::support::{Lab, root};

/// Runs every trick against the program.
#[test]
fn every_trick_of_a_host_is_refused() {
    // -B: nothing compiled is left beside it.
    let tried = Command::new(Lab::python())
        .arg("-B")
        .arg(root().join("tests/hostile/run.py"))
        .arg(env!("CARGO_BIN_EXE_autorun"))
        .output()
        .unwrap();
    let said = String::from_utf8(tried.stdout).unwrap();
    let trouble = String::from_utf8(tried.stderr).unwrap();
    println!("{said}");
    assert!(tried.status.success(), "{said}{trouble}");
}
