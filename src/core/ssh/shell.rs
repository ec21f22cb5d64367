//! Starts a command on the host: the boot program, the program that it reads,
//! and quoting. Needs only POSIX sh.
//!
//! sshd passes the command line to the user's login shell, which may be bash,
//! fish, csh or anything else, and whose startup files may print, ask or read
//! anything. So the command line holds only the boot program, in a form that
//! every shell parses in the same way. Everything else follows on stdin, as
//! comments, so that a shell which a startup file starts instead does not run
//! it. What runs reports with a random marker that no command line contains:
//! output before the marker is not the command's.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::command::Program;
use super::home::at_home;

/// The boot program. It skips lines up to the token, reads its program up to
/// the next token, and becomes the program. The rest of stdin belongs to the
/// program; nothing is lost, because `read` reads a pipe byte by byte.
///
/// The token at the end keeps a broken connection from running half a program.
/// Variables begin with `_`, because the environment may have any other name.
///
/// Between single quotes, bash, zsh, fish, csh and ksh agree only on a line
/// without `'`, `!` and a backslash.
const BOOT: &str = r##"while IFS= read -r _l; do [ "$_l" = "#$1" ] && break; done; _n=$(echo; echo x); _n=${_n%x}; _p= _d=; while IFS= read -r _l; do [ "$_l" = "#$1" ] && _d=1 && break; _p=$_p${_l#??}$_n; done; [ "$_d" ] || exit 255; eval "$_p""##;

/// The empty lines before the program. A startup file that asks a question
/// reads one of them.
const PADDING: usize = 64;

/// The word after the marker if sudo is called next.
pub(super) const ASKS_SUDO: &str = "sudo";

/// The word after the marker once sudo is done.
pub(super) const IS_ROOT: &str = "root";

/// The word after the marker if the working directory cannot be entered.
pub(super) const NO_DIRECTORY: &str = "cwd";

/// The word after the marker if the user of `~user` does not exist.
pub(super) const NO_USER: &str = "user";

/// The word after the marker if the output of the command follows.
pub(super) const OUTPUT: &str = ".";

/// How a command becomes root's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sudo {
    No,
    /// sudo does not ask for a password.
    Free,
    /// sudo may ask for a password, with [`Framing::prompt`].
    Password,
}

/// The random texts around one command.
#[derive(Debug)]
pub(super) struct Framing {
    /// The line around the program on stdin. The command line contains it.
    token: String,
    /// The random part of the marker. No command line contains it.
    secret: String,
}

impl Framing {
    pub(super) fn new() -> Self {
        Self {
            token: format!("autorun-{:016x}", rand::random::<u64>()),
            secret: format!("{:016x}", rand::random::<u64>()),
        }
    }

    /// Returns the command line for the ssh server. `exec` also keeps the login
    /// shell from printing more at its end; in a restricted shell it fails, and
    /// the second call works.
    pub(super) fn command_line(&self) -> String {
        let boot = self.boot();
        format!("exec {boot}; {boot}")
    }

    fn boot(&self) -> String {
        format!("sh -c '{BOOT}' sh {}", self.token)
    }

    /// Returns what begins the lines with which programs report.
    pub(super) fn marker(&self) -> String {
        format!("autorun-{} ", self.secret)
    }

    /// Returns sudo's password prompt.
    pub(super) fn prompt(&self) -> String {
        format!("autorun-{}?", self.secret)
    }

    /// Returns shell code that reports a word. The marker is not in it as a
    /// whole, so that no echo of the code looks like the report.
    fn reports(&self, word: &str) -> String {
        format!(r"printf 'autorun-%s %s\n' {} {word}", self.secret)
    }

    /// Returns shell code after which the command's output begins.
    fn output_follows(&self) -> String {
        let report = self.reports(OUTPUT);
        format!("{report}; {report} >&2")
    }

    /// Returns a program as the boot program reads it.
    fn framed(&self, program: &str) -> String {
        let mut framed = format!("#{}\n", self.token);
        for line in program.lines() {
            let _ = writeln!(framed, "# {line}");
        }
        let _ = writeln!(framed, "#{}", self.token);
        framed
    }

