//! One attempt at a run: the first one, or one that resumes the run.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::again;
use super::args::OnError;
use super::destroy;
use super::engine::{End, execute};
use super::inputs::process_environment;
use super::notify::{self, Due, Webhook};
use super::settings::{local, shown};
use super::shared::Sharing;
use super::signals::Signals;
use super::target::check_account;
use super::variables::Settled;
use crate::clients::{AwsOptions, Clients};
use crate::context::{Context, Parts};
use crate::error::{Error, ErrorKind, Result, exit};
use crate::ledger::{Ledger, Remover, Run, RunStatus, Store};
use crate::playbook::Playbook;
use crate::policy::Recorder;
use crate::report::{Event, Outcome, Reporter, is_too_short, text};
use crate::teardown::Teardown;

/// A playbook and everything that it needs to run.
pub(super) struct Attempt {
    pub(super) playbook: Playbook,
    pub(super) settled: Settled,
    pub(super) store: Store,
    /// What makes a new run shared.
    pub(super) sharing: Option<Sharing>,
    pub(super) run: Run,
    pub(super) report: Reporter,
    pub(super) on_error: OnError,
    pub(super) resumed: bool,
    /// Whether it may launch instances beside those of earlier runs.
    pub(super) again: bool,
    /// Where its end is posted.
    pub(super) webhook: Option<Webhook>,
}

/// How an attempt ended.
pub(super) struct Ended {
    pub(super) code: u8,
    /// ID of the run.
    pub(super) run: String,
}

impl Attempt {
    /// Records the run, runs the playbook, and reports how it ended.
    pub(super) fn perform(mut self, runtime: &Runtime, aws: &AwsOptions) -> anyhow::Result<Ended> {
        let cancel = CancellationToken::new();
        let (requests, aws) = Recorder::listening(aws, &self.report);
        let fence = aws.fence.clone();
        let clients = Clients::new(aws, local()?, self.report.clone(), cancel.clone());
        self.settle_account(runtime, &clients)?;
        self.sharing.take().map_or(Ok(()), Sharing::ended)?;
        self.remember_variables();
        let mask = self.report.mask();
        mask.keep_out_of_tags(self.run.about.tags.iter())
            .map_err(|e| shown(&e))?;
        if let Some(code) = self.check_earlier()? {
            return Ok(Ended {
                code,
                run: self.run.id,
            });
        }
        let begun = Arc::default();
        watch_signals(runtime, &cancel, Arc::clone(&begun), self.on_error)?;
        let ledger = match self.begin(&cancel) {
            Ok(ledger) => ledger.with_requests(requests),
            Err(stopped) if stopped.kind == ErrorKind::Cancelled => {
                self.report.warn("interrupted; nothing was changed");
                return Ok(Ended {
                    code: exit::INTERRUPTED,
                    run: self.run.id,
                });
            }
            Err(error) => return Err(shown(&error)),
        };
        fence.set(ledger.check_of_lease());
        let due = self.record_due();
        self.announce_ttl();
        let run = self.run.clone();
        let parts = Parts {
            runtime: runtime.handle().clone(),
            clients,
            ledger,
            variables: self.settled.values,
            environment: process_environment(),
            cancel,
            playbook: self.playbook.path().to_owned(),
            files: self.playbook.script_files(),
            run_tags: self.run.about.tags,
            ttl: self.run.about.ttl.map(Duration::from_secs),
            rehearsal: None,
        };
        let cx = Context::new(parts, self.report);
        let started = Instant::now();
        // It is set only here.
        let _ = begun.set((cx.clone(), started));
        let end = execute(runtime, self.playbook, &cx, self.resumed)?;
        if matches!(end, End::Done) && self.resumed {
            warn_of_unused_steps(&cx);
        }
        // Without a record, nothing more may be changed. `write_end` reports why.
        let code = match cx.ledger.failure() {
            Some(_) if matches!(end, End::Interrupted) => exit::INTERRUPTED,
            Some(_) => exit::USAGE,
            None => clean_up(runtime, &cx, end.outcome(), self.on_error),
        };
        runtime.block_on(cx.clients.close());
        write_end(&cx, end.outcome(), end.error(), started);
        let code = match cx.ledger.failure() {
            Some(_) if code == exit::DONE => exit::USAGE,
            _ => code,
        };
        if let Some(due) = due {
            let ended = ended(&cx, &end, started);
            runtime.block_on(due.post(&run, &ended, &cx.report));
        }
        Ok(Ended { code, run: run.id })
    }

