//! The script that an agent runs: the command, and a guard that keeps a step from
//! running twice on a host.
//!
//! Systems Manager has no client token: a request whose answer was lost may be sent
//! again, and a resumed run repeats a step that has no recorded end. So each attempt at
//! a step is a directory on the host, taken by the script that creates it, which keeps
//! output and status there. A script that finds an attempt taken waits for its status
//! and returns it. A script of a later attempt also returns the status of an earlier one
//! that succeeded: a step is repeated only on the hosts where it failed.

use shell_words::quote;

use super::FleetExec;
use crate::primitives::data::sha256;

/// The directory of all steps on a host.
const STEPS: &str = "/var/lib/autorun/steps";

/// The exit status of a script whose attempt was interrupted before, together with the
/// line that [`token`] returns.
pub(super) const INTERRUPTED: i64 = 75;

/// An attempt at a step.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) run: String,
    /// The key of the step.
    pub(super) step: String,
    /// Its number, from 1.
    pub(super) number: usize,
}

impl Attempt {
    /// Returns the comment of the command for these instances. A resumed run may select
    /// others, and then sends another command; the guard keeps it from running twice.
    pub(super) fn comment(&self, instances: &[String]) -> String {
        let Self { run, step, number } = self;
        let digest = sha256(instances.join(" ").as_bytes());
        format!("autorun {run}/{step} {number} {}", &digest[..12])
    }

    /// Returns the line with which the script reports that the attempt was interrupted.
    pub(super) fn token(&self) -> String {
        let Self { run, step, number } = self;
        format!("autorun-interrupted {run}/{step}/{number}")
    }

    /// Returns the script for a command.
    pub(super) fn script(&self, command: &str, options: &FleetExec) -> String {
        let Self { run, step, number } = self;
        GUARD
            .replace("@STEP@", &format!("{STEPS}/{run}-{step}"))
            .replace("@NUMBER@", &number.to_string())
            .replace("@TOKEN@", &quote(&self.token()))
            .replace("@INTERRUPTED@", &INTERRUPTED.to_string())
            .replace("@SHELL@", &shell(options))
            // Last, because it may contain anything.
            .replace("@COMMAND@", &quote(&inner(command, options)))
    }
}

/// Returns the shell of the command. `exec` keeps it in the process group that the
/// agent ends.
fn shell(options: &FleetExec) -> String {
    match &options.user {
        None => "sh -c".to_owned(),
        Some(user) => format!("su -s /bin/sh {} -c", quote(user)),
    }
}

/// Returns the text that the shell of the command runs.
fn inner(command: &str, options: &FleetExec) -> String {
    let mut text = match options.cwd.as_deref() {
        None => "cd 2>/dev/null || cd /\n".to_owned(),
        Some("~") => "cd || exit 1\n".to_owned(),
        Some(path) => match path.strip_prefix("~/") {
            None => format!("cd 2>/dev/null; cd -- {} || exit 1\n", quote(path)),
            Some(rest) => format!("cd && cd -- {} || exit 1\n", quote(rest)),
        },
    };
    for (name, value) in &options.env {
        text.extend(["export ", name.as_str(), "=", &*quote(value), "\n"]);
    }
    text + command
}

