//! The command line: parses, dispatches, gives the exit code.
//!
//! The environment is read here and nowhere else.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::error::exit;

#[cfg(feature = "local-cloud")]
mod cloud;
mod docs;
#[cfg(feature = "local-cloud")]
mod local;
mod run;
mod variables;

/// Runs playbooks: Rhai scripts in which EC2, S3 and ssh are built-in functions.
///
/// `autorun PLAYBOOK` is short for `autorun run PLAYBOOK`.
#[derive(Debug, Parser)]
#[command(name = "autorun", version, args_conflicts_with_subcommands = true)]
#[command(max_term_width = 80)]
#[command(after_help = exit_codes())]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Option<RunArgs>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a playbook
    Run(Box<RunArgs>),
    /// Show the manual: all functions, one of them, or a playbook's variables
    Docs(DocsArgs),
    /// EC2 and S3 on this machine: up, down, status, env, doctor
    #[cfg(feature = "local-cloud")]
    Cloud {
        /// What to do
        #[command(subcommand)]
        command: cloud::CloudCommand,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// What a run takes.
#[derive(Debug, Args)]
#[group(id = "run_arguments")]
struct RunArgs {
    /// The playbook, a .rhai file
    #[arg(value_name = "PLAYBOOK")]
    playbook: PathBuf,

    /// Set a variable; VALUE may be @FILE for a file's text (@@ begins a
    /// value with @)
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,

    /// Set variables from a TOML or JSON file
    #[arg(long, value_name = "FILE")]
    vars: Vec<PathBuf>,

    /// Run on this machine's local cloud instead of AWS; starts it if needed
    #[cfg(feature = "local-cloud")]
    #[arg(long, conflicts_with_all = ["profile", "endpoint_url"])]
    local: bool,

    /// Have things go wrong on the local cloud as a TOML file says
    #[cfg(feature = "local-cloud")]
    #[arg(long, value_name = "FILE", requires = "local")]
    faults: Option<PathBuf>,

    /// AWS profile
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,

    /// AWS region, as eu-central-1
    #[arg(long, value_name = "NAME")]
    region: Option<String>,

    /// Use this URL instead of AWS; SERVICE is ec2, s3 or checkip, and
    /// without it EC2 and S3 are meant
    #[arg(long, value_name = "[SERVICE=]URL")]
    endpoint_url: Vec<String>,

    /// Append the log to a file
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,

    /// How much goes to the log [default: info on the console, debug in the
    /// file]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<LogLevel>,

    /// Show more on the console
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,

    /// Show only warnings and errors on the console
    #[arg(short, long)]
    quiet: bool,

    /// What stdout holds: what the playbook prints, or JSON lines
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    output: Output,
}

#[derive(Debug, Args)]
struct DocsArgs {
    /// A function's name, a playbook, or `local-cloud`
    #[arg(value_name = "NAME|PLAYBOOK")]
    subject: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Human,
    Json,
}

/// Does what the arguments of this process say.
#[must_use]
pub fn main() -> ExitCode {
    // A panic is reported as an internal error, not as a backtrace.
    std::panic::set_hook(Box::new(|_| {}));
    let arguments: Vec<OsString> = std::env::args_os().collect();
    #[cfg(feature = "local-cloud")]
    if let Some(code) = crate::localcloud::program(&arguments) {
        return code;
    }
    ExitCode::from(dispatch(arguments.into_iter()))
}

fn dispatch(arguments: impl Iterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors and go to stdout.
            drop(error.print());
            return if error.use_stderr() {
                exit::USAGE
            } else {
                exit::DONE
            };
        }
    };
    let result = match (cli.command, cli.run) {
        (Some(Command::Run(run)), _) => run::run(&run),
        (None, Some(run)) => run::run(&run),
        (Some(Command::Docs(docs)), _) => docs::docs(&docs),
        #[cfg(feature = "local-cloud")]
        (Some(Command::Cloud { command }), _) => cloud::cloud(&command),
        (Some(Command::Completions { shell }), _) => completions(shell),
        (None, None) => {
            let help = Cli::command().render_help();
            complain(&help.to_string());
            Ok(exit::USAGE)
        }
    };
    result.unwrap_or_else(|error| {
        complain(&format!("error: {error:#}"));
        exit::USAGE
    })
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "autorun", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(exit::DONE)
}

/// Writes what goes wrong before there is a reporter.
fn complain(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// Writes a result to stdout; a reader that went away is no failure.
fn answer(text: &str) {
    drop(std::io::stdout().write_all(text.as_bytes()));
}

fn exit_codes() -> String {
    let lines = exit::TABLE.map(|(code, meaning)| format!("  {code:>3}  {meaning}"));
    format!("Exit codes:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_playbook_alone_is_run() {
        let cli = Cli::try_parse_from(["autorun", "a.rhai", "--set", "x=1"]).unwrap();
        assert_eq!(cli.run.unwrap().playbook, PathBuf::from("a.rhai"));
        let cli = Cli::try_parse_from(["autorun", "run", "a.rhai"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Run(_))));
    }
}
