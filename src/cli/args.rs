//! The arguments of every command, declared for clap.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::error::exit;
use crate::report::text;

/// Runs playbooks: Rhai scripts in which EC2, S3 and ssh are built-in functions.
///
/// `autorun PLAYBOOK` is short for `autorun run PLAYBOOK`. `autorun run --help`
/// lists the options of a run.
#[derive(Debug, Parser)]
#[command(name = "autorun", version, arg_required_else_help = true)]
#[command(override_usage = "autorun [RUN OPTIONS] <PLAYBOOK>\n       autorun <COMMAND>")]
#[command(max_term_width = 80)]
#[command(after_help = after_help())]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
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
pub(super) enum CloudCommand {
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

/// The arguments of `autorun run`.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The playbook, a .rhai file. If it is -, read standard input
    #[arg(value_name = "PLAYBOOK")]
    pub(super) playbook: PathBuf,

    /// Change to this directory first. All relative paths start there, also that
    /// of the playbook
    #[arg(short = 'C', long, value_name = "DIR")]
    pub(super) directory: Option<PathBuf>,

    /// Set a variable. VALUE is text, @FILE (the content of a file, or of
    /// standard input for @-) or cmd:COMMAND (the output of a shell command).
    /// For an array, a file has one item a line. Write @@ or cmd:: for text that
    /// begins with @ or cmd:
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) set: Vec<String>,

    /// Set variables from a TOML or JSON file
    #[arg(long, value_name = "FILE")]
    pub(super) vars: Vec<PathBuf>,

    #[command(flatten)]
    pub(super) target: TargetArgs,

    /// Inject the faults of a TOML file into the local cloud. The format is in
    /// `autorun docs local-cloud`
    #[cfg(feature = "local-cloud")]
    #[arg(long, value_name = "FILE", requires = "local")]
    pub(super) faults: Option<PathBuf>,

    /// What to do with the run's resources if it fails or is stopped [default:
    /// keep]
    #[arg(long, value_name = "WHAT")]
    pub(super) on_error: Option<OnError>,

    /// Instances terminate themselves after this time, for example 2h; none
    /// overrides a settings file. Buckets, security groups and key pairs stay
    #[arg(long, value_name = "TIME", value_parser = parse_ttl)]
    pub(super) ttl: Option<OrNone<Duration>>,

    /// Add a tag to every resource that the run creates
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_tag)]
    pub(super) tag: Vec<(String, String)>,

    /// Launch instances although those of an earlier run of the same playbook and
    /// name are still up
    #[arg(long)]
    pub(super) again: bool,

    /// Show the plan first, as `autorun plan` does, and ask before the run
    #[cfg(feature = "local-cloud")]
    #[arg(long)]
    pub(super) plan: bool,

    /// Do not ask after the plan
    #[cfg(feature = "local-cloud")]
    #[arg(short, long, requires = "plan")]
    pub(super) yes: bool,

    /// Post a JSON object to this URL when the run ends; none overrides a
    /// settings file
    #[arg(
        long,
        value_name = "URL",
        env = "AUTORUN_NOTIFY",
        hide_env_values = true
    )]
    pub(super) notify: Option<String>,

    #[command(flatten)]
    pub(super) report: ReportArgs,
}

/// The arguments of `autorun plan`. They have the same meaning as for a run.
#[cfg(feature = "local-cloud")]
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// The playbook, a .rhai file. If it is -, read standard input
    #[arg(value_name = "PLAYBOOK")]
    playbook: PathBuf,

    /// Change to this directory first
    #[arg(short = 'C', long, value_name = "DIR")]
    directory: Option<PathBuf>,

    /// Set a variable. VALUE is text, @FILE or cmd:COMMAND, as for a run
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,

    /// Set variables from a TOML or JSON file
    #[arg(long, value_name = "FILE")]
    vars: Vec<PathBuf>,

    /// Do not ask the account: only show what the playbook would do
    #[arg(long)]
    offline: bool,

    #[command(flatten)]
    target: TargetArgs,

    /// Instances terminate themselves after this time
    #[arg(long, value_name = "TIME", value_parser = parse_ttl)]
    ttl: Option<OrNone<Duration>>,

    /// Add a tag to every resource that the run creates
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_tag)]
    tag: Vec<(String, String)>,

    #[command(flatten)]
    report: ReportArgs,
}

