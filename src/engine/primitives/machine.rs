//! This machine: writing files, running programs, the environment, and questions
//! to the person at the terminal.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::check_public;
use super::rehearsed;
use super::variables::declare_secret;
use crate::context::{Context, OWN_PATH};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Step;
use crate::report::{Mask, text};
use crate::script::{self, Declared, Outcome, Seconds, Shape, yes};

/// How many bytes of each output a result keeps, counted from the end.
const KEPT: usize = 4 << 20;

/// How many lines of a failed program's output the error shows.
const SHOWN_LINES: usize = 15;

#[export_module(manifest)]
pub mod api {
    /// Writes a text file on this machine.
    ///
    /// The text is written to a temporary file, which is then renamed: another
    /// process never sees an incomplete file. An existing file is replaced.
    ///
    /// Throws:
    ///
    /// - `not_found` if the directory does not exist;
    /// - `denied` if the permissions of the directory do not allow writing;
    /// - `quota_exceeded` if the disk is full;
    /// - `invalid_option` if the path is a directory or contains a secret.
    ///
    /// ```rhai
    /// write_file("/tmp/hosts.txt", "web1\nweb2\n");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn write_file(
        call: NativeCallContext,
        path: ImmutableString,
        text: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        script::run_blocking(&call, |cx| {
            super::write_file(cx, &path, &text, &script::options(&call, options)?)
        })
    }

    /// Runs a program here and returns its output.
    ///
    /// The program runs on this machine, and the function waits until it ends.
    /// `command` is an array of the program and its arguments. They are passed
    /// as they are, without a shell. If stdout or stderr is very long, the
    /// result has its last 4 MiB.
    ///
    /// A secret in `command` is an error, because every user of this machine
    /// can read the arguments of a program. Pass secrets with `env` or `stdin`,
    /// which only the same user and root can read.
    ///
    /// Throws:
    ///
    /// - `command_failed` if the status is not 0 (its `detail` has `status`,
    ///   `stdout` and `stderr`);
    /// - `not_found` if the program or the directory `cwd` does not exist;
    /// - `denied` if the program is not executable;
    /// - `timeout` if the command takes longer than `timeout`;
    /// - `invalid_option` if `command` contains a secret.
    ///
    /// ```rhai
    /// let version = local_exec(["git", "describe", "--always"], #{ check: false });
    /// print(version.stdout);
    /// let password = secret("correct horse battery");
    /// local_exec(["sh", "-c", `test "$PASSWORD"`], #{ env: #{ PASSWORD: password } });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn local_exec(call: NativeCallContext, command: Array, options: Map) -> Outcome<Dynamic> {
        let arguments = [&command.clone().into(), &options.clone().into()];
        script::effect(&call, &arguments, async |cx, step| {
            super::local_exec(cx, step, &command, script::options(&call, options)?).await
        })
    }

    /// Returns the value of an environment variable.
    ///
    /// Returns `()` if the variable is not set.
    ///
    /// For the inputs of a playbook, use `var`, which checks and documents
    /// them. `AUTORUN_EXE` is the path of autorun itself; programs that
    /// `local_exec` runs have this variable too.
    ///
    /// ```rhai
    /// let editor = env("EDITOR");
    /// local_exec([env("AUTORUN_EXE"), "runs"]);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn env(call: NativeCallContext, name: ImmutableString) -> Outcome<Dynamic> {
        script::run_quietly(&call, |cx| Ok(cx.environment.get(name.as_str()).cloned()))
    }

    /// Returns the local paths that match a pattern.
    ///
    /// The paths are in alphabetical order. In the pattern, `*` matches any
    /// text without a slash, `**` matches directories of any depth, and `?`
    /// matches one character.
    ///
    /// Throws `invalid_option` if the pattern is not valid or a path is not
    /// UTF-8, and `denied` if a directory cannot be read.
    ///
    /// ```rhai
    /// for file in glob("userdata/*.sh") {
    ///     print(file);
    /// }
    /// ```
    #[rhai_fn(return_raw)]
    pub fn glob(call: NativeCallContext, pattern: ImmutableString) -> Outcome<Dynamic> {
        script::run_blocking(&call, |cx| super::glob(cx, &pattern))
    }

    /// Asks a question on the terminal.
    ///
    /// Returns the line that the user types.
    ///
    /// Throws `invalid_option` if stdin or stderr is not a terminal. A playbook
    /// that must also run without one should take the value from a variable
    /// (`var`).
    ///
    /// ```rhai
    /// let answer = "no";
    /// try { answer = prompt("Continue?"); } catch { log_warn("no terminal"); }
    /// ```
    #[rhai_fn(return_raw)]
    pub fn prompt(
        call: NativeCallContext,
        question: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        script::run_blocking(&call, |cx| {
            super::prompt(cx, &question, &script::options(&call, options)?)
        })
    }
}

