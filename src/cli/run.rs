//! `autorun run`: settles everything, then lets the playbook run.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

#[cfg(feature = "local-cloud")]
use super::local::Wanted;
use super::settings::{local, reporter, shown, store};
use super::signals::Signals;
use super::target::Reach;
use super::variables::{self, Given, InFile, Settled};
use super::{OnError, RunArgs, confirm, destroy};
use crate::clients::Clients;
use crate::context::{Context, OWN_PATH, Parts};
use crate::error::{Error, ErrorKind, exit};
use crate::ledger::{About, Ledger, Remover, Run, Store};
use crate::playbook::{Declared, Playbook, diagnostic};
use crate::report::{Event, Outcome, Reporter, is_too_short, text};
use crate::script::Understood;
use crate::teardown::Teardown;

/// The engine's own thread: deep call chains end in an error, not in a crash.
const STACK: usize = 16 << 20;

/// After the first signal the playbook has this long to stop.
const STOPS_WITHIN: Duration = Duration::from_millis(900);

pub(super) fn run(arguments: &RunArgs) -> anyhow::Result<u8> {
    check_there(&arguments.playbook)?;
    let directory = std::env::current_dir().context("the current directory is gone")?;
    let about = About {
        playbook: arguments.playbook.display().to_string(),
        tags: arguments.tag.iter().cloned().collect(),
        ttl: arguments.ttl.map(|ttl| ttl.as_secs()),
        ..About::default()
    };
    let mut run = Run::new(&directory.join(&arguments.playbook), "", about);
    run.about.directory = directory;
    #[cfg(feature = "local-cloud")]
    let faults = arguments.faults.as_deref().map(super::local::read_faults);
    #[cfg(feature = "local-cloud")]
    let faults = faults.transpose()?;
    let report = reporter(&arguments.report, &run.id)?;
    let Some(playbook) = load(&arguments.playbook, &report) else {
        return Ok(exit::COMPILE);
    };
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
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let reach = runtime.block_on(Reach::of_arguments(
        &arguments.target,
        &run.id,
        #[cfg(feature = "local-cloud")]
        Some(&report),
        #[cfg(feature = "local-cloud")]
        match playbook.launches_instances() {
            true => Wanted::Instances,
            false => Wanted::Records,
        },
    ))?;
    #[cfg(feature = "local-cloud")]
    if let (Some(cloud), Some(faults)) = (&reach.cloud, &faults) {
        runtime.block_on(cloud.set_faults(&run.id, faults))?;
    }
    let attempt = Attempt {
        playbook,
        settled,
        store,
        run,
        report,
        on_error: arguments.on_error,
        resumed: false,
    };
    let code = attempt.perform(&runtime, &reach)?;
    #[cfg(feature = "local-cloud")]
    if let (Some(cloud), Some(_)) = (&reach.cloud, &faults) {
        runtime.block_on(cloud.forget_faults(&code.run));
    }
    // Nothing is waited for any more: what is under way is on record.
    runtime.shutdown_background();
    Ok(code.code)
}

/// A playbook that is not there is wrong usage, perhaps a misspelt command.
fn check_there(playbook: &Path) -> anyhow::Result<()> {
    if playbook.to_str().is_none() {
        let message = format!("the name of `{}` is not UTF-8", playbook.display());
        return Err(shown(&Error::invalid(message).hint("rename the playbook")));
    }
    let Err(error) = std::fs::metadata(playbook) else {
        return Ok(());
    };
    let mut error = Error::io("read playbook", playbook, &error);
    let word = playbook.to_string_lossy();
    let commands = [
        "run",
        "runs",
        "show",
        "resume",
        "destroy",
        "ssh",
        "docs",
        "cloud",
        "completions",
    ];
    if let Some(near) = text::nearest(&word, commands) {
        error = error.hint(format!("did you mean the command `{near}`?"));
    }
    Err(shown(&error))
}

/// Loads the playbook; what is wrong with it is reported.
pub(super) fn load(path: &Path, report: &Reporter) -> Option<Playbook> {
    match Playbook::load(path) {
        Ok(playbook) => Some(playbook),
        Err(failed) => {
            let secrets = failed.secrets.iter();
            secrets.for_each(|secret| report.mask().add_json(secret));
            for error in failed.errors {
                let rendered = diagnostic::render_error(&error, &failed.texts);
                report.report(&Event::RunFailed { error, rendered });
            }
            None
        }
    }
}

