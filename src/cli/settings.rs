//! What the environment says of this machine and of how to report.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use anyhow::Context as _;
use log::LevelFilter;

use super::args::{LogLevel, Output, ReportArgs};
use super::output::{complain, fitted};
use crate::clients::Local;
use crate::error::{Error, Place, Result};
use crate::ledger::Store;
use crate::report::{self, Reporter, Settings};

/// The reporter of a run with this id.
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
    // https://no-color.org: any value but the empty one.
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

/// Where the ledger, keys, pins and the own local cloud are kept.
pub(super) fn data_dir() -> anyhow::Result<PathBuf> {
    std::env::var_os("AUTORUN_HOME")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from)
        .or_else(|| dirs::data_dir().map(|dir| dir.join("autorun")))
        .context("no data directory is known\nhint: set HOME or AUTORUN_HOME")
}

/// The ledger. What there is to say of its opening is said to the reporter of
/// the run, where there is one.
pub(super) fn store(report: Option<&Reporter>) -> anyhow::Result<Store> {
    opened(Store::open(&data_dir()?), report)
}

/// The ledger, or an empty one in place of one that is lost.
pub(super) fn store_for_orphans(report: &Reporter) -> anyhow::Result<Store> {
    opened(Store::open_or_begin_again(&data_dir()?), Some(report))
}

fn opened(store: Result<Store>, report: Option<&Reporter>) -> anyhow::Result<Store> {
    let store = store.map_err(|e| shown(&e))?;
    for warning in store.warnings() {
        match report {
            Some(report) => report.warn(warning.clone()),
            None => complain(&fitted(&format!("warning: {warning}"))),
        }
    }
    Ok(store)
}

/// What the clients need to know.
pub(super) fn local() -> anyhow::Result<Local> {
    let user = ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok())
        .or_else(own_name);
    Ok(Local {
        data_dir: data_dir()?,
        home: dirs::home_dir(),
        user,
    })
}

/// The name of this process's user where no variable has it, as in cron jobs and
/// containers. From the file, where such users are: asking the C library takes
/// unsafe code or a crate that only the local cloud needs.
fn own_name() -> Option<String> {
    let id = rustix::process::getuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(&id)).then(|| name.to_owned())
    })
}

/// An error of ours for the command line: message, place and hint.
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
