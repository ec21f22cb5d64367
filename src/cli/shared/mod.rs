//! The shared ledger: which one a command uses, and its bucket.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, anyhow, bail};

use super::args::{LedgerArgs, TargetArgs};
use super::config::{self, Settings};
use super::settings::{shown, store, user, warn};
use super::target::options;
use crate::clients::{AwsOptions, Fence};
use crate::error::Result;
use crate::ledger::{Periods, SharedLedger, Store};
use crate::report::Reporter;
use url::Location;

mod bucket;
mod url;

pub(super) use bucket::Bucket;
pub(super) use url::check_url;

/// The environment variable with the URL.
pub(super) const VARIABLE: &str = "AUTORUN_LEDGER";

/// Opens the ledger for a command that works with recorded runs, and reads what other
/// machines have recorded about the runs whose IDs begin with `prefix`. Its warnings go
/// to the reporter, or to stderr without one.
pub(super) fn shared_store(
    arguments: &LedgerArgs,
    prefix: &str,
    report: Option<&Reporter>,
) -> anyhow::Result<Store> {
    let store = read_shared(store(report)?, arguments, None, report)?;
    refresh(&store, prefix, report)?;
    Ok(store)
}

/// Adds the shared ledger, if one is configured and exists. `rehearses_on` has the
/// options of the local cloud with --local.
pub(super) fn read_shared(
    store: Store,
    arguments: &LedgerArgs,
    rehearses_on: Option<&AwsOptions>,
    report: Option<&Reporter>,
) -> anyhow::Result<Store> {
    let Some(bucket) = bucket(arguments, rehearses_on, report)? else {
        return Ok(store);
    };
    let place = bucket.shown().to_owned();
    let opened = SharedLedger::open(Arc::new(bucket), holder(), periods());
    let Some(shared) = opened.map_err(|e| shown(&e))? else {
        warn(&format!("there is no ledger at {place} yet"), report);
        return Ok(store);
    };
    Ok(store.sharing(shared))
}

/// The preparation of a shared ledger for a new run, on a thread of its own: the run can
/// ask AWS who it is meanwhile.
#[derive(Debug)]
pub(super) struct Sharing(JoinHandle<anyhow::Result<()>>);

impl Sharing {
    /// Begins to make a new run of this playbook shared, if a shared ledger is configured:
    /// creates the ledger if needed, and reads what other machines have recorded.
    pub(super) fn begin(
        store: &Store,
        playbook: &str,
        arguments: &LedgerArgs,
        rehearses_on: Option<&AwsOptions>,
        report: &Reporter,
    ) -> anyhow::Result<Option<Self>> {
        let Some(bucket) = bucket(arguments, rehearses_on, Some(report))? else {
            return Ok(None);
        };
        let (store, playbook, report) = (store.clone(), playbook.to_owned(), report.clone());
        let share = move || {
            let client = (holder(), periods());
            let shared = SharedLedger::create_for(&store, &playbook, Arc::new(bucket), client);
            for warning in shared.map_err(|e| shown(&e))? {
                report.warn(warning);
            }
            Ok(())
        };
        let thread = thread::Builder::new().name("ledger".to_owned());
        let thread = thread.spawn(share).context("cannot start a thread")?;
        Ok(Some(Self(thread)))
    }

    /// Waits until the run is shared.
    pub(super) fn ended(self) -> anyhow::Result<()> {
        let failed = |_| Err(anyhow!("the thread of the ledger has failed"));
        self.0.join().unwrap_or_else(failed)
    }
}

/// Returns the bucket of the shared ledger, for a command that needs one.
pub(super) fn wanted_bucket(arguments: &LedgerArgs) -> anyhow::Result<Arc<Bucket>> {
    match bucket(arguments, None, None)? {
        Some(bucket) => Ok(Arc::new(bucket)),
        None => bail!(
            "no shared ledger is configured\nhint: pass --ledger s3://BUCKET/PREFIX, or set {VARIABLE}"
        ),
    }
}

