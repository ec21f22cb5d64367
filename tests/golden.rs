//! Runs the playbooks that need neither a lab nor a local cloud: those that make their
//! assertions in Rhai (`primitives/`), and those that fail, with the error text that
//! the user sees (`diagnostics/`). `playbooks.rs` runs the others and describes the
//! lines at their heads.
//!
//! Checks the playbooks in `check/`: those with a mistake, whose `// finds:` line names
//! the code, with the text that the user sees in a `.stdout` file, and correct ones.
//! Plans the playbooks in `plan/`, with the text in a `.stdout` file.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::TcpListener;
use std::process::ExitCode;

use support::rows::{self, Row};
use support::{Autorun, Ended};

mod support;

fn primitive(row: &Row) {
    row.check(row.run(Autorun::new()));
}

fn diagnostic(row: &Row) {
    row.check_golden(|row| row.run(Autorun::new()));
}

/// Checks a playbook. The service that it would call must not be asked.
fn checked(row: &Row) -> Ended {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    service.set_nonblocking(true).unwrap();
    let url = format!("http://{}", service.local_addr().unwrap());
    let path = row.path.strip_prefix(support::root()).unwrap();
    let autorun = Autorun::new().env("AWS_ENDPOINT_URL", &url);
    let ended = autorun.args(["check", &path.display().to_string()]).run();
    let asked = service.accept();
    assert!(asked.is_err(), "the check sent a request: {asked:?}");
    ended
}

fn mistake(row: &Row) {
    let ended = checked(row);
    let code = row.directive("finds").unwrap();
    let found = format!("[{code}]: ");
    assert_eq!(
        ended.stdout.matches("]: ").count(),
        ended.stdout.matches(&found).count()
    );
    assert!(ended.stdout.contains(&found), "{}", ended.stdout);
    row.compare("stdout", &ended.stdout);
    let fails = ended.stdout.contains("error[");
    let _ = ended.exits(i32::from(fails));
}

/// Plans a playbook without asking an account, and compares what it would do.
fn planned(row: &Row) {
    let autorun = Autorun::new();
    let cloud = autorun.home.path().join("cloud").display().to_string();
    let path = row.path.strip_prefix(support::root()).unwrap();
    let autorun = autorun
        .env("AUTORUN_CLOUD_HOME", &cloud)
        .args(["plan", "--offline", &path.display().to_string()])
        .args(row.arguments());
    let ended = autorun.run().exits(row.status(0));
    let widest = ended.stdout.lines().map(|line| line.chars().count()).max();
    assert!(widest.unwrap() <= 80, "{}", ended.stdout);
    row.compare("stdout", &ended.normal_of(&ended.stdout));
}

fn correct(row: &Row) {
    let ended = checked(row).exits(0);
    assert_eq!(ended.stdout, "1 file: no mistakes found\n");
}

fn main() -> ExitCode {
    let of = |directory: &str| {
        let rows = Row::all(directory);
        rows.into_iter().filter(Row::needs_nothing)
    };
    let primitives = of("tests/primitives").map(|row| row.trial("primitive", primitive));
    let diagnostics = of("tests/diagnostics").map(|row| row.trial("diagnostic", diagnostic));
    let mistakes = Row::all("tests/check/wrong").into_iter();
    let mistakes = mistakes.map(|row| row.trial("check", mistake));
    let correct = Row::all("tests/check/correct")
        .into_iter()
        .map(|row| row.trial("correct", self::correct));
    let plans = Row::all("tests/plan").into_iter();
    let plans = plans.map(|row| row.trial("plan", planned));
    rows::main(
        primitives
            .chain(diagnostics)
            .chain(mistakes)
            .chain(correct)
            .chain(plans)
            .collect(),
    )
}
