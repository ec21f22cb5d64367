//! Runs a playbook in a rehearsal, and collects what it did.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, OnceCell};
use tokio_util::sync::CancellationToken;

use super::Stage;
use super::borrowing::Borrower;
use super::loans::Loan;
use crate::cli::attempt::Attempt;
use crate::cli::engine::{End, execute};
use crate::cli::inputs::process_environment;
use crate::cli::settings::shown;
use crate::cli::signals::Signals;
use crate::cli::variables::Settled;
use crate::clients::Clients;
use crate::clients::calls::{Call, Calls, Listener};
use crate::clients::ec2::Ingress;
use crate::clients::lending::Lender;
use crate::context::{Context, Note, Parts, Rehearsal, Uncertain};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{ResourceKind, RunRecord};
use crate::playbook::Playbook;
use crate::policy::Recorder;

/// What a playbook did in a rehearsal.
#[derive(Debug)]
pub(in crate::cli) struct Rehearsed {
    /// The rows of the rehearsal's ledger.
    pub(in crate::cli) record: RunRecord,
    /// The calls with an effect, and those whose effect was assumed.
    pub(in crate::cli) notes: Vec<Note>,
    /// The error, if the playbook failed.
    pub(in crate::cli) error: Option<Error>,
    /// Whether a signal stopped it.
    pub(in crate::cli) is_interrupted: bool,
    /// How long the playbook ran.
    pub(in crate::cli) took: Duration,
    /// How long all waits are that it skipped.
    pub(in crate::cli) skipped: Duration,
    /// The open ports of the security groups that are left, with the name of the
    /// group.
    pub(in crate::cli) open: Vec<(String, Ingress)>,
    /// Bucket and key of the public objects.
    pub(in crate::cli) public: Vec<(String, String)>,
    /// What stands for the user's public address.
    pub(in crate::cli) my_ip: Option<String>,
    /// The names of the images of the instances, by id.
    pub(in crate::cli) images: BTreeMap<String, String>,
    /// The distinct requests to AWS.
    pub(in crate::cli) calls: Vec<Arc<Call>>,
    /// What it did not create and has from the account, or assumed.
    pub(in crate::cli) loans: Vec<Loan>,
}

/// Who lends a rehearsal what it did not create.
#[derive(Default)]
pub(in crate::cli) struct Lending {
    /// The clients of the user's account, which only look; `None` if it must not be
    /// asked.
    pub(in crate::cli) account: Option<Arc<Clients>>,
    /// The tag of the user's ledger.
    pub(in crate::cli) owner: Option<String>,
}

/// Returns the texts in which the ids of existing resources may be.
pub(in crate::cli) fn texts(playbook: &Playbook, settled: &Settled) -> Vec<String> {
    let values = settled.values.values().map(Value::to_string);
    let environment = process_environment().into_values();
    let texts = playbook.texts().into_values();
    texts.chain(values).chain(environment).collect()
}

