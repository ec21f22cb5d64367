//! The settings files, and `autorun settings`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Autorun, Ended};

/// A home with a playbook and settings files.
struct Files(Autorun);

impl Files {
    fn new(beside: &str, user: &str) -> Self {
        let autorun = Autorun::new();
        let files = Self(autorun);
        fs::create_dir_all(files.user().parent().unwrap()).unwrap();
        fs::write(files.user(), user).unwrap();
        fs::write(files.path("autorun.toml"), beside).unwrap();
        fs::write(files.path("web.rhai"), "print(1);").unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.home.path().join(name)
    }

    fn user(&self) -> PathBuf {
        self.path(".config/autorun/config.toml")
    }

    /// Runs the program in the home, with these variables in its environment.
    fn call(&self, args: &[&str], env: &[(&str, &str)]) -> Ended {
        let mut command = self.0.command();
        command
            .args(args)
            .envs(env.iter().copied())
            .current_dir(self.0.home.path());
        Ended::of(&command.output().unwrap(), self.0.home.path())
    }

    /// What `runs` shows of the newest run.
    fn newest(&self) -> Value {
        let all = self
            .call(&["runs", "--output", "json"], &[])
            .exits(0)
            .stdout;
        serde_json::from_str(all.lines().next().unwrap()).unwrap()
    }
}

const USER: &str = "region = \"eu-central-1\"\nprofile = \"mine\"\nttl = \"8h\"\n\
    notify = \"http://127.0.0.1:9/services/T0/token\"\n[tags]\nowner = \"me\"\nteam = \"a\"\n";
const BESIDE: &str = "# of the project\nregion = \"us-east-1\"\ntags = { team = \"web\" }\n\
    on_error = \"destroy\"\n";

#[test]
fn each_setting_is_shown_with_its_source() {
    let files = Files::new(BESIDE, USER);
    let shown = files.call(&["settings", "web.rhai"], &[]).exits(0).stdout;
    let lines: Vec<String> = shown
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for line in [
        "region us-east-1 autorun.toml:2",
        "profile mine .config/autorun/config.toml:2",
        "role - default",
        "ttl 8 h .config/autorun/config.toml:3",
        "on_error destroy autorun.toml:4",
        "again false default",
        "notify http://127.0.0.1/**** .config/autorun/config.toml:4",
        "tags.owner me .config/autorun/config.toml:6",
        "tags.team web autorun.toml:3",
        "file autorun.toml",
    ] {
        assert!(lines.iter().any(|shown| shown == line), "{line}\n{shown}");
    }
    assert!(!shown.contains("token"), "{shown}");
    let env = [("AWS_PROFILE", "other"), ("AWS_REGION", "eu-west-1")];
    let json = files
        .call(&["settings", "--output", "json"], &env)
        .exits(0)
        .stdout;
    let rows: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |name: &str| rows.iter().find(|row| row["setting"] == name).unwrap();
    assert_eq!(of("region")["value"], "eu-west-1");
    assert_eq!(of("region")["variable"], "AWS_REGION");
    assert_eq!(of("profile")["value"], "other");
    assert_eq!(
        (&of("ttl")["source"], &of("ttl")["line"]),
        (&"file".into(), &3.into())
    );
    assert_eq!(of("tags.team")["value"], "a");
    // The user's file is where the specification says.
    let elsewhere = files.path("xdg");
    fs::create_dir_all(elsewhere.join("autorun")).unwrap();
    fs::write(elsewhere.join("autorun/config.toml"), "ttl = '3h'").unwrap();
    let env = [("XDG_CONFIG_HOME", elsewhere.to_str().unwrap())];
    let shown = files.call(&["settings"], &env).exits(0).stdout;
    assert!(shown.contains("3 h") && !shown.contains("mine"), "{shown}");
    files.call(&["settings", "nosuch.rhai"], &[]).exits(2);
}

#[test]
fn a_run_uses_the_nearest_setting() {
    let files = Files::new(BESIDE, USER);
    files.call(&["web.rhai", "--notify", "none"], &[]).exits(0);
    let run = files.newest();
    assert_eq!(
        run["tags"],
        serde_json::json!({ "owner": "me", "team": "web" })
    );
    assert_eq!(
        (&run["region"], &run["ttl_seconds"]),
        (&"us-east-1".into(), &28800.into())
    );
    let flags = ["--ttl", "none", "--region", "eu-west-3", "--tag", "team=x"];
    let flags = [&["web.rhai", "--notify", "none"][..], &flags].concat();
    files.call(&flags, &[]).exits(0);
    let run = files.newest();
    assert_eq!(
        run["tags"],
        serde_json::json!({ "owner": "me", "team": "x" })
    );
    assert_eq!(
        (&run["region"], &run["ttl_seconds"]),
        (&"eu-west-3".into(), &Value::Null)
    );
    // The environment is before the files, and a run records only what it was
    // given.
    files
        .call(
            &["web.rhai", "--notify", "none"],
            &[("AWS_REGION", "eu-west-2")],
        )
        .exits(0);
    assert_eq!(files.newest()["region"], Value::Null);
}