#[cfg(feature = "local-cloud")]
impl PlanArgs {
    /// Returns the arguments of the planned run, and whether the account must not
    /// be asked.
    pub(super) fn split(self) -> (RunArgs, bool) {
        let run = RunArgs {
            playbook: self.playbook,
            directory: self.directory,
            set: self.set,
            vars: self.vars,
            target: self.target,
            faults: None,
            on_error: None,
            ttl: self.ttl,
            tag: self.tag,
            again: true,
            plan: false,
            yes: false,
            notify: None,
            report: self.report,
        };
        (run, self.offline)
    }
}

/// The account, region and endpoints to use.
#[derive(Debug, Default, Args)]
pub(super) struct TargetArgs {
    /// Use the local cloud on this machine instead of AWS; start it if needed
    #[cfg(feature = "local-cloud")]
    #[arg(long, conflicts_with_all = ["profile", "role", "endpoint_url"])]
    pub(super) local: bool,

    /// Do not ask before starting the local cloud with sudo, which it needs if
    /// the playbook launches instances
    #[cfg(feature = "local-cloud")]
    #[arg(long, requires = "local")]
    pub(super) sudo: bool,

    /// AWS profile
    #[arg(long, value_name = "NAME")]
    pub(super) profile: Option<String>,

    /// ARN of an IAM role to assume, with the credentials of the profile or of
    /// the environment
    #[arg(long, value_name = "ARN")]
    pub(super) role: Option<String>,

    /// AWS region, for example eu-central-1
    #[arg(long, value_name = "NAME")]
    pub(super) region: Option<String>,

    /// Use this URL instead of the AWS endpoint. SERVICE is ec2, s3, sts or
    /// checkip (the service that returns this machine's public address). Without
    /// SERVICE, the URL is for EC2 and S3
    #[arg(long, value_name = "[SERVICE=]URL")]
    pub(super) endpoint_url: Vec<String>,
}

/// The console output and the log.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Append the log to a file
    #[arg(long, value_name = "FILE")]
    pub(super) log_file: Option<PathBuf>,

    /// Lowest level to log [default: info on the console, debug in the file]
    #[arg(long, value_name = "LEVEL")]
    pub(super) log_level: Option<LogLevel>,

    /// Show debug messages on the console
    #[arg(short, long, conflicts_with = "quiet")]
    pub(super) verbose: bool,

    /// Show only warnings and errors on the console
    #[arg(short, long)]
    pub(super) quiet: bool,

    /// Format of stdout: human is text, json is one JSON object per line
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    /// ID of the run; a unique prefix is enough
    #[arg(value_name = "RUN")]
    pub(super) run: String,

    /// Set a secret again, or a variable that is new in the playbook
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) set: Vec<String>,

    /// Set these variables from a TOML or JSON file
    #[arg(long, value_name = "FILE")]
    pub(super) vars: Vec<PathBuf>,

    /// What to do with the run's resources if it fails or is stopped [default:
    /// keep]
    #[arg(long, value_name = "WHAT")]
    pub(super) on_error: Option<OnError>,

    /// Do not ask before starting the local cloud with sudo, if the run used one
    /// of root
    #[cfg(feature = "local-cloud")]
    #[arg(long)]
    pub(super) sudo: bool,

    /// Post a JSON object to this URL when the run ends; none overrides a
    /// settings file
    #[arg(
        long,
        value_name = "URL",
        env = "AUTORUN_NOTIFY",
        hide_env_values = true
    )]
    pub(super) notify: Option<String>,

    #[command(flatten)]
    pub(super) report: ReportArgs,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct DestroyArgs {
    /// IDs of runs; unique prefixes are enough
    #[arg(value_name = "RUN", required_unless_present_any = ["all", "orphans"])]
    pub(super) runs: Vec<String>,

    /// Remove the resources of every run that is not in progress
    #[arg(long, conflicts_with = "runs")]
    pub(super) all: bool,

    /// Remove resources that have this ledger's tag but are not in the ledger.
    /// Searches the account and region of --profile, --region or --local, and
    /// asks for each run
    #[arg(long, conflicts_with_all = ["runs", "all", "yes", "forget", "dry_run"])]
    pub(super) orphans: bool,

    /// List what would be removed, and exit
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Forget resources that cannot be removed; they stay up
    #[arg(long)]
    pub(super) forget: bool,

    /// Do not ask for confirmation
    #[arg(short, long)]
    pub(super) yes: bool,

    #[command(flatten)]
    pub(super) target: TargetArgs,

    #[command(flatten)]
    pub(super) report: ReportArgs,
}