pub(super) const DECLARED: &[Declared] = &[
    Declared::of("write_file")
        .options::<WriteFile>()
        .returns::<Written>(Shape::One),
    Declared::of("local_exec")
        .options::<LocalExec>()
        .returns::<Finished>(Shape::One),
    Declared::of("prompt").options::<Prompt>(),
];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WriteFile {
    /// Permissions of the file, in octal.
    #[serde(default = "readable")]
    mode: String,
}

fn readable() -> String {
    "0644".to_owned()
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LocalExec {
    /// Throw an error if the exit status is not 0.
    #[serde(default = "yes")]
    check: bool,
    /// Limit after which the program is ended. By default there is no limit.
    timeout: Option<Seconds>,
    /// Working directory of the program.
    cwd: Option<PathBuf>,
    /// Environment variables, in addition to those of autorun.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Standard input of the program.
    #[serde(default)]
    stdin: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Prompt {
    /// Do not show the typed text, and mask it in every output from then on.
    /// The answer must have at least 6 characters.
    #[serde(default)]
    secret: bool,
}

/// The map that `write_file` returns.
#[derive(Debug, Serialize, JsonSchema)]
struct Written {
    /// Path of the file.
    path: PathBuf,
    /// Size of the file in bytes.
    size: usize,
}

/// The map that `local_exec` returns.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
struct Finished {
    /// Exit status of the program.
    status: i64,
    /// Standard output of the program.
    stdout: String,
    /// Standard error of the program.
    stderr: String,
    /// Seconds that the program took.
    seconds: f64,
}

fn write_file(cx: &Context, path: &str, text: &str, options: &WriteFile) -> Result<Written> {
    check_public(cx, "argument `path`", path)?;
    let shown = cx.clients.local.expand(Path::new(path));
    let shown = cx.clients.local.shown(&shown);
    let path = rehearsed::output(cx, Path::new(path));
    let mode = super::copies::mode(&options.mode)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let failed = |e: std::io::Error| {
        let error = Error::io("write", &shown, &e);
        match error.kind {
            ErrorKind::NotFound => error.hint(format!(
                "create the directory first: `mkdir -p {}`",
                shell_words::quote(&cx.clients.local.shown(folder).to_string_lossy())
            )),
            _ => error,
        }
    };
    if path.is_dir() {
        return Err(Error::invalid(format!(
            "`{}` is a directory",
            shown.display()
        )));
    }
    rehearsed::not_written(cx, &shown);
    let mut unfinished = tempfile::Builder::new()
        .prefix(".autorun-")
        .tempfile_in(folder)
        .map_err(failed)?;
    unfinished.write_all(text.as_bytes()).map_err(failed)?;
    let permissions = std::fs::Permissions::from_mode(mode);
    unfinished
        .as_file()
        .set_permissions(permissions)
        .map_err(failed)?;
    unfinished.persist(&path).map_err(|e| failed(e.error))?;
    Ok(Written {
        size: text.len(),
        path: shown.clone(),
    })
}

async fn local_exec(
    cx: &Context,
    step: &mut Step,
    command: &Array,
    options: LocalExec,
) -> Result<Finished> {
    let words = command
        .iter()
        .map(|word| word.clone().into_string().ok())
        .collect::<Option<Vec<String>>>();
    let Some((program, arguments)) = words.as_ref().and_then(|words| words.split_first()) else {
        return Err(
            Error::invalid("argument `command`: it must be an array of strings")
                .hint("write [\"git\", \"status\"]; for a shell, [\"sh\", \"-c\", \"..\"]"),
        );
    };
    check_arguments(cx, program, &words.as_deref().unwrap_or_default().join(" "))?;
    let timeout = options.timeout.map(Seconds::duration);
    if let Some(recorded) = step.recorded::<Finished>()? {
        step.replay();
        return Ok(recorded);
    }
    step.begin()?;
    if let Some(rehearsal) = &cx.rehearsal {
        rehearsal.note_program();
        cx.assume(
            format!("run here: {}", shell_words::join(words.iter().flatten())),
            "status 0, no output",
        );
        return Ok(Finished::default());
    }
    let started = Instant::now();
    let mut call = tokio::process::Command::new(program);
    call.args(arguments)
        .envs(cx.environment.get_key_value(OWN_PATH))
        .envs(&options.env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if let Some(cwd) = &options.cwd {
        call.current_dir(cx.clients.local.expand(cwd));
    }
    let mut child = call.spawn().map_err(|e| {
        let error = Error::io("run", Path::new(program), &e);
        match e.kind() {
            std::io::ErrorKind::NotFound => {
                error.hint("check that the program is installed and that `cwd` exists")
            }
            _ => error,
        }
    })?;
    let stdin = child.stdin.take();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let whole = async {
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A program may end without reading all of its input.
                drop(stdin.write_all(options.stdin.as_bytes()).await);
            }
        };
        tokio::join!(feed, end_of(stdout), end_of(stderr), child.wait())
    };
    let ended = tokio::select! {
        () = cx.cancel.cancelled() => return Err(Error::cancelled()),
        ended = tokio::time::timeout(timeout.unwrap_or(FOREVER), whole) => ended,
    };
    let Ok(((), stdout, stderr, status)) = ended else {
        return Err(Error::new(
            ErrorKind::Timeout,
            format!("`{program}` took longer than its `timeout` and was ended"),
        ));
    };
    let status = status.map_err(|e| Error::io("wait for", Path::new(program), &e))?;
    let finished = Finished {
        status: status_of(status),
        stdout,
        stderr,
        seconds: started.elapsed().as_secs_f64(),
    };
    if options.check && finished.status != 0 {
        return Err(failure(program, &finished, cx.report.mask()));
    }
    Ok(finished)
}

/// Refuses a secret in the arguments of a program, also if the words of the secret
/// are separate arguments.
fn check_arguments(cx: &Context, program: &str, command: &str) -> Result<()> {
    let what = format!("the command line of `{program}`");
    let checked = cx.report.mask().keep_out_of(&what, command);
    checked.map_err(|error| {
        error.hint(
            "every user of this machine can read it: pass the secret with `env` or `stdin`, as in \
             local_exec([..], #{ env: #{ PASSWORD: password } })",
        )
    })
}

/// Stands for no limit: longer than any program takes.
const FOREVER: std::time::Duration = std::time::Duration::from_secs(u32::MAX as u64);

/// Reads an output and returns its end as text.
async fn end_of(output: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let mut kept = Vec::new();
    if let Some(mut output) = output {
        let mut chunk = vec![0; 64 << 10];
        while let Ok(length @ 1..) = output.read(&mut chunk).await {
            kept.extend_from_slice(&chunk[..length]);
            if kept.len() > 2 * KEPT {
                kept.drain(..kept.len() - KEPT);
            }
        }
    }
    let start = kept.len().saturating_sub(KEPT);
    String::from_utf8_lossy(&kept[start..]).into_owned()
}

/// Returns the exit status, or 128 + n for signal n, as a shell reports it.
fn status_of(status: std::process::ExitStatus) -> i64 {
    use std::os::unix::process::ExitStatusExt as _;
    let signal = status.signal().map(|signal| 128 + i64::from(signal));
    status.code().map(i64::from).or(signal).unwrap_or(-1)
}

fn failure(program: &str, finished: &Finished, mask: &Mask) -> Error {
    let output = [&finished.stderr, &finished.stdout]
        .into_iter()
        // Mask before cutting: the last lines may begin in the middle of a secret.
        .map(|output| mask.apply(output))
        .map(|output| {
            let lines: Vec<&str> = output.trim_end().lines().collect();
            text::harmless(&lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n"))
        })
        .find(|output| !output.is_empty());
    let output = output.map_or_else(String::new, |output| format!(":\n{output}"));
    Error::new(
        ErrorKind::CommandFailed,
        format!(
            "`{program}` failed on this machine with status {}{output}",
            finished.status
        ),
    )
    .detail(serde_json::json!({
        "status": finished.status,
        "stdout": finished.stdout,
        "stderr": finished.stderr,
    }))
}

fn glob(cx: &Context, pattern: &str) -> Result<Vec<String>> {
    let expanded = cx.clients.local.expand(Path::new(pattern));
    let fault =
        |e: &dyn std::fmt::Display| Error::invalid(format!("invalid pattern `{pattern}`: {e}"));
    let Some(expanded) = expanded.to_str() else {
        return Err(fault(&"it is not UTF-8"));
    };
    let paths = glob::glob(expanded).map_err(|e| fault(&e))?;
    paths
        .map(|path| {
            let path = path.map_err(|e| Error::io("read", e.path(), e.error()))?;
            let name = path.display().to_string();
            path.into_os_string()
                .into_string()
                .map_err(|_| Error::invalid(format!("the name of `{name}` is not UTF-8")))
        })
        .collect()
}

fn prompt(cx: &Context, question: &str, options: &Prompt) -> Result<String> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(
            Error::invalid(format!("cannot ask without a terminal: {question}"))
                .hint("take the value from a variable: var(\"name\", #{ .. }) and --set"),
        );
    }
    let question = text::harmless(&cx.report.mask().apply(question));
    let _free = cx.report.hold();
    let failed = |e: std::io::Error| Error::internal(format!("cannot ask: {e}"));
    if options.secret {
        let answer = rpassword::prompt_password(format!("{question} ")).map_err(failed)?;
        declare_secret(cx, "the answer", &answer)?;
        return Ok(answer);
    }
    let mut stderr = std::io::stderr();
    write!(stderr, "{question} ").map_err(failed)?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(failed)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