    /// Returns what to send first: the program that becomes the command, or
    /// that calls sudo.
    pub(super) fn first_stage(&self, work: &Work<'_>, sudo: Sudo) -> String {
        let program = match sudo {
            Sudo::No => self.program(work),
            Sudo::Free | Sudo::Password => self.sudo_program(work, sudo),
        };
        "\n".repeat(PADDING) + self.framed(&program).as_str()
    }

    /// Returns what to send to the boot program that sudo runs.
    pub(super) fn second_stage(&self, work: &Work<'_>) -> String {
        self.framed(&self.program(work))
    }

    /// sudo must not read the program as a password, and the boot program must
    /// not read the password as part of the program. The program is therefore
    /// sent only after the report that sudo is done.
    fn sudo_program(&self, work: &Work<'_>, sudo: Sudo) -> String {
        let start = match work.program {
            Program::Shell(_) => "",
            // Also with sudo, paths are relative to the user's home directory.
            Program::Own(_) => GO_HOME,
        };
        let call = match sudo {
            Sudo::Password => format!("sudo -S -p '{}'", self.prompt()),
            Sudo::No | Sudo::Free => "sudo -n".to_owned(),
        };
        let inner = format!("{} >&2; exec {}", self.reports(IS_ROOT), self.boot());
        format!(
            "{start}{} >&2\nexec {call} -- sh -c {}\n",
            self.reports(ASKS_SUDO),
            quote(&inner)
        )
    }

    /// Returns the program that becomes the command.
    fn program(&self, work: &Work<'_>) -> String {
        let mut program = String::new();
        for (name, value) in work.env {
            let _ = writeln!(program, "export {name}={}", quote(value));
        }
        let _ = writeln!(
            program,
            "_g= _i=\n{{ read -r _ _ _ _ _g _ </proc/$$/stat\n\
             read -r _i </proc/sys/kernel/random/boot_id; }} 2>/dev/null\n{} >&2",
            self.reports("\"${_g:-$$}:$_i\"")
        );
        if let Some(cwd) = work.cwd {
            let no_user = format!("{{ {} >&2; exit 1; }}", self.reports(NO_USER));
            let no_directory = format!("{{ {} >&2; exit 1; }}", self.reports(NO_DIRECTORY));
            let _ = writeln!(
                program,
                "{}cd -- \"$_d\" || {no_directory}",
                at_home("_d", cwd, "\"$HOME\"", &no_user)
            );
        }
        match work.program {
            Program::Shell(command) => {
                if work.cwd.is_some() {
                    program.push_str(LEAVES);
                }
                program.push_str(&self.shell(command));
            }
            Program::Own(script) => {
                if !work.sudo {
                    program.push_str(GO_HOME);
                }
                let _ = writeln!(
                    program,
                    "{OWN_ENVIRONMENT}{}\nexec sh -c {} sh",
                    self.output_follows(),
                    quote(script)
                );
            }
        }
        program
    }

    /// Returns the end of a program that becomes the user's shell, as sshd
    /// would run it. The login shell has already run the startup files. bash
    /// and fish run them again, because they define functions; zsh and csh do
    /// not. In bash, a startup file reads no input of the command, and prints
    /// nothing after it.
    fn shell(&self, command: &str) -> String {
        let output_follows = self.output_follows();
        format!(
            r#"command -v "${{SHELL:-}}" >/dev/null || SHELL=/bin/sh
_b=${{SHELL##*/}} _c={command}
case $_b in
bash) unset SHLVL; exec "$SHELL" -c {bash} bash "$_c" 9<&0 </dev/null ;;
fish) exec "$SHELL" -C {fish} -c "$_c" ;;
esac
{output_follows}
case $_b in
rbash) exec "$SHELL" --norc -c "$_c" rbash ;;
zsh) exec "$SHELL" -f -c "$_c" zsh ;;
csh|tcsh) exec "$SHELL" -f -c "$_c" ;;
*) exec "$SHELL" -c "$_c" "$_b" ;;
esac
"#,
            command = quote(command),
            bash = quote(&format!(
                "{output_follows}; {BACK_IN_BASH}; exec <&9 9<&-; trap - EXIT DEBUG; eval \"$1\""
            )),
            fish = quote(&format!("{output_follows}; {BACK_IN_FISH}")),
        )
    }
}

