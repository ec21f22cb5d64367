//! ssh through Systems Manager: the program that it needs, and the end of its sessions.

use std::fs;
use std::io::Read as _;
use std::process::{Child, Command, Output};

use crate::support::cloud::LocalCloud;
use crate::support::{Autorun, Ended, signal, started};

/// Launches an instance without an open port, and waits until it is ready.
const SERVER: &str = r#"
    let role = instance_role("closed");
    let server = launch_instance(#{
        name: "closed",
        iam_profile: role.profile,
        key_pair: create_key_pair("closed"),
        security_groups: [create_security_group("closed", #{ ingress: [] })],
        wait: false,
    });
    server = wait_until_ready(host(server, #{ via: "ssm" }));
"#;

/// Where the stand-in for AWS's program is, and nothing else of the kind.
const WITH_PLUGIN: &str = "tests/plugin:/usr/sbin:/usr/bin:/sbin:/bin";

fn autorun(cloud: &LocalCloud, playbook: &str) -> Autorun {
    let autorun = cloud.autorun().env("PATH", WITH_PLUGIN);
    autorun.playbook(&format!("{SERVER}{playbook}"))
}

/// How often an operation succeeded.
fn count(cloud: &LocalCloud, operation: &str) -> usize {
    let log = fs::read_to_string(cloud.home().join("state/cloud.log")).unwrap();
    let done = format!(" {operation} 200");
    log.lines().filter(|line| line.ends_with(&done)).count()
}

/// The ids of the stand-ins that a run has started.
fn plugins_of(child: &Child) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    let children = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("children")));
    let children: Vec<String> = children.map(Result::unwrap_or_default).collect();
    let pids = children.iter().flat_map(|pids| pids.split_whitespace());
    let is_plugin = |pid: &&str| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains("session-manager-plugin")
    };
    pids.filter(is_plugin).map(str::to_owned).collect()
}

#[track_caller]
fn every_session_has_ended(cloud: &LocalCloud) -> usize {
    let all = count(cloud, "StartSession");
    assert_eq!(count(cloud, "TerminateSession"), all);
    all
}

#[test]
fn a_missing_plugin_is_named_before_a_session_is_started() {
    let cloud = LocalCloud::start();
    let playbook = "ssh_exec(host(\"i-0123456789abcdef0\", #{ via: \"ssm\" }), \"true\");";
    let ended = cloud.autorun().playbook(playbook).run().exits(1);
    let shown = ended.messages();
    assert!(
        shown.contains("`session-manager-plugin` is not installed"),
        "{shown}"
    );
    assert!(
        shown.contains("session-manager-plugin.deb") && shown.contains(".rpm"),
        "{shown}"
    );
    let old = cloud.autorun().env("PATH", WITH_PLUGIN);
    let old = old.env("SSM_TEST_VERSION", "1.2.463.0").playbook(playbook);
    let ended = old.run().exits(1);
    assert!(
        ended.messages().contains("prints `1.2.463.0`"),
        "{}",
        ended.messages()
    );
    assert_eq!(count(&cloud, "StartSession"), 0);
}

#[test]
fn a_run_ends_its_sessions() {
    let cloud = LocalCloud::start();
    let autorun = autorun(&cloud, "print(ssh_exec(server, \"id -un\").stdout);");
    let ended = autorun.run().exits(0);
    assert_eq!(ended.stdout.trim(), "ec2-user");
    assert!(every_session_has_ended(&cloud) > 0);
}

#[test]
fn autorun_ssh_goes_the_same_way() {
    let cloud = LocalCloud::start();
    let autorun = autorun(&cloud, "");
    let _ = autorun.run().exits(0);
    let program = env!("CARGO_BIN_EXE_autorun");
    let mut shell = autorun.shell(&format!(
        "PATH=tests/plugin:$PATH; {program} ssh --via ssm closed id -un"
    ));
    let output = shell.output().unwrap();
    let ended = Ended::of(&output, autorun.home.path()).exits(0);
    assert!(ended.stdout.ends_with("ec2-user\n"), "{}", ended.stdout);
}

#[test]
fn an_interrupted_run_ends_its_sessions() {
    let cloud = LocalCloud::start();
    let autorun = autorun(&cloud, "ssh_exec(server, \"echo works; sleep 600\");");
    let (mut child, mut stderr) = started(&autorun, "works");
    assert!(count(&cloud, "StartSession") > count(&cloud, "TerminateSession"));
    signal(&child, "INT");
    let mut rest = Vec::new();
    stderr.read_to_end(&mut rest).unwrap();
    let output = Output {
        status: child.wait().unwrap(),
        stdout: Vec::new(),
        stderr: rest,
    };
    let _ = Ended::of(&output, autorun.home.path()).exits(130);
    every_session_has_ended(&cloud);
}

#[test]
fn a_session_survives_a_lost_connection() {
    let cloud = LocalCloud::start();
    let keys = cloud.env();
    let mut autorun = autorun(
        &cloud,
        r#"
        let text = "";
        text.pad(20000, 'y');
        let much = ssh_exec(server, "head -c 100000 /dev/zero | tr '\\0' x; wc -c", #{
            stdin: text,
        });
        print(much.stdout.len);
        print(much.stdout.sub_string(-6));
        "#,
    );
    // The stand-in signs the request for a new token with them.
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        let value = keys.iter().find(|(known, _)| known == name);
        autorun = autorun.env(name, &value.unwrap().1);
    }
    let ended = autorun.env("SSM_TEST_CUT", "12").run().exits(0);
    assert_eq!(ended.stdout, "100006\n20000\n\n", "{}", ended.stderr);
    assert!(count(&cloud, "ResumeSession") > 0);
    every_session_has_ended(&cloud);
}

#[test]
fn a_lost_session_is_an_error_that_the_next_call_repairs() {
    let cloud = LocalCloud::start();
    let playbook = r#"
        let lost = ();
        try {
            ssh_exec(server, "echo works; sleep 600");
        } catch (err) {
            lost = error_info(err);
        }
        print(lost.kind);
        print(ssh_exec(server, "id -un").stdout);
    "#;
    let autorun = autorun(&cloud, playbook);
    let (child, mut stderr) = started(&autorun, "works");
    let plugins = plugins_of(&child);
    assert!(!plugins.is_empty());
    for plugin in plugins {
        let killed = Command::new("kill").args(["-9", &plugin]).status();
        assert!(killed.unwrap().success());
    }
    let mut rest = Vec::new();
    stderr.read_to_end(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    let ended = Ended::of(&output, autorun.home.path()).exits(0);
    assert_eq!(
        ended.stdout,
        "unreachable\nec2-user\n\n",
        "{}",
        String::from_utf8_lossy(&rest)
    );
    every_session_has_ended(&cloud);
}
