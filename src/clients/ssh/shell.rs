//! How a command is started on the other side: the boot program and quoting.
//! POSIX sh, nothing else.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Runs there first: reads its program line by line up to the token, learns its
/// process group, then becomes the program, which says it. What follows on stdin is the
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
eval "$p""#;

/// What follows the token when sudo is called next.
pub(super) const ASKS_SUDO: &str = "sudo";

/// What follows it when the directory of the command cannot be entered.
pub(super) const NO_DIRECTORY: &str = "cwd";

/// How a command becomes root's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sudo {
    No,
    /// sudo asks for nothing.
    Free,
    /// sudo may ask for a password, with [`prompt`].
    Password,
}

/// What the ssh server is asked to execute.
pub(super) fn boot(token: &str, sudo: Sudo) -> String {
    let boot = format!("sh -c '{BOOT}' sh {token}");
    match sudo {
        Sudo::No => boot,
        // The word before it tells a refusal of sudo's from one of the account's.
        Sudo::Free => format!(
            "sh -c 'printf \"%s {ASKS_SUDO}\\n\" \"$1\" >&2; exec sudo -n -- sh -c \"$2\" sh \"$1\"' \
             sh {token} '{BOOT}'"
        ),
        // The program must not be taken for a password, nor the password for a
        // part of the program: the word that sudo is through comes between.
        Sudo::Password => format!(
            "sudo -S -p '{}' -- sh -c 'printf \"%s\\n\" \"{}\" >&2; exec {}' sh",
            prompt(token),
            through(token),
            boot.replace('\'', r"'\''"),
        ),
    }
}

/// With what sudo asks for a password.
pub(super) fn prompt(token: &str) -> String {
    format!("{token}?")
}

/// What is said when sudo asks no more.
pub(super) fn through(token: &str) -> String {
    format!("{token}!")
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
        let _ = writeln!(
            program,
            "cd -- {} || {{ printf '%s {NO_DIRECTORY}\\n' \"$t\" >&2; exit 1; }}",
            quote(cwd)
        );
    }
    program.push_str("printf '%s %s\\n' \"$t\" \"$g\" >&2\n");
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
pub(super) fn end_group(group: i32, sudo: Sudo) -> String {
    let sudo = match sudo {
        Sudo::No => "",
        Sudo::Free => "sudo -n -- ",
        // The password, if it is wanted, is the first line of its input.
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
