//! The command line: parses, dispatches, gives the exit code.
//!
//! The environment is read here and nowhere else.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::error::exit;
use crate::report::text;

#[cfg(feature = "local-cloud")]
mod cloud;
mod confirm;
mod destroy;
mod docs;
#[cfg(feature = "local-cloud")]
mod local;
mod output_file;
mod resume;
mod run;
mod runs;
mod secret_source;
mod settings;
mod show;
mod signals;
mod ssh;
#[cfg(feature = "local-cloud")]
mod sudo;
mod target;
mod variables;

/// Runs playbooks: Rhai scripts in which EC2, S3 and ssh are built-in functions.
///
/// `autorun PLAYBOOK` is short for `autorun run PLAYBOOK`; its options are in
/// `autorun run --help`.
#[derive(Debug, Parser)]
#[command(name = "autorun", version, arg_required_else_help = true)]
#[command(override_usage = "autorun [OPTIONS OF RUN] <PLAYBOOK>\n       autorun <COMMAND>")]
#[command(max_term_width = 80)]
#[command(after_help = exit_codes())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
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
struct RunArgs {
    /// The playbook, a .rhai file
    #[arg(value_name = "PLAYBOOK")]
    playbook: PathBuf,

    /// Set a variable; VALUE may be @FILE for a file's text, or cmd:COMMAND
    /// for what a shell command prints, as `pass show db` (@@ and cmd:: begin a
    /// value with @ and cmd:)
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,

    /// Set variables from a TOML or JSON file
    #[arg(long, value_name = "FILE")]
    vars: Vec<PathBuf>,

    #[command(flatten)]
    target: TargetArgs,

    /// Have things go wrong on the local cloud as a TOML file says
    #[cfg(feature = "local-cloud")]
    #[arg(long, value_name = "FILE", requires = "local")]
    faults: Option<PathBuf>,

    /// What happens to what a run made when it fails or is stopped
    #[arg(long, value_name = "WHAT", default_value = "keep")]
    on_error: OnError,

    /// Instances end themselves after this time, as 2h; buckets, groups and
    /// key pairs stay
    #[arg(long, value_name = "TIME", value_parser = parse_ttl)]
    ttl: Option<Duration>,

    /// Tag everything the run makes
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_tag)]
    tag: Vec<(String, String)>,

    #[command(flatten)]
    report: ReportArgs,
}

/// Which account and region are meant, and where they are.
#[derive(Debug, Args)]
struct TargetArgs {
    /// This machine's local cloud instead of AWS; starts it if needed
    #[cfg(feature = "local-cloud")]
    #[arg(long, conflicts_with_all = ["profile", "endpoint_url"])]
    local: bool,

    /// Start the local cloud through sudo, without a question, if instances
    /// need it
    #[cfg(feature = "local-cloud")]
    #[arg(long, requires = "local")]
    sudo: bool,

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
}

/// What is said, and where.
#[derive(Debug, Args)]
struct ReportArgs {
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

    /// What stdout holds: text, or JSON lines
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    output: Output,
}

#[derive(Debug, Args)]
struct ResumeArgs {
    /// The run's id, or the beginning of it
    #[arg(value_name = "RUN")]
    run: String,

    /// Give a secret again, or a variable that is new in the playbook
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,

    /// The same from a TOML or JSON file
    #[arg(long, value_name = "FILE")]
    vars: Vec<PathBuf>,

    /// What happens to what the run made when it fails or is stopped
    #[arg(long, value_name = "WHAT", default_value = "keep")]
    on_error: OnError,

    /// Start the local cloud through sudo, without a question, if the run is
    /// on it and it is root's
    #[cfg(feature = "local-cloud")]
    #[arg(long)]
    sudo: bool,

    #[command(flatten)]
    report: ReportArgs,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
struct DestroyArgs {
    /// Ids of runs, or the beginnings of them
    #[arg(value_name = "RUN", required_unless_present_any = ["all", "orphans"])]
    runs: Vec<String>,

    /// Every run that is not in progress
    #[arg(long, conflicts_with = "runs")]
    all: bool,

    /// What carries this ledger's tag and is not in it, in the account and
    /// region that --profile, --region or --local name; asks for each run
    #[arg(long, conflicts_with_all = ["runs", "all", "yes", "forget", "dry_run"])]
    orphans: bool,

    /// Show what would go, and stop
    #[arg(long)]
    dry_run: bool,

    /// Drop from the ledger what cannot be removed: it stays up
    #[arg(long)]
    forget: bool,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,

    #[command(flatten)]
    target: TargetArgs,

