//! The arguments of the commands that run a playbook, rehearse it, or end a run.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::{OrNone, parse_tag, parse_time, parse_ttl};
use super::{LedgerArgs, OnError, ReportArgs, TargetArgs};

/// The arguments of `autorun run`.
#[derive(Debug, Args)]
pub(in crate::cli) struct RunArgs {
    /// The playbook, a .rhai file. If it is -, read standard input
    #[arg(value_name = "PLAYBOOK")]
    pub(in crate::cli) playbook: PathBuf,

    /// Change to this directory first. All relative paths start there, also that
    /// of the playbook
    #[arg(short = 'C', long, value_name = "DIR")]
    pub(in crate::cli) directory: Option<PathBuf>,

    /// Set a variable. VALUE is text, @FILE (the content of a file, or of
    /// standard input for @-) or cmd:COMMAND (the output of a shell command).
    /// For an array, a file has one item a line. Write @@ or cmd:: for text that
    /// begins with @ or cmd:
    #[arg(long, value_name = "NAME=VALUE")]
    pub(in crate::cli) set: Vec<String>,

    /// Set variables from a TOML or JSON file
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) vars: Vec<PathBuf>,

    #[command(flatten)]
    pub(in crate::cli) target: TargetArgs,

    /// Inject the faults of a TOML file into the local cloud. The format is in
    /// `autorun docs local-cloud`
    #[cfg(feature = "local-cloud")]
    #[arg(long, value_name = "FILE", requires = "local")]
    pub(in crate::cli) faults: Option<PathBuf>,

    /// What to do with the run's resources if it fails or is stopped [default:
    /// keep]
    #[arg(long, value_name = "WHAT")]
    pub(in crate::cli) on_error: Option<OnError>,

    /// Instances terminate themselves after this time, for example 2h; none
    /// overrides a settings file. Buckets, security groups and key pairs stay
    #[arg(long, value_name = "TIME", value_parser = parse_ttl)]
    pub(in crate::cli) ttl: Option<OrNone<Duration>>,

    /// Add a tag to every resource that the run creates
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_tag)]
    pub(in crate::cli) tag: Vec<(String, String)>,

    /// Launch instances although those of an earlier run of the same playbook and
    /// name are still up
    #[arg(long)]
    pub(in crate::cli) again: bool,

    /// Show the plan first, as `autorun plan` does, and ask before the run
    #[cfg(feature = "local-cloud")]
    #[arg(long)]
    pub(in crate::cli) plan: bool,

    /// Do not ask after the plan
    #[cfg(feature = "local-cloud")]
    #[arg(short, long, requires = "plan")]
    pub(in crate::cli) yes: bool,

    /// Post a JSON object to this URL when the run ends; none overrides a
    /// settings file
    #[arg(
        long,
        value_name = "URL",
        env = "AUTORUN_NOTIFY",
        hide_env_values = true
    )]
    pub(in crate::cli) notify: Option<String>,

    #[command(flatten)]
    pub(in crate::cli) ledger: LedgerArgs,

    #[command(flatten)]
    pub(in crate::cli) report: ReportArgs,
}

/// The arguments of `autorun plan`. They have the same meaning as for a run.
#[cfg(feature = "local-cloud")]
#[derive(Debug, Args)]
pub(in crate::cli) struct PlanArgs {
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
    pub(in crate::cli) fn split(self) -> (RunArgs, bool) {
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
            ledger: LedgerArgs::default(),
            report: self.report,
        };
        (run, self.offline)
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ResumeArgs {
    /// ID of the run; a unique prefix is enough
    #[arg(value_name = "RUN")]
    pub(in crate::cli) run: String,

    /// Change to this directory instead of the one in which the run was started, which
    /// may be on another machine
    #[arg(short = 'C', long, value_name = "DIR")]
    pub(in crate::cli) directory: Option<PathBuf>,

    /// Set a secret again, or a variable that is new in the playbook
    #[arg(long, value_name = "NAME=VALUE")]
    pub(in crate::cli) set: Vec<String>,

    /// Set these variables from a TOML or JSON file
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) vars: Vec<PathBuf>,

    /// What to do with the run's resources if it fails or is stopped [default:
    /// keep]
    #[arg(long, value_name = "WHAT")]
    pub(in crate::cli) on_error: Option<OnError>,

    /// Do not ask before starting the local cloud with sudo, if the run used one
    /// of root
    #[cfg(feature = "local-cloud")]
    #[arg(long)]
    pub(in crate::cli) sudo: bool,

    /// Post a JSON object to this URL when the run ends; none overrides a
    /// settings file
    #[arg(
        long,
        value_name = "URL",
        env = "AUTORUN_NOTIFY",
        hide_env_values = true
    )]
    pub(in crate::cli) notify: Option<String>,

    #[command(flatten)]
    pub(in crate::cli) ledger: LedgerArgs,

    #[command(flatten)]
    pub(in crate::cli) report: ReportArgs,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(in crate::cli) struct DestroyArgs {
    /// IDs of runs; unique prefixes are enough
    #[arg(value_name = "RUN", required_unless_present_any = ["all", "orphans"])]
    pub(in crate::cli) runs: Vec<String>,

    /// Remove the resources of every run that is not in progress
    #[arg(long, conflicts_with = "runs")]
    pub(in crate::cli) all: bool,

    /// With --all, only of runs that began at least this long ago, such as 90m, 2h
    /// or 3d
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "all")]
    pub(in crate::cli) older_than: Option<Duration>,

    /// Remove resources that have this ledger's tag but are not in the ledger.
    /// Searches the account and region of --profile, --region or --local, and
    /// asks for each run
    #[arg(long, conflicts_with_all = ["runs", "all", "yes", "forget", "dry_run"])]
    pub(in crate::cli) orphans: bool,

    /// List what would be removed, and exit
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,

    /// Forget resources that cannot be removed; they stay up
    #[arg(long)]
    pub(in crate::cli) forget: bool,

    /// Do not ask for confirmation
    #[arg(short, long)]
    pub(in crate::cli) yes: bool,

    #[command(flatten)]
    pub(in crate::cli) ledger: LedgerArgs,

    #[command(flatten)]
    pub(in crate::cli) target: TargetArgs,

    #[command(flatten)]
    pub(in crate::cli) report: ReportArgs,
}

/// The arguments of `autorun policy`.
#[derive(Debug, Args)]
pub(in crate::cli) struct PolicyArgs {
    /// A playbook, which is rehearsed on this machine, or ID of a run; a unique
    /// prefix is enough
    #[arg(value_name = "PLAYBOOK|RUN")]
    pub(in crate::cli) subject: PathBuf,

    /// Set a variable. VALUE is text, @FILE or cmd:COMMAND, as for a run
    #[arg(long, value_name = "NAME=VALUE")]
    pub(in crate::cli) set: Vec<String>,

    /// Set variables from a TOML or JSON file
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) vars: Vec<PathBuf>,

    /// AWS region of the policy [default: that of the run or of the profile]
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) region: Option<String>,

    /// AWS profile, whose region counts
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) profile: Option<String>,

    /// Show which lines of the playbook need each statement, instead of the policy
    #[arg(long)]
    pub(in crate::cli) explain: bool,

    #[command(flatten)]
    pub(in crate::cli) ledger: LedgerArgs,

    #[command(flatten)]
    pub(in crate::cli) report: ReportArgs,
}

#[cfg(feature = "local-cloud")]
impl PolicyArgs {
    /// Returns the arguments of the run that is rehearsed.
    pub(in crate::cli) fn into_run(self) -> RunArgs {
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
            ledger: self.ledger,
            report: self.report,
        }
    }
}
