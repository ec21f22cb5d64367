//! Labs, local clouds and runs of the program, for all test binaries.
#![allow(dead_code, reason = "each test binary uses only some of it")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) mod cloud;
pub(crate) mod editor;
pub(crate) mod rows;

/// The host that has no restrictions.
pub(crate) const HOST: &str = "192.0.2.10";
/// The host whose connections break after 300,000 bytes.
pub(crate) const BREAKING_HOST: &str = "192.0.2.11";

/// The project's root, which is the current directory of the runs.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// AWS's API and two hosts in a network namespace. They end when this value is
/// dropped.
pub(crate) struct Lab {
    child: Child,
    /// The lab ends when its standard input is closed.
    _stdin: ChildStdin,
    dir: TempDir,
    pid: u64,
}

impl Lab {
    /// Starts a lab with these settings in addition to the defaults.
    pub(crate) fn start(settings: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ssh = dir.path().join("ssh");
        fs::create_dir(&ssh).unwrap();
        new_key(&ssh.join("id_ed25519"));
        let key = fs::read_to_string(ssh.join("id_ed25519.pub")).unwrap();
        let mut all = json!({ "hosts": [
            { "address": HOST, "user": "admin", "authorized_key": key, "small_disk": true },
            { "address": BREAKING_HOST, "user": "admin", "authorized_key": key,
              "drop_after_bytes": 300_000 },
        ]});
        all.as_object_mut()
            .unwrap()
            .extend(settings.as_object().unwrap().clone());
        fs::write(dir.path().join("lab.json"), all.to_string()).unwrap();

        let mut child = Command::new(Self::python())
            .arg(root().join("tests/lab/lab.py"))
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the lab needs what tests/run installs");
        let stdin = child.stdin.take().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: Value = serde_json::from_str(&line)
            .expect("the lab did not start: run the tests with tests/run, as root");
        let lab = Self {
            child,
            _stdin: stdin,
            pid: ready["pid"].as_u64().unwrap(),
            dir,
        };
        let hosts = all["hosts"].as_array().unwrap().iter();
        let known: Vec<String> = hosts
            .filter_map(|host| host["address"].as_str())
            .filter(|host| [HOST, BREAKING_HOST].contains(host))
            .map(|host| format!("{host} {}", lab.host_key(host)))
            .collect();
        fs::write(ssh.join("known_hosts"), known.concat()).unwrap();
        lab
    }

    /// Returns the public host key of a machine.
    pub(crate) fn host_key(&self, machine: &str) -> String {
        self.try_host_key(machine)
            .unwrap_or_else(|| panic!("{machine} has no host key"))
    }

    /// Returns the public host key of a machine, or `None` while the machine
    /// does not respond.
    pub(crate) fn try_host_key(&self, machine: &str) -> Option<String> {
        let machine = self.dir.path().join("machines").join(machine);
        fs::read_to_string(machine.join("host_key.pub")).ok()
    }

    /// The path of a Python that has boto3.
    pub(crate) fn python() -> String {
        let usual = || {
            root()
                .join("target/lab-venv/bin/python")
                .display()
                .to_string()
        };
        std::env::var("AUTORUN_TEST_PYTHON").unwrap_or_else(|_| usual())
    }

    /// Changes settings of the running lab.
    pub(crate) fn set(&self, settings: &Value) {
        let path = self.dir.path().join("lab.json");
        let mut all: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        all.as_object_mut()
            .unwrap()
            .extend(settings.as_object().unwrap().clone());
        let next = self.dir.path().join("lab.json.new");
        fs::write(&next, all.to_string()).unwrap();
        fs::rename(next, path).unwrap();
    }

