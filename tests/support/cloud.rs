//! A local cloud for the tests, and the translation of lab settings into its
//! faults.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Autorun, Ended, new_key, root};

/// A local cloud with its own home. It ends with the test process.
pub(crate) struct LocalCloud {
    /// Stops the cloud when its standard input is closed, however the test
    /// process ends.
    guard: Child,
    stdin: Option<ChildStdin>,
    home: TempDir,
}

impl LocalCloud {
    /// Starts a local cloud and waits until it is up.
    pub(crate) fn start() -> Self {
        Self::start_by(Command::new("sh"), "true")
    }

    /// Starts a local cloud that sees the file system as this shell command
    /// leaves it. Only the local cloud sees these changes.
    pub(crate) fn start_after(command: &str) -> Self {
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "sh"]);
        Self::start_by(shell, command)
    }

    fn start_by(mut shell: Command, command: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut guard = shell
            .arg("-c")
            .arg(format!(
                "{command} && \"$0\" cloud up >&2 && echo up; cat >/dev/null; \
                 exec \"$0\" cloud down >/dev/null"
            ))
            .arg(env!("CARGO_BIN_EXE_autorun"))
            .env("AUTORUN_CLOUD_HOME", home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = guard.stdin.take();
        let mut line = String::new();
        let mut out = BufReader::new(guard.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        assert_eq!(
            line, "up\n",
            "the local cloud did not start: run the tests with tests/run, as root"
        );
        Self { guard, stdin, home }
    }

    /// The cloud's home directory.
    pub(crate) fn home(&self) -> &std::path::Path {
        self.home.path()
    }

    /// A run on this cloud, with its own home directory.
    pub(crate) fn autorun(&self) -> Autorun {
        let autorun = self.plain();
        let ssh = autorun.home.path().join(".ssh");
        fs::create_dir(&ssh).unwrap();
        new_key(&ssh.join("id_ed25519"));
        autorun.arg("--local").args(["--region", "eu-central-1"])
    }

    /// The program with this cloud and without arguments.
    pub(crate) fn plain(&self) -> Autorun {
        let home = self.home.path().display().to_string();
        Autorun::new().env("AUTORUN_CLOUD_HOME", &home)
    }

    /// Runs `autorun cloud COMMAND`.
    pub(crate) fn cloud(&self, command: &str) -> Ended {
        self.plain().args(["cloud", command]).run()
    }

    /// Returns the names and values that `autorun cloud env` prints.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        let output = self.cloud("env").exits(0).stdout;
        output
            .lines()
            .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
            .map(|(name, value)| (name.to_owned(), shell_words::split(value).unwrap().concat()))
            .collect()
    }

    /// A program whose only configuration is the output of `cloud env`.
    pub(crate) fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(root())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.home.path())
            .envs(self.env());
        command
    }

    /// The process id of the cloud's background process.
    pub(crate) fn pid(&self) -> u32 {
        let file = self.home.path().join("access/0.json");
        let access: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        u32::try_from(access["pid"].as_u64().unwrap()).unwrap()
    }
}

impl Drop for LocalCloud {
    fn drop(&mut self) {
        drop(self.stdin.take());
        drop(self.guard.wait());
    }
}

/// Returns the local cloud's faults that correspond to these settings of the
/// lab, or `None` if the local cloud has no fault for one of them.
pub(crate) fn faults_for(settings: &Value) -> Option<Value> {
    let mut account = json!({});
    let mut faults = Vec::new();
    let boot = |act: &str| json!({ "operation": "boot", "times": 0, "do": act });
    for (name, value) in settings.as_object()? {
        match (name.as_str(), value) {
            // The local cloud always boots its instances.
            ("boot", _) => {}
            ("account_blocks_public", on) => account["blocks_public"] = on.clone(),
            ("no_default_vpc" | "no_default_subnet" | "free_plan", on) => {
                account[name] = on.clone();
            }
            ("shortages", all) => account["shortages"] = all.clone(),
            ("interrupt_spot", _) => faults.push(boot("interrupt-spot")),
            ("console", text) if text == "none" => faults.push(boot("no-console-keys")),
            ("console", text) if text == "wrong" => faults.push(boot("other-console-keys")),
            ("console_after", _) => faults.push(boot("late-console-keys")),
            ("cloud_init", _) => faults.push(boot("no-cloud-init")),
            ("user_data_result", text) if text == "degraded" => {
                faults.push(boot("degrade-user-data"));
            }
            ("user_data_result", _) => faults.push(boot("fail-user-data")),
            ("boot_fails", code) => {
                let mut fails = boot("fail-boot");
                if !code.is_null() {
                    fails["code"] = code.clone();
                }
                faults.push(fails);
            }
            ("pending_seconds", seconds) => {
                let mut slow = boot("slow-boot");
                slow["seconds"] = json!(seconds.as_f64()?);
                faults.push(slow);
            }
            ("fail", rules) => {
                for (operation, rule) in rules.as_object()? {
                    faults.push(json!({
                        "operation": operation,
                        "times": rule["times"].as_u64().unwrap_or(0),
                        "do": "error",
                        "code": rule["code"],
                        "message": rule["message"],
                        "status": rule["status"].as_u64().unwrap_or(400),
                    }));
                }
            }
            _ => return None,
        }
    }
    Some(json!({ "account": account, "fault": faults }))
}