/// Creates the ledger in a bucket, unless it is there.
pub(super) fn create_in(bucket: &Arc<Bucket>) -> Result<SharedLedger> {
    SharedLedger::create(Arc::clone(bucket) as _, holder(), periods())
}

/// Opens the ledger in a bucket, and this machine's copy of it, which is then current.
pub(super) fn existing(bucket: &Arc<Bucket>) -> anyhow::Result<(Store, SharedLedger)> {
    let opened = SharedLedger::open(Arc::clone(bucket) as _, holder(), periods());
    let Some(shared) = opened.map_err(|e| shown(&e))? else {
        bail!(
            "there is no ledger at {}\nhint: `autorun ledger init` creates it",
            bucket.shown()
        );
    };
    Ok((store(None)?.sharing(shared.clone()), shared))
}

/// Reads what other machines have recorded.
fn refresh(store: &Store, prefix: &str, report: Option<&Reporter>) -> anyhow::Result<()> {
    for warning in store.refresh(prefix).map_err(|e| shown(&e))? {
        warn(&warning, report);
    }
    Ok(())
}

/// Prepares the bucket of the shared ledger, if one is configured. A rehearsal on the
/// local cloud is shared only if the command line says so, in a bucket of that cloud.
fn bucket(
    arguments: &LedgerArgs,
    rehearses_on: Option<&AwsOptions>,
    report: Option<&Reporter>,
) -> anyhow::Result<Option<Bucket>> {
    if rehearses_on.is_some() && arguments.ledger.is_none() {
        return Ok(None);
    }
    let Some(location) = location(arguments)? else {
        return Ok(None);
    };
    let options = match rehearses_on {
        // The ledger is written whoever works on the run.
        Some(options) => AwsOptions {
            fence: Fence::default(),
            ..options.clone()
        },
        None => own_options(&location)?,
    };
    Bucket::open(&location, options, report).map(Some)
}

/// Returns the shared ledger that the arguments, the environment or the user's settings
/// file name.
fn location(arguments: &LedgerArgs) -> anyhow::Result<Option<Location>> {
    let in_environment = || std::env::var(VARIABLE).ok();
    let given = arguments.ledger.clone().or_else(in_environment);
    let url = match given.filter(|url| !url.is_empty()) {
        Some(url) => Some(url),
        None => config::shared_ledger()?,
    };
    let url = url.filter(|url| url != "none");
    url.map(|url| Location::parse(&url).map_err(|e| shown(&e)))
        .transpose()
}

/// Returns the options for the bucket: those of the environment and of the user's
/// settings file, unless the URL has its own. The target of a run does not count.
fn own_options(location: &Location) -> anyhow::Result<AwsOptions> {
    let mut target = TargetArgs {
        profile: location.profile.clone(),
        region: location.region.clone(),
        ..TargetArgs::default()
    };
    Settings::of_user()?.complete_target(&mut target);
    let mut options = options(&target)?;
    if location.endpoint.is_some() {
        options.endpoints.s3.clone_from(&location.endpoint);
    }
    Ok(options)
}

/// Names this client in the lease.
fn holder() -> String {
    let user = user().unwrap_or_else(|| "unknown".to_owned());
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    format!("{user}@{host}, process {}", std::process::id())
}

#[cfg(not(feature = "crash-points"))]
fn periods() -> Periods {
    Periods::USUAL
}

/// Tests shorten the periods: the variable has the milliseconds of a second.
#[cfg(feature = "crash-points")]
fn periods() -> Periods {
    let second = std::env::var("AUTORUN_LEDGER_SECOND").ok();
    let second: u32 = second.and_then(|ms| ms.parse().ok()).unwrap_or(1000);
    let scaled = |period: std::time::Duration| period * second / 1000;
    let usual = Periods::USUAL;
    Periods {
        renew: scaled(usual.renew),
        valid: scaled(usual.valid),
        takeover: scaled(usual.takeover),
        look: scaled(usual.look),
        retry: scaled(usual.retry),
        linger: scaled(usual.linger),
        gather: scaled(usual.gather),
        patience: scaled(usual.patience),
    }
}
