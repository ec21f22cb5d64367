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
        Sudo::Free => format!("sudo -n -- {boot}"),
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

/// A path as the shell there takes it: a quoted tilde would be a name, and
/// relative paths start at home anyway.
fn from_home(path: &str) -> &str {
    match path.strip_prefix("~/") {
        Some("") => ".",
        Some(rest) => rest,
        None if path == "~" => ".",
        None => path,
    }
}

/// Copies stdin to `target`, never a half file under the final name.
pub(super) fn copy(name: &str, target: &str, size: u64, mode: u32) -> String {
    let target = from_home(target);
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
umask 077
[ ! -e "$h" ] && [ ! -L "$h" ] || {{ echo "$h is there" >&2; exit 1; }}
trap 'rm -f -- "$h"' EXIT
trap 'exit 1' HUP INT PIPE TERM
set -C
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

/// Says how a directory can be unpacked there: `gnu`, `tar` or `none`.
pub(super) const TAR: &str = "\
case $(tar --version 2>/dev/null) in *GNU*) printf gnu ;; \
*) command -v tar >/dev/null && printf tar || printf none ;; esac";

/// Begins a directory that is to become `target`: makes `$h`, a hidden one that
/// the end of the shell removes, whose `tree` will be moved. It stands inside
/// `target` when that is a directory that stays, else beside it.
fn stage(name: &str, target: &str, replace: bool) -> String {
    format!(
        r#"t={target} n={name} into= home=$(pwd -P)
case $t in
*/) [ -d "$t" ] || {{ echo "the directory $t does not exist" >&2; exit 1; }}; t=$t$n ;;
esac
if [ -d "$t" ]; then t=$(cd -P -- "$t" && pwd) || exit 1
elif [ -e "$t" ] || [ -L "$t" ]; then echo "$t is there and is no directory" >&2; exit 1
fi
if ! {merging}; then
case "$home/" in
"${{t%/}}"/*) echo "$t is not replaced: the home directory is in it" >&2; exit 1 ;;
esac
fi
if [ -d "$t" ] && {merging}; then into=1
[ -w "$t" ] || chmod u+wx "$t" 2>/dev/null
h=$t/.autorun-{token}
else case $t in */*) h=${{t%/*}}/.${{t##*/}}.autorun-{token} ;; *) h=.$t.autorun-{token} ;; esac
fi
umask 077
mkdir -- "$h" || exit 1
clean() {{
if [ -e "$h/old" ] && [ ! -e "$t" ]; then mv -- "$h/old" "$t" || return; fi
rm -rf -- "$h" 2>/dev/null || {{ chmod -R u+rwx "$h"; rm -rf -- "$h"; }}
}}
trap clean EXIT
trap 'exit 1' HUP INT PIPE TERM
"#,
        target = quote(from_home(target)),
        name = quote(name),
        merging = if replace { "false" } else { "true" },
        token = format_args!("{:08x}", rand::random::<u32>()),
    )
}

/// Moves `$h/tree` to `$t`: in one go if nothing is there or it is replaced,
/// else file by file into what is there. A link in the place of a directory is
/// not followed: it might lead anywhere. Then directories that are closed to
/// their own owner are closed, and the path is said.
const SETTLE: &str = r#"merge() {
[ -w "$2" ] || chmod u+wx "$2" 2>/dev/null
(cd -- "$1" && find . ! -name . -prune ! -type d -exec sh -c '
t=$1; shift
for f do
if [ -d "$t/$f" ] && [ ! -L "$t/$f" ]; then
echo "$t/${f#./} is a directory there and none here" >&2; exit 1
fi
done
mv -f -- "$@" "$t/"' sh "$2" {} +) || exit 1
for e in "$1"/* "$1"/.[!.]* "$1"/..?*; do
if [ -d "$e" ] && [ ! -L "$e" ]; then
n=${e##*/}
if [ -d "$2/$n" ] && [ ! -L "$2/$n" ]; then merge "$e" "$2/$n"
elif [ -e "$2/$n" ] || [ -L "$2/$n" ]; then
echo "$2/$n is no directory there and one here" >&2; exit 1
else mv -- "$e" "$2/$n" || exit 1
fi
fi
done
}
if [ "$into" ]; then merge "$h/tree" "$t"
elif [ ! -d "$t" ]; then mv -- "$h/tree" "$t" || exit 1
else
[ -w "$t" ] || chmod u+wx "$t" 2>/dev/null
trap '' HUP INT PIPE TERM
mv -- "$t" "$h/old" || exit 1
mv -- "$h/tree" "$t" || exit 1
fi
if [ -f "$h/closed" ]; then
while IFS=' ' read -r m n; do
v=$(printf '%bx' "$n") && v=${v%x} && chmod "$m" "$t/$v" || exit 1
done <"$h/closed"
fi
printf '%s' "$t""#;

/// Unpacks a tar stream that ends with the file `done` as a directory.
pub(super) fn unpack(name: &str, target: &str, replace: bool) -> String {
    let stage = stage(name, target, replace);
    let script = format!(
        r#"{stage}tar -xpof - -C "$h" || exit 1
[ -f "$h/done" ] || {{ echo "the directory did not arrive whole" >&2; exit 1; }}
{SETTLE}"#
    );
    format!("exec sh -c {}", quote(&script))
}

/// Says what a path is: `file SIZE -rw-r--r--`, or `directory TAR`.
pub(super) fn look(path: &str) -> String {
    let script = format!(
        r#"p={path}
if [ -d "$p" ]; then printf 'directory '; {TAR}
elif [ -f "$p" ]; then
m=$(ls -ldL -- "$p") && s=$(wc -c <"$p") || exit 1
printf 'file %d %.10s' "$s" "$m"
elif [ -e "$p" ]; then echo "$p is neither a file nor a directory" >&2; exit 1
else echo "$p: No such file or directory" >&2; exit 1
fi"#,
        path = quote(from_home(path)),
    );
    format!("exec sh -c {}", quote(&script))
}

/// Gives the first bytes of a file, however much is appended meanwhile.
pub(super) fn give_file(path: &str, size: u64) -> String {
    format!("exec head -c {size} <{}", quote(from_home(path)))
}

/// Gives a directory as a tar stream.
pub(super) fn give_tree(path: &str) -> String {
    format!("cd -- {} && exec tar -cf - .", quote(from_home(path)))
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