    #[command(flatten)]
    report: ReportArgs,
}

#[derive(Debug, Args)]
struct RunsArgs {
    /// Only those of which something may be up
    #[arg(long)]
    up: bool,

    /// What stdout holds: a table, or a JSON line for each run
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    output: Output,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// The run's id, or the beginning of it
    #[arg(value_name = "RUN")]
    run: String,

    /// Write a page to attach to a ticket: the timeline, outputs and errors, in
    /// one file that needs no other; - is stdout
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    html: Option<PathBuf>,

    /// Write the timeline alone, a picture for a README; - is stdout
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    svg: Option<PathBuf>,

    /// What stdout holds: text, or one JSON object
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    output: Output,
}

#[derive(Debug, Args)]
struct SshArgs {
    /// A run's id, or an instance's name or id
    #[arg(value_name = "RUN|NAME")]
    whom: String,

    /// A command; without one, a shell
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    command: Vec<OsString>,
}

#[derive(Debug, Args)]
struct DocsArgs {
    /// A function's name, a playbook, `runs`, or `local-cloud`
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnError {
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
    let all = std::panic::AssertUnwindSafe(|| dispatch(arguments.into_iter()));
    ExitCode::from(std::panic::catch_unwind(all).unwrap_or_else(|_| {
        complain("error: a fault of autorun itself\nhint: please report what was called");
        exit::FAILED
    }))
}

fn dispatch(arguments: impl Iterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(with_command(arguments.collect())) {
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
    let result = match cli.command {
        Command::Run(run) => run::run(&run),
        Command::Runs(runs) => runs::runs(&runs),
        Command::Show(show) => show::show(&show),
        Command::Resume(resume) => resume::resume(&resume),
        Command::Destroy(destroy) => destroy::destroy(&destroy),
        Command::Ssh(ssh) => ssh::ssh(&ssh),
        Command::Docs(docs) => docs::docs(&docs),
        #[cfg(feature = "local-cloud")]
        Command::Cloud { command } => cloud::cloud(&command),
        Command::Completions { shell } => completions(shell),
    };
    result.unwrap_or_else(|error| {
        complain(&fitted(&format!("error: {error:#}")));
        exit::USAGE
    })
}

/// What begins with no command is a run, unless it is a misspelt command.
fn with_command(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let is_run = arguments.get(1).is_some_and(|first| {
        let general = ["-h", "--help", "-V", "--version", "help"];
        let command = Cli::command().find_subcommand(first).is_some();
        !command && !general.iter().any(|word| first == word)
    });
    if is_run && !is_misspelt(&arguments[1..]) {
        arguments.insert(1, "run".into());
    }
    arguments
}

/// A word that is no file and near to a command, with arguments: clap names the
/// command that is meant.
fn is_misspelt(arguments: &[OsString]) -> bool {
    let [first, _, ..] = arguments else {
        return false;
    };
    let word = first.to_string_lossy();
    let commands = Cli::command();
    let names = commands.get_subcommands().map(clap::Command::get_name);
    !word.starts_with('-')
        && !std::path::Path::new(first).exists()
        && text::nearest(&word, names).is_some()
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "autorun", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(exit::DONE)
}

/// Writes to stderr where there is no reporter.
fn complain(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// Breaks long lines as reports do; a place is to be copied whole.
fn fitted(text: &str) -> String {
    let lines = text.lines().map(|line| match line {
        line if line.starts_with("  -->") => line.to_owned(),
        line if line.starts_with("hint:") => text::wrap(line, 6),
        line => text::wrap(line, 2),
    });
    lines.collect::<Vec<_>>().join("\n")
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
        for call in [
            &["a.rhai", "--set", "x=1"][..],
            &["run", "a.rhai"],
            &["-v", "a.rhai"],
        ] {
            let arguments = std::iter::once("autorun").chain(call.iter().copied());
            let arguments = with_command(arguments.map(OsString::from).collect());
            let cli = Cli::try_parse_from(arguments).unwrap();
            let Command::Run(run) = cli.command else {
                panic!("{call:?} is no run");
            };
            assert_eq!(run.playbook, PathBuf::from("a.rhai"));
        }
    }

    #[test]
    fn a_misspelt_command_is_told_from_a_playbook() {
        let error = |words: &[&str]| {
            let all = std::iter::once("autorun").chain(words.iter().copied());
            let all = with_command(all.map(OsString::from).collect());
            Cli::try_parse_from(all).unwrap_err().to_string()
        };
        let said = error(&["destory", "7kq2m9w"]);
        assert!(said.contains("'destroy'"), "{said}");
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
