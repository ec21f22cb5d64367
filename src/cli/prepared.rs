//! The checked inputs of a run or a plan.

use std::path::{Path, PathBuf};

use super::args::{OrNone, RunArgs, nearest_command};
use super::config::Settings;
use super::inputs::{ask_for_secrets, environment, load, read_files, settle};
use super::notify::Webhook;
use super::settings::{reporter, shown};
use super::variables::{Given, Settled};
use crate::error::{Error, ErrorKind, exit};
use crate::ledger::{About, Run};
use crate::playbook::{self, Playbook};
use crate::report::Reporter;

/// The inputs, or the exit code if they are wrong.
pub(super) enum Inputs {
    Ready(Box<Prepared>),
    /// The errors are already reported.
    Wrong(u8),
}

/// A playbook that can run.
pub(super) struct Prepared {
    pub(super) playbook: Playbook,
    pub(super) settled: Settled,
    pub(super) run: Run,
    pub(super) report: Reporter,
    pub(super) webhook: Option<Webhook>,
}

/// Completes the arguments with the settings of files, then reads and checks the
/// playbook and its variables. Nothing is sent or written.
pub(super) fn prepare(arguments: &mut RunArgs) -> anyhow::Result<Inputs> {
    if let Some(directory) = &arguments.directory {
        std::env::set_current_dir(directory)
            .map_err(|e| shown(&Error::io("change to", directory, &e)))?;
    }
    check_exists(&arguments.playbook)?;
    let settings = Settings::for_playbook(&arguments.playbook)?;
    settings.complete_run(arguments);
    let webhook = settings.webhook(arguments.notify.as_deref())?;
    let ttl = arguments.ttl.and_then(OrNone::into_option);
    let directory = current_directory()?;
    let about = About {
        playbook: playbook::name_of(&arguments.playbook),
        tags: arguments.tag.iter().cloned().collect(),
        ttl: ttl.map(|ttl| ttl.as_secs()),
        ..About::default()
    };
    // The same file by another path is the same playbook.
    let real = arguments.playbook.canonicalize();
    let real = real.unwrap_or_else(|_| directory.join(&about.playbook));
    let mut run = Run::new(&real, "", about);
    run.about.directory = directory;
    let report = reporter(&arguments.report, &run.id)?;
    let Some(playbook) = load(&arguments.playbook, &report) else {
        return Ok(Inputs::Wrong(exit::COMPILE));
    };
    if playbook.is_empty() {
        report.warn(format!("{} has no statements", playbook.path()));
    }
    let mut given = Given {
        set: &arguments.set,
        files: read_files(&arguments.vars)?,
        environment: environment()?,
        directory: run.about.directory.clone(),
        ..Given::default()
    };
    ask_for_secrets(&mut given, &playbook.variables, |d| {
        d.secret && d.default.is_none()
    })?;
    let Some(settled) = settle(&given, &playbook, &report) else {
        return Ok(Inputs::Wrong(exit::USAGE));
    };
    Ok(Inputs::Ready(Box::new(Prepared {
        playbook,
        settled,
        run,
        report,
        webhook,
    })))
}

/// Returns the current directory, which a run records.
pub(super) fn current_directory() -> anyhow::Result<PathBuf> {
    std::env::current_dir().map_err(|_| {
        let gone = Error::new(
            ErrorKind::NotFound,
            "the current directory has been removed",
        );
        shown(&gone.hint("change to another one: `cd ~`"))
    })
}

/// Checks that the playbook exists. Suggests a command if its name is similar.
fn check_exists(playbook: &Path) -> anyhow::Result<()> {
    if playbook.to_str().is_none() {
        let message = format!("the name of `{}` is not UTF-8", playbook.display());
        return Err(shown(&Error::invalid(message).hint("rename the playbook")));
    }
    if playbook::is_stdin(playbook) {
        return Ok(());
    }
    let Err(error) = std::fs::metadata(playbook) else {
        return Ok(());
    };
    let mut error = Error::io("read playbook", playbook, &error);
    let with_ending = playbook.with_added_extension("rhai");
    if with_ending.is_file() {
        error = error.hint(format!("did you mean `{}`?", with_ending.display()));
    } else if let Some(near) = nearest_command(&playbook.to_string_lossy()) {
        error = error.hint(format!("did you mean the command `{near}`?"));
    }
    Err(shown(&error))
}