    /// Returns all API requests up to now.
    pub(crate) fn requests(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.dir.path().join("requests.jsonl")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Returns the requests of one action.
    pub(crate) fn requests_of(&self, action: &str) -> Vec<Value> {
        let is = |r: &Value| r["action"] == action || r["operation"] == action;
        self.requests().into_iter().filter(is).collect()
    }

    /// A program in this lab's network.
    pub(crate) fn inside(&self, program: &str) -> Command {
        inside(self.pid, program)
    }

    /// A run in this lab, with its own home directory.
    pub(crate) fn autorun(&self) -> Autorun {
        let mut autorun = Autorun::new();
        autorun.namespace = Some(self.pid);
        let ssh = autorun.home.path().join(".ssh");
        fs::create_dir(&ssh).unwrap();
        for file in ["id_ed25519", "id_ed25519.pub", "known_hosts"] {
            fs::copy(self.dir.path().join("ssh").join(file), ssh.join(file)).unwrap();
        }
        autorun
            .env("AWS_ENDPOINT_URL", "http://127.0.0.1:5000")
            .env("AWS_ENDPOINT_URL_CHECKIP", "http://127.0.0.1:5001/")
            .credentials()
    }
}

/// Writes a new ssh key pair to these files.
pub(crate) fn new_key(file: &Path) {
    let keygen = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
        .arg(file)
        .status()
        .unwrap();
    assert!(keygen.success());
}

/// A program in the network namespace of a process.
fn inside(pid: u64, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net=/proc/{pid}/ns/net"))
        .arg("--")
        .arg(program);
    command
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// One call of the program, without the tester's environment variables.
pub(crate) struct Autorun {
    pub(crate) home: TempDir,
    namespace: Option<u64>,
    by_other_user: bool,
    env: Vec<(String, String)>,
    args: Vec<String>,
}

impl Autorun {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("data")).unwrap();
        Self {
            home,
            namespace: None,
            by_other_user: false,
            env: Vec::new(),
            args: Vec::new(),
        }
        .env("AWS_EC2_METADATA_DISABLED", "true")
    }

    /// Writes credentials and a region to `~/.aws`, where users have them.
    pub(crate) fn credentials(self) -> Self {
        let aws = self.home.path().join(".aws");
        fs::create_dir_all(&aws).unwrap();
        let credentials = "[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\n\
            aws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY\n";
        fs::write(aws.join("credentials"), credentials).unwrap();
        fs::set_permissions(aws.join("credentials"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(aws.join("config"), "[default]\nregion = eu-central-1\n").unwrap();
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs the program as an unprivileged user, who owns only the home
    /// directory.
    pub(crate) fn by_other_user(mut self) -> Self {
        let owned = Command::new("chown")
            .args(["-R", "65534:65534"])
            .arg(self.home.path())
            .status()
            .unwrap();
        assert!(owned.success());
        self.by_other_user = true;
        self
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<str>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Writes a playbook with this text to the home directory and passes it as
    /// an argument.
    pub(crate) fn playbook(self, text: &str) -> Self {
        let path = self.home.path().join("playbook.rhai");
        fs::write(&path, text).unwrap();
        self.arg(path.display().to_string())
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = self.program(env!("CARGO_BIN_EXE_autorun"));
        command.args(&self.args);
        command
    }

    /// A shell in the program's environment, with the AWS CLI and `autorun` on
    /// its PATH.
    pub(crate) fn shell(&self, line: &str) -> Command {
        let folders = [Lab::python(), env!("CARGO_BIN_EXE_autorun").to_owned()]
            .map(|file| Path::new(&file).parent().unwrap().display().to_string());
        let mut command = self.program("sh");
        command.args(["-c", line]).env(
            "PATH",
            format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folders.join(":")),
        );
        command
    }

    /// Returns the program and its arguments as a line for that shell.
    pub(crate) fn words(&self) -> String {
        let program = [env!("CARGO_BIN_EXE_autorun").to_owned()];
        shell_words::join(program.iter().chain(&self.args))
    }

    fn program(&self, program: &str) -> Command {
        let mut words = vec![program];
        if self.by_other_user {
            let other = ["--reuid=65534", "--regid=65534", "--clear-groups"];
            words.splice(0..0, ["setpriv"].into_iter().chain(other));
        }
        let mut command = match self.namespace {
            Some(pid) => inside(pid, words[0]),
            None => Command::new(words[0]),
        };
        command
            .args(&words[1..])
            .current_dir(root())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.home.path())
            .env("USER", "admin")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs the program on a terminal, with this input. Returns the exit status
    /// and what the terminal showed.
    pub(crate) fn at_terminal(&self, typed: &str) -> (Option<i32>, String) {
        at_terminal(&self.command(), typed)
    }

    /// Runs the program until it ends.
    #[must_use]
    pub(crate) fn run(&self) -> Ended {
        Ended::of(&self.command().output().unwrap(), self.home.path())
    }
}

/// Runs a command on a terminal, with this input. Returns the exit status and
/// what the terminal showed.
pub(crate) fn at_terminal(command: &Command, typed: &str) -> (Option<i32>, String) {
    let mut child = Command::new("script")
        .args(["-qec", &words_of(command), "/dev/null"])
        .envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(typed.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), shown)
}

/// Runs a command on a terminal and types each answer when its question
/// appears. For programs that discard input that was typed before the question.
pub(crate) fn conversation(command: &Command, answers: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut child = Command::new("script")
        .args(["-qec", &words_of(command), "/dev/null"])
        .envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut shown = Vec::new();
    let mut answered = 0;
    for (question, answer) in answers {
        while !String::from_utf8_lossy(&shown[answered..]).contains(question) {
            let mut some = [0; 4096];
            let length = stdout.read(&mut some).unwrap();
            let so_far = String::from_utf8_lossy(&shown);
            assert!(
                length > 0,
                "the question `{question}` did not appear in\n{so_far}"
            );
            shown.extend_from_slice(&some[..length]);
        }
        answered = shown.len();
        writeln!(stdin, "{answer}").unwrap();
    }
    stdout.read_to_end(&mut shown).unwrap();
    let status = child.wait().unwrap().code();
    (status, String::from_utf8_lossy(&shown).into_owned())
}

/// Starts a run and waits until stderr contains `sign`.
pub(crate) fn started(
    autorun: &Autorun,
    sign: &str,
) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut child = autorun
        .command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut seen = String::new();
    while !seen.contains(sign) {
        assert!(
            stderr.read_line(&mut seen).unwrap() > 0,
            "no `{sign}` in\n{seen}"
        );
    }
    (child, stderr)
}

pub(crate) fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let sent = Command::new("kill")
        .args(["-s", name, &pid])
        .status()
        .unwrap();
    assert!(sent.success());
}