/// The values of `--vars` files.
pub(super) fn read_files(paths: &[std::path::PathBuf]) -> anyhow::Result<Vec<InFile>> {
    let read = paths.iter().map(|path| variables::read_file(path));
    let values = read.collect::<crate::error::Result<Vec<_>>>();
    Ok(values
        .map_err(|e| shown(&e))?
        .into_iter()
        .flatten()
        .collect())
}

/// `AUTORUN_VAR_name` without its prefix.
pub(super) fn environment() -> anyhow::Result<Vec<(String, String)>> {
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.to_str()?.strip_prefix("AUTORUN_VAR_")?.to_owned();
        Some((name, value))
    });
    let text = variables.map(|(name, value)| match value.into_string() {
        Ok(value) => Ok((name, value)),
        Err(_) => bail!("the value of AUTORUN_VAR_{name} is not UTF-8"),
    });
    text.collect()
}

/// The environment as a playbook sees it: this process's, and the program's own
/// path, with which a playbook can call it.
fn process_environment() -> BTreeMap<String, String> {
    let all = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let own = std::env::current_exe()
        .ok()
        .and_then(|path| path.into_os_string().into_string().ok())
        .map(|path| (OWN_PATH.to_owned(), path));
    all.chain(own).collect()
}

/// The values of the playbook's variables; nothing when there are faults,
/// which are then reported.
pub(super) fn settle(given: &Given, playbook: &Playbook, report: &Reporter) -> Option<Settled> {
    match variables::settle(&playbook.variables, given, report.mask()) {
        Ok(settled) => {
            for warning in &settled.warnings {
                report.warn(warning.clone());
            }
            Some(settled)
        }
        Err(faults) => {
            let texts = playbook.texts();
            for error in faults {
                let rendered = diagnostic::render_error(&error, &texts);
                report.report(&Event::RunFailed { error, rendered });
            }
            None
        }
    }
}

/// Asks the person at the terminal, if there is one, for the secrets that are
/// wanted and not given.
pub(super) fn ask_for_secrets(
    given: &mut Given,
    declared: &[Declared],
    wanted: impl Fn(&Declared) -> bool,
) -> anyhow::Result<()> {
    let missing = |d: &&Declared| wanted(d) && !given.has(&d.name);
    let missing: Vec<&Declared> = declared.iter().filter(missing).collect();
    if missing.is_empty() || !confirm::somebody_is_there() {
        return Ok(());
    }
    for d in missing {
        let value = confirm::ask_secret(&format!("secret `{}`:", d.name))?;
        let answer = InFile::of("the terminal", d.name.clone(), Value::String(value));
        given.files.push(answer);
    }
    Ok(())
}

/// One attempt to get a playbook to its end: the first, or one that resumes.
pub(super) struct Attempt {
    pub(super) playbook: Playbook,
    pub(super) settled: Settled,
    pub(super) store: Store,
    pub(super) run: Run,
    pub(super) report: Reporter,
    pub(super) on_error: OnError,
    pub(super) resumed: bool,
}

/// How an attempt ended.
pub(super) struct Ended {
    pub(super) code: u8,
    /// The run's id.
    pub(super) run: String,
}

