//! The arguments of every command, as clap parses them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::error::exit;
use crate::report::text;

/// Runs playbooks: Rhai scripts in which EC2, S3 and ssh are built-in functions.
///
/// `autorun PLAYBOOK` is short for `autorun run PLAYBOOK`; its options are in
/// `autorun run --help`.
#[derive(Debug, Parser)]
#[command(name = "autorun", version, arg_required_else_help = true)]
#[command(override_usage = "autorun [OPTIONS OF RUN] <PLAYBOOK>\n       autorun <COMMAND>")]
#[command(max_term_width = 80)]
#[command(after_help = exit_codes())]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a playbook
    Run(Box<RunArgs>),
    /// List the runs: when, how they ended, how much of them is up
    Runs(RunsArgs),
    /// Show a run: its variables, its steps, what is up and what removes it
    Show(ShowArgs),
    /// Go on with a run that failed or was stopped, where it ended
    Resume(Box<ResumeArgs>),
    /// Remove everything that runs made
    Destroy(DestroyArgs),
    /// Log in to an instance of a run, or run a command there
    Ssh(SshArgs),
    /// Show the manual: all functions, one of them, or a playbook's variables
    Docs(DocsArgs),
    /// EC2 and S3 on this machine: up, down, status, env, doctor
    #[cfg(feature = "local-cloud")]
    Cloud {
        /// What to do
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
pub(super) enum CloudCommand {
    /// Start it, unless it is up; with sudo, instances can boot
    Up,
    /// End it; instances are stopped, buckets and disks stay
    Down,
    /// Show where it is and which instances it has
    Status,
    /// Print exports for the AWS CLI and boto3: eval "$(autorun cloud env)"
    Env,
    /// Say what this machine can do, and why not
    Doctor,
}

/// What a run takes.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The playbook, a .rhai file
    #[arg(value_name = "PLAYBOOK")]
    pub(super) playbook: PathBuf,

    /// Set a variable; VALUE may be @FILE for a file's text, or cmd:COMMAND
    /// for what a shell command prints, as `pass show db` (@@ and cmd:: begin a
    /// value with @ and cmd:)
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) set: Vec<String>,

    /// Set variables from a TOML or JSON file
    #[arg(long, value_name = "FILE")]
    pub(super) vars: Vec<PathBuf>,

    #[command(flatten)]
    pub(super) target: TargetArgs,

    /// Have things go wrong on the local cloud as a TOML file says
    #[cfg(feature = "local-cloud")]
    #[arg(long, value_name = "FILE", requires = "local")]
    pub(super) faults: Option<PathBuf>,

    /// What happens to what a run made when it fails or is stopped
    #[arg(long, value_name = "WHAT", default_value = "keep")]
    pub(super) on_error: OnError,

    /// Instances end themselves after this time, as 2h; buckets, groups and
    /// key pairs stay
    #[arg(long, value_name = "TIME", value_parser = parse_ttl)]
    pub(super) ttl: Option<Duration>,

    /// Tag everything the run makes
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_tag)]
    pub(super) tag: Vec<(String, String)>,

    #[command(flatten)]
    pub(super) report: ReportArgs,
}

/// Which account and region are meant, and where they are.
#[derive(Debug, Args)]
pub(super) struct TargetArgs {
    /// This machine's local cloud instead of AWS; starts it if needed
    #[cfg(feature = "local-cloud")]
    #[arg(long, conflicts_with_all = ["profile", "endpoint_url"])]
    pub(super) local: bool,

    /// Start the local cloud through sudo, without a question, if instances
    /// need it
    #[cfg(feature = "local-cloud")]
    #[arg(long, requires = "local")]
    pub(super) sudo: bool,

    /// AWS profile
    #[arg(long, value_name = "NAME")]
    pub(super) profile: Option<String>,

    /// AWS region, as eu-central-1
    #[arg(long, value_name = "NAME")]
    pub(super) region: Option<String>,

    /// Use this URL instead of AWS; SERVICE is ec2, s3 or checkip, and
    /// without it EC2 and S3 are meant
    #[arg(long, value_name = "[SERVICE=]URL")]
    pub(super) endpoint_url: Vec<String>,
}