/// Relative paths start at the home directory, wherever a startup file went.
const GO_HOME: &str = "cd -- \"${HOME:-.}\" 2>/dev/null\n";

/// Tells bash and fish, which run startup files again, where to return to.
const LEAVES: &str = "\
case ${SHELL##*/} in bash|fish) export _AUTORUN_CWD=\"$PWD\" ;; esac
";

/// Returns to the directory of the option `cwd`, which a startup file may have
/// left.
const BACK_IN_BASH: &str =
    "[ -z \"${_AUTORUN_CWD-}\" ] || { cd -- \"$_AUTORUN_CWD\"; unset _AUTORUN_CWD; }";
const BACK_IN_FISH: &str =
    "if set -q _AUTORUN_CWD; cd -- \"$_AUTORUN_CWD\"; set -e _AUTORUN_CWD; end";

/// The environment for programs of autorun itself: their tools are found, and
/// no variable of a startup file changes what they do.
const OWN_ENVIRONMENT: &str = "\
PATH=${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
unset CDPATH TAR_OPTIONS GREP_OPTIONS POSIXLY_CORRECT BLOCK_SIZE DF_BLOCK_SIZE
";

/// What to run, and where.
#[derive(Debug)]
pub(super) struct Work<'a> {
    pub(super) program: &'a Program,
    pub(super) cwd: Option<&'a str>,
    pub(super) env: &'a BTreeMap<String, String>,
    pub(super) sudo: bool,
}

/// Returns a command that terminates a process group: SIGTERM first, then
/// SIGKILL. Its exit status is 0 if the group is gone. Like the boot program,
/// it must be the same in every login shell.
pub(super) fn end_group(group: i32, sudo: Sudo) -> String {
    let sudo = match sudo {
        Sudo::No => "",
        Sudo::Free => "sudo -n -- ",
        // If sudo asks for a password, it is the first line of the input.
        Sudo::Password => "sudo -S -p '' -- ",
    };
    let script = format!(
        "kill -s TERM -- -{group} 2>/dev/null; n=0; \
         while kill -s 0 -- -{group} 2>/dev/null; do n=$((n + 1)); \
         [ $n -eq 5 ] && kill -s KILL -- -{group} 2>/dev/null; \
         [ $n -gt 9 ] && exit 1; sleep 0.05; done"
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

    /// Runs a command line with real sh, as sshd would.
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

    fn stage(framing: &Framing, command: &str, env: &BTreeMap<String, String>) -> String {
        let program = Program::Shell(command.to_owned());
        let work = Work {
            program: &program,
            cwd: None,
            env,
            sudo: false,
        };
        framing.first_stage(&work, Sudo::No)
    }

    #[test]
    fn environment_and_stdin_reach_the_command_only_inside_the_connection() {
        let framing = Framing::new();
        let value = "it's $HOME\nand `more` \"quotes\"";
        let env = BTreeMap::from([("SECRET".to_owned(), value.to_owned())]);
        let program = stage(&framing, "printf '%s|' \"$SECRET\"; cat", &env);
        let line = framing.command_line();
        assert!(!line.contains("HOME") && !line.contains(&framing.secret));
        assert!(!line.contains(['\n', '!', '\\']), "{line}");
        let (status, stdout, stderr) = sh(&line, &format!("{program}rest\n"));
        let marker = framing.marker();
        assert_eq!(
            (status, stdout),
            (0, format!("{marker}.\n{value}|rest\n")),
            "{stderr}"
        );
        assert!(stderr.starts_with(&marker), "{stderr}");
        assert!(stderr.ends_with(&format!("{marker}.\n")), "{stderr}");
    }

    #[test]
    fn half_a_program_does_not_run() {
        let framing = Framing::new();
        let whole = stage(&framing, "echo ran", &BTreeMap::new());
        let half = &whole[..whole.len() - 2];
        let (status, stdout, _) = sh(&framing.command_line(), half);
        assert_eq!((status, stdout.as_str()), (255, ""));
    }

    #[test]
    fn another_shell_that_reads_stdin_runs_nothing() {
        let program = stage(&Framing::new(), "echo ran", &BTreeMap::new());
        assert_eq!(sh("exec sh", &program), (0, String::new(), String::new()));
    }
}