    /// Checks whether earlier runs of the playbook stop this one.
    fn check_earlier(&self) -> anyhow::Result<Option<u8>> {
        if self.resumed {
            return Ok(None);
        }
        again::check(
            &self.store,
            &self.run,
            &self.playbook,
            self.again,
            &self.report,
        )
    }

    /// Records where the end of the run must be posted, and masks the URL.
    fn record_due(&self) -> Option<Due> {
        let webhook = self.webhook.clone()?;
        for secret in webhook.secrets() {
            self.report.mask().add(&secret);
        }
        Some(Due::record(
            &self.store,
            &self.run.id,
            webhook,
            &self.report,
        ))
    }

    /// Checks that a resumed run still has the same account. Records the account
    /// of a new run if the playbook calls AWS.
    fn settle_account(&mut self, runtime: &Runtime, clients: &Clients) -> anyhow::Result<()> {
        if self.resumed {
            let fits = runtime.block_on(check_account(clients, &self.run));
            return fits.map_err(|e| shown(&e));
        }
        if !self.playbook.uses_aws() {
            return Ok(());
        }
        match runtime.block_on(clients.identity()) {
            Ok((region, account)) => {
                self.run.about.target.region = Some(region);
                self.run.about.target.account = account;
                Ok(())
            }
            // A code cannot be typed later either.
            Err(error) if clients.lacks_code() => Err(shown(&error)),
            // The first call to AWS reports the error, with its place in the
            // playbook.
            Err(_) => Ok(()),
        }
    }

    /// Records the variables in the run, without secrets and without values that
    /// contain a secret.
    pub(super) fn remember_variables(&mut self) {
        let mask = self.report.mask();
        let about = &mut self.run.about;
        about.secrets.clear();
        about.sources.clear();
        about.variables.clear();
        for (name, value) in &self.settled.values {
            let mut variables = self.playbook.variables.iter();
            let Some(variable) = variables.find(|d| d.name == *name) else {
                continue;
            };
            let mut masked = value.clone();
            mask.apply_json(&mut masked);
            if !variable.secret && masked == *value {
                about.variables.insert(name.clone(), masked);
                continue;
            }
            // A default is in the playbook: `resume` need not ask for it.
            if variable.default.as_ref() == Some(value) {
                continue;
            }
            about.secrets.push(name.clone());
            let Some(source) = self.settled.sources.get(name) else {
                continue;
            };
            if mask.finds_in(source.text()) {
                self.report.warn(format!(
                    "the source of `{name}` contains a secret itself, so the ledger does not \
                     record it: `resume` needs the value again"
                ));
            } else {
                about.sources.insert(name.clone(), source.clone());
            }
        }
        if let Some(Value::String(name)) = about.variables.get("name") {
            self.run.name.clone_from(name);
        }
    }

    /// Records the start of the run in the ledger.
    ///
    /// Fails with [`ErrorKind::Cancelled`] if the token is cancelled while it waits for
    /// another machine.
    pub(super) fn begin(&self, cancel: &CancellationToken) -> Result<Ledger> {
        if let Some(shared) = self.store.shared() {
            shared.stop_with(cancel.clone());
        }
        let begin = if self.resumed {
            Ledger::resume
        } else {
            Ledger::begin
        };
        let ledger = begin(&self.store, &self.run, self.report.clone())?;
        Ok(ledger.with_secrets(secrets(&self.run, &self.settled.values)))
    }

    fn announce_ttl(&self) {
        // A settings file may have a time for every playbook.
        if let Some(ttl) = self.run.about.ttl
            && self.playbook.launches_instances()
        {
            self.report.warn(format!(
                "instances terminate themselves {} after launch (--ttl); buckets, security groups \
                 and key pairs stay until `autorun destroy {}`",
                text::duration(Duration::from_secs(ttl)),
                self.run.id
            ));
        }
    }
}

