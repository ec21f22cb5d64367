//! The shell programs that run on the other side. POSIX sh, nothing else.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Runs there first: reads its program line by line up to the token, says its
/// process group, then becomes the program. What follows on stdin is the
/// program's own. `read` takes byte by byte from a pipe, so nothing is lost.
///
/// The token keeps a broken connection from running half a program.
const BOOT: &str = r#"t=$1 p= d=
while IFS= read -r l; do
[ "$l" = "$t" ] && d=1 && break
p="$p$l
"
done
[ "$d" ] || exit 255
{ read -r _ _ _ _ g _ </proc/$$/stat; } 2>/dev/null || g=$$
printf "%s %s\n" "$t" "$g" >&2
eval "$p""#;

/// What the ssh server is asked to execute.
pub(super) fn boot(token: &str, sudo: bool) -> String {
    let sudo = if sudo { "sudo -n -- " } else { "" };
    format!("{sudo}sh -c '{BOOT}' sh {token}")
}

/// The program for [`BOOT`], with the line that ends it.
pub(super) fn program(
    command: &str,
    cwd: Option<&str>,
    env: &BTreeMap<String, String>,
    token: &str,
) -> String {
    let mut program = String::new();
    for (name, value) in env {
        let _ = writeln!(program, "export {name}={}", quote(value));
    }
    if let Some(cwd) = cwd {
        let _ = writeln!(program, "cd -- {} || exit 1", quote(cwd));
    }
    // The login shell, as ssh itself would take.
    let _ = writeln!(
        program,
        "exec \"${{SHELL:-/bin/sh}}\" -c {}",
        quote(command)
    );
    program.push_str(token);
    program.push('\n');
    program
}

/// Ends a process group: first asks, then insists. Status 0 when it is gone.
pub(super) fn end_group(group: i32, sudo: bool) -> String {
    let sudo = if sudo { "sudo -n -- " } else { "" };
    let script = format!(
        "kill -s TERM -- -{group} 2>/dev/null; n=0
while kill -s 0 -- -{group} 2>/dev/null; do
n=$((n + 1))
[ $n -eq 5 ] && kill -s KILL -- -{group} 2>/dev/null
[ $n -gt 9 ] && exit 1
sleep 0.05
done"
    );
    format!("{sudo}sh -c '{script}'")
}

/// Copies stdin to `target`, never a half file under the final name.
pub(super) fn copy(name: &str, target: &str, size: u64, mode: u32) -> String {
    // A quoted tilde would be a name; relative paths start at home anyway.
    let target = match target.strip_prefix("~/") {
        Some("") => ".",
        Some(rest) => rest,
        None if target == "~" => ".",
        None => target,
    };
    let script = format!(
        r#"t={target} n={name}
case $t in
*/) [ -d "$t" ] || {{ echo "the directory $t does not exist" >&2; exit 1; }} ;;
esac
if [ -d "$t" ]; then t=${{t%/}}/$n; fi
case $t in
*/*) d=${{t%/*}}/ ;;
*) d= ;;
esac
h=${{d}}.${{t##*/}}.autorun-$$
trap 'rm -f -- "$h"' EXIT
trap 'exit 1' HUP INT PIPE TERM
umask 077
cat >"$h" || exit 1
s=$(wc -c <"$h") || exit 1
[ "$s" -eq {size} ] || {{ rm -f -- "$h"; echo "received $s of {size} bytes" >&2; exit 1; }}
chmod {mode:04o} "$h" && mv -f -- "$h" "$t" || exit 1
printf '%s' "$t""#,
        target = quote(target),
        name = quote(name),
    );
    format!("exec sh -c {}", quote(&script))
}

/// Quotes for a POSIX shell.
pub(super) fn quote(text: &str) -> String {
    shell_words::quote(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    /// Runs a boot command line with real sh, as sshd would.
    fn sh(command: &str, stdin: &str) -> (i32, String, String) {
        let mut child = Command::new("sh")
            .args(["-c", command])
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(stdin.as_bytes())
            .unwrap();
        let out = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            out.status.code().unwrap(),
            text(out.stdout),
            text(out.stderr),
        )
    }

    #[test]
    fn environment_and_stdin_reach_the_command_only_inside_the_connection() {
        let value = "it's $HOME\nand `more` \"quotes\"";
        let env = BTreeMap::from([("SECRET".to_owned(), value.to_owned())]);
        let program = program("printf '%s|' \"$SECRET\"; cat", None, &env, "tok");
        assert!(!boot("tok", false).contains("HOME"));
        let (status, stdout, stderr) = sh(&boot("tok", false), &format!("{program}rest\n"));
        assert_eq!((status, stdout), (0, format!("{value}|rest\n")));
        assert!(stderr.starts_with("tok "), "{stderr}");
    }

    #[test]
    fn half_a_program_does_not_run() {
        let (status, stdout, _) = sh(&boot("tok", false), "echo ran\n");
        assert_eq!((status, stdout.as_str()), (255, ""));
    }

    #[test]
    fn a_short_copy_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a 'b'\nc");
        let command = copy("x", target.to_str().unwrap(), 5, 0o640);
        assert_eq!(sh(&command, "abc").0, 1);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(sh(&command, "abcde").0, 0);
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "abcde");
        let into = copy("x", dir.path().to_str().unwrap(), 2, 0o755);
        assert_eq!(sh(&into, "hi").0, 0);
        assert_eq!(std::fs::read_to_string(dir.path().join("x")).unwrap(), "hi");
    }
}