/// Runs a playbook on a stage. The attempt has the ledger of the stage.
pub(in crate::cli) fn rehearse(
    runtime: &Runtime,
    stage: &Stage,
    region: Option<String>,
    mut attempt: Attempt,
    lending: Lending,
) -> anyhow::Result<Rehearsed> {
    let cancel = CancellationToken::new();
    let mut aws = stage.aws_options(region.clone());
    let uncertain = Arc::new(Uncertain::default());
    let borrower = Arc::new(Borrower {
        cloud: Arc::clone(&stage.cloud),
        stage: stage.clients(region, &attempt.report)?,
        region: aws.region.clone().unwrap_or_default(),
        account: lending.account,
        texts: texts(&attempt.playbook, &attempt.settled),
        owners: (lending.owner).map(|owner| [owner, attempt.store.owner().to_owned()]),
        uncertain: Arc::clone(&uncertain),
        report: attempt.report.clone(),
        can_ask: OnceCell::new(),
        known: Mutex::default(),
    });
    aws.lender = Some(Arc::clone(&borrower) as Arc<dyn Lender>);
    let calls = Arc::new(Calls::default());
    aws.listeners.add(Arc::clone(&calls) as Arc<dyn Listener>);
    let report = attempt.report.clone();
    let (requests, aws) = Recorder::listening(&aws, &report);
    let clients = Clients::new(aws, stage.local()?, report.clone(), cancel.clone());
    attempt.remember_variables();
    let checked = report
        .mask()
        .keep_out_of_tags(attempt.run.about.tags.iter());
    checked.map_err(|e| shown(&e))?;
    let ledger = attempt.begin(&cancel).map_err(|e| shown(&e))?;
    let ledger = ledger.with_requests(requests);
    let run = attempt.run.id.clone();
    let parts = Parts {
        runtime: runtime.handle().clone(),
        clients,
        ledger,
        variables: attempt.settled.values,
        environment: process_environment(),
        cancel,
        playbook: attempt.playbook.path().to_owned(),
        files: attempt.playbook.script_files(),
        run_tags: attempt.run.about.tags,
        ttl: attempt.run.about.ttl.map(Duration::from_secs),
        rehearsal: Some(Rehearsal::new(attempt.playbook.unused_results(), uncertain)),
    };
    let cx = Context::new(parts, report);
    stop_at_signal(runtime, &cx)?;
    let started = Instant::now();
    let end = execute(runtime, attempt.playbook, &cx, false)?;
    let took = started.elapsed();
    runtime.block_on(cx.clients.close());
    cx.ledger
        .end(end.outcome(), end.error())
        .map_err(|e| shown(&e))?;
    let record = attempt.store.record(&run).map_err(|e| shown(&e))?;
    let calls = calls.all().into_iter().map(|(call, _)| call).collect();
    let left = runtime
        .block_on(Left::of(&cx, &record))
        .map_err(|e| shown(&e))?;
    let rehearsal = cx.rehearsal.as_ref();
    Ok(Rehearsed {
        record,
        notes: rehearsal.map(Rehearsal::notes).unwrap_or_default(),
        error: end.error().cloned(),
        is_interrupted: matches!(end, End::Interrupted),
        took,
        skipped: rehearsal.map(Rehearsal::skipped).unwrap_or_default(),
        open: left.open,
        public: left.public,
        my_ip: left.my_ip,
        images: left.images,
        calls,
        loans: runtime.block_on(borrower.loans()),
    })
}

/// Stops the playbook at the first signal.
fn stop_at_signal(runtime: &Runtime, cx: &Context) -> anyhow::Result<()> {
    let mut signals = Signals::watch(runtime)?;
    let cancel = cx.cancel.clone();
    runtime.spawn(async move {
        signals.next().await;
        cancel.cancel();
    });
    Ok(())
}

/// What the rehearsal's cloud shows at the end.
#[derive(Default)]
struct Left {
    open: Vec<(String, Ingress)>,
    public: Vec<(String, String)>,
    my_ip: Option<String>,
    images: BTreeMap<String, String>,
}

impl Left {
    async fn of(cx: &Context, record: &RunRecord) -> Result<Self> {
        // The signal has cancelled the clients.
        if cx.cancel.is_cancelled() {
            return Ok(Self::default());
        }
        let rows = record.resources.iter().filter(|row| row.exists());
        let groups = rows
            .clone()
            .filter(|row| row.kind == ResourceKind::SecurityGroup);
        let mut left = Self {
            public: cx.clients.public_objects().await,
            ..Self::default()
        };
        for group in groups {
            let ec2 = cx.clients.ec2().await?;
            let open = ec2
                .open_ports(group.id.as_deref().unwrap_or_default())
                .await?;
            left.open
                .extend(open.into_iter().map(|rule| (group.name.clone(), rule)));
        }
        for row in rows.filter(|row| row.kind == ResourceKind::Instance) {
            let ec2 = cx.clients.ec2().await?;
            let id = [row.id.clone().unwrap_or_default()];
            // EC2 may not show a new instance yet.
            let ask = async || match ec2.instances(&id).await {
                Err(e) if e.kind == ErrorKind::NotFound => Ok(None),
                seen => seen.map(|seen| seen.into_iter().next()),
            };
            if let Some(instance) = cx.seen(row, ask).await? {
                let image = ec2.image(&instance.image).await?;
                left.images.insert(image.id, image.name);
            }
        }
        if !left.open.is_empty() {
            let url = cx.clients.check_ip()?.to_owned();
            let answer = cx.clients.http().get(&url, Duration::from_secs(10)).await?;
            left.my_ip = Some(answer.body.trim().to_owned());
        }
        Ok(left)
    }
}