/// The guard. Status and output are in place before the script reports them, so what
/// happens to it afterwards changes nothing.
const GUARD: &str = r#"step=@STEP@
mine=$step/@NUMBER@
command=@COMMAND@
umask 077
export HOME="${HOME:-/root}"
mkdir -p "$step" || exit 1
began() { cut -d' ' -f22 "/proc/$1/stat" 2>/dev/null; }
owner="$(cat /proc/sys/kernel/random/boot_id) $$ $(began $$)"
runs() {
    read -r boot pid start 2>/dev/null < "$1/owner" || return 1
    [ "$boot" = "${owner%% *}" ] && [ "$(began "$pid")" = "$start" ]
}
settles() {
    tries=0
    while [ ! -f "$1/status" ]; do
        if runs "$1"; then tries=0; else tries=$((tries + 1)); fi
        [ "$tries" -gt 3 ] && return 1
        sleep 1
    done
}
give() {
    cat "$1/stdout"
    cat "$1/stderr" >&2
    exit "$(cat "$1/status")"
}
for other in "$step"/*; do
    if [ -d "$other" ] && [ "$other" != "$mine" ] && settles "$other"; then
        [ "$(cat "$other/status")" = 0 ] && give "$other"
    fi
done
if ! mkdir "$mine" 2>/dev/null; then
    [ -d "$mine" ] || exit 1
    settles "$mine" && give "$mine"
    echo @TOKEN@ >&2
    exit @INTERRUPTED@
fi
echo "$owner" > "$mine/owner"
(umask 022; exec @SHELL@ "$command" < /dev/null) > "$mine/stdout" 2> "$mine/stderr"
status=$?
echo "$status" > "$mine/ended" && mv "$mine/ended" "$mine/status"
cat "$mine/stdout"
cat "$mine/stderr" >&2
for stream in "$mine/stdout" "$mine/stderr"; do
    head -c 24000 "$stream" > "$stream.head" && mv "$stream.head" "$stream"
done
exit "$status"
"#;

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn options(text: serde_json::Value) -> FleetExec {
        serde_json::from_value(text).unwrap()
    }

    fn attempt(number: usize) -> Attempt {
        Attempt {
            run: "7kq2m9w".to_owned(),
            step: "0a1b".to_owned(),
            number,
        }
    }

    /// Runs a script with its steps below a directory. Returns status, stdout and
    /// stderr.
    fn run(home: &Path, script: &str) -> (i32, String, String) {
        let script = script.replace(STEPS, &home.join("steps").display().to_string());
        let mut command = Command::new("sh");
        let output = command.args(["-c", &script]).env("HOME", home).output();
        let output = output.unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    #[test]
    fn an_attempt_runs_once() {
        let home = tempfile::tempdir().unwrap();
        let command = "echo x >> runs; echo out; echo 'err' >&2; exit 3";
        let script = attempt(1).script(command, &options(serde_json::json!({})));
        let expected = (3, "out\n".to_owned(), "err\n".to_owned());
        for _ in 0..3 {
            assert_eq!(run(home.path(), &script), expected);
        }
        let runs = || std::fs::read_to_string(home.path().join("runs")).unwrap();
        assert_eq!(runs(), "x\n");
        // The next attempt repeats it, because it failed.
        let second =
            attempt(2).script("echo x >> runs; echo good", &options(serde_json::json!({})));
        assert_eq!(run(home.path(), &second).0, 0);
        assert_eq!(runs(), "x\nx\n");
        // A third one does not, because it succeeded.
        let third = attempt(3).script("echo x >> runs", &options(serde_json::json!({})));
        assert_eq!(
            run(home.path(), &third),
            (0, "good\n".to_owned(), String::new())
        );
        assert_eq!(runs(), "x\nx\n");
    }

    #[test]
    fn an_attempt_that_was_interrupted_is_not_repeated() {
        let home = tempfile::tempdir().unwrap();
        let taken = home.path().join("steps/7kq2m9w-0a1b/1");
        std::fs::create_dir_all(&taken).unwrap();
        std::fs::write(taken.join("owner"), "another-boot 1 1\n").unwrap();
        let script = attempt(1).script("echo x > runs", &options(serde_json::json!({})));
        let (status, stdout, stderr) = run(home.path(), &script);
        assert_eq!((i64::from(status), stdout.as_str()), (INTERRUPTED, ""));
        assert_eq!(stderr.trim_end(), attempt(1).token());
        assert!(!home.path().join("runs").exists());
        // A resumed run makes another attempt.
        let again = attempt(2).script("echo x > runs", &options(serde_json::json!({})));
        assert_eq!(run(home.path(), &again).0, 0);
        assert!(home.path().join("runs").exists());
    }

    #[test]
    fn a_second_script_waits_for_the_first() {
        let home = tempfile::tempdir().unwrap();
        let command = "until [ -e go ]; do sleep 0.01; done; echo x >> runs; echo done";
        let script = attempt(1).script(command, &options(serde_json::json!({})));
        let results = std::thread::scope(|scope| {
            let running = [(); 2].map(|()| scope.spawn(|| run(home.path(), &script)));
            let taken = home.path().join("steps/7kq2m9w-0a1b/1/owner");
            while !taken.exists() {
                std::thread::yield_now();
            }
            std::fs::write(home.path().join("go"), "").unwrap();
            running.map(|one| one.join().unwrap())
        });
        for result in results {
            assert_eq!(result, (0, "done\n".to_owned(), String::new()));
        }
        assert_eq!(
            std::fs::read_to_string(home.path().join("runs")).unwrap(),
            "x\n"
        );
    }

    #[test]
    fn options_apply_to_the_command() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("it's")).unwrap();
        let wanted = serde_json::json!({ "cwd": "~/it's", "env": { "A": "b 'c' $d" } });
        let script = attempt(1).script("pwd; echo \"$A\"", &options(wanted));
        let (status, stdout, _) = run(home.path(), &script);
        let directory = home.path().join("it's").display().to_string();
        assert_eq!((status, stdout), (0, format!("{directory}\nb 'c' $d\n")));
        let missing = options(serde_json::json!({ "cwd": "/nosuch" }));
        let other = Attempt {
            step: "2c3d".to_owned(),
            ..attempt(1)
        };
        assert_eq!(run(home.path(), &other.script("true", &missing)).0, 1);
    }
}