#[derive(Debug, Args)]
pub(super) struct RunsArgs {
    /// List only runs that still have resources
    #[arg(long)]
    pub(super) up: bool,

    /// Format of stdout: human is a table, json is one JSON object per run and
    /// line
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// ID of the run; a unique prefix is enough
    #[arg(value_name = "RUN")]
    pub(super) run: String,

    /// Write a self-contained HTML page with timeline, outputs and errors, for
    /// example to attach to a ticket. If FILE is -, write to stdout
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    pub(super) html: Option<PathBuf>,

    /// Write only the timeline, as an SVG image. If FILE is -, write to stdout
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    pub(super) svg: Option<PathBuf>,

    /// Format of stdout: human is text, json is one JSON object
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct SshArgs {
    /// ID of a run, or name or ID of an instance
    #[arg(value_name = "RUN|NAME")]
    pub(super) target: String,

    /// Command to run. Without a command, a login shell starts
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub(super) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(super) struct DocsArgs {
    /// A function, a page of the manual, a code of `autorun check`, or a playbook
    /// file. Without it, list all functions and pages
    #[arg(value_name = "NAME|PAGE|CODE|PLAYBOOK")]
    pub(super) subject: Option<String>,

    /// List the functions, pages and codes whose text contains all these words
    #[arg(long, value_name = "WORDS", conflicts_with = "subject")]
    pub(super) search: Option<String>,

    /// Write definition files of Rhai, for editors, to this directory
    #[arg(long, value_name = "DIR", conflicts_with_all = ["subject", "search"])]
    pub(super) definitions: Option<PathBuf>,
}

/// The arguments of `autorun new`.
#[derive(Debug, Args)]
pub(super) struct NewArgs {
    /// Name of the file; .rhai is added if it is missing
    #[arg(value_name = "NAME")]
    pub(super) name: std::ffi::OsString,
}

/// The arguments of `autorun check`.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The playbooks. If it is -, read standard input
    #[arg(value_name = "PLAYBOOK", required = true)]
    pub(super) files: Vec<PathBuf>,

    /// Fail with exit status 1 also if there are only warnings
    #[arg(long, value_name = "WHAT")]
    pub(super) deny: Vec<Deny>,

    /// Format of the findings: human is text, json is one JSON object per line,
    /// sarif is SARIF 2.1.0
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(super) output: CheckOutput,
}

/// The arguments of `autorun lsp`.
#[derive(Debug, Args)]
pub(super) struct LspArgs {
    /// Accepted because some editors pass it to every language server
    #[arg(long, hide = true)]
    pub(super) stdio: bool,
}

/// The findings that count as errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Deny {
    Warnings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum CheckOutput {
    Human,
    Json,
    Sarif,
}

/// The arguments of `autorun policy`.
#[derive(Debug, Args)]
pub(super) struct PolicyArgs {
    /// A playbook, which is rehearsed on this machine, or ID of a run; a unique
    /// prefix is enough
    #[arg(value_name = "PLAYBOOK|RUN")]
    pub(super) subject: PathBuf,

    /// Set a variable. VALUE is text, @FILE or cmd:COMMAND, as for a run
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) set: Vec<String>,

    /// Set variables from a TOML or JSON file
    #[arg(long, value_name = "FILE")]
    pub(super) vars: Vec<PathBuf>,

    /// AWS region of the policy [default: that of the run or of the profile]
    #[arg(long, value_name = "NAME")]
    pub(super) region: Option<String>,

    /// AWS profile, whose region counts
    #[arg(long, value_name = "NAME")]
    pub(super) profile: Option<String>,

