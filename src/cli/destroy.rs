//! `autorun destroy`: removes what runs made, and nothing else.

use anyhow::{Context as _, bail};
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::args::DestroyArgs;
use super::confirm;
#[cfg(feature = "local-cloud")]
use super::local::CloudNeed;
use super::output::complain;
use super::settings::{local, reporter, shown, store, store_for_orphans};
use super::signals::Signals;
#[cfg(feature = "local-cloud")]
use super::sudo::Sudo;
use super::target::{CloudTarget, check_account};
use crate::clients::Clients;
use crate::error::{Error, ErrorKind, exit};
use crate::ledger::{Ledger, Remover, Resource, Run, Store};
use crate::report::{Event, Remaining, Reporter, text};
use crate::teardown::{NotRemoved, Teardown, orphans};

/// How many runs are removed at once.
const AT_ONCE: usize = 8;

pub(super) fn destroy(arguments: &DestroyArgs) -> anyhow::Result<u8> {
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let cancel = watch_signals(&runtime)?;
    if arguments.orphans {
        return destroy_orphans(arguments, &runtime, &cancel);
    }
    let store = store(Some(&reporter(&arguments.report, "")?))?;
    let mut plans = Vec::new();
    for run in chosen(arguments, &store)? {
        let report = reporter(&arguments.report, &run.id)?;
        let ledger = Ledger::ended(&store, &run, report.clone()).map_err(|e| shown(&e))?;
        if possibly_up(&ledger).is_empty() {
            report.info(format!("run {}: nothing is left to remove", run.id));
        } else {
            plans.push(DestroyPlan {
                run,
                ledger,
                report,
            });
        }
    }
    if plans.is_empty() {
        return Ok(exit::DONE);
    }
    if arguments.dry_run {
        for plan in &plans {
            plan.introduce();
        }
        return Ok(exit::DONE);
    }
    if !arguments.yes {
        if !confirm::is_at_terminal() {
            bail!("there is no terminal to ask at\nhint: pass --yes to remove it all");
        }
        let things: usize = plans.iter().map(DestroyPlan::introduce).sum();
        if !confirm::agrees(&format!("remove {}?", text::count(things, "thing")))? {
            complain("nothing was removed");
            return Ok(exit::FAILED);
        }
    }
    let mut located = Vec::new();
    let mut all_gone = true;
    for plan in plans {
        // One after the other: this may start the local cloud.
        let target = runtime.block_on(CloudTarget::from_run(
            &plan.run,
            Some(&arguments.target),
            #[cfg(feature = "local-cloud")]
            Sudo::from_flag(arguments.target.sudo),
        ));
        match target {
            Ok(target) => located.push((plan, target)),
            Err(error) if arguments.all => {
                plan.report.warn(format!("run {}: {error:#}", plan.run.id));
                all_gone = false;
            }
            Err(error) => return Err(error),
        }
    }
    let removals = located
        .into_iter()
        .map(|(plan, target)| plan.remove(target, cancel.clone(), arguments.forget));
    let gone = runtime.block_on(
        stream::iter(removals)
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>(),
    );
    store.rest();
    for gone in gone {
        all_gone &= gone?;
    }
    Ok(if all_gone {
        exit::DONE
    } else if cancel.is_cancelled() {
        exit::INTERRUPTED
    } else {
        exit::NOT_REMOVED
    })
}

/// The runs that are meant, the newest first.
fn chosen(arguments: &DestroyArgs, store: &Store) -> anyhow::Result<Vec<Run>> {
    if !arguments.all {
        let mut runs: Vec<Run> = Vec::new();
        for prefix in &arguments.runs {
            let run = store.find(prefix).map_err(|e| shown(&e))?;
            if !runs.iter().any(|known| known.id == run.id) {
                runs.push(run);
            }
        }
        return Ok(runs);
    }
    let report = reporter(&arguments.report, "")?;
    let mut runs = store.runs().map_err(|e| shown(&e))?;
    runs.retain(|run| run.up > 0);
    let mut ended = Vec::new();
    for run in runs {
        match store.holder(&run).map_err(|e| shown(&e))? {
            Some(pid) => report.info(format!(
                "run {} is in progress, process {pid}: left",
                run.id
            )),
            None => ended.push(run),
        }
    }
    if ended.is_empty() {
        report.info("no run has anything left to remove");
    }
    Ok(ended)
}

/// A run that is about to be removed.
struct DestroyPlan {
    run: Run,
    ledger: Ledger,
    report: Reporter,
}

impl DestroyPlan {
    /// Says what goes; returns how much it is.
    fn introduce(&self) -> usize {
        let run = &self.run;
        let all = possibly_up(&self.ledger);
        let mut lines = vec![format!(
            "run {} of {}, on {}:",
            run.id,
            run.about.playbook,
            run.about.target.words()
        )];
        lines.extend(all.iter().map(Reporter::listed));
        self.report.warn(lines.join("\n"));
        all.len()
    }

