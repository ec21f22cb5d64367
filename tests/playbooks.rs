//! Tests that are playbooks, one per file: playbooks that make their assertions
//! in Rhai (`primitives/`), and playbooks that fail, with the error output that
//! the user sees (`diagnostics/`).
//!
//! The playbooks in `primitives/` run twice, against moto in the lab and against
//! the local cloud. Where both can provide the scenario, they must agree.
//!
//! Lines at the head of a file specify how it runs. `// lab: JSON` gives the
//! playbook its own lab with these settings, or its own instance, if it would
//! disturb other tests in the shared one (`none`: it needs no lab, and
//! `golden.rs` runs it). `// lab only: WHY` skips it on the local cloud, and `//
//! cloud only: WHY` in the lab. `// args: ..` adds arguments, and `// call: ..`
//! replaces the playbook with these arguments. `// exit: N` is the expected exit status. `// stdout: ..` and `//
//! stderr: ..` must occur in the output, and `// not: ..` must not. `// faults:
//! {"RunInstances": {"code": .., "status": .., "message": ..}}` lets the local
//! cloud return this error. `// kind: NAME` is the expected `err.kind`. `// user:
//! other` runs the playbook as an unprivileged user.
//! `BLESS=1` rewrites the `.stderr` files.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::process::{Command, ExitCode};
use std::sync::LazyLock;

use serde_json::{Value, json};
use support::cloud::{LocalCloud, faults_for};
use support::rows::{self, Row};
use support::{Autorun, Ended, Lab};

mod support;

/// The lab of all playbooks without settings.
static LAB: LazyLock<Lab> = LazyLock::new(|| Lab::start(&json!({})));

/// The local cloud of all playbooks.
static CLOUD: LazyLock<LocalCloud> = LazyLock::new(LocalCloud::start);

/// An instance that replaces the lab's host without restrictions.
static INSTANCE: LazyLock<Instance> = LazyLock::new(Instance::launch);

fn run_in_lab(row: &Row) -> Ended {
    let own: Option<Lab>;
    let autorun = match row.directive("lab").as_deref() {
        None => LAB.autorun(),
        Some("none") => Autorun::new(),
        Some(settings) => {
            let settings: Value = serde_json::from_str(settings).unwrap();
            own = Some(Lab::start(&settings));
            own.as_ref().unwrap().autorun()
        }
    };
    row.run(autorun)
}

fn primitive(row: &Row) {
    row.check(run_in_lab(row));
}

/// Returns the faults that correspond to a row's lab settings, or `None` if the
/// row is only for the lab.
fn faults_of(row: &Row) -> Option<Value> {
    if row.directive("lab only").is_some() {
        return None;
    }
    let settings = row.directive("lab").unwrap_or_else(|| "{}".to_owned());
    let settings: Value = serde_json::from_str(&settings).unwrap();
    let faults = faults_for(&settings);
    Some(faults.unwrap_or_else(|| {
        let file = row.path.display();
        panic!("{file}: the local cloud has no fault for {settings}: add `lab only`")
    }))
}

/// A run on the local cloud with these faults.
fn with_faults(faults: &Value) -> Autorun {
    let autorun = CLOUD.autorun();
    let file = autorun.home.path().join("faults.toml");
    fs::write(&file, toml::to_string(faults).unwrap()).unwrap();
    autorun.args(["--faults", &file.display().to_string()])
}

/// Runs the same playbook on the local cloud, with faults in place of the lab's
/// settings.
fn primitive_on_local_cloud(row: &Row) {
    let autorun = with_faults(&faults_of(row).unwrap());
    let ended = match row.text.contains(support::HOST) {
        true if row.directive("lab").is_some() => Instance::launch().run(autorun, row),
        true => INSTANCE.run(autorun, row),
        false => row.run(autorun),
    };
    row.check(ended);
}

/// Checks the error output of a failing playbook, in a lab or on a local cloud
/// that returns the row's errors.
fn diagnostic(row: &Row) {
    row.check_golden(|row| match row.directive("faults") {
        None => run_in_lab(row),
        Some(rules) => {
            let rules: Value = serde_json::from_str(&rules).unwrap();
            let faults = faults_for(&json!({ "fail": rules })).unwrap();
            row.run(with_faults(&faults).arg("--quiet"))
        }
    });
}

struct Instance {
    address: String,
    /// The home that has the instance's private key and its known_hosts entry.
    owner: Autorun,
}

impl Instance {
    fn launch() -> Self {
        let owner = CLOUD.autorun().playbook(
            "let key = import_key_pair(\"host-\" + run_id(), \"~/.ssh/id_ed25519\");\n\
             let group = create_security_group(\"host-\" + run_id());\n\
             let options = #{ key_pair: key, security_groups: [group] };\n\
             print(wait_until_ready(launch_instance(options)).public_ip);",
        );
        let address = owner.run().exits(0).stdout.trim().to_owned();
        let scanned = Command::new("ssh-keyscan")
            .args(["-t", "ed25519", &address])
            .output()
            .unwrap();
        fs::write(owner.home.path().join(".ssh/known_hosts"), scanned.stdout).unwrap();
        Self { address, owner }
    }

    /// Runs a playbook that was written for the lab's host with the instance's
    /// address and user.
    fn run(&self, autorun: Autorun, row: &Row) -> Ended {
        let home = autorun.home.path();
        for file in ["id_ed25519", "id_ed25519.pub", "known_hosts"] {
            let of_owner = self.owner.home.path().join(".ssh").join(file);
            fs::copy(of_owner, home.join(".ssh").join(file)).unwrap();
        }
        let folder = home.join("primitives");
        fs::create_dir_all(folder.join("lib")).unwrap();
        for entry in fs::read_dir(support::root().join("tests/primitives/lib")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.join("lib").join(entry.file_name())).unwrap();
        }
        let copy = folder.join(row.path.file_name().unwrap());
        let text = row
            .text
            .replace(support::HOST, &self.address)
            .replace("admin", "ec2-user");
        fs::write(&copy, &text).unwrap();
        rows::run(autorun.env("USER", "ec2-user"), &copy, &text)
    }
}

fn main() -> ExitCode {
    let of = |directory: &str| {
        let rows = Row::all(directory);
        rows.into_iter().filter(|row| !row.needs_nothing())
    };
    let on_cloud = of("tests/primitives").filter(|row| faults_of(row).is_some());
    let on_cloud = on_cloud.map(|row| row.trial("local_cloud", primitive_on_local_cloud));
    let in_lab = of("tests/primitives").filter(|row| row.directive("cloud only").is_none());
    let in_lab = in_lab.map(|row| row.trial("lab", primitive));
    let diagnostics = of("tests/diagnostics").map(|row| row.trial("diagnostic", diagnostic));
    rows::main(on_cloud.chain(in_lab).chain(diagnostics).collect())
}