impl Attempt {
    /// Writes the run down, runs the playbook, and says how it ended.
    pub(super) fn perform(mut self, runtime: &Runtime, reach: &Reach) -> anyhow::Result<Ended> {
        let cancel = CancellationToken::new();
        let clients = Clients::new(
            reach.aws.clone(),
            local()?,
            self.report.clone(),
            cancel.clone(),
        );
        let recorded = std::mem::replace(&mut self.run.about.target, reach.target.clone());
        if self.resumed {
            self.run.about.target = recorded;
            let fits = runtime.block_on(super::target::check_account(&clients, &self.run));
            fits.map_err(|e| shown(&e))?;
        } else if self.playbook.asks_aws()
            // What goes wrong here is told by the call that needs it.
            && let Ok((region, account)) = runtime.block_on(clients.identity())
        {
            self.run.about.target.region = Some(region);
            self.run.about.target.account = account;
        }
        let declared = &self.playbook.variables;
        remember(&mut self.run, declared, &self.settled, &self.report);
        let tags = self.run.about.tags.iter();
        self.report
            .mask()
            .keep_out_of_tags(tags)
            .map_err(|e| shown(&e))?;
        let begin = match self.resumed {
            true => Ledger::take_up,
            false => Ledger::begin,
        };
        let ledger = begin(&self.store, &self.run, self.report.clone()).map_err(|e| shown(&e))?;
        let ledger = ledger.with_secrets(secrets(&self.run, &self.settled.values));
        if let Some(ttl) = self.run.about.ttl {
            self.report.warn(format!(
                "instances end themselves {} after their launch (--ttl); buckets, security groups \
                 and key pairs stay until `autorun destroy {}`",
                text::duration(Duration::from_secs(ttl)),
                self.run.id
            ));
        }
        let cx = Context::new(
            Parts {
                runtime: runtime.handle().clone(),
                clients,
                ledger,
                variables: std::mem::take(&mut self.settled.values),
                environment: process_environment(),
                cancel,
                playbook: self.playbook.path().to_owned(),
                run_tags: self.run.about.tags.clone(),
                ttl: self.run.about.ttl.map(Duration::from_secs),
            },
            self.report.clone(),
        );
        self.watched(runtime, &cx)
    }

    fn watched(self, runtime: &Runtime, cx: &Context) -> anyhow::Result<Ended> {
        let started = Instant::now();
        watch_signals(runtime, cx, &self.store, self.on_error, started)?;
        let (outcome, error) = execute(runtime, self.playbook, cx, self.resumed)?;
        let mut code = match outcome {
            Outcome::Done => exit::DONE,
            Outcome::Failed => exit::FAILED,
            Outcome::Interrupted => exit::INTERRUPTED,
        };
        if outcome == Outcome::Done && self.resumed {
            name_left_over(cx);
        }
        if outcome != Outcome::Done && self.on_error == OnError::Destroy {
            cx.report
                .info("removing what the run made (--on-error destroy)");
            // The token of the run says stop; this goes on.
            let clients = cx
                .clients
                .with_cancel(cx.report.clone(), CancellationToken::new());
            let teardown = Teardown {
                clients: &clients,
                ledger: &cx.ledger,
                report: &cx.report,
                by: Remover::User,
            };
            if !runtime.block_on(destroy::everything(teardown)) {
                code = exit::NOT_REMOVED;
            }
        }
        end(cx, &self.store, outcome, error.as_ref(), started);
        Ok(Ended {
            code,
            run: self.run.id,
        })
    }
}

/// The secret texts among the values, with the names of their variables.
fn secrets(run: &Run, values: &BTreeMap<String, Value>) -> Vec<(String, String)> {
    let named = run.about.secrets.iter().filter_map(|name| {
        let text = values.get(name)?.as_str()?;
        (!is_too_short(text)).then(|| (name.clone(), text.to_owned()))
    });
    named.collect()
}

/// What the ledger keeps of the variables: no secret, and nothing that holds
/// one.
fn remember(run: &mut Run, declared: &[Declared], settled: &Settled, report: &Reporter) {
    let mask = report.mask();
    run.about.secrets.clear();
    run.about.sources.clear();
    run.about.variables.clear();
    for (name, value) in &settled.values {
        let Some(variable) = declared.iter().find(|d| d.name == *name) else {
            continue;
        };
        let mut masked = value.clone();
        mask.apply_json(&mut masked);
        if variable.secret || masked != *value {
            // One that nobody gave need not be given again.
            if variable.default.as_ref() != Some(value) {
                run.about.secrets.push(name.clone());
                let source = settled.sources.get(name).filter(|source| {
                    let holds_one = mask.finds_in(source.text());
                    if holds_one {
                        report.warn(format!(
                            "what `{name}` is read from holds a secret itself, so the ledger \
                             does not keep it: resuming the run will want it again"
                        ));
                    }
                    !holds_one
                });
                let source = source.map(|source| (name.clone(), source.clone()));
                run.about.sources.extend(source);
            }
        } else {
            run.about.variables.insert(name.clone(), masked);
        }
    }
    if let Some(Value::String(name)) = run.about.variables.get("name") {
        run.name.clone_from(name);
    }
}

