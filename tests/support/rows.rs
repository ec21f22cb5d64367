//! Tests that are playbooks, one per file: how to list, run and check them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

use super::{Autorun, Ended, directives, root};

/// A playbook with its text.
pub(crate) struct Row {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Row {
    /// The playbooks in a directory of the tests.
    pub(crate) fn all(directory: &str) -> Vec<Self> {
        let entries = fs::read_dir(root().join(directory)).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|ending| ending == "rhai"));
        paths.sort();
        let read = |path: PathBuf| Self {
            text: fs::read_to_string(&path).unwrap(),
            path,
        };
        paths.into_iter().map(read).collect()
    }

    /// Returns the value of the first `// name: value` line with this name.
    pub(crate) fn directive(&self, name: &str) -> Option<String> {
        directives(&self.text, name).into_iter().next()
    }

    /// Whether the playbook needs neither a lab nor a local cloud.
    pub(crate) fn needs_nothing(&self) -> bool {
        let others = ["faults", "user"];
        self.directive("lab").as_deref() == Some("none")
            && !others.iter().any(|o| self.directive(o).is_some())
    }

    /// Returns the test of this playbook, with the name `kind::name`.
    pub(crate) fn trial(self, kind: &str, test: fn(&Self)) -> Trial {
        let name = self.path.file_stem().unwrap().to_string_lossy();
        let name = format!("{kind}::{name}");
        Trial::test(name, move || {
            test(&self);
            Ok::<(), Failed>(())
        })
    }

    /// Runs the playbook as the lines at its head specify.
    pub(crate) fn run(&self, autorun: Autorun) -> Ended {
        run(autorun, &self.path, &self.text)
    }

    /// Checks the exit status and the output of a primitive's playbook.
    pub(crate) fn check(&self, ended: Ended) {
        let ended = ended.exits(self.status(0));
        for (stream, shown) in [("stdout", &ended.stdout), ("stderr", &ended.stderr)] {
            for wanted in directives(&self.text, stream) {
                assert!(
                    shown.contains(&wanted),
                    "`{wanted}` is not in {stream}:\n{shown}"
                );
            }
        }
        for secret in directives(&self.text, "not") {
            let both = format!("{}{}", ended.stdout, ended.stderr);
            assert!(
                !both.contains(&secret),
                "`{secret}` is in the output:\n{both}"
            );
        }
    }

    /// Compares the error output of a failing playbook with its golden file. A
    /// second run with JSON output checks `err.kind` as a `catch` would see it.
    pub(crate) fn check_golden(&self, run: impl Fn(&Self) -> Ended) {
        let ended = run(self).exits(self.status(1));
        if let Some(wanted) = self.directive("kind") {
            let again = Self {
                path: self.path.clone(),
                text: format!("// args: --output json\n{}", self.text),
            };
            assert_eq!(kind(&run(&again).stdout), Some(wanted));
        }
        self.compare("stderr", &ended.normal());
    }

    /// Compares a text with the file beside the playbook that has this extension.
    pub(crate) fn compare(&self, extension: &str, seen: &str) {
        let golden = self.path.with_extension(extension);
        if std::env::var_os("BLESS").is_some() {
            fs::write(&golden, seen).unwrap();
            return;
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(seen, expected, "{} (BLESS=1 rewrites it)", golden.display());
    }

    /// Returns the words of the `// args:` lines.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let lines = directives(&self.text, "args");
        let words = lines.iter().map(|line| shell_words::split(line).unwrap());
        words.flatten().collect()
    }

    pub(crate) fn status(&self, otherwise: i32) -> i32 {
        self.directive("exit")
            .map_or(otherwise, |status| status.parse().unwrap())
    }
}

/// Runs the tests that the command line selects, with as many threads as other
/// test binaries.
pub(crate) fn main(trials: Vec<Trial>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    let threads = std::env::var("RUST_TEST_THREADS").ok();
    arguments.test_threads = arguments
        .test_threads
        .or_else(|| threads.and_then(|number| number.parse().ok()));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs the playbook at this path as the lines at the head of its text specify.
pub(crate) fn run(autorun: Autorun, path: &Path, text: &str) -> Ended {
    let env = directives(text, "env");
    let env = env.iter().map(|pair| pair.split_once('=').unwrap());
    let autorun = env.fold(autorun, |autorun, (name, value)| autorun.env(name, value));
    let args = directives(text, "args");
    let args = args
        .iter()
        .flat_map(|args| shell_words::split(args).unwrap());
    let path = path.strip_prefix(root()).unwrap_or(path);
    let autorun = match directives(text, "call").first() {
        Some(call) => autorun.args(shell_words::split(call).unwrap()),
        None => autorun.arg(path.display().to_string()),
    };
    let autorun = autorun.args(args);
    if directives(text, "user").is_empty() {
        autorun.run()
    } else {
        autorun.by_other_user().run()
    }
}

/// Returns the kind of the error in JSON Lines output.
fn kind(stdout: &str) -> Option<String> {
    let events = stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut kinds = events.filter_map(|event| Some(event["error"]["kind"].as_str()?.to_owned()));
    kinds.next()
}
