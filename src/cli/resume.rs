//! `autorun resume`: goes on with a run where it ended.

use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::run::{Attempt, environment, load, read_files, settle};
use super::settings::{reporter, shown, store};
use super::target::Reach;
use super::variables::{Given, InFile};
use super::{ResumeArgs, confirm};
use crate::error::exit;
use crate::ledger::Run;
use crate::playbook::Declared;
use crate::report::Reporter;

pub(super) fn resume(arguments: &ResumeArgs) -> anyhow::Result<u8> {
    let store = store(None)?;
    let run = store.find(&arguments.run).map_err(|e| shown(&e))?;
    if let Some(pid) = store.holder(&run).map_err(|e| shown(&e))? {
        bail!("run {} is in progress, process {pid}", run.id);
    }
    // Relative paths on this command line start here, those of the playbook
    // where the run began.
    let report = reporter(&arguments.report, &run.id)?;
    let files = read_files(&arguments.vars)?;
    let directory = &run.about.directory;
    std::env::set_current_dir(directory).with_context(|| {
        format!(
            "the run began in {}: bring it back, for relative paths start there",
            directory.display()
        )
    })?;
    let Some(playbook) = load(Path::new(&run.about.playbook), &report) else {
        return Ok(exit::COMPILE);
    };
    let mut given = Given {
        set: &arguments.set,
        files,
        environment: environment(),
    };
    refuse_changes(&given, &run)?;
    let mut asked = Vec::new();
    if let Some(missing) = secrets_missing(&given, &run, &playbook.variables) {
        if !confirm::somebody_is_there() {
            bail!(
                "the secret `{}` is not in the ledger and must be given again\nhint: pass --set \
                 {0}=@FILE or set AUTORUN_VAR_{0}",
                missing[0]
            );
        }
        for name in missing {
            let value = confirm::ask_secret(&format!("secret `{name}`:"))?;
            asked.push(InFile::of("the terminal", name, Value::String(value)));
        }
    }
    given
        .files
        .splice(0..0, recorded(&run, &playbook.variables, &report));
    given.files.extend(asked);
    let Some(values) = settle(&given, &playbook, &report) else {
        return Ok(exit::USAGE);
    };
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let reach = runtime.block_on(Reach::of_run(&run, None))?;
    let attempt = Attempt {
        playbook,
        values,
        store,
        run,
        report,
        on_error: arguments.on_error,
        resumed: true,
    };
    let ended = attempt.perform(&runtime, &reach)?;
    runtime.shutdown_background();
    Ok(ended.code)
}

/// A variable that the ledger knows keeps its value: what was done was done
/// with it.
fn refuse_changes(given: &Given, run: &Run) -> anyhow::Result<()> {
    let set = given.set.iter().filter_map(|set| set.split('=').next());
    let in_files = given.files.iter().map(|value| value.name.as_str());
    let mut names = set.chain(in_files);
    if let Some(name) = names.find(|name| run.about.variables.contains_key(*name)) {
        bail!(
            "variable `{name}` has its value from the run: {}\nhint: a new run can have another; \
             `autorun destroy {}` removes what this one made",
            run.about.variables[name],
            run.id
        );
    }
    Ok(())
}

/// Secrets that the run was given and this call was not.
fn secrets_missing(given: &Given, run: &Run, declared: &[Declared]) -> Option<Vec<String>> {
    let is_given = |name: &str| {
        let set = given
            .set
            .iter()
            .any(|set| set.split('=').next() == Some(name));
        let in_files = given.files.iter().any(|value| value.name == name);
        set || in_files || given.environment.iter().any(|(n, _)| n == name)
    };
    let secrets = run.about.secrets.iter();
    let missing: Vec<String> = secrets
        .filter(|name| !is_given(name) && declared.iter().any(|d| d.name == **name))
        .cloned()
        .collect();
    (!missing.is_empty()).then_some(missing)
}

/// The values that the ledger has, of variables that the playbook still has.
fn recorded(run: &Run, declared: &[Declared], report: &Reporter) -> Vec<InFile> {
    let mut values = Vec::new();
    for (name, value) in &run.about.variables {
        if declared.iter().any(|d| d.name == *name) {
            values.push(InFile::of("the ledger", name.clone(), value.clone()));
        } else {
            report.info(format!("the playbook has no variable `{name}` any more"));
        }
    }
    values
}
