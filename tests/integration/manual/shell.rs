//! One shell for a whole page, so that a later command sees what an earlier one
//! left: files, exported variables, the directory.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use crate::support::cloud::LocalCloud;
use crate::support::{Lab, root};

/// Marks the end of a command's output.
const MARK: &str = "--end-of-the-command--";

pub(super) struct Shell {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    home: TempDir,
    _cloud: LocalCloud,
}

impl Shell {
    /// A shell of a user who has a checkout of the project, `autorun`, the AWS
    /// CLI, a stand-in for its plugin and boto3, and whose local cloud is up.
    pub(super) fn start() -> Self {
        let cloud = LocalCloud::start();
        let home = tempfile::tempdir().unwrap();
        let checkout = home.path().join("autorun");
        fs::create_dir(&checkout).unwrap();
        for folder in ["playbooks", "userdata", "assets"] {
            let copied = Command::new("cp")
                .arg("-r")
                .args([root().join(folder), checkout.clone()])
                .status()
                .unwrap();
            assert!(copied.success());
        }
        let program = env!("CARGO_BIN_EXE_autorun").to_owned();
        let folders = [Lab::python(), program]
            .map(|file| Path::new(&file).parent().unwrap().display().to_string());
        let plugin = root().join("tests/plugin");
        let path = format!(
            "{}:{}:/usr/sbin:/usr/bin:/sbin:/bin",
            folders.join(":"),
            plugin.display()
        );
        let mut child = Command::new("bash")
            .args(["--noprofile", "--norc"])
            .current_dir(&checkout)
            .env_clear()
            .env("PATH", path)
            .env("HOME", home.path())
            .env("USER", "me")
            .env("LANG", "C.UTF-8")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_PAGER", "")
            .env("AUTORUN_CLOUD_HOME", cloud.home())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            stdin: child.stdin.take().unwrap(),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child,
            home,
            _cloud: cloud,
        }
    }

    /// The directory that the page's commands begin in.
    pub(super) fn checkout(&self) -> std::path::PathBuf {
        self.home.path().join("autorun")
    }

    /// Runs a command; returns its exit status and both outputs, mixed as a
    /// terminal shows them.
    pub(super) fn run(&mut self, command: &str) -> (i32, String) {
        let script = format!("{{ {command}\n}} 2>&1 </dev/null; echo \"\n{MARK} $?\"\n");
        self.stdin.write_all(script.as_bytes()).unwrap();
        self.stdin.flush().unwrap();
        let mut output = String::new();
        loop {
            let mut line = Vec::new();
            let read = self.stdout.read_until(b'\n', &mut line).unwrap();
            assert!(read > 0, "the shell has ended in `{command}`:\n{output}");
            let line = String::from_utf8_lossy(&line);
            if let Some(status) = line.strip_prefix(MARK) {
                let output = output.trim_end().replace(&self.home_name(), "/home/me");
                return (status.trim().parse().unwrap(), output);
            }
            output.push_str(&line);
        }
    }

    fn home_name(&self) -> String {
        self.home.path().display().to_string()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
