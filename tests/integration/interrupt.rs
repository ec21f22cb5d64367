//! The first SIGINT or SIGTERM stops the playbook within a second, wherever it
//! is. The second signal ends the program at once.

use std::io::{BufRead as _, Read as _};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::local_cloud::becomes_true;
use crate::support::cloud::LocalCloud;
use crate::support::{Autorun, Ended, Lab, signal, started};

/// Sends a signal when `sign` appears. Returns the result of the run and the
/// time until it ended.
fn interrupted(autorun: &Autorun, sign: &str, name: &str) -> (Ended, Duration) {
    interrupted_when(autorun, sign, || true, name)
}

/// Like [`interrupted`], but sends the signal only when `ready` returns true.
fn interrupted_when(
    autorun: &Autorun,
    sign: &str,
    ready: impl Fn() -> bool,
    name: &str,
) -> (Ended, Duration) {
    let (mut child, mut stderr) = started(autorun, sign);
    while !ready() {
        std::thread::yield_now();
    }
    let sent = Instant::now();
    signal(&child, name);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    let status = child.wait().unwrap();
    let took = sent.elapsed();
    let output = std::process::Output {
        status,
        stdout: Vec::new(),
        stderr: rest.into_bytes(),
    };
    (Ended::of(&output, autorun.home.path()).exits(130), took)
}

/// The documented limit is one second, but a busy machine may need longer. A
/// run that does not react takes minutes.
#[track_caller]
fn soon(took: Duration) {
    assert!(took < Duration::from_secs(4), "it took {took:?}");
}

#[test]
fn in_a_script_loop() {
    let autorun = Autorun::new().playbook("log_info(\"go\"); try { loop {} } catch { loop {} }");
    soon(interrupted(&autorun, "go", "TERM").1);
}

#[test]
fn in_parallel_waits() {
    let playbook = "log_info(\"go\"); parallel([1, 2, 3], |n| retry(5, |i| sleep(100)));";
    soon(interrupted(&Autorun::new().playbook(playbook), "go", "INT").1);
}

#[test]
fn in_a_wait_for_a_page() {
    let playbook = "log_info(\"go\"); wait_until_serving(\"http://127.0.0.1:9/\");";
    soon(interrupted(&Autorun::new().playbook(playbook), "go", "INT").1);
}

#[test]
fn in_an_ssh_command_which_is_ended_on_the_host() {
    let lab = Lab::start(&json!({}));
    let long = r#"ssh_exec("192.0.2.10", "echo go; sleep 4711");"#;
    let (ended, took) = interrupted(&lab.autorun().playbook(long), "| go", "INT");
    soon(took);
    assert!(
        ended.messages().contains("it was terminated"),
        "{}",
        ended.stderr
    );
    let look =
        r#"print(ssh_exec("192.0.2.10", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout);"#;
    let left = lab.autorun().playbook(look).run().exits(0);
    assert!(!left.stdout.contains("sleep 4711"), "{}", left.stdout);
}

#[test]
fn in_a_command_on_a_fleet_which_is_cancelled() {
    let cloud = LocalCloud::start();
    let long = r#"
        let profile = instance_role("web").profile;
        let server = launch_instance(#{ name: "web", iam_profile: profile, tags: #{ fleet: "x" } });
        log_info("go");
        fleet_exec([server], "touch /root/begun; sleep 4711");
    "#;
    let look = |command: &str| {
        let text = format!("fleet_exec(#{{ tags: #{{ fleet: \"x\" }} }}, \"{command}\");");
        cloud.autorun().playbook(&text).run().status == Some(0)
    };
    let begun = || look("test -e /root/begun");
    let (ended, took) = interrupted_when(&cloud.autorun().playbook(long), "go", begun, "INT");
    soon(took);
    assert!(
        ended.messages().contains("it still ran on web"),
        "{}",
        ended.stderr
    );
    becomes_true("the command is ended", || look("! pgrep -f 'sleep 471[1]'"));
}

#[test]
fn in_an_upload_with_a_list_of_resources_that_are_up_or_may_be() {
    let lab = Lab::start(&json!({ "hosts": [], "hang": { "PutObject": 60 } }));
    let playbook = r#"
        let bucket = create_bucket("pictures");
        log_info("go");
        upload_file(bucket, "assets/logo.png");
    "#;
    let autorun = lab.autorun().playbook(playbook);
    let sent = || !lab.requests_of("PutObject").is_empty();
    let (ended, took) = interrupted_when(&autorun, "go", sent, "INT");
    soon(took);
    for text in [
        "the run was interrupted after",
        "remaining resources",
        "bucket pictures-",
        "possibly created",
        "assets/logo.png",
    ] {
        assert!(
            ended.messages().contains(text),
            "no `{text}` in\n{}",
            ended.stderr
        );
    }
}

#[test]
fn in_a_wait_for_an_instance() {
    let lab = Lab::start(&json!({ "hosts": [], "boot": false, "pending_seconds": 600 }));
    let playbook = r#"launch_instance(#{ name: "web" });"#;
    let (ended, took) = interrupted(&lab.autorun().playbook(playbook), "launched i-", "TERM");
    soon(took);
    assert!(ended.messages().contains("instance i-"), "{}", ended.stderr);
}

#[test]
fn a_second_signal_ends_the_program_at_once() {
    let lab = Lab::start(&json!({ "hosts": [], "hang": { "CreateBucket": 60 } }));
    let autorun = lab
        .autorun()
        .playbook("log_info(\"go\"); create_bucket(\"x-y\");");
    let (mut child, mut stderr) = started(&autorun, "go");
    signal(&child, "INT");
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.contains("a second signal exits"), "{line}");
    let sent = Instant::now();
    signal(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    soon(sent.elapsed());
}
