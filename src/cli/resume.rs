//! `autorun resume`: continues a run where it ended.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use tokio::runtime::Runtime;

use super::args::{OnError, ResumeArgs};
use super::attempt::Attempt;
use super::config::Settings;
use super::inputs::{ask_for_secrets, environment, load, read_files, settle};
use super::notify::post_of_ended_runs;
use super::prepared::current_directory;
use super::settings::{reporter, shown};
use super::shared::shared_store;
#[cfg(feature = "local-cloud")]
use super::sudo::Sudo;
use super::target::CloudTarget;
use super::variables::{Given, InFile};
use crate::error::exit;
use crate::ledger::Run;
use crate::playbook::{self, Declared};
use crate::report::Reporter;

pub(super) fn resume(mut arguments: ResumeArgs) -> anyhow::Result<u8> {
    let store = shared_store(&arguments.ledger, &arguments.run, None)?;
    let run = store.find(&arguments.run).map_err(|e| shown(&e))?;
    if let Some(pid) = store.holder(&run).map_err(|e| shown(&e))? {
        bail!("run {} is in progress, process {pid}", run.id);
    }
    let directory = arguments.directory.clone();
    let directory = directory.unwrap_or_else(|| run.about.directory.clone());
    let playbook = directory.join(&run.about.playbook);
    let settings = Settings::for_playbook(&playbook)?;
    settings.complete_resume(&mut arguments);
    let webhook = settings.webhook(arguments.notify.as_deref())?;
    // Relative paths on this command line start in the current directory;
    // those in the playbook start where the run was started.
    let report = reporter(&arguments.report, &run.id)?;
    post_of_ended_runs(&store, |warning| report.warn(warning));
    let files = read_files(&arguments.vars)?;
    let called_in = current_directory()?;
    std::env::set_current_dir(&directory).with_context(|| {
        format!(
            "cannot change to {}, where the run was started: restore it, because relative paths \
             start there, or pass -C with the directory on this machine",
            directory.display()
        )
    })?;
    let Some(playbook) = load(&playbook_of(&run)?, &report) else {
        return Ok(exit::COMPILE);
    };
    let mut given = Given {
        set: &arguments.set,
        files,
        environment: environment()?,
        remembered: run.about.sources.clone(),
        directory: called_in,
    };
    refuse_changes(&given, &run)?;
    let declared = &playbook.variables;
    let was_given = |name: &String| run.about.secrets.contains(name);
    ask_for_secrets(&mut given, declared, |d| {
        d.secret && d.default.is_none() || was_given(&d.name)
    })?;
    let is_missing = |d: &&Declared| was_given(&d.name) && !given.has(&d.name);
    if let Some(missing) = declared.iter().find(is_missing) {
        bail!(
            "the secret `{}` is not in the ledger and must be set again\nhint: pass --set \
             {0}=@FILE or --set {0}=cmd:COMMAND, or set AUTORUN_VAR_{0}",
            missing.name
        );
    }
    given.files.splice(0..0, recorded(&run, declared, &report));
    let Some(settled) = settle(&given, &playbook, &report) else {
        return Ok(exit::USAGE);
    };
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let target = runtime.block_on(CloudTarget::from_run(
        &run,
        None,
        #[cfg(feature = "local-cloud")]
        Sudo::from_flag(arguments.sudo),
    ))?;
    let attempt = Attempt {
        playbook,
        settled,
        store,
        sharing: None,
        run,
        report,
        on_error: arguments.on_error.unwrap_or(OnError::Keep),
        resumed: true,
        again: true,
        webhook,
    };
    let ended = attempt.perform(&runtime, &target.aws)?;
    runtime.shutdown_background();
    Ok(ended.code)
}

/// Returns the playbook of a run. If a pipe had it, it must be on standard input again:
/// the ledger does not keep its text, which may contain secrets.
fn playbook_of(run: &Run) -> anyhow::Result<PathBuf> {
    let name = &run.about.playbook;
    if playbook::can_be_read_again(name) {
        return Ok(name.into());
    }
    if std::io::stdin().is_terminal() {
        bail!(
            "the playbook of run {} was not a file ({name}), and its text is not kept\n\
             hint: pass the same text again: `autorun resume {} < FILE`",
            run.id,
            run.id
        );
    }
    Ok("-".into())
}

/// Rejects new values of variables that the ledger has: the recorded steps used
/// the old ones.
fn refuse_changes(given: &Given, run: &Run) -> anyhow::Result<()> {
    let set = given.set.iter().filter_map(|set| set.split('=').next());
    let in_files = given.files.iter().map(|value| value.name.as_str());
    let mut names = set.chain(in_files);
    if let Some(name) = names.find(|name| run.about.variables.contains_key(*name)) {
        bail!(
            "cannot change variable `{name}` of the run; its value is {}\nhint: start a new run \
             with another value; `autorun destroy {}` removes what this run created",
            run.about.variables[name],
            run.id
        );
    }
    Ok(())
}

/// Returns the recorded values of the variables that the playbook still has.
fn recorded(run: &Run, declared: &[Declared], report: &Reporter) -> Vec<InFile> {
    let mut values = Vec::new();
    for (name, value) in &run.about.variables {
        if declared.iter().any(|d| d.name == *name) {
            values.push(InFile::from_other(
                "the ledger",
                name.clone(),
                value.clone(),
            ));
        } else {
            report.info(format!("the playbook no longer has variable `{name}`"));
        }
    }
    values
}
