//! The arguments of every command, declared for clap.

mod ledger;
mod runs;
mod texts;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::error::exit;
use crate::report::text;
pub(in crate::cli) use ledger::{LedgerCommand, MoveArgs, PruneArgs};
#[cfg(feature = "local-cloud")]
pub(in crate::cli) use runs::PlanArgs;
pub(in crate::cli) use runs::{DestroyArgs, PolicyArgs, ResumeArgs, RunArgs};
pub(in crate::cli) use texts::{CheckArgs, CheckOutput, Deny, DocsArgs, LspArgs, NewArgs};
pub(in crate::cli) use values::{OrNone, check_tag, parse_ttl};

/// Runs playbooks: Rhai scripts in which EC2, S3 and ssh are built-in functions.
///
/// `autorun PLAYBOOK` is short for `autorun run PLAYBOOK`. `autorun run --help`
/// lists the options of a run.
#[derive(Debug, Parser)]
#[command(name = "autorun", version, arg_required_else_help = true)]
#[command(override_usage = "autorun [RUN OPTIONS] <PLAYBOOK>\n       autorun <COMMAND>")]
#[command(max_term_width = 80)]
#[command(after_help = after_help())]
pub(in crate::cli) struct Cli {
    #[command(subcommand)]
    pub(in crate::cli) command: Command,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// Run a playbook
    Run(Box<RunArgs>),
    /// Show what a playbook would do, and whether the account would let it
    #[cfg(feature = "local-cloud")]
    Plan(Box<PlanArgs>),
    /// Find mistakes in playbooks without running them
    Check(CheckArgs),
    /// Answer an editor on stdin and stdout: the Language Server Protocol
    Lsp(LspArgs),
    /// Write a commented playbook to begin with
    New(NewArgs),
    /// Print the IAM policy that a playbook or a run needs
    Policy(PolicyArgs),
    /// List runs with start time, status and number of remaining resources
    Runs(RunsArgs),
    /// Show a run: variables, steps, errors and remaining resources
    Show(ShowArgs),
    /// Continue a run that failed or was stopped
    Resume(Box<ResumeArgs>),
    /// Remove the resources that runs created
    Destroy(DestroyArgs),
    /// Log in to an instance of a run, or run a command on it
    Ssh(SshArgs),
    /// Show the manual: functions, pages, or a playbook's variables
    Docs(DocsArgs),
    /// Show the settings that count, and where they come from
    Settings(SettingsArgs),
    /// Manage a ledger that several machines share, in an S3 bucket
    Ledger {
        /// The action
        #[command(subcommand)]
        command: LedgerCommand,
    },
    /// Manage the local cloud: EC2 and S3 on this machine
    #[cfg(feature = "local-cloud")]
    Cloud {
        /// The action
        #[command(subcommand)]
        command: CloudCommand,
    },
    /// Write man pages of the commands and of the functions
    Man(ManArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[cfg(feature = "local-cloud")]
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum CloudCommand {
    /// Start the local cloud; run it with sudo to launch instances
    Up {
        /// Inject the faults of a TOML file into all requests, except those of runs
        /// with faults of their own, until the local cloud stops
        #[arg(long, value_name = "FILE")]
        faults: Option<PathBuf>,
    },
    /// Stop the local cloud and its instances; buckets and disks stay
    Down,
    /// Show the endpoint and the instances
    Status,
    /// Print variables for the AWS CLI and boto3: eval "$(autorun cloud env)"
    Env,
    /// Check whether this machine can run instances
    Doctor,
}

/// The account, region and endpoints to use.
#[derive(Debug, Default, Args)]
pub(in crate::cli) struct TargetArgs {
    /// Use the local cloud on this machine instead of AWS; start it if needed
    #[cfg(feature = "local-cloud")]
    #[arg(long, conflicts_with_all = ["profile", "role", "endpoint_url"])]
    pub(in crate::cli) local: bool,

    /// Do not ask before starting the local cloud with sudo, which it needs if
    /// the playbook launches instances
    #[cfg(feature = "local-cloud")]
    #[arg(long, requires = "local")]
    pub(in crate::cli) sudo: bool,

    /// AWS profile
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) profile: Option<String>,

    /// ARN of an IAM role to assume, with the credentials of the profile or of
    /// the environment
    #[arg(long, value_name = "ARN")]
    pub(in crate::cli) role: Option<String>,

    /// AWS region, for example eu-central-1
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) region: Option<String>,

    /// Use this URL instead of the AWS endpoint. SERVICE is ec2, s3, sts or
    /// checkip (the service that returns this machine's public address). Without
    /// SERVICE, the URL is for EC2 and S3
    #[arg(long, value_name = "[SERVICE=]URL")]
    pub(in crate::cli) endpoint_url: Vec<String>,
}

