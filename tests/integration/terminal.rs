//! What a person sees on a terminal during a run.

use std::process::Command;

use serde_json::Value;

use crate::support::cloud::LocalCloud;
use crate::support::{Autorun, Lab, conversation, root};

/// The result of [`on_terminal`]: see `tests/terminal.py`.
struct Seen {
    lines: Vec<String>,
    passing: Vec<String>,
    colored: bool,
}

/// Runs a command on a terminal of this size. `resize` changes the size when
/// a text appears.
fn on_terminal(
    autorun: &Autorun,
    size: (usize, usize),
    resize: Option<(&str, usize, usize)>,
) -> Seen {
    let inner = autorun.command();
    let mut command = Command::new(Lab::python());
    command.arg(root().join("tests/terminal.py"));
    command.args([size.0.to_string(), size.1.to_string()]);
    if let Some((text, rows, columns)) = resize {
        command.args(["--resize", text, &rows.to_string(), &columns.to_string()]);
    }
    command.arg("--").arg(inner.get_program());
    command.args(inner.get_args());
    command.current_dir(root()).env_clear();
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    let out = command.output().unwrap();
    let messages = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{messages}");
    let seen: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(seen["status"], 0, "{seen:#}");
    let texts = |name: &str| -> Vec<String> {
        let all = seen[name].as_array().unwrap().iter();
        all.map(|line| line.as_str().unwrap().to_owned()).collect()
    };
    Seen {
        lines: texts("lines"),
        passing: texts("passing"),
        colored: seen["colored"].as_bool().unwrap(),
    }
}

/// Three branches that run for a while and log lines.
const BUSY: &str = r#"
log_info("the log speaks first");
let all = parallel(["a", "b", "c"], |n| {
    sleep(0.7);
    log_info("a line from " + n);
    sleep(0.7);
    log_warn("a line of " + n + " that has to be broken: word word word word word word word");
    n
});
print("printed: " + all.len);
"#;

fn any(lines: &[String], parts: &[&str]) -> bool {
    lines
        .iter()
        .any(|line| parts.iter().all(|part| line.contains(part)))
}

#[test]
fn log_lines_stay_intact_above_the_spinners() {
    let autorun = Autorun::new().playbook(BUSY).env("LANG", "C.UTF-8");
    let seen = on_terminal(&autorun, (24, 80), None);
    assert!(seen.colored);
    // Spinners appeared, and no trace of them is left.
    for branch in ["[a] sleep", "[b] sleep", "[c] sleep"] {
        assert!(any(&seen.passing, &[branch, " s"]), "{:?}", seen.passing);
    }
    let mut lines = seen.lines;
    assert_eq!(lines.remove(0), "the log speaks first");
    let (longest, recap) = (lines.pop().unwrap(), lines.pop().unwrap());
    assert!(
        recap.starts_with("done in ") && recap.ends_with("(6 calls)"),
        "{recap}"
    );
    assert!(longest.starts_with("longest:   sleep 4."), "{longest}");
    assert_eq!(lines.pop().unwrap(), "printed: 3");
    lines.sort();
    let mut wanted = Vec::new();
    for n in ["a", "b", "c"] {
        wanted.push("  word word word word word".to_owned());
        wanted.push(format!("[{n}] a line from {n}"));
        wanted.push(format!(
            "[{n}] warning: a line of {n} that has to be broken: word word"
        ));
    }
    let spoken = lines.iter().filter(|line| !line.starts_with("  word"));
    assert_eq!(spoken.count(), 6, "{lines:#?}");
    assert!(lines.iter().all(|line| line.len() <= 80), "{lines:#?}");
}

#[test]
fn a_narrowed_window_shows_no_leftovers() {
    let autorun = Autorun::new().playbook(BUSY).env("LANG", "C.UTF-8");
    let seen = on_terminal(&autorun, (24, 80), Some(("a line from", 20, 34)));
    assert!(seen.lines.iter().all(|line| line.chars().count() <= 34));
    // After the change, log lines wrap at the new width.
    for n in ["a", "b", "c"] {
        let begin = format!("[{n}] warning: a line of {n}");
        assert!(any(&seen.lines, &[&begin]), "{:#?}", seen.lines);
    }
    let left = |line: &&String| line.contains("sleep  ") || line.contains('⠋');
    let left: Vec<&String> = seen.lines.iter().filter(left).collect();
    assert!(left.is_empty(), "{left:?} in {:#?}", seen.lines);
}