/// Returns the values that are secret strings, with the names of their
/// variables.
fn secrets(run: &Run, values: &BTreeMap<String, Value>) -> Vec<(String, String)> {
    let named = run.about.secrets.iter().filter_map(|name| {
        let text = values.get(name)?.as_str()?;
        (!is_too_short(text)).then(|| (name.clone(), text.to_owned()))
    });
    named.collect()
}

/// Removes the run's resources if `on_error` requests it. Returns the exit code.
fn clean_up(runtime: &Runtime, cx: &Context, outcome: Outcome, on_error: OnError) -> u8 {
    let code = match outcome {
        Outcome::Done => return exit::DONE,
        Outcome::Failed => exit::FAILED,
        Outcome::Interrupted => exit::INTERRUPTED,
    };
    if on_error == OnError::Keep {
        return code;
    }
    cx.report
        .info("removing what the run created (--on-error destroy)");
    // The run's token may be cancelled already, but the removal must continue.
    cx.ledger.continue_after_stop();
    let clients = cx
        .clients
        .with_cancel(cx.report.clone(), CancellationToken::new());
    let teardown = Teardown {
        clients: &clients,
        ledger: &cx.ledger,
        report: &cx.report,
        by: Remover::User,
    };
    if runtime.block_on(destroy::everything(teardown)) {
        code
    } else {
        exit::NOT_REMOVED
    }
}

/// Returns the end of the run as it is posted.
fn ended(cx: &Context, end: &End, started: Instant) -> notify::End {
    notify::End {
        status: RunStatus::Ended(end.outcome()),
        seconds: Some(started.elapsed().as_secs_f64()),
        failure: end
            .error()
            .cloned()
            .map(|e| notify::Failure::Error(Box::new(e))),
        up: cx.ledger.live(),
        possibly_made: cx.ledger.possibly_made(),
    }
}

/// Records how the run ended and reports the resources that are up.
fn write_end(cx: &Context, outcome: Outcome, error: Option<&Error>, started: Instant) {
    if let Err(unwritten) = cx.ledger.end(outcome, error) {
        cx.report.warn(unwritten.to_string());
    }
    cx.report.report(&Event::RunFinished {
        outcome,
        seconds: started.elapsed().as_secs_f64(),
        steps: cx.report.steps(),
        up: cx.ledger.live(),
        possibly_made: cx.ledger.possibly_made(),
    });
}

/// Warns of steps of an earlier attempt that the playbook no longer performs.
fn warn_of_unused_steps(cx: &Context) {
    let left = cx.ledger.unused_steps();
    if left.is_empty() {
        return;
    }
    let lines: Vec<String> = left
        .iter()
        .map(|step| format!("  {} {} ({})", step.function, step.summary, step.place))
        .collect();
    cx.report.warn(format!(
        "the playbook no longer performs these recorded steps; the resources that they created \
         stay in the ledger:\n{}",
        lines.join("\n")
    ));
}

/// Stops the wait for another machine, or the playbook once it has `begun`, on the first
/// signal. On the second signal, lists what is up and exits immediately.
fn watch_signals(
    runtime: &Runtime,
    cancel: &CancellationToken,
    begun: Arc<OnceLock<(Context, Instant)>>,
    on_error: OnError,
) -> anyhow::Result<()> {
    let mut signals = Signals::watch(runtime)?;
    let cancel = cancel.clone();
    runtime.spawn(async move {
        signals.next().await;
        if let Some((cx, _)) = begun.get() {
            cx.report.warn(match on_error {
                OnError::Keep => "stopping; a second signal exits immediately",
                OnError::Destroy => {
                    "stopping, then removing what the run created; a second signal exits \
                     immediately"
                }
            });
        }
        cancel.cancel();
        signals.settle().await;
        signals.next().await;
        if let Some((cx, started)) = begun.get() {
            write_end(cx, Outcome::Interrupted, None, *started);
        }
        #[expect(clippy::exit, reason = "the user asked to exit immediately")]
        std::process::exit(i32::from(exit::INTERRUPTED));
    });
    Ok(())
}
