//! `autorun destroy`: removes what runs created, and nothing else.

use anyhow::{Context as _, bail};
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::args::DestroyArgs;
use super::config::Settings;
use super::confirm;
#[cfg(feature = "local-cloud")]
use super::local::CloudNeed;
use super::notify::post_of_ended_runs;
use super::output::complain;
use super::settings::{local, reporter, shown, store_for_orphans};
use super::shared::{read_shared, shared_store};
use super::signals::Signals;
#[cfg(feature = "local-cloud")]
use super::sudo::Sudo;
use super::target::{CloudTarget, check_account};
use crate::clients::Clients;
use crate::error::{Error, ErrorKind, Result, exit};
use crate::ledger::{Ledger, Remover, Resource, Run, Store};
use crate::policy::Recorder;
use crate::report::{Event, Remaining, Reporter, text};
use crate::teardown::{NotRemoved, Teardown, orphans};

/// How many runs are removed in parallel.
const AT_ONCE: usize = 8;

/// How many runs are locked in parallel. A thread waits for each.
const OPENED_AT_ONCE: usize = 64;

pub(super) fn destroy(mut arguments: DestroyArgs) -> anyhow::Result<u8> {
    let settings = Settings::of_user()?;
    settings.complete_report(&mut arguments.report);
    let runtime = Runtime::new().context("cannot start the runtime")?;
    if arguments.orphans {
        let cancel = watch_signals(&runtime)?;
        // The target of a run is in the ledger; orphans have no run there.
        settings.complete_target(&mut arguments.target);
        return destroy_orphans(&arguments, &runtime, &cancel);
    }
    let report = reporter(&arguments.report, "")?;
    let store = shared_store(&arguments.ledger, "", Some(&report))?;
    post_of_ended_runs(&store, |warning| report.warn(warning));
    let chosen = chosen(&arguments, &store)?;
    // Before this, a signal ends the process.
    let cancel = watch_signals(&runtime)?;
    let opened = runtime.block_on(open(&arguments, &store, chosen, &cancel))?;
    let Some((plans, mut all_gone)) = planned(opened, arguments.all)? else {
        return Ok(exit::INTERRUPTED);
    };
    if plans.is_empty() {
        return Ok(if all_gone {
            exit::DONE
        } else {
            exit::NOT_REMOVED
        });
    }
    if arguments.dry_run {
        for plan in &plans {
            plan.introduce();
        }
        return Ok(exit::DONE);
    }
    if !arguments.yes {
        if !confirm::is_at_terminal() {
            bail!("cannot ask for confirmation without a terminal\nhint: pass --yes to remove all");
        }
        let resources: usize = plans.iter().map(DestroyPlan::introduce).sum();
        if !confirm::agrees(&format!("remove {}?", text::count(resources, "resource")))? {
            complain("nothing was removed");
            return Ok(exit::FAILED);
        }
    }
    let mut located = Vec::new();
    for plan in plans {
        // Sequential, because each call may start the same local cloud.
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
    store.checkpoint().map_err(|e| shown(&e))?;
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

/// Returns the removals of the runs that are locked, and whether the others need none.
/// Returns `None` if the wait for a lock was interrupted.
fn planned(opened: Vec<Opened>, all: bool) -> anyhow::Result<Option<(Vec<DestroyPlan>, bool)>> {
    let mut plans = Vec::new();
    let mut all_gone = true;
    for (run, report, ledger) in opened {
        let ledger = match ledger {
            Ok(ledger) => ledger,
            Err(stopped) if stopped.kind == ErrorKind::Cancelled => {
                report.warn("interrupted; nothing was removed");
                return Ok(None);
            }
            // Another machine works on it.
            Err(busy) if all && busy.kind == ErrorKind::AlreadyExists => {
                report.info(format!("skipped: {busy}"));
                continue;
            }
            // The others are removed nevertheless.
            Err(error) if all => {
                report.warn(format!("{:#}", shown(&error)));
                all_gone = false;
                continue;
            }
            Err(error) => return Err(shown(&error)),
        };
        if possibly_up(&ledger).is_empty() {
            report.info(format!("run {}: nothing to remove", run.id));
        } else {
            plans.push(DestroyPlan {
                run,
                ledger,
                report,
            });
        }
    }
    Ok(Some((plans, all_gone)))
}

/// Returns the runs that the arguments select, newest first.
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
    if let Some(age) = arguments.older_than {
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let before = jiff::Timestamp::now().as_millisecond().saturating_sub(age);
        runs.retain(|run| run.started <= before);
    }
    let mut ended = Vec::new();
    for run in runs {
        match store.holder(&run).map_err(|e| shown(&e))? {
            Some(pid) => report.info(format!(
                "skipped run {}: in progress, process {pid}",
                run.id
            )),
            None => ended.push(run),
        }
    }
    if ended.is_empty() {
        report.info("no run has anything to remove");
    }
    Ok(ended)
}

/// A run, and its ledger if it could be locked.
type Opened = (Run, Reporter, Result<Ledger>);

/// Locks the runs and reads their records, all at the same time: each may have to wait
/// for another machine that has died.
async fn open(
    arguments: &DestroyArgs,
    store: &Store,
    runs: Vec<Run>,
    cancel: &CancellationToken,
) -> anyhow::Result<Vec<Opened>> {
    if let Some(shared) = store.shared() {
        shared.stop_with(cancel.clone());
    }
    let mut opening = Vec::new();
    for run in runs {
        let report = reporter(&arguments.report, &run.id)?;
        let (store, about, to) = (store.clone(), run.clone(), report.clone());
        let opened = async move {
            let ledger = tokio::task::spawn_blocking(move || Ledger::ended(&store, &about, to));
            let ledger = ledger.await.unwrap_or_else(|e| {
                let message = format!("cannot open the ledger of the run: {e}");
                Err(Error::internal(message))
            });
            (run, report, ledger)
        };
        opening.push(opened);
    }
    Ok(stream::iter(opening)
        .buffered(OPENED_AT_ONCE)
        .collect()
        .await)
}

/// A run whose resources are about to be removed.
struct DestroyPlan {
    run: Run,
    ledger: Ledger,
    report: Reporter,
}

impl DestroyPlan {
    /// Lists what will be removed. Returns the number of resources.
    fn introduce(&self) -> usize {
        let run = &self.run;
        let all = possibly_up(&self.ledger);
        let mut lines = vec![format!(
            "run {} ({}) on {} created:",
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
        let (requests, aws) = Recorder::listening(&target.aws, &self.report);
        let ledger = self.ledger.with_requests(requests);
        aws.fence.set(ledger.check_of_lease());
        let clients = Clients::new(aws, local()?, self.report.clone(), cancel);
        if let Err(error) = check_account(&clients, &self.run).await {
            // The check comes before the first change, so nothing was removed.
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
            ledger: &ledger,
            report: &self.report,
            by: Remover::User,
        };
        let left = teardown.everything().await;
        if left.is_empty() || !forget {
            return Ok(report_remaining(&teardown, left));
        }
        for remaining in &left {
            ledger.forget(&remaining.row);
        }
        ledger.commit().map_err(|e| shown(&e))?;
        report_remaining(&teardown, left);
        self.report
            .warn("the ledger no longer has these resources (--forget); they stay up");
        Ok(true)
    }
}

/// Returns the resources that are or may be up, newest first.
fn possibly_up(ledger: &Ledger) -> Vec<Remaining> {
    let mut rows = ledger.resources();
    rows.retain(|row| row.state.may_be_up());
    rows.iter().rev().map(Resource::remaining).collect()
}

/// Removes what a run created and reports what could not be removed. Returns
/// true if everything was removed.
pub(super) async fn everything(teardown: Teardown<'_>) -> bool {
    let left = teardown.everything().await;
    report_remaining(&teardown, left)
}

/// Reports the resources that could not be removed. Returns true if everything
/// was removed.
fn report_remaining(teardown: &Teardown<'_>, left: Vec<NotRemoved>) -> bool {
    let run = teardown.ledger.run();
    if left.is_empty() {
        teardown
            .report
            .info(format!("run {run}: removed everything that it created"));
        return true;
    }
    for remaining in left {
        teardown.report.report(&Event::NotRemoved {
            what: remaining.row.remaining(),
            error: remaining.error,
        });
    }
    teardown.report.warn(format!(
        "try again with: autorun destroy {run}; with --forget the ledger drops what cannot be \
         removed"
    ));
    false
}

/// Stops the removal on the first signal; another `destroy` continues it. Exits
/// immediately on the second signal.
fn watch_signals(runtime: &Runtime) -> anyhow::Result<CancellationToken> {
    let cancel = CancellationToken::new();
    let mut signals = Signals::watch(runtime)?;
    let stop = cancel.clone();
    runtime.spawn(async move {
        signals.next().await;
        stop.cancel();
        signals.settle().await;
        signals.next().await;
        #[expect(clippy::exit, reason = "the user asked to exit immediately")]
        std::process::exit(i32::from(exit::INTERRUPTED));
    });
    Ok(cancel)
}

/// Removes resources that carry this ledger's tag but are not in the ledger. The
/// user confirms each run by typing its ID, because the ledger has no record of
/// these resources.
fn destroy_orphans(
    arguments: &DestroyArgs,
    runtime: &Runtime,
    cancel: &CancellationToken,
) -> anyhow::Result<u8> {
    let report = reporter(&arguments.report, "")?;
    let store = store_for_orphans(&report)?;
    let target = runtime.block_on(CloudTarget::from_arguments(
        &arguments.target,
        "orphans",
        #[cfg(feature = "local-cloud")]
        None,
        #[cfg(feature = "local-cloud")]
        CloudNeed::Records,
    ))?;
    #[cfg(feature = "local-cloud")]
    let rehearses_on = target.cloud.as_ref().map(|_| &target.aws);
    #[cfg(not(feature = "local-cloud"))]
    let rehearses_on = None;
    let store = read_shared(store, &arguments.ledger, rehearses_on, Some(&report))?;
    let clients = Clients::new(target.aws, local()?, report.clone(), cancel.clone());
    let found = runtime
        .block_on(orphans::find(&clients, &store))
        .map_err(|e| shown(&e))?;
    for warning in &found.warnings {
        report.warn(warning.as_str());
    }
    if found.others > 0 {
        report.info(format!(
            "skipped {} of other ledgers",
            text::count(found.others, "resource")
        ));
    }
    if found.unread > 0 {
        report.warn(format!(
            "cannot read the tags of {}",
            text::count(found.unread, "bucket")
        ));
    }
    if found.orphans.is_empty() {
        report.info("found no resources with this ledger's tag that are not in the ledger");
        return Ok(exit::DONE);
    }
    let mut left = Vec::new();
    for (run, resources) in &found.orphans {
        let mut lines = vec![format!(
            "created by run {run}, which is not in this ledger:"
        )];
        lines.extend(
            resources
                .iter()
                .map(|resource| Reporter::listed(&resource.remaining())),
        );
        report.warn(lines.join("\n"));
        if !confirm::is_at_terminal() {
            bail!("--orphans asks for confirmation of each run and needs a terminal");
        }
        if confirm::ask(&format!("type {run} to remove them:"))? == *run {
            left.extend(runtime.block_on(orphans::remove(&clients, &report, resources)));
        } else {
            report.info(format!("skipped what run {run} created"));
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