    /// Show which lines of the playbook need each statement, instead of the policy
    #[arg(long)]
    pub(super) explain: bool,

    #[command(flatten)]
    pub(super) report: ReportArgs,
}

#[cfg(feature = "local-cloud")]
impl PolicyArgs {
    /// Returns the arguments of the run that is rehearsed.
    pub(super) fn into_run(self) -> RunArgs {
        RunArgs {
            playbook: self.subject,
            directory: None,
            set: self.set,
            vars: self.vars,
            target: TargetArgs {
                region: self.region,
                profile: self.profile,
                ..TargetArgs::default()
            },
            faults: None,
            on_error: None,
            ttl: None,
            tag: Vec::new(),
            again: true,
            plan: false,
            yes: false,
            notify: None,
            report: self.report,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct SettingsArgs {
    /// Include the file autorun.toml beside this playbook
    #[arg(value_name = "PLAYBOOK")]
    pub(super) playbook: Option<PathBuf>,

    /// Format of stdout: human is a table, json is one JSON object per setting
    /// and line
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Directory in which man1 and man7 are written, for example
    /// /usr/local/share/man
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
    /// Keep the resources and list them
    Keep,
    /// Remove the resources
    Destroy,
}

/// A value, or `none`, which overrides the value in a settings file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OrNone<T> {
    None,
    Some(T),
}

impl<T> OrNone<T> {
    pub(super) fn into_option(self) -> Option<T> {
        match self {
            Self::None => None,
            Self::Some(value) => Some(value),
        }
    }
}

/// Parses `none`, or a duration such as `2h`, `1h 30m`, `90s` or `3d`.
pub(super) fn parse_ttl(text: &str) -> Result<OrNone<Duration>, String> {
    const DAY: u64 = 24 * 3600;
    if text == "none" {
        return Ok(OrNone::None);
    }
    let days = text
        .strip_suffix('d')
        .and_then(|days| days.trim().parse::<u64>().ok());
    let seconds = days.map(|days| days.saturating_mul(DAY)).or_else(|| {
        let parsed: jiff::SignedDuration = text.parse().ok()?;
        u64::try_from(parsed.as_secs()).ok()
    });
    seconds
        .filter(|seconds| (1..=365 * DAY).contains(seconds))
        .map(|seconds| OrNone::Some(Duration::from_secs(seconds)))
        .ok_or_else(|| "use a time from 1s to 365d, such as 90m, 2h, 1h 30m or 3d".to_owned())
}

/// Parses a tag that both EC2 and S3 accept and that is not reserved.
fn parse_tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    check_tag(key, value)?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Checks a tag; see [`parse_tag`].
pub(super) fn check_tag(key: &str, value: &str) -> Result<(), String> {
    let good = |c: char| c.is_alphanumeric() || " +-=._:/@".contains(c);
    if ["aws:", "autorun:"].iter().any(|own| key.starts_with(own)) {
        return Err("keys that begin with aws: or autorun: are reserved".to_owned());
    }
    if !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256 {
        return Err("a key has 1 to 128 characters, a value at most 256".to_owned());
    }
    // The characters of S3, which allows fewer than EC2.
    if !key.chars().chain(value.chars()).all(good) {
        return Err("use only letters, digits, spaces and + - = . _ : / @".to_owned());
    }
    Ok(())
}

/// Returns the command whose name is most similar to a misspelt word.
pub(super) fn nearest_command(word: &str) -> Option<String> {
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

    #[test]
    fn a_time_and_a_tag_are_checked() {
        let seconds = |n| Ok(OrNone::Some(Duration::from_secs(n)));
        assert_eq!(parse_ttl("2h"), seconds(7200));
        assert_eq!(parse_ttl("1h 30m"), seconds(5400));
        assert_eq!(parse_ttl("2d"), seconds(172_800));
        assert_eq!(parse_ttl("none"), Ok(OrNone::None));
        for bad in ["", "2", "-1h", "0s", "9999h", "soon"] {
            assert!(parse_ttl(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_tag("team=web"), Ok(("team".into(), "web".into())));
        for bad in ["team", "=x", "aws:x=y", "autorun:run=y", "a=(b)"] {
            assert!(parse_tag(bad).is_err(), "{bad}");
        }
    }
}
