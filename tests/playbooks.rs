//! One test per file: playbooks that assert in Rhai (`primitives/`), and
//! playbooks that fail, with what the user then sees (`diagnostics/`).
//!
//! The first are run twice, against moto in the lab and against the local
//! cloud: where both can play the scene they have to agree.
//!
//! Lines at a file's head say how it is run: `// lab: JSON` gives it a lab of
//! its own with these settings, or an instance of its own, for what would
//! disturb others there (`none`: no lab at all), `// lab only: WHY` keeps it off
//! the local cloud, `// args: ..` adds arguments, `// exit: N` is the
//! status expected, `// stdout: ..` and `// stderr: ..` must occur, `// not: ..`
//! must not. `// faults: {"RunInstances": {"code": .., "status": .., "message":
//! ..}}` has the local cloud answer so, `// kind: NAME` is what `err.kind` must
//! be, `// user: nobody` has somebody without rights run it, and `// call: ..`
//! are arguments in the place of the playbook's. `BLESS=1` rewrites the `.stderr` files.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use serde_json::{Value, json};
use support::cloud::{LocalCloud, faults_for};
use support::{Autorun, Ended, Lab, directives};

mod support;

/// The lab of all playbooks that need no settings of their own.
static LAB: LazyLock<Lab> = LazyLock::new(|| Lab::start(&json!({})));

/// The local cloud of all playbooks.
static CLOUD: LazyLock<LocalCloud> = LazyLock::new(LocalCloud::start);

fn run_in_lab(path: &Path, text: &str) -> Ended {
    let settings = directives(text, "lab");
    let own: Option<Lab>;
    let autorun = match settings.first().map(String::as_str) {
        None => LAB.autorun(),
        Some("none") => Autorun::new(),
        Some(settings) => {
            let settings: Value = serde_json::from_str(settings).unwrap();
            own = Some(Lab::start(&settings));
            own.as_ref().unwrap().autorun()
        }
    };
    run(autorun, path, text)
}

fn run(autorun: Autorun, path: &Path, text: &str) -> Ended {
    let env = directives(text, "env");
    let env = env.iter().map(|pair| pair.split_once('=').unwrap());
    let autorun = env.fold(autorun, |autorun, (name, value)| autorun.env(name, value));
    let args = directives(text, "args");
    let args = args
        .iter()
        .flat_map(|args| shell_words::split(args).unwrap());
    let path = path.strip_prefix(support::root()).unwrap_or(path);
    let autorun = match directives(text, "call").first() {
        Some(call) => autorun.args(shell_words::split(call).unwrap()),
        None => autorun.arg(path.display().to_string()),
    };
    let autorun = autorun.args(args);
    match directives(text, "user").is_empty() {
        true => autorun.run(),
        false => autorun.by_nobody().run(),
    }
}

fn expected_status(text: &str, otherwise: i32) -> i32 {
    directives(text, "exit")
        .first()
        .map_or(otherwise, |status| status.parse().unwrap())
}

fn primitive(path: &Path) -> datatest_stable::Result<()> {
    let text = fs::read_to_string(path)?;
    check(&text, run_in_lab(path, &text));
    Ok(())
}

/// An instance in the place of the lab's host that accepts everything.
static INSTANCE: LazyLock<Instance> = LazyLock::new(Instance::launch);

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
    fn run(&self, autorun: Autorun, path: &Path, text: &str) -> Ended {
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
        let copy = folder.join(path.file_name().unwrap());
        let text = text
            .replace(support::HOST, &self.address)
            .replace("admin", "ec2-user");
        fs::write(&copy, &text).unwrap();
        run(autorun.env("USER", "ec2-user"), &copy, &text)
    }
}