/// What is said, and where.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Append the log to a file
    #[arg(long, value_name = "FILE")]
    pub(super) log_file: Option<PathBuf>,

    /// How much goes to the log [default: info on the console, debug in the
    /// file]
    #[arg(long, value_name = "LEVEL")]
    pub(super) log_level: Option<LogLevel>,

    /// Show more on the console
    #[arg(short, long, conflicts_with = "quiet")]
    pub(super) verbose: bool,

    /// Show only warnings and errors on the console
    #[arg(short, long)]
    pub(super) quiet: bool,

    /// What stdout holds: text, or JSON lines
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    /// The run's id, or the beginning of it
    #[arg(value_name = "RUN")]
    pub(super) run: String,

    /// Give a secret again, or a variable that is new in the playbook
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) set: Vec<String>,

    /// The same from a TOML or JSON file
    #[arg(long, value_name = "FILE")]
    pub(super) vars: Vec<PathBuf>,

    /// What happens to what the run made when it fails or is stopped
    #[arg(long, value_name = "WHAT", default_value = "keep")]
    pub(super) on_error: OnError,

    /// Start the local cloud through sudo, without a question, if the run is
    /// on it and it is root's
    #[cfg(feature = "local-cloud")]
    #[arg(long)]
    pub(super) sudo: bool,

    #[command(flatten)]
    pub(super) report: ReportArgs,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct DestroyArgs {
    /// Ids of runs, or the beginnings of them
    #[arg(value_name = "RUN", required_unless_present_any = ["all", "orphans"])]
    pub(super) runs: Vec<String>,

    /// Every run that is not in progress
    #[arg(long, conflicts_with = "runs")]
    pub(super) all: bool,

    /// What carries this ledger's tag and is not in it, in the account and
    /// region that --profile, --region or --local name; asks for each run
    #[arg(long, conflicts_with_all = ["runs", "all", "yes", "forget", "dry_run"])]
    pub(super) orphans: bool,

    /// Show what would go, and stop
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Drop from the ledger what cannot be removed: it stays up
    #[arg(long)]
    pub(super) forget: bool,

    /// Do not ask
    #[arg(short, long)]
    pub(super) yes: bool,

    #[command(flatten)]
    pub(super) target: TargetArgs,

    #[command(flatten)]
    pub(super) report: ReportArgs,
}

#[derive(Debug, Args)]
pub(super) struct RunsArgs {
    /// Only those of which something may be up
    #[arg(long)]
    pub(super) up: bool,

    /// What stdout holds: a table, or a JSON line for each run
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The run's id, or the beginning of it
    #[arg(value_name = "RUN")]
    pub(super) run: String,

    /// Write a page to attach to a ticket: the timeline, outputs and errors, in
    /// one file that needs no other; - is stdout
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    pub(super) html: Option<PathBuf>,

    /// Write the timeline alone, a picture for a README; - is stdout
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    pub(super) svg: Option<PathBuf>,

    /// What stdout holds: text, or one JSON object
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct SshArgs {
    /// A run's id, or an instance's name or id
    #[arg(value_name = "RUN|NAME")]
    pub(super) whom: String,

    /// A command; without one, a shell
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub(super) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(super) struct DocsArgs {
    /// A function, a page of the manual, or a playbook
    #[arg(value_name = "NAME|PAGE|PLAYBOOK")]
    pub(super) subject: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Directory that man1 and man7 are written into, as /usr/local/share/man
    #[arg(value_name = "DIR")]
    pub(super) directory: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Human,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OnError {
    /// It stays, and is listed
    Keep,
    /// It is removed
    Destroy,
}

/// `2h`, `1h 30m`, `90s`, `3d`.
fn parse_ttl(text: &str) -> Result<Duration, String> {
    const DAY: u64 = 24 * 3600;
    let days = text
        .strip_suffix('d')
        .and_then(|days| days.trim().parse::<u64>().ok());
    let seconds = days.map(|days| days.saturating_mul(DAY)).or_else(|| {
        let parsed: jiff::SignedDuration = text.parse().ok()?;
        u64::try_from(parsed.as_secs()).ok()
    });
    seconds
        .filter(|seconds| (1..=365 * DAY).contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| "write a time from 1s to 365d, as 90m, 2h, 1h 30m or 3d".to_owned())
}

/// What EC2 and S3 take as a tag, and what is not ours.
fn parse_tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    let good = |c: char| c.is_alphanumeric() || " +-=._:/@".contains(c);
    if ["aws:", "autorun:"].iter().any(|own| key.starts_with(own)) {
        return Err("keys that begin with aws: or autorun: are reserved".to_owned());
    }
    if !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256 {
        return Err("a key has 1 to 128 characters, a value at most 256".to_owned());
    }
    if !key.chars().chain(value.chars()).all(good) {
        return Err("S3 takes letters, digits, spaces and + - = . _ : / @".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// The command that a misspelt word may mean.
pub(super) fn nearest_command(word: &str) -> Option<String> {
    let commands = Cli::command();
    let names = commands.get_subcommands().map(clap::Command::get_name);
    text::nearest(word, names).map(str::to_owned)
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
    fn a_time_and_a_tag_are_checked() {
        assert_eq!(parse_ttl("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(parse_ttl("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_ttl("2d"), Ok(Duration::from_secs(172_800)));
        for bad in ["", "2", "-1h", "0s", "9999h", "soon"] {
            assert!(parse_ttl(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_tag("team=web"), Ok(("team".into(), "web".into())));
        for bad in ["team", "=x", "aws:x=y", "autorun:run=y", "a=(b)"] {
            assert!(parse_tag(bad).is_err(), "{bad}");
        }
    }
}
