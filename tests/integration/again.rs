//! A second run of a playbook while instances of an earlier one are up.

use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::support::cloud::LocalCloud;
use crate::support::{Autorun, conversation};

/// Launches an instance without waiting for it.
const LAUNCH: &str = r#"
    let name = var("name", "shop", "");
    let image = latest_amazon_linux();
    launch_instance(#{ name: name, image: image, wait: false });
"#;

/// The id of the newest run.
fn newest(autorun: &Autorun) -> String {
    let all = other(autorun, &["runs", "--output", "json"]);
    let first: Value = serde_json::from_str(all.lines().next().unwrap()).unwrap();
    first["run"].as_str().unwrap().to_owned()
}

/// Runs another command in the home of a run. Returns its output.
fn other(autorun: &Autorun, args: &[&str]) -> String {
    let known = autorun.command();
    let mut command = std::process::Command::new(known.get_program());
    command.args(args).env_clear();
    for (name, value) in known.get_envs() {
        command.env(name, value.unwrap());
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The number of runs in the ledger.
fn runs(autorun: &Autorun) -> usize {
    other(autorun, &["runs", "--output", "json"])
        .lines()
        .count()
}

#[test]
fn a_second_instance_is_launched_only_if_the_user_agrees() {
    let cloud = LocalCloud::start();
    let autorun = cloud.autorun().playbook(LAUNCH);
    autorun.run().exits(0);
    let first = newest(&autorun);

    // Without a terminal.
    let refused = autorun.run().exits(2);
    let message = refused.messages();
    assert!(
        message.contains("(shop) still has an instance on the local cloud"),
        "{message}"
    );
    assert!(message.contains(&format!("{first} (done,")), "{message}");
    assert!(
        message.contains(&format!("call `autorun destroy {first}`")),
        "{message}"
    );
    assert!(message.contains("--again"), "{message}");
    assert!(!message.contains("autorun resume"), "{message}");
    assert_eq!(runs(&autorun), 1, "no run was begun");

    // On a terminal.
    let (status, shown) = conversation(&autorun.command(), &[("launch another? [y/N]", "n")]);
    assert_eq!(status, Some(1), "{shown}");
    assert!(shown.contains("nothing was created"), "{shown}");
    assert!(
        shown.contains(&format!("autorun destroy {first}")),
        "{shown}"
    );
    assert_eq!(runs(&autorun), 1);
    let (status, shown) = conversation(&autorun.command(), &[("launch another? [y/N]", "y")]);
    assert_eq!(status, Some(0), "{shown}");
    assert_eq!(runs(&autorun), 2);

    // JSON is never interrupted by a question.
    let mut json = autorun.command();
    json.args(["--output", "json"]);
    let (status, shown) = conversation(&json, &[]);
    assert_eq!(status, Some(2), "{shown}");
    let failed = shown.lines().find(|line| line.contains("\"run_failed\""));
    let event: Value = serde_json::from_str(failed.unwrap()).unwrap();
    assert_eq!(event["error"]["kind"], "already_exists");
    let earlier = event["error"]["detail"]["earlier"].as_array().unwrap();
    assert_eq!(earlier.len(), 2);
    assert_eq!(earlier[1]["run"], first.as_str());

    // Another name is another service.
    let mut blog = autorun.command();
    let output = blog.args(["--set", "name=blog"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    // The same file by another path is the same playbook.
    let link = autorun.home.path().join("link.rhai");
    symlink("playbook.rhai", &link).unwrap();
    let mut second = autorun.command();
    second.args(["--set", "name=blog"]);
    let args: Vec<_> = second.get_args().map(ToOwned::to_owned).collect();
    let mut again = std::process::Command::new(second.get_program());
    again.envs(second.get_envs().filter_map(|(k, v)| Some((k, v?))));
    for arg in args {
        let is_it = arg.to_string_lossy().ends_with("playbook.rhai");
        again.arg(if is_it { link.clone().into() } else { arg });
    }
    assert_eq!(again.output().unwrap().status.code(), Some(2));

    let count = runs(&autorun);
    let mut flag = autorun.command();
    let output = flag.arg("--again").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        message.contains("earlier runs of this playbook still have"),
        "{message}"
    );
    assert_eq!(runs(&autorun), count + 1);

    other(&autorun, &["destroy", "--all", "--yes"]);
    autorun.run().exits(0);
    other(&autorun, &["destroy", "--all", "--yes"]);
}

#[test]
fn a_playbook_or_a_setting_allows_another_run() {
    let cloud = LocalCloud::start();
    let autorun = cloud
        .autorun()
        .playbook(&format!("allow_again();\n{LAUNCH}"));
    autorun.run().exits(0);
    autorun.run().exits(0);
    std::fs::write(autorun.home.path().join("playbook.rhai"), LAUNCH).unwrap();
    autorun.run().exits(2);
    std::fs::write(autorun.home.path().join("autorun.toml"), "again = true\n").unwrap();
    autorun.run().exits(0);
    other(&autorun, &["destroy", "--all", "--yes"]);
}

#[test]
fn a_failed_run_can_be_resumed_instead_and_resume_does_not_ask() {
    let cloud = LocalCloud::start();
    let autorun = cloud
        .autorun()
        .playbook(&format!("{LAUNCH}\nfail(\"no\");"));
    autorun.run().exits(1);
    let first = newest(&autorun);
    let message = autorun.run().exits(2).messages();
    assert!(
        message.contains(&format!("`autorun resume {first}`")),
        "{message}"
    );
    std::fs::write(autorun.home.path().join("playbook.rhai"), LAUNCH).unwrap();
    other(&autorun, &["resume", &first]);
    other(&autorun, &["destroy", "--all", "--yes"]);
}

#[test]
fn buckets_of_earlier_runs_are_named_and_do_not_stop_a_run() {
    let cloud = LocalCloud::start();
    let playbook = "create_bucket(\"nightly\");";
    let autorun = cloud.autorun().playbook(playbook);
    autorun.run().exits(0);
    let message = autorun.run().exits(0).messages();
    assert!(
        message.contains("still have resources") && message.contains("(1 other resource)"),
        "{message}"
    );
    // A playbook that does not use AWS says nothing.
    std::fs::write(autorun.home.path().join("playbook.rhai"), "print(1);").unwrap();
    let message = autorun.run().exits(0).messages();
    assert!(!message.contains("still have"), "{message}");
}

#[test]
fn a_local_cloud_that_is_gone_has_nothing_up() {
    let cloud = LocalCloud::start();
    let autorun = cloud.autorun().playbook(LAUNCH);
    autorun.run().exits(0);
    cloud.cloud("down").exits(0);
    std::fs::remove_dir_all(cloud.home().join("state")).unwrap();
    let ended = autorun.run();
    let message = ended.messages();
    assert_eq!(ended.status, Some(0), "{message}");
    assert!(!message.contains("still has"), "{message}");
    // That run started the local cloud itself, and its instance is up.
    autorun.run().exits(2);
}

#[test]
fn destroy_leaves_the_resources_of_newer_runs() {
    let cloud = LocalCloud::start();
    let autorun = cloud.autorun().playbook("create_bucket(\"test\");");
    autorun.run().exits(0);
    let run = newest(&autorun);
    let guard = [
        "destroy",
        "--all",
        "--older-than",
        "2h",
        "--yes",
        "--output",
        "json",
    ];
    assert!(!other(&autorun, &guard).contains("resource_released"));
    // As if the run had begun two hours ago.
    let ledger = autorun.home.path().join(".local/share/autorun/ledger.db");
    let db = rusqlite::Connection::open(ledger).unwrap();
    let changed = db.execute("UPDATE run SET started = started - 2 * 3600 * 1000", []);
    assert_eq!(changed, Ok(1));
    drop(db);
    let events = other(&autorun, &guard);
    let events = events
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let removed: Vec<Value> = events
        .filter(|event: &Value| event["event"] == "resource_released")
        .collect();
    assert_eq!(removed.len(), 1, "{removed:?}");
    assert_eq!(removed[0]["kind"], "bucket");
    assert_eq!(removed[0]["name"], removed[0]["id"]);
    assert_eq!(removed[0]["run"], run.as_str());
    assert!(!other(&autorun, &guard).contains("resource_released"));
}
