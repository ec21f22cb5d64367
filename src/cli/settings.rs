//! Settings from the environment: directories, the user, and the reporter.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use anyhow::Context as _;
use log::LevelFilter;

use super::args::{LogLevel, Output, ReportArgs};
use super::config;
use super::output::{complain, fitted};
use crate::clients::Local;
use crate::error::{Error, Place, Result};
use crate::ledger::Store;
use crate::report::{self, Reporter, Settings};

/// Creates the reporter of a run.
pub(super) fn reporter(arguments: &ReportArgs, run: &str) -> anyhow::Result<Reporter> {
    Reporter::new(run, settings(arguments)).map_err(|e| shown(&e))
}

fn settings(arguments: &ReportArgs) -> Settings {
    let given = arguments.log_level.map(|level| match level {
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
    });
    let console = match (arguments.verbose, arguments.quiet) {
        (true, _) => LevelFilter::Debug,
        (_, true) => LevelFilter::Warn,
        _ => given.unwrap_or(LevelFilter::Info),
    };
    let terminal = std::io::stderr().is_terminal();
    // https://no-color.org: any value except the empty string disables colors.
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Settings {
        output: match arguments.output {
            Output::Human => report::Output::Human,
            Output::Json => report::Output::Json,
        },
        console,
        file: arguments.log_file.clone(),
        file_level: given.unwrap_or(LevelFilter::Debug),
        color: terminal && !no_color,
        terminal,
    }
}

/// Returns the directory of the ledger, private keys, host keys, and the user's
/// local cloud.
pub(super) fn data_dir() -> anyhow::Result<PathBuf> {
    if let Some(dir) = std::env::var_os("AUTORUN_HOME").filter(|dir| !dir.is_empty()) {
        return Ok(dir.into());
    }
    config::ledger()?
        .or_else(|| dirs::data_dir().map(|dir| dir.join("autorun")))
        .context("cannot determine the data directory\nhint: set HOME or AUTORUN_HOME")
}

/// Opens the ledger. Its warnings go to the reporter, or to stderr without one.
pub(super) fn store(report: Option<&Reporter>) -> anyhow::Result<Store> {
    opened(Store::open(&data_dir()?), report)
}

/// Opens the ledger if there is one.
#[cfg(feature = "local-cloud")]
pub(super) fn existing_store(report: &Reporter) -> anyhow::Result<Option<Store>> {
    let directory = data_dir()?;
    if directory.join("ledger.db").exists() {
        return opened(Store::open(&directory), Some(report)).map(Some);
    }
    Ok(None)
}

/// Opens the ledger, or creates an empty one if the ledger is lost.
pub(super) fn store_for_orphans(report: &Reporter) -> anyhow::Result<Store> {
    opened(Store::open_or_begin_again(&data_dir()?), Some(report))
}

fn opened(store: Result<Store>, report: Option<&Reporter>) -> anyhow::Result<Store> {
    let store = store.map_err(|e| shown(&e))?;
    for warning in store.warnings() {
        warn(warning, report);
    }
    Ok(store)
}

/// Shows a warning through the reporter, or on stderr without one.
pub(super) fn warn(warning: &str, report: Option<&Reporter>) {
    match report {
        Some(report) => report.warn(warning),
        None => complain(&fitted(&format!("warning: {warning}"))),
    }
}

/// Returns the settings of this machine that the clients need.
pub(super) fn local() -> anyhow::Result<Local> {
    Ok(Local {
        data_dir: data_dir()?,
        home: dirs::home_dir(),
        overlay: None,
        user: user(),
        ssh_config: match std::env::var_os("AUTORUN_SSH_CONFIG").filter(|file| !file.is_empty()) {
            Some(file) => Some(in_home(file.into())),
            None => config::ssh_config()?,
        },
    })
}

/// Expands a leading `~/`, which a shell does not do for a value in quotes.
fn in_home(path: PathBuf) -> PathBuf {
    match (path.strip_prefix("~"), dirs::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path,
    }
}

/// Returns the name of this process's user.
pub(super) fn user() -> Option<String> {
    ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok())
        .or_else(own_name)
}

/// Returns the name of this process's user if no variable has it, as in cron
/// jobs and containers. Reads `/etc/passwd`, which has the users of containers:
/// the C library's lookup needs unsafe code or another crate.
fn own_name() -> Option<String> {
    let id = rustix::process::getuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(&id)).then(|| name.to_owned())
    })
}

/// Converts an error for the command line: message, place and hint.
pub(super) fn shown(error: &Error) -> anyhow::Error {
    let mut text = error.to_string();
    let Place {
        source,
        line,
        column,
    } = &error.place;
    if *line > 0 {
        let _ = write!(text, "\n  --> {source}:{line}:{column}");
    }
    if let Some(hint) = &error.hint {
        let _ = write!(text, "\nhint: {hint}");
    }
    anyhow::anyhow!(text)
}