/// Runs the playbook on a thread of its own; gives its outcome, and what it
/// failed with.
fn execute(
    runtime: &Runtime,
    playbook: Playbook,
    cx: &Context,
    resumed: bool,
) -> anyhow::Result<(Outcome, Option<Error>)> {
    let texts = playbook.texts();
    cx.report.report(&Event::RunStarted {
        playbook: playbook.path().to_owned(),
        resumed,
    });
    let (ended, end) = oneshot::channel();
    let engine_cx = cx.clone();
    thread::Builder::new()
        .name("playbook".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            let run = std::panic::AssertUnwindSafe(|| playbook.run(&engine_cx));
            // The receiver is gone only when the run was given up.
            drop(ended.send(std::panic::catch_unwind(run)));
        })
        .context("cannot start a thread")?;
    let result = await_end(runtime, end, cx);
    let stopped = cx.cancel.is_cancelled();
    Ok(match result {
        Some(Ok(())) => (Outcome::Done, None),
        Some(Err(failed)) if !stopped || failed.error.kind != ErrorKind::Cancelled => {
            let rendered = diagnostic::render(&failed, &texts);
            let error = failed.error.clone();
            cx.report.report(&Event::RunFailed {
                error: failed.error,
                rendered,
            });
            (Outcome::Failed, Some(error))
        }
        _ => (Outcome::Interrupted, None),
    })
}

/// Says how the run ended and what is up, and writes it down.
fn end(cx: &Context, store: &Store, outcome: Outcome, error: Option<&Error>, started: Instant) {
    if let Err(unwritten) = cx.ledger.end(outcome, error) {
        cx.report.warn(unwritten.to_string());
    }
    store.rest();
    cx.report.report(&Event::RunFinished {
        outcome,
        seconds: started.elapsed().as_secs_f64(),
        steps: cx.report.steps(),
        up: cx.ledger.live(),
        possibly_made: cx.ledger.possibly_made(),
    });
}

/// Effects of an earlier attempt that the playbook does not ask for any more.
fn name_left_over(cx: &Context) {
    let left = cx.ledger.left_over();
    if left.is_empty() {
        return;
    }
    let lines: Vec<String> = left
        .iter()
        .map(|step| format!("  {} {} ({})", step.function, step.summary, step.place))
        .collect();
    cx.report.warn(format!(
        "done before, and not asked for by the playbook any more; what it made stays in the \
         ledger:\n{}",
        lines.join("\n")
    ));
}

type End = thread::Result<std::result::Result<(), Understood>>;

/// The playbook's end; nothing when it did not stop in time after a signal.
fn await_end(
    runtime: &Runtime,
    end: oneshot::Receiver<End>,
    cx: &Context,
) -> Option<std::result::Result<(), Understood>> {
    let end = runtime.block_on(async {
        let mut end = end;
        tokio::select! {
            end = &mut end => return end.ok(),
            () = cx.cancel.cancelled() => {}
        }
        tokio::time::timeout(STOPS_WITHIN, end).await.ok()?.ok()
    })?;
    Some(end.unwrap_or_else(|panic| Err(internal(&*panic))))
}

fn internal(panic: &(dyn std::any::Any + Send)) -> Understood {
    let said = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_else(|| "no reason given".to_owned());
    let error = Error::internal(format!("a fault of autorun itself: {said}"))
        .hint("please report it with the playbook that shows it");
    Understood {
        error,
        trail: Vec::new(),
    }
}

/// The first signal stops the playbook; the second lists what is up and ends
/// the process at once.
fn watch_signals(
    runtime: &Runtime,
    cx: &Context,
    store: &Store,
    on_error: OnError,
    started: Instant,
) -> anyhow::Result<()> {
    let mut signals = Signals::watch(runtime)?;
    let (cx, store) = (cx.clone(), store.clone());
    runtime.spawn(async move {
        signals.next().await;
        cx.report.warn(match on_error {
            OnError::Keep => "stopping; a second signal ends the program at once",
            OnError::Destroy => {
                "stopping, then removing what the run made; a second signal ends the program at \
                 once"
            }
        });
        cx.cancel.cancel();
        signals.next().await;
        end(&cx, &store, Outcome::Interrupted, None, started);
        #[expect(clippy::exit, reason = "the user wants out at once")]
        std::process::exit(i32::from(exit::INTERRUPTED));
    });
    Ok(())
}
