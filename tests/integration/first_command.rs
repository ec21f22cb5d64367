//! The first command of a new user without root rights. The local cloud is
//! started with sudo, after a question or with `--sudo`. If the user declines,
//! nothing is created.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::{Autorun, Ended, conversation};

const LAUNCHES: &str = "let server = launch_instance(#{ name: \"first\" });\nprint(server.id);";
const RECORDS: &str = "print(create_bucket(\"first\"));";

/// User 65534 on a machine whose sudoers file allows, or does not allow,
/// this user to run commands.
struct User {
    cloud: TempDir,
    sudoers: TempDir,
}

impl User {
    fn new(sudoers: &str) -> Self {
        let user = Self {
            cloud: tempfile::tempdir().unwrap(),
            sudoers: tempfile::tempdir().unwrap(),
        };
        let file = user.sudoers.path().join("sudoers");
        fs::write(&file, sudoers).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o440)).unwrap();
        fs::set_permissions(user.cloud.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        user
    }

    fn allowed() -> Self {
        Self::new("#65534 ALL=(ALL:ALL) NOPASSWD: ALL\n")
    }

    /// Returns the command, in a mount namespace that has the user's sudoers
    /// file.
    fn command(&self, autorun: Autorun) -> (Command, Autorun) {
        let cloud = self.cloud.path().display().to_string();
        let autorun = autorun.env("AUTORUN_CLOUD_HOME", &cloud).by_other_user();
        let inner = autorun.command();
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--", "sh", "-c"])
            .arg("mount --bind \"$0\" /etc/sudoers && exec \"$@\"")
            .arg(self.sudoers.path().join("sudoers"))
            .arg(inner.get_program())
            .args(inner.get_args())
            .current_dir(inner.get_current_dir().unwrap())
            .env_clear()
            .envs(inner.get_envs().filter_map(|(k, v)| Some((k, v?))))
            .stdin(Stdio::null());
        (command, autorun)
    }

    fn run(&self, autorun: Autorun) -> Ended {
        let (mut command, autorun) = self.command(autorun);
        Ended::of(&command.output().unwrap(), autorun.home.path())
    }

    /// Whether a local cloud was started.
    fn has_cloud(&self) -> bool {
        self.cloud.path().join("state").exists()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let down = Command::new(env!("CARGO_BIN_EXE_autorun"))
            .args(["cloud", "down"])
            .env("AUTORUN_CLOUD_HOME", self.cloud.path())
            .output();
        drop(down);
    }
}

fn local(playbook: &str) -> Autorun {
    Autorun::new().arg("--local").playbook(playbook)
}

fn runs(autorun: &Autorun) -> String {
    let home = autorun.home.path().display().to_string();
    let listed = Autorun::new()
        .env("HOME", &home)
        .args(["runs", "--output", "json"]);
    listed.by_other_user().run().exits(0).stdout
}

#[test]
fn without_a_terminal_nothing_is_created_and_the_hint_names_both_ways() {
    let user = User::allowed();
    let ended = user.run(local(LAUNCHES)).exits(2);
    let messages = ended.messages();
    for part in [
        "nothing was created",
        "needs root",
        "--sudo",
        "autorun cloud up",
    ] {
        assert!(messages.contains(part), "no `{part}` in {messages}");
    }
    assert!(!user.has_cloud());
}

#[test]
fn the_flag_starts_it_with_sudo_and_the_user_has_access() {
    let user = User::allowed();
    let ended = user.run(local(LAUNCHES).arg("--sudo")).exits(0);
    assert!(ended.stdout.starts_with("i-"), "{}", ended.stdout);
    // The local cloud is already up, so the second run asks nothing.
    let _ = user.run(local(LAUNCHES)).exits(0);
}

#[test]
fn with_the_flag_the_error_explains_why_sudo_refuses() {
    let user = User::new("root ALL=(ALL:ALL) ALL\n");
    let ended = user.run(local(LAUNCHES).arg("--sudo")).exits(2);
    assert!(
        ended.messages().contains("nothing was created"),
        "{}",
        ended.stderr
    );
    assert!(!user.has_cloud());
}

#[test]
fn at_a_terminal_it_asks_and_accepts_no() {
    let user = User::allowed();
    let (command, autorun) = user.command(local(LAUNCHES));
    let (status, shown) = conversation(&command, &[("[y/N]", "n")]);
    assert_eq!(status, Some(2), "{shown}");
    assert!(shown.contains("needs root"), "{shown}");
    assert!(!user.has_cloud());
    assert_eq!(runs(&autorun), "");
}

#[test]
fn at_a_terminal_it_starts_after_yes() {
    let user = User::allowed();
    let (command, _autorun) = user.command(local(LAUNCHES));
    let (status, shown) = conversation(&command, &[("[y/N]", "y")]);
    assert_eq!(status, Some(0), "{shown}");
}

/// Method calls and function pointers count as calls, too.
#[test]
fn every_way_to_launch_is_found_before_the_run() {
    let user = User::allowed();
    for launch in [
        "fn begin() { launch_instance(#{}) }\nbegin();",
        "#{}.launch_instance();",
        "Fn(\"launch_instance\").call(#{});",
        "parallel([1], |n| launch_instance(#{}));",
    ] {
        let bucket = format!("create_bucket(\"early\");\n{launch}");
        let ended = user.run(local(&bucket)).exits(2);
        assert!(
            ended.messages().contains("nothing was created"),
            "{}",
            ended.stderr
        );
    }
    assert!(!user.has_cloud());
}

#[test]
fn without_a_launch_no_root_is_needed_and_a_later_launch_names_the_command() {
    let user = User::allowed();
    let _ = user.run(local(RECORDS)).exits(0);
    let ended = user.run(local(LAUNCHES).arg("--sudo")).exits(2);
    let messages = ended.messages();
    assert!(messages.contains("autorun cloud down"), "{messages}");
    let cloud = user.cloud.path().display().to_string();
    let down = Autorun::new().args(["cloud", "down"]);
    let down = user.run(down.env("AUTORUN_CLOUD_HOME", &cloud)).exits(0);
    assert!(down.stdout.contains("is down"), "{}", down.stdout);
}