/// Returns a command as a line for a shell.
pub(crate) fn words_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    shell_words::join(words.map(|word| word.to_str().unwrap()))
}

/// The exit status and the output of a run.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    home: PathBuf,
}

impl Ended {
    pub(crate) fn of(output: &Output, home: &Path) -> Self {
        Self {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout.clone()).unwrap(),
            stderr: String::from_utf8(output.stderr.clone()).unwrap(),
            home: home.to_owned(),
        }
    }

    /// Asserts the exit status.
    #[track_caller]
    pub(crate) fn exits(self, status: i32) -> Self {
        assert_eq!(
            self.status,
            Some(status),
            "\n{}\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Stderr with single spaces in place of line breaks, so that tests do not
    /// depend on where a message wraps.
    pub(crate) fn messages(&self) -> String {
        self.stderr.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Stderr without the parts that differ between two runs.
    pub(crate) fn normal(&self) -> String {
        self.normal_of(&self.stderr)
    }

    /// A text without the parts that differ between two runs.
    pub(crate) fn normal_of(&self, text: &str) -> String {
        let text = text.replace(&self.home.display().to_string(), "~");
        let rules = [
            (r"\bi-[0-9a-f]{17}\b", "i-ID"),
            (r"\bsg-[0-9a-f]{17}\b", "sg-ID"),
            (r"SHA256:[A-Za-z0-9+/]{43}", "SHA256:HASH"),
            (r"request [A-Za-z0-9-]{16,}", "request ID"),
            (r"\b[0-9]+(\.[0-9]+)? (ms|s)\b", "TIME"),
            (r"127\.0\.0\.1:[0-9]{4,5}", "127.0.0.1:PORT"),
            (r"\b54\.214\.[0-9]+\.[0-9]+", "54.214.X.X"),
            (r"-[23456789bcdfghjkmnpqrstvwxz]{7}\b", "-RUN"),
            // This line appears only if a step took long.
            (r"longest:   .*\n", ""),
            (
                r"\b(destroy|resume|autorun ssh) [23456789bcdfghjkmnpqrstvwxz]{7}\b",
                "$1 RUN",
            ),
        ];
        rules.iter().fold(text, |text, (pattern, name)| {
            regex_lite::Regex::new(pattern)
                .unwrap()
                .replace_all(&text, *name)
                .into_owned()
        })
    }
}

/// Returns the values of the `// name: value` lines at the head of a test
/// playbook.
pub(crate) fn directives(text: &str, name: &str) -> Vec<String> {
    let lines = text.lines().take_while(|line| line.starts_with("//"));
    let prefix = format!("// {name}: ");
    lines
        .filter_map(|line| line.strip_prefix(&prefix).map(str::to_owned))
        .collect()
}
