//! From the arguments of the process to its exit code.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory as _, Parser as _};

use super::args::{Cli, Command, nearest_command};
#[cfg(feature = "local-cloud")]
use super::cloud;
use super::output::{complain, fitted};
#[cfg(feature = "local-cloud")]
use super::plan;
use super::{
    check, config, destroy, docs, ledger, lsp, man, new, policy, resume, run, runs, show, ssh,
};
use crate::error::exit;

/// Runs the command that this process's arguments name.
#[must_use]
pub fn main() -> ExitCode {
    // A panic is reported below as an internal error, without a backtrace.
    std::panic::set_hook(Box::new(|_| {}));
    let arguments: Vec<OsString> = std::env::args_os().collect();
    #[cfg(feature = "local-cloud")]
    if let Some(code) = autorun_localcloud::program(&arguments) {
        return code;
    }
    let all = std::panic::AssertUnwindSafe(|| dispatch(arguments.into_iter()));
    ExitCode::from(std::panic::catch_unwind(all).unwrap_or_else(|_| {
        complain("error: internal error of autorun\nhint: report it with the command that you ran");
        exit::FAILED
    }))
}

fn dispatch(arguments: impl Iterator<Item = OsString>) -> u8 {
    let words: Vec<OsString> = arguments.collect();
    let cli = match Cli::try_parse_from(with_command(words.clone())) {
        Ok(cli) => cli,
        Err(error) => {
            // clap returns help and version as errors; they go to stdout.
            let _ = error.print();
            let hint = interpreter_hint(&words).or_else(|| habit_hint(&error));
            if let Some(hint) = hint {
                complain(&fitted(&hint));
            }
            return if error.use_stderr() {
                exit::USAGE
            } else {
                exit::DONE
            };
        }
    };
    let result = match cli.command {
        Command::Run(run) => run::run(*run),
        #[cfg(feature = "local-cloud")]
        Command::Plan(plan) => plan::plan(*plan),
        Command::Check(check) => check::check(&check),
        Command::Lsp(_) => lsp::lsp(),
        Command::New(new) => new::new(&new),
        Command::Policy(policy) => policy::policy(policy),
        Command::Runs(runs) => runs::runs(&runs),
        Command::Show(show) => show::show(&show),
        Command::Resume(resume) => resume::resume(*resume),
        Command::Destroy(destroy) => destroy::destroy(destroy),
        Command::Ssh(ssh) => ssh::ssh(&ssh),
        Command::Docs(docs) => docs::docs(&docs),
        Command::Settings(settings) => config::show(&settings),
        Command::Ledger { command } => ledger::ledger(&command),
        #[cfg(feature = "local-cloud")]
        Command::Cloud { command } => cloud::cloud(&command),
        Command::Man(man) => man::man(&man),
        Command::Completions { shell } => completions(shell),
    };
    result.unwrap_or_else(|error| {
        complain(&fitted(&format!("error: {error:#}")));
        exit::USAGE
    })
}

/// Returns a hint if the `#!` line of a playbook has several options: the kernel passes
/// them as one argument, before the path of the playbook.
fn interpreter_hint(words: &[OsString]) -> Option<String> {
    let [_, options, playbook, ..] = words else {
        return None;
    };
    let options = options.to_str()?;
    let is_line = options.starts_with('-') && options.contains(' ');
    (is_line && Path::new(playbook).is_file()).then(|| {
        format!(
            "hint: begin the playbook with `#!/usr/bin/env -S autorun {options}`: without -S, all \
             options are one argument"
        )
    })
}

/// Returns a hint if an unknown argument is a habit of another tool.
fn habit_hint(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let hint = match unknown.as_str() {
        "--dry-run" | "--check" => "`autorun plan PLAYBOOK` shows what a run would do",
        "--local" => "leave it out: only a run and its plan choose a cloud",
        name if Path::new(name).extension().is_some_and(|end| end == "rhai") => {
            "name one playbook, after autorun or its command"
        }
        _ => return None,
    };
    Some(format!("hint: {hint}"))
}

/// Inserts `run` if the arguments do not begin with a command, unless the first
/// one looks like a misspelt command.
fn with_command(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let is_run = arguments.get(1).is_some_and(|first| {
        let general = ["-h", "--help", "-V", "--version", "help"];
        // The commands need not be built for the path of a playbook, which is not a word.
        let command = is_word(first) && Cli::command().find_subcommand(first).is_some();
        !command && !general.iter().any(|word| first == word)
    });
    if is_run && !is_misspelt(&arguments[1..]) {
        arguments.insert(1, "run".into());
    }
    arguments
}

/// Returns whether an argument has only letters, as commands do.
fn is_word(argument: &OsStr) -> bool {
    argument
        .as_encoded_bytes()
        .iter()
        .all(u8::is_ascii_alphabetic)
}

/// Returns whether the first of several arguments is similar to a command and is
/// not a file. clap's error then suggests the command.
fn is_misspelt(arguments: &[OsString]) -> bool {
    let [first, _, ..] = arguments else {
        return false;
    };
    let word = first.to_string_lossy();
    !word.starts_with('-') && !Path::new(first).exists() && nearest_command(&word).is_some()
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "autorun", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(exit::DONE)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_playbook_alone_is_run() {
        for call in [
            &["a.rhai", "--set", "x=1"][..],
            &["run", "a.rhai"],
            &["-v", "a.rhai"],
        ] {
            let arguments = std::iter::once("autorun").chain(call.iter().copied());
            let arguments = with_command(arguments.map(OsString::from).collect());
            let cli = Cli::try_parse_from(arguments).unwrap();
            let Command::Run(run) = cli.command else {
                panic!("{call:?} is not a run");
            };
            assert_eq!(run.playbook, PathBuf::from("a.rhai"));
        }
    }

    #[test]
    fn a_misspelt_command_is_not_run_as_a_playbook() {
        let error = |words: &[&str]| {
            let all = std::iter::once("autorun").chain(words.iter().copied());
            let all = with_command(all.map(OsString::from).collect());
            Cli::try_parse_from(all).unwrap_err().to_string()
        };
        let message = error(&["destory", "7kq2m9w"]);
        assert!(message.contains("'destroy'"), "{message}");
    }
}
