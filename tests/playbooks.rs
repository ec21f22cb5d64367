//! One test per file: playbooks that assert in Rhai (`primitives/`), and
//! playbooks that fail, with what the user then sees (`diagnostics/`).
//!
//! The first are run twice, against moto in the lab and against the local
//! cloud: where both can play the scene they have to agree.
//!
//! Lines at a file's head say how it is run: `// lab: JSON` gives it a lab of
//! its own with these settings, or an instance of its own, for what would
//! disturb others there (`none`: no lab at all, and `golden.rs` runs it), `// lab
//! only: WHY` keeps it off the local cloud, `// args: ..` adds arguments,
//! `// exit: N` is the status expected, `// stdout: ..` and `// stderr: ..` must
//! occur, `// not: ..` must not. `// faults: {"RunInstances": {"code": ..,
//! "status": .., "message": ..}}` has the local cloud answer so, `// kind: NAME`
//! is what `err.kind` must be, `// user: nobody` runs it without root's rights,
//! and `// call: ..` are arguments in the place of the playbook's. `BLESS=1`
//! rewrites the `.stderr` files.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::process::{Command, ExitCode};
use std::sync::LazyLock;

use serde_json::{Value, json};
use support::cloud::{LocalCloud, faults_for};
use support::rows::{self, Row};
use support::{Autorun, Ended, Lab};

mod support;

/// The lab of all playbooks that need no settings of their own.
static LAB: LazyLock<Lab> = LazyLock::new(|| Lab::start(&json!({})));

/// The local cloud of all playbooks.
static CLOUD: LazyLock<LocalCloud> = LazyLock::new(LocalCloud::start);

/// An instance in the place of the lab's host that accepts everything.
static INSTANCE: LazyLock<Instance> = LazyLock::new(Instance::launch);

fn run_in_lab(row: &Row) -> Ended {
    let own: Option<Lab>;
    let autorun = match row.says("lab").as_deref() {
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

/// The faults that stand for the settings of a row's lab; nothing for a row
/// that is for the lab only.
fn faults_of(row: &Row) -> Option<Value> {
    if row.says("lab only").is_some() {
        return None;
    }
    let settings = row.says("lab").unwrap_or_else(|| "{}".to_owned());
    let settings: Value = serde_json::from_str(&settings).unwrap();
    let faults = faults_for(&settings);
    Some(faults.unwrap_or_else(|| {
        let file = row.path.display();
        panic!("{file}: the local cloud has no words for {settings}: say `lab only`")
    }))
}

/// A run on the local cloud with these faults.
fn with_faults(faults: &Value) -> Autorun {
    let autorun = CLOUD.autorun();
    let file = autorun.home.path().join("faults.toml");
    fs::write(&file, toml::to_string(faults).unwrap()).unwrap();
    autorun.args(["--faults", &file.display().to_string()])
}

/// The same playbook on the local cloud. Faults stand for the lab's settings.
fn primitive_on_local_cloud(row: &Row) {
    let autorun = with_faults(&faults_of(row).unwrap());
    let ended = match row.text.contains(support::HOST) {
        true if row.says("lab").is_some() => Instance::launch().run(autorun, row),
        true => INSTANCE.run(autorun, row),
        false => row.run(autorun),
    };
    row.check(ended);
}

/// What a playbook that fails shows: in a lab, or on a local cloud that answers
/// as it says and says nothing of itself.
fn diagnostic(row: &Row) {
    row.check_golden(|row| match row.says("faults") {
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
    /// Whose home has the key that opens it, and knows its host key.
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

    /// The run of a playbook for the lab's host, with the instance's address and
    /// its user.
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
    let in_lab = of("tests/primitives").map(|row| row.trial("lab", primitive));
    let diagnostics = of("tests/diagnostics").map(|row| row.trial("diagnostic", diagnostic));
    rows::main(on_cloud.chain(in_lab).chain(diagnostics).collect())
}
