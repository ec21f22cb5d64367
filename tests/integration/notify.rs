//! `--notify`: the end of a run is posted, also that of a killed run.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::cloud::LocalCloud;
use crate::support::{Autorun, Lab, signal, started};

/// Records the body of each request. The path selects the answer.
const SERVER: &str = r#"
import http.server, json, sys
class Server(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        with open(sys.argv[1], "a") as log:
            log.write(json.dumps({"path": self.path, "body": json.loads(body),
                                  "type": self.headers["content-type"]}) + "\n")
        asked = self.path.split("/")[1]
        status = int(asked) if asked.isdigit() else 200
        if asked == "once" and sum(1 for _ in open(sys.argv[1])) == 1:
            status = 503
        self.send_response(status)
        if status == 307:
            self.send_header("location", "/200/redirected")
        self.end_headers()
    do_GET = do_POST
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
print(server.server_port, flush=True)
server.serve_forever()
"#;

struct Hook {
    server: Child,
    port: String,
    log: PathBuf,
    _dir: TempDir,
}

impl Hook {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("posts");
        let mut server = Command::new(Lab::python())
            .args(["-c", SERVER])
            .arg(&log)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        let mut out = BufReader::new(server.stdout.take().unwrap());
        out.read_line(&mut port).unwrap();
        Self {
            server,
            port: port.trim().to_owned(),
            log,
            _dir: dir,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    fn posts(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

/// The files in which posts are due.
fn due(autorun: &Autorun) -> Vec<PathBuf> {
    let directory = autorun.home.path().join(".local/share/autorun/notify");
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Calls another command in the home of a run.
fn call(autorun: &Autorun, args: &[&str]) -> std::process::Output {
    let command = autorun.command();
    let mut other = Command::new(command.get_program());
    other.args(args).env_clear();
    for (name, value) in command.get_envs() {
        other.env(name, value.unwrap());
    }
    other.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn the_end_of_a_run_is_posted_without_secrets() {
    let hook = Hook::start();
    let url = hook.url("services/T0/token-of-the-hook");
    let playbook = r#"
        let name = var("name", "shop", "");
        let password = var("password", #{ secret: true, type: "string" });
        log_info(env("AUTORUN_NOTIFY"));
        fail(`no ${password}`);
    "#;
    let autorun = Autorun::new()
        .env("AUTORUN_VAR_password", "hunter2-hunter2")
        .env("AUTORUN_NOTIFY", &url)
        .playbook(playbook);
    let ended = autorun.run().exits(1);
    assert!(
        !ended.stderr.contains("token-of-the-hook"),
        "{}",
        ended.stderr
    );
    let posts = hook.posts();
    assert_eq!(posts.len(), 1, "{posts:?}");
    assert_eq!(posts[0]["type"], "application/json");
    let body = &posts[0]["body"];
    assert_eq!(body["event"], "run_finished");
    assert_eq!(body["outcome"], "failed");
    assert_eq!(body["name"], "shop");
    assert_eq!(body["error"]["message"], "no ****");
    assert_eq!(body["error"]["kind"], "script");
    assert!(
        body["error"]["place"]
            .as_str()
            .unwrap()
            .contains("playbook.rhai:5:")
    );
    assert!(body["seconds"].as_f64().unwrap() < 60.0);
    assert!(!body["host"].as_str().unwrap().is_empty());
    let text = body["text"].as_str().unwrap();
    assert!(text.contains("(shop) failed after"), "{text}");
    assert!(text.contains("resume: autorun resume"), "{text}");
    assert!(!posts[0].to_string().contains("hunter2"), "{posts:?}");
    assert!(due(&autorun).is_empty());
    let ledger = autorun.home.path().join(".local/share/autorun/ledger.db");
    let ledger = String::from_utf8_lossy(&fs::read(ledger).unwrap()).into_owned();
    assert!(!ledger.contains("token-of-the-hook"));
}

#[test]
fn what_is_up_is_posted_from_the_settings_file_too() {
    let hook = Hook::start();
    let cloud = LocalCloud::start();
    let autorun = cloud.autorun().playbook("create_bucket(\"posted\");");
    let settings = autorun.home.path().join("autorun.toml");
    fs::write(&settings, format!("notify = \"{}\"\n", hook.url(""))).unwrap();
    autorun.run().exits(0);
    let body = &hook.posts()[0]["body"];
    assert_eq!(body["outcome"], "done");
    assert_eq!(body["up"][0]["kind"], "bucket");
    let text = body["text"].as_str().unwrap();
    assert!(
        text.contains("is done after") && text.contains("remove: autorun"),
        "{text}"
    );
}

#[test]
fn a_failed_post_is_a_warning_and_some_are_repeated() {
    for (path, posts, warned) in [
        ("404/x", 1, Some("HTTP status 404")),
        ("307/x", 1, Some("HTTP status 307; use the URL")),
        ("500/x", 3, Some("HTTP status 500")),
        ("once/x", 2, None),
    ] {
        let hook = Hook::start();
        let autorun = Autorun::new().playbook("print(1);");
        let ended = autorun.arg("--notify").arg(hook.url(path)).run().exits(0);
        assert_eq!(hook.posts().len(), posts, "{path}");
        match warned {
            Some(why) => assert!(ended.messages().contains(why), "{path}: {}", ended.stderr),
            None => assert_eq!(ended.stderr, "", "{path}"),
        }
    }
    let hook = Hook::start();
    let url = hook.url("services/secret-token");
    drop(hook);
    let autorun = Autorun::new()
        .playbook("print(1);")
        .arg("--notify")
        .arg(url);
    let ended = autorun.run().exits(0);
    let message = ended.messages();
    assert!(
        message.contains("to 127.0.0.1: connection refused"),
        "{message}"
    );
    assert!(!message.contains("secret-token"), "{message}");
    assert!(due(&autorun).is_empty());
}

#[test]
fn an_interrupted_run_is_posted() {
    let hook = Hook::start();
    let autorun = Autorun::new()
        .playbook("log_info(\"go\"); sleep(600);")
        .arg("--notify")
        .arg(hook.url(""));
    let (mut child, _stderr) = started(&autorun, "go");
    // `timeout` and systemd send more than one signal at once.
    let pid = child.id();
    let both = format!("kill -s TERM {pid}; kill -s HUP {pid}");
    let sent = Command::new("sh").args(["-c", &both]).status().unwrap();
    assert!(sent.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(hook.posts()[0]["body"]["outcome"], "interrupted");
}

#[test]
fn a_killed_run_is_posted_once_by_the_next_command() {
    for command in [&["runs"][..], &["destroy", "--all", "--yes"]] {
        let hook = Hook::start();
        let autorun = Autorun::new()
            .env("AUTORUN_NOTIFY", &hook.url("services/token"))
            .playbook("log_info(\"go\"); sleep(600);");
        let (mut child, _stderr) = started(&autorun, "go");
        let files = due(&autorun);
        assert_eq!(files.len(), 1);
        let mode = fs::metadata(&files[0]).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // Not while it is in progress.
        assert!(call(&autorun, &["runs"]).status.success());
        assert_eq!(hook.posts().len(), 0);
        signal(&child, "KILL");
        child.wait().unwrap();
        for _ in 0..2 {
            let output = call(&autorun, command);
            assert!(output.status.success(), "{output:?}");
            assert!(
                output.stderr.is_empty() || command[0] == "destroy",
                "{output:?}"
            );
        }
        let posts = hook.posts();
        assert_eq!(posts.len(), 1, "{command:?}: {posts:?}");
        assert_eq!(posts[0]["body"]["outcome"], "killed");
        assert_eq!(posts[0]["body"]["seconds"], Value::Null);
        let text = posts[0]["body"]["text"].as_str().unwrap();
        assert!(text.contains("playbook.rhai was killed on "), "{text}");
        assert!(due(&autorun).is_empty());
    }
}

#[test]
fn the_post_of_a_killed_run_is_given_up_after_three_commands() {
    let hook = Hook::start();
    let autorun = Autorun::new()
        .env("AUTORUN_NOTIFY", &hook.url("404"))
        .playbook("log_info(\"go\"); sleep(600);");
    let (mut child, _stderr) = started(&autorun, "go");
    signal(&child, "KILL");
    child.wait().unwrap();
    for attempt in 1..=4 {
        let output = call(&autorun, &["runs"]);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            message.contains("cannot post"),
            attempt < 4,
            "{attempt}: {message}"
        );
    }
    assert_eq!(hook.posts().len(), 3);
}