/// The shared ledger.
#[derive(Debug, Default, Args)]
pub(in crate::cli) struct LedgerArgs {
    /// Use the ledger in this bucket, which several machines share; none overrides
    /// AUTORUN_LEDGER and a settings file. See `autorun docs shared-ledger`
    #[arg(long, value_name = "S3-URL")]
    pub(in crate::cli) ledger: Option<String>,
}

/// The console output and the log.
#[derive(Debug, Args)]
pub(in crate::cli) struct ReportArgs {
    /// Append the log to a file
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) log_file: Option<PathBuf>,

    /// Lowest level to log [default: info on the console, debug in the file]
    #[arg(long, value_name = "LEVEL")]
    pub(in crate::cli) log_level: Option<LogLevel>,

    /// Show debug messages on the console
    #[arg(short, long, conflicts_with = "quiet")]
    pub(in crate::cli) verbose: bool,

    /// Show only warnings and errors on the console
    #[arg(short, long)]
    pub(in crate::cli) quiet: bool,

    /// Format of stdout: human is text, json is one JSON object per line
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(in crate::cli) output: Output,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RunsArgs {
    /// List only runs that still have resources
    #[arg(long)]
    pub(in crate::cli) up: bool,

    #[command(flatten)]
    pub(in crate::cli) ledger: LedgerArgs,

    /// Format of stdout: human is a table, json is one JSON object per run and
    /// line
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(in crate::cli) output: Output,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    /// ID of the run; a unique prefix is enough
    #[arg(value_name = "RUN")]
    pub(in crate::cli) run: String,

    /// Write a self-contained HTML page with timeline, outputs and errors, for
    /// example to attach to a ticket. If FILE is -, write to stdout
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    pub(in crate::cli) html: Option<PathBuf>,

    /// Write only the timeline, as an SVG image. If FILE is -, write to stdout
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    pub(in crate::cli) svg: Option<PathBuf>,

    #[command(flatten)]
    pub(in crate::cli) ledger: LedgerArgs,

    /// Format of stdout: human is text, json is one JSON object
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(in crate::cli) output: Output,
}

/// A way to an instance that needs no open port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Via {
    /// AWS Systems Manager
    Ssm,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SshArgs {
    /// ID of a run, or name or ID of an instance
    #[arg(value_name = "RUN|NAME")]
    pub(in crate::cli) target: String,

    #[command(flatten)]
    pub(in crate::cli) ledger: LedgerArgs,

    /// Reach the instance through AWS Systems Manager, with the AWS CLI and its
    /// session-manager-plugin. Name it before the command
    #[arg(long, value_name = "WAY")]
    pub(in crate::cli) via: Option<Via>,

    /// Command to run. Without a command, a login shell starts
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub(in crate::cli) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SettingsArgs {
    /// Include the file autorun.toml beside this playbook
    #[arg(value_name = "PLAYBOOK")]
    pub(in crate::cli) playbook: Option<PathBuf>,

    /// Format of stdout: human is a table, json is one JSON object per setting
    /// and line
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(in crate::cli) output: Output,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ManArgs {
    /// Directory in which man1 and man7 are written, for example
    /// /usr/local/share/man
    #[arg(value_name = "DIR")]
    pub(in crate::cli) directory: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Output {
    Human,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum OnError {
    /// Keep the resources and list them
    Keep,
    /// Remove the resources
    Destroy,
}

/// Returns the command whose name is most similar to a misspelt word.
pub(in crate::cli) fn nearest_command(word: &str) -> Option<String> {
    let commands = Cli::command();
    let names = commands.get_subcommands().map(clap::Command::get_name);
    text::nearest(word, names).map(str::to_owned)
}

/// The end of `autorun --help`: common calls, the manual, exit codes.
fn after_help() -> String {
    let rehearse = if cfg!(feature = "local-cloud") {
        "  autorun --local web.rhai      Rehearse a playbook on this machine\n"
    } else {
        ""
    };
    let codes = exit::TABLE.map(|(code, meaning)| format!("  {code:>3}  {meaning}"));
    format!(
        "Common calls:\n{rehearse}\
         \x20 autorun web.rhai              Run the playbook on AWS\n\
         \x20 autorun runs --up             List the runs that still have resources\n\
         \x20 autorun resume RUN            Continue after an error\n\
         \x20 autorun destroy RUN           Remove the resources of the run\n\
         \n\
         Manual:\n\
         \x20 autorun docs                  List the functions and pages\n\
        \x20 autorun docs getting-started  Show a page of the manual\n\
         \x20 autorun docs launch_instance  Show one function\n\
         \x20 autorun docs web.rhai         Show the variables of a playbook\n\
         \n\
         Settings files (see `autorun settings`):\n\
         \x20 ~/.config/autorun/config.toml\n\
         \x20 autorun.toml                  Beside the playbook\n\
         \n\
         Exit codes:\n{}",
        codes.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