#[test]
fn many_branches_are_counted_and_simple_terminals_show_plain_lines() {
    let busy = "parallel([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], |n| sleep(1));";
    let autorun = Autorun::new().playbook(busy).env("LC_ALL", "C");
    let seen = on_terminal(&autorun, (24, 80), None);
    assert!(any(&seen.passing, &["  and 5 more"]), "{:?}", seen.passing);
    // A locale without Unicode leads to ASCII output.
    assert!(
        seen.passing.iter().all(|line| line.is_ascii()),
        "{:?}",
        seen.passing
    );
    // NO_COLOR removes the colours but not the spinners.
    let autorun = Autorun::new().playbook(BUSY).env("NO_COLOR", "1");
    let seen = on_terminal(&autorun, (24, 80), None);
    assert!(!seen.colored && any(&seen.passing, &["[a] sleep", " s"]));
    // A dumb terminal shows plain lines.
    let autorun = Autorun::new().playbook(BUSY).env("TERM", "dumb");
    let seen = on_terminal(&autorun, (24, 80), None);
    assert!(!any(&seen.passing, &["sleep  "]), "{:?}", seen.passing);
}

#[test]
fn a_transfer_has_a_bar_and_a_wait_its_state() {
    let cloud = LocalCloud::start();
    let autorun = cloud.autorun();
    let big = autorun.home.path().join("big");
    std::fs::File::create(&big)
        .unwrap()
        .set_len(400 << 20)
        .unwrap();
    let autorun = autorun.playbook(&format!(
        "let bucket = create_bucket(\"bars\");\n\
         upload_file(bucket, \"{0}\", #{{ key: \"big\" }});\n\
         download_file(bucket, \"big\", \"{0}.back\");\n\
         let group = create_security_group(\"bars\");\n\
         let key = create_key_pair(\"bars\");\n\
         let server = launch_instance(#{{ name: \"bars\", key_pair: key, security_groups: [group],\n\
             user_data: \"#!/bin/sh\\nsleep 2\\n\" }});\n\
         wait_until_ready(server);",
        big.display()
    ));
    let seen = on_terminal(&autorun.env("LANG", "C.UTF-8"), (24, 100), None);
    let bars = [
        // Long enough for a transfer rate to be shown.
        &["upload_file: big", "░", " %", "MiB/s", " left"][..],
        &["download_file: big", "░", " %"],
    ];
    for bar in bars {
        assert!(any(&seen.passing, bar), "no {bar:?} in {:#?}", seen.passing);
    }
    assert!(
        any(
            &seen.passing,
            &["wait_until_ready: ", "the user data of i-", " s"]
        ),
        "{:#?}",
        seen.passing
    );
    let lines = seen.lines.join("\n");
    for part in [
        "remaining resources of this run:",
        "bucket ",
        "instance ",
        "log in:    autorun ssh ",
        "remove:    autorun destroy ",
    ] {
        assert!(lines.contains(part), "no `{part}` in {lines}");
    }
}

#[test]
fn monitoring_keeps_a_graph_below_the_log() {
    let samples = "let samples = [];\n\
         for n in 0..4 {\n\
             let ok = n != 2;\n\
             samples.push(#{ time: utc_now(), ok: ok, status: 200, seconds: 0.1 + 0.1 * n });\n\
             show_samples(samples);\n\
         }";
    let autorun = Autorun::new().playbook(samples).env("LANG", "C.UTF-8");
    let seen = on_terminal(&autorun, (24, 80), None);
    for graph in [
        "█ 200 in 100 ms",
        "▅█ 200 in 200 ms",
        "▅█x down",
        "▃▅x█ 200 in 400 ms",
    ] {
        assert!(
            seen.passing.iter().any(|line| line == graph),
            "{:#?}",
            seen.passing
        );
    }
    // The line of each sample stays, and the graph does not.
    assert_eq!(seen.lines.len(), 4, "{:#?}", seen.lines);
    assert!(
        seen.lines[3].ends_with("Z 200 in 400 ms"),
        "{:#?}",
        seen.lines
    );
}

/// Without a default VPC, the user decides whether to create it.
#[test]
fn a_missing_default_vpc_is_created_after_a_question() {
    let cloud = LocalCloud::start();
    let playbook = "create_security_group(\"web\", #{ ingress: [#{ port: 80 }] });\n\
         launch_instance(#{ name: \"web\", wait: false });\nprint(\"done\");";
    let autorun = || {
        let autorun = cloud.autorun();
        let faults = autorun.home.path().join("faults.toml");
        std::fs::write(&faults, "[account]\nno_default_vpc = true\n").unwrap();
        let faults = faults.display().to_string();
        autorun.args(["--faults", &faults]).playbook(playbook)
    };
    let (status, shown) = conversation(&autorun().command(), &[("[y/N]", "y")]);
    assert_eq!(status, Some(0), "{shown}");
    assert!(shown.contains("created the default VPC vpc-"), "{shown}");
    assert_eq!(shown.matches("[y/N]").count(), 1, "{shown}");

    let (status, shown) = conversation(&autorun().command(), &[("[y/N]", "n")]);
    assert_eq!(status, Some(1), "{shown}");
    assert!(shown.contains("create_default_vpc()"), "{shown}");

    // Without a terminal there is no question.
    let ended = autorun().run().exits(1);
    assert!(!ended.messages().contains("[y/N]"), "{}", ended.stderr);
}