/// The same playbook on the local cloud. Faults stand for the lab's settings.
/// One that needs no cloud, or is for the lab only, is passed over: its row
/// says nothing.
fn primitive_on_local_cloud(path: &Path) -> datatest_stable::Result<()> {
    let text = fs::read_to_string(path)?;
    let settings = directives(&text, "lab");
    let settings = settings.first().map_or("{}", String::as_str);
    if settings == "none" || !directives(&text, "lab only").is_empty() {
        return Ok(());
    }
    let settings: Value = serde_json::from_str(settings)?;
    let faults = faults_for(&settings)
        .unwrap_or_else(|| panic!("the local cloud has no words for {settings}: say `lab only`"));
    let mut autorun = CLOUD.autorun();
    let file = autorun.home.path().join("faults.toml");
    fs::write(&file, toml::to_string(&faults)?)?;
    autorun = autorun.args(["--faults", &file.display().to_string()]);
    let of_its_own = !directives(&text, "lab").is_empty();
    let ended = match text.contains(support::HOST) {
        true if of_its_own => Instance::launch().run(autorun, path, &text),
        true => INSTANCE.run(autorun, path, &text),
        false => run(autorun, path, &text),
    };
    check(&text, ended);
    Ok(())
}

fn check(text: &str, ended: Ended) {
    let ended = ended.exits(expected_status(text, 0));
    for wanted in directives(text, "stdout") {
        assert!(
            ended.stdout.contains(&wanted),
            "no `{wanted}` in stdout:\n{}",
            ended.stdout
        );
    }
    for wanted in directives(text, "stderr") {
        assert!(
            ended.stderr.contains(&wanted),
            "no `{wanted}` in stderr:\n{}",
            ended.stderr
        );
    }
    for secret in directives(text, "not") {
        let both = format!("{}{}", ended.stdout, ended.stderr);
        assert!(
            !both.contains(&secret),
            "`{secret}` is in the output:\n{both}"
        );
    }
}

/// A run on the local cloud that answers so, and says nothing of itself.
fn run_with_faults(path: &Path, text: &str, rules: &str) -> Ended {
    let rules: Value = serde_json::from_str(rules).unwrap();
    let faults = faults_for(&json!({ "fail": rules })).unwrap();
    let autorun = CLOUD.autorun();
    let file = autorun.home.path().join("faults.toml");
    fs::write(&file, toml::to_string(&faults).unwrap()).unwrap();
    let autorun = autorun.args(["--quiet", "--faults", &file.display().to_string()]);
    run(autorun, path, text)
}

fn run_diagnostic(path: &Path, text: &str) -> Ended {
    match directives(text, "faults").first() {
        Some(rules) => run_with_faults(path, text, rules),
        None => run_in_lab(path, text),
    }
}

/// What a `catch` would see as `err.kind`, told by a second run.
fn check_kind(path: &Path, text: &str, wanted: &str) {
    let text = format!("// args: --output json\n{text}");
    let ended = run_diagnostic(path, &text);
    let seen = ended
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|event| Some(event["error"]["kind"].as_str()?.to_owned()));
    assert_eq!(seen.as_deref(), Some(wanted), "{}", ended.stdout);
}

fn diagnostic(path: &Path) -> datatest_stable::Result<()> {
    let text = fs::read_to_string(path)?;
    let ended = run_diagnostic(path, &text).exits(expected_status(&text, 1));
    if let Some(kind) = directives(&text, "kind").first() {
        check_kind(path, &text, kind);
    }
    let golden = path.with_extension("stderr");
    let seen = ended.normal();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&golden, &seen)?;
        return Ok(());
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(seen, expected, "{} (BLESS=1 rewrites it)", golden.display());
    Ok(())
}

datatest_stable::harness! {
    { test = primitive_on_local_cloud, root = "tests/primitives", pattern = r"^[a-z0-9_]+\.rhai$" },
    { test = primitive, root = "tests/primitives", pattern = r"^[a-z0-9_]+\.rhai$" },
    { test = diagnostic, root = "tests/diagnostics", pattern = r"^[a-z0-9_]+\.rhai$" },
}
