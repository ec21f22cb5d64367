//! One test per file: playbooks that assert in Rhai (`primitives/`), and
//! playbooks that fail, with what the user then sees (`diagnostics/`).
//!
//! Lines at a file's head say how it is run: `// lab: JSON` gives it a lab of
//! its own with these settings (`none`: no lab at all), `// args: ..` adds
//! arguments, `// exit: N` is the status expected, `// stdout: ..` and
//! `// stderr: ..` must occur, `// not: ..` must not. `BLESS=1` rewrites the
//! `.stderr` files.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::{Value, json};
use support::{Autorun, Ended, Lab, directives};

mod support;

/// The lab of all playbooks that need no settings of their own.
static LAB: LazyLock<Lab> = LazyLock::new(|| Lab::start(&json!({})));

fn run(path: &Path, text: &str) -> Ended {
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
    let env = directives(text, "env");
    let env = env.iter().map(|pair| pair.split_once('=').unwrap());
    let autorun = env.fold(autorun, |autorun, (name, value)| autorun.env(name, value));
    let args = directives(text, "args");
    let args = args
        .iter()
        .flat_map(|args| shell_words::split(args).unwrap());
    let path = path.strip_prefix(support::root()).unwrap_or(path);
    autorun.arg(path.display().to_string()).args(args).run()
}

fn expected_status(text: &str, otherwise: i32) -> i32 {
    directives(text, "exit")
        .first()
        .map_or(otherwise, |status| status.parse().unwrap())
}

fn primitive(path: &Path) -> datatest_stable::Result<()> {
    let text = fs::read_to_string(path)?;
    let ended = run(path, &text).exits(expected_status(&text, 0));
    for wanted in directives(&text, "stdout") {
        assert!(
            ended.stdout.contains(&wanted),
            "no `{wanted}` in stdout:\n{}",
            ended.stdout
        );
    }
    for wanted in directives(&text, "stderr") {
        assert!(
            ended.stderr.contains(&wanted),
            "no `{wanted}` in stderr:\n{}",
            ended.stderr
        );
    }
    for secret in directives(&text, "not") {
        let both = format!("{}{}", ended.stdout, ended.stderr);
        assert!(
            !both.contains(&secret),
            "`{secret}` is in the output:\n{both}"
        );
    }
    Ok(())
}

fn diagnostic(path: &Path) -> datatest_stable::Result<()> {
    let text = fs::read_to_string(path)?;
    let ended = run(path, &text).exits(expected_status(&text, 1));
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
    { test = primitive, root = "tests/primitives", pattern = r"^[a-z0-9_]+\.rhai$" },
    { test = diagnostic, root = "tests/diagnostics", pattern = r"\.rhai$" },
}