#[test]
fn the_file_of_a_linked_playbook_is_beside_the_real_one() {
    let files = Files::new("ttl = \"5h\"", "");
    fs::create_dir(files.path("bin")).unwrap();
    fs::write(files.path("bin/autorun.toml"), "ttl = \"9h\"").unwrap();
    symlink("../web.rhai", files.path("bin/web")).unwrap();
    files.call(&["bin/web"], &[]).exits(0);
    assert_eq!(files.newest()["ttl_seconds"], 5 * 3600);
    // A pipe has no directory.
    files.call(&["run", "/dev/stdin"], &[]).exits(0);
    assert_eq!(files.newest()["ttl_seconds"], Value::Null);
}

#[test]
fn a_mistake_is_shown_with_its_line_before_anything_is_done() {
    let files = Files::new("ttl = \"2h\"\nregoin = \"eu-central-1\"\n", "");
    let ended = files.call(&["web.rhai"], &[]).exits(2);
    let shown = format!(
        "error: there is no setting `regoin`\n  --> {}:2:1\n  |\n2 | regoin = \"eu-central-1\"\n  \
         | ^\nhint: did you mean `region`?\n",
        files.path("autorun.toml").canonicalize().unwrap().display()
    );
    assert_eq!(ended.stderr, shown);
    assert!(!files.path(".local").exists(), "nothing was recorded");
    // A line with a URL may contain a token.
    fs::write(
        files.path("autorun.toml"),
        "notify = \"http://a/b/c/secret\n",
    )
    .unwrap();
    let ended = files.call(&["settings", "web.rhai"], &[]).exits(2);
    assert!(
        ended.messages().contains("autorun.toml:1:"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
    // A broken file of the user does not stop what does not need it.
    fs::write(files.user(), "[").unwrap();
    files.call(&["runs"], &[]).exits(2);
    files.call(&["--help"], &[]).exits(0);
    files.call(&["docs", "runs"], &[]).exits(0);
    files.call(&["completions", "bash"], &[]).exits(0);
}

#[test]
fn only_the_user_moves_the_ledger() {
    let files = Files::new("", "ledger = \"~/elsewhere\"\n");
    files.call(&["web.rhai"], &[]).exits(0);
    assert!(files.path("elsewhere/ledger.db").exists());
    assert_eq!(files.newest()["status"], "done");
    let other = files.path("other");
    let env = [("AUTORUN_HOME", other.to_str().unwrap())];
    files.call(&["web.rhai"], &env).exits(0);
    assert!(other.join("ledger.db").exists());
    fs::write(files.path("autorun.toml"), "ledger = \"here\"\n").unwrap();
    let ended = files.call(&["web.rhai"], &[]).exits(2);
    assert!(
        ended.messages().contains("not valid beside a playbook"),
        "{}",
        ended.stderr
    );
    assert!(!files.path("here").exists());
}

#[test]
fn a_file_that_others_can_write_is_refused() {
    let files = Files::new("ttl = '2h'", "");
    let path = files.path("autorun.toml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let ended = files.call(&["web.rhai"], &[]).exits(2);
    assert!(ended.messages().contains("(mode 666)"), "{}", ended.stderr);
    assert!(ended.messages().contains("chmod go-w"), "{}", ended.stderr);
}

#[test]
fn the_url_of_notify_is_checked_and_not_shown() {
    let files = Files::new("", "");
    let env = [("AUTORUN_NOTIFY", "hooks.example.com/token")];
    let ended = files.call(&["web.rhai"], &env).exits(2);
    assert!(
        ended
            .messages()
            .contains("AUTORUN_NOTIFY must be a URL that begins with"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("token"), "{}", ended.stderr);
    let env = [("AUTORUN_NOTIFY", "http://127.0.0.1:9/services/token")];
    let shown = files.call(&["settings"], &env).exits(0).stdout;
    assert!(shown.contains("http://127.0.0.1/****"), "{shown}");
    let help = files.call(&["run", "--help"], &env).exits(0).stdout;
    assert!(
        help.contains("AUTORUN_NOTIFY") && !help.contains("token"),
        "{help}"
    );
}
