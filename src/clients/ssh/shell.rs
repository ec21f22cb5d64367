//! Starts a command on the host: the boot program and quoting. Needs only POSIX
//! sh.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The boot program. It reads its program line by line up to the token and
/// finds out its process group. Then it becomes the program, which reports the
/// process group. The rest of stdin belongs to the program; nothing is lost,
/// because `read` reads a pipe byte by byte.
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
eval "$p""#;

/// The word after the token if sudo is called next.
pub(super) const ASKS_SUDO: &str = "sudo";

/// The word after the token if the working directory cannot be entered.
pub(super) const NO_DIRECTORY: &str = "cwd";

/// How a command becomes root's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sudo {
    No,
    /// sudo does not ask for a password.
    Free,
    /// sudo may ask for a password, with [`prompt`].
    Password,
}

/// Returns the command line for the ssh server.
pub(super) fn boot(token: &str, sudo: Sudo) -> String {
    let boot = format!("sh -c '{BOOT}' sh {token}");
    match sudo {
        Sudo::No => boot,
        // The line before sudo distinguishes a refusal of sudo from a refusal
        // of the account.
        Sudo::Free => format!(
            "sh -c 'printf \"%s {ASKS_SUDO}\\n\" \"$1\" >&2; exec sudo -n -- sh -c \"$2\" sh \"$1\"' \
             sh {token} '{BOOT}'"
        ),
        // sudo must not read the program as a password, and the boot program
        // must not read the password as part of the program. The program is
        // therefore sent only after the line which shows that sudo is done.
        Sudo::Password => format!(
            "sudo -S -p '{}' -- sh -c 'printf \"%s\\n\" \"{}\" >&2; exec {}' sh",
            prompt(token),
            sudo_done(token),
            boot.replace('\'', r"'\''"),
        ),
    }
}

/// Returns sudo's password prompt.
pub(super) fn prompt(token: &str) -> String {
    format!("{token}?")
}

/// Returns the line that follows once sudo is done.
pub(super) fn sudo_done(token: &str) -> String {
    format!("{token}!")
}

/// Returns the program for [`BOOT`], with the line that ends it.
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
        let _ = writeln!(
            program,
            "cd -- {} || {{ printf '%s {NO_DIRECTORY}\\n' \"$t\" >&2; exit 1; }}",
            quote(cwd)
        );
    }
    program.push_str("printf '%s %s\\n' \"$t\" \"$g\" >&2\n");
    // The login shell, which sshd would use too.
    let _ = writeln!(
        program,
        "exec \"${{SHELL:-/bin/sh}}\" -c {}",
        quote(command)
    );
    program.push_str(token);
    program.push('\n');
    program
}

/// Returns a command that terminates a process group: SIGTERM first, then
/// SIGKILL. Its exit status is 0 if the group is gone.
pub(super) fn end_group(group: i32, sudo: Sudo) -> String {
    let sudo = match sudo {
        Sudo::No => "",
        Sudo::Free => "sudo -n -- ",
        // If sudo asks for a password, it is the first line of the input.
        Sudo::Password => "sudo -S -p '' -- ",
    };
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

/// Quotes a text for a POSIX shell.
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
        assert!(!boot("tok", Sudo::No).contains("HOME"));
        let (status, stdout, stderr) = sh(&boot("tok", Sudo::No), &format!("{program}rest\n"));
        assert_eq!((status, stdout), (0, format!("{value}|rest\n")));
        assert!(stderr.starts_with("tok "), "{stderr}");
    }

    #[test]
    fn half_a_program_does_not_run() {
        let (status, stdout, _) = sh(&boot("tok", Sudo::No), "echo ran\n");
        assert_eq!((status, stdout.as_str()), (255, ""));
    }
}