    async fn remove(
        self,
        target: CloudTarget,
        cancel: CancellationToken,
        forget: bool,
    ) -> anyhow::Result<bool> {
        let clients = Clients::new(target.aws, local()?, self.report.clone(), cancel);
        if let Err(error) = check_account(&clients, &self.run).await {
            // Nothing was touched.
            self.report.report(&Event::NotRemoved {
                what: Remaining {
                    kind: "run",
                    id: None,
                    name: self.run.id.clone(),
                    can_log_in: false,
                },
                error,
            });
            return Ok(false);
        }
        let teardown = Teardown {
            clients: &clients,
            ledger: &self.ledger,
            report: &self.report,
            by: Remover::User,
        };
        let left = teardown.everything().await;
        if left.is_empty() || !forget {
            return Ok(say(&teardown, left));
        }
        for thing in &left {
            self.ledger.forget(&thing.row);
        }
        self.ledger.commit().map_err(|e| shown(&e))?;
        say(&teardown, left);
        self.report
            .warn("all of that stays up, and is forgotten now");
        Ok(true)
    }
}

/// What is up or may be, newest first.
fn possibly_up(ledger: &Ledger) -> Vec<Remaining> {
    let mut rows = ledger.resources();
    rows.retain(|row| row.state.may_be_up());
    rows.iter().rev().map(Resource::remaining).collect()
}

/// Removes what a run made and says what could not be. True when all is gone.
pub(super) async fn everything(teardown: Teardown<'_>) -> bool {
    let left = teardown.everything().await;
    say(&teardown, left)
}

/// Says what is left. True when nothing is.
fn say(teardown: &Teardown<'_>, left: Vec<NotRemoved>) -> bool {
    let run = teardown.ledger.run();
    if left.is_empty() {
        teardown
            .report
            .info(format!("run {run}: everything it made is gone"));
        return true;
    }
    for thing in left {
        teardown.report.report(&Event::NotRemoved {
            what: thing.row.remaining(),
            error: thing.error,
        });
    }
    teardown.report.warn(format!(
        "try again with: autorun destroy {run}; with --forget the ledger drops what stays"
    ));
    false
}

/// The first signal stops the removal, which can be taken up again.
fn watch_signals(runtime: &Runtime) -> anyhow::Result<CancellationToken> {
    let cancel = CancellationToken::new();
    let mut signals = Signals::watch(runtime)?;
    let stop = cancel.clone();
    runtime.spawn(async move {
        signals.next().await;
        stop.cancel();
        signals.next().await;
        #[expect(clippy::exit, reason = "the user wants out at once")]
        std::process::exit(i32::from(exit::INTERRUPTED));
    });
    Ok(cancel)
}

/// What carries this ledger's tag and is not in it. Each run is confirmed by
/// its id: the ledger cannot say what these things are.
fn destroy_orphans(
    arguments: &DestroyArgs,
    runtime: &Runtime,
    cancel: &CancellationToken,
) -> anyhow::Result<u8> {
    let report = reporter(&arguments.report, "")?;
    let store = &store_for_orphans(&report)?;
    let target = runtime.block_on(CloudTarget::from_arguments(
        &arguments.target,
        "orphans",
        #[cfg(feature = "local-cloud")]
        None,
        #[cfg(feature = "local-cloud")]
        CloudNeed::Records,
    ))?;
    let clients = Clients::new(target.aws, local()?, report.clone(), cancel.clone());
    let found = runtime
        .block_on(orphans::find(&clients, store))
        .map_err(|e| shown(&e))?;
    if found.others > 0 {
        report.info(format!(
            "{} of other ledgers left alone",
            text::count(found.others, "thing")
        ));
    }
    if found.unread > 0 {
        report.warn(format!(
            "the tags of {} could not be read",
            text::count(found.unread, "bucket")
        ));
    }
    if found.orphans.is_empty() {
        report.info("nothing carries this ledger's tag that it does not know");
        return Ok(exit::DONE);
    }
    let mut left = Vec::new();
    for (run, things) in &found.orphans {
        let mut lines = vec![format!("run {run}, which this ledger does not know, made:")];
        lines.extend(
            things
                .iter()
                .map(|thing| Reporter::listed(&thing.remaining())),
        );
        report.warn(lines.join("\n"));
        if !confirm::is_at_terminal() {
            bail!("orphans are confirmed one run at a time, at a terminal");
        }
        if confirm::ask(&format!("type {run} to remove them:"))? == *run {
            left.extend(runtime.block_on(orphans::remove(&clients, &report, things)));
        } else {
            report.info(format!("what run {run} made is left"));
        }
    }
    for (what, error) in &left {
        report.report(&Event::NotRemoved {
            what: what.clone(),
            error: error.clone(),
        });
    }
    let is_cancelled = |(_, error): &(Remaining, Error)| error.kind == ErrorKind::Cancelled;
    Ok(if left.is_empty() {
        exit::DONE
    } else if left.iter().any(is_cancelled) {
        exit::INTERRUPTED
    } else {
        exit::NOT_REMOVED
    })
}
