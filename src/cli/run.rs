//! `autorun run`: checks all inputs, then runs the playbook.

use std::path::Path;

use anyhow::Context as _;
use tokio::runtime::Runtime;

use super::args::{OnError, OrNone, RunArgs, nearest_command};
use super::attempt::Attempt;
use super::config::Settings;
use super::inputs::{ask_for_secrets, environment, load, read_files, settle};
#[cfg(feature = "local-cloud")]
use super::local::CloudNeed;
use super::notify::post_of_ended_runs;
use super::settings::{reporter, shown, store};
use super::target::CloudTarget;
use super::variables::Given;
use crate::error::{Error, exit};
use crate::ledger::{About, Run};
use crate::playbook;

pub(super) fn run(mut arguments: RunArgs) -> anyhow::Result<u8> {
    if let Some(directory) = &arguments.directory {
        std::env::set_current_dir(directory)
            .map_err(|e| shown(&Error::io("change to", directory, &e)))?;
    }
    check_exists(&arguments.playbook)?;
    let settings = Settings::for_playbook(&arguments.playbook)?;
    settings.complete_run(&mut arguments);
    let webhook = settings.webhook(arguments.notify.as_deref())?;
    let ttl = arguments.ttl.and_then(OrNone::into_option);
    let directory = std::env::current_dir().context("the current directory is gone")?;
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
    #[cfg(feature = "local-cloud")]
    let faults = arguments.faults.as_deref().map(super::faults::read_faults);
    #[cfg(feature = "local-cloud")]
    let faults = faults.transpose()?;
    let report = reporter(&arguments.report, &run.id)?;
    let Some(playbook) = load(&arguments.playbook, &report) else {
        return Ok(exit::COMPILE);
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
        return Ok(exit::USAGE);
    };
    let store = store(Some(&report))?;
    post_of_ended_runs(&store, |warning| report.warn(warning));
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let target = runtime.block_on(CloudTarget::from_arguments(
        &arguments.target,
        &run.id,
        #[cfg(feature = "local-cloud")]
        Some(&report),
        #[cfg(feature = "local-cloud")]
        if playbook.launches_instances() {
            CloudNeed::Instances
        } else {
            CloudNeed::Records
        },
    ))?;
    #[cfg(feature = "local-cloud")]
    if let (Some(cloud), Some(faults)) = (&target.cloud, &faults) {
        runtime.block_on(cloud.set_faults(Some(&run.id), faults))?;
    }
    run.about.target = target.recorded.clone();
    let attempt = Attempt {
        playbook,
        settled,
        store,
        run,
        report,
        on_error: arguments.on_error.unwrap_or(OnError::Keep),
        resumed: false,
        again: arguments.again,
        webhook,
    };
    let ended = attempt.perform(&runtime, &target.aws)?;
    #[cfg(feature = "local-cloud")]
    if let (Some(cloud), Some(_)) = (&target.cloud, &faults) {
        runtime.block_on(cloud.forget_faults(&ended.run));
    }
    // Requests that are still in flight are recorded: do not wait for them.
    runtime.shutdown_background();
    Ok(ended.code)
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
    if let Some(near) = nearest_command(&playbook.to_string_lossy()) {
        error = error.hint(format!("did you mean the command `{near}`?"));
    }
    Err(shown(&error))
}
