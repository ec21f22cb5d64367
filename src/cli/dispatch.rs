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
use super::settings::shown;
use super::{
    check, config, destroy, docs, ledger, lsp, man, new, policy, resume, run, runs, show, ssh,
};
use crate::error::{Error, exit};

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
    let mut words: Vec<OsString> = arguments.collect();
    if let Err(error) = change_directory(&mut words) {
        complain(&fitted(&format!("error: {error:#}")));
        return exit::USAGE;
    }
    let cli = match Cli::try_parse_from(with_command(words.clone())) {
        Ok(cli) => cli,
        Err(error) => {
            // clap returns help and version as errors; they go to stdout.
            let _ = error.print();
            let hint = interpreter_hint(&words)
                .or_else(|| order_hint(&words))
                .or_else(|| habit_hint(&error));
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
        "-C" | "--directory" => "write it before the command, as in `autorun -C DIR check ..`",
        "--local" => "leave it out: only a run and its plan choose a cloud",
        name if Path::new(name).extension().is_some_and(|end| end == "rhai") => {
            "name one playbook, after autorun or its command"
        }
        _ => return None,
    };
    Some(format!("hint: {hint}"))
}

/// Returns a hint if a command follows an option, so that it was taken for a playbook.
fn order_hint(words: &[OsString]) -> Option<String> {
    let (options, rest): (Vec<_>, Vec<_>) = words
        .iter()
        .skip(1)
        .partition(|word| word.as_encoded_bytes().starts_with(b"-"));
    let begins_with_option = words.get(1) == options.first().copied() && !options.is_empty();
    let command = rest.first()?;
    let is_command = is_word(command) && Cli::command().find_subcommand(command).is_some();
    (begins_with_option && is_command).then(|| {
        format!(
            "hint: write the command first, as in `autorun {} ..`: after an option, a word is \
             the playbook of a run",
            command.display()
        )
    })
}

/// Changes to the directories that precede everything else, as `-C` of git and make does.
/// Each one starts at the one before.
fn change_directory(words: &mut Vec<OsString>) -> anyhow::Result<()> {
    while let Some(option) = words.get(1).and_then(|word| word.to_str()) {
        let attached = option
            .strip_prefix("--directory=")
            .or_else(|| option.strip_prefix("-C").filter(|rest| !rest.is_empty()))
            .map(OsString::from);
        let (directory, count) = match (attached, option) {
            (Some(directory), _) => (directory, 1),
            (None, "-C" | "--directory") => match words.get(2) {
                Some(directory) => (directory.clone(), 2),
                None => break,
            },
            _ => break,
        };
        let directory = Path::new(&directory);
        std::env::set_current_dir(directory)
            .map_err(|e| shown(&Error::io("change to", directory, &e)))?;
        words.drain(1..=count);
    }
    Ok(())
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
