//! Fuzzing: the check, the language server, variables files and option maps get texts
//! that are almost right. They must answer, and must not panic.
//!
//! Each target runs for `AUTORUN_FUZZ_SECONDS` seconds, 3 by default, with the seed
//! `AUTORUN_FUZZ_SEED`, random by default. The last input of a target is in a file in
//! `target/fuzz`, also if the process was aborted. A finding becomes a file in
//! `tests/fuzz/found`, which the target checks first.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(
    clippy::print_stdout,
    reason = "seeds and counts are shown with a failure"
)]

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[path = "../support/mod.rs"]
mod support;

mod lsp;
mod mutation;
mod options;
mod scripts;
mod vars;

use mutation::Mutator;
use support::root;

/// How long a target runs, and with which inputs.
struct Budget {
    name: &'static str,
    end: Instant,
    seed: u64,
    count: u64,
}

impl Budget {
    fn new(name: &'static str) -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
        let seconds = number("AUTORUN_FUZZ_SECONDS").unwrap_or(3);
        let seed = number("AUTORUN_FUZZ_SEED").unwrap_or_else(rand::random);
        println!("{name}: AUTORUN_FUZZ_SEED={seed}");
        Self {
            name,
            end: Instant::now() + Duration::from_secs(seconds),
            seed,
            count: 0,
        }
    }

    /// Returns whether there is time for another input.
    fn has_more(&mut self) -> bool {
        self.count += 1;
        Instant::now() < self.end
    }

    /// Writes the input that comes next to a file.
    fn note(&self, input: &str) -> PathBuf {
        let directory = root().join("target/fuzz");
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join(format!("{}.input", self.name));
        fs::write(&path, input).unwrap();
        path
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        println!("{}: {} inputs", self.name, self.count);
    }
}

/// Returns the inputs that were once a finding of a target.
fn found(target: &str) -> Vec<String> {
    let folder = format!("tests/fuzz/found/{target}");
    if !root().join(&folder).is_dir() {
        return Vec::new();
    }
    mutation::texts(root(), &[&folder], "txt")
}

/// The playbooks of the project: correct ones, and those with a mistake.
fn playbooks() -> Vec<String> {
    let folders = [
        "playbooks",
        "tests/check/correct",
        "tests/check/wrong",
        "tests/diagnostics",
        "tests/primitives",
    ];
    mutation::texts(root(), &folders, "rhai")
}
