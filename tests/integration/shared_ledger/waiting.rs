//! Waiting for a machine that may have died, and stopping to wait.

use std::io::{BufRead as _, Read as _};
use std::process::Child;

use super::{Machine, Team, two_buckets};
use crate::support::{signal, started};

/// A client counts as dead after an hour.
const PATIENT: &str = "40000";

impl Machine {
    /// Starts a playbook in a file of this name, and kills it while it has one bucket.
    /// Returns the run.
    fn killed(&self, name: &str) -> String {
        let playbook = two_buckets(&self.home.join("go"));
        let directory = self.write(&playbook);
        let file = format!("{name}.rhai");
        std::fs::write(self.home.join(&file), playbook).unwrap();
        let (mut child, _) = started(&self.call(&["run", "-C", &directory, &file]), "waiting");
        let runs = self.runs();
        signal(&child, "KILL");
        child.wait().unwrap();
        let of_file = runs.iter().find(|run| run["playbook"] == file.as_str());
        of_file.unwrap()["run"].as_str().unwrap().to_owned()
    }

    /// Starts a command that waits for `count` other machines.
    fn waiting(&self, arguments: &[&str], count: usize) -> (Child, String) {
        let call = self.call(arguments).env("AUTORUN_LEDGER_SECOND", PATIENT);
        let (child, mut stderr) = started(&call, "for a sign of life of run");
        let mut more = String::new();
        while more.matches("for a sign of life of run").count() + 1 < count {
            assert!(stderr.read_line(&mut more).unwrap() > 0, "{more}");
        }
        signal(&child, "INT");
        stderr.read_to_string(&mut more).unwrap();
        (child, more)
    }
}

#[test]
fn a_signal_ends_the_wait_for_a_dead_machine() {
    let team = Team::new();
    let (one, two) = (team.machine(), team.machine());
    let run = one.killed("web");
    let there = two.write(&two_buckets(&two.home.join("go")));
    for (call, what) in [
        (vec!["destroy", &run, "--yes"], "nothing was removed"),
        (vec!["destroy", "--all", "--yes"], "nothing was removed"),
        (vec!["resume", &run, "-C", &there], "nothing was changed"),
        (vec!["run", "-C", &there, "web.rhai"], "nothing was changed"),
    ] {
        let (mut child, stderr) = two.waiting(&call, 1);
        assert_eq!(
            child.wait().unwrap().code(),
            Some(130),
            "{call:?}: {stderr}"
        );
        assert!(
            stderr.contains(&format!("interrupted; {what}")),
            "{call:?}: {stderr}"
        );
    }
    assert_eq!(team.buckets().len(), 1);
    assert_eq!(two.runs().len(), 1);
    two.run(&["destroy", &run, "--yes"]).exits(0);
    assert_eq!(team.buckets(), Vec::<String>::new());
}

#[test]
fn all_dead_machines_are_waited_for_at_the_same_time() {
    let team = Team::new();
    let (one, two) = (team.machine(), team.machine());
    let runs = ["web", "mail", "news"].map(|name| one.killed(name));
    // One after another, the second wait would begin after an hour.
    let (mut child, stderr) = two.waiting(&["destroy", "--all", "--yes"], runs.len());
    assert_eq!(child.wait().unwrap().code(), Some(130), "{stderr}");
    let destroyed = two.run(&["destroy", "--all", "--yes"]).exits(0);
    for run in &runs {
        let removed = format!("run {run}: removed everything");
        assert!(destroyed.stderr.contains(&removed), "{}", destroyed.stderr);
        let line = destroyed
            .stderr
            .lines()
            .find(|line| line.contains("sign of life"));
        assert!(line.unwrap().len() <= 80, "{line:?}");
    }
    assert_eq!(team.buckets(), Vec::<String>::new());
}
