//! `autorun plan`: what a playbook would do, and whether it could.
//!
//! The first half is a rehearsal on a local cloud that exists for this command
//! only. The second half asks the account, with requests that change nothing.

mod account;
mod describe;
mod differences;
mod json;
mod outline;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::args::{OnError, PlanArgs, RunArgs};
use super::attempt::Attempt;
use super::confirm;
use super::inputs::load;
use super::local::{Cloud, CloudNeed};
use super::output::{answer, complain};
use super::prepared::{Inputs, Prepared, prepare};
use super::rehearsal::{Lending, Loan, Rehearsed, Stage, rehearse, texts};
use super::settings::{data_dir, existing_store, local, shown};
use super::target::{CloudTarget, check_profile, region};
use super::variables::Settled;
use crate::clients::{AwsOptions, Clients};
use crate::error::exit;
use crate::ledger::Run;
use crate::playbook::{self, Finding, Playbook};
use crate::report::{Outcome, Output, Reporter};
use account::{Account, Question};
use differences::Differences;
use outline::Outline;

/// What a playbook would do.
#[derive(Debug)]
pub(super) struct Plan {
    playbook: String,
    name: String,
    run: String,
    outcome: Outcome,
    /// The error of the rehearsal.
    error: Option<String>,
    hint: Option<String>,
    /// Why no instance could boot in the rehearsal.
    cannot_boot: Option<String>,
    took: Duration,
    skipped: Duration,
    variables: BTreeMap<String, Value>,
    outline: Outline,
    /// The files that the playbook names and that cannot be read, if the rehearsal
    /// failed: it stops at the first one.
    unreadable: Vec<Unreadable>,
    /// What the rehearsal has from the account, or assumed there.
    loans: Vec<Loan>,
    differences: Option<Differences>,
    /// What the account answered, if it was asked.
    account: Option<Account>,
    /// The rehearsal's cloud, which ends while the plan is printed.
    _stage: Stage,
    /// The paths of the rehearsal's files, and the paths that a run uses instead.
    paths: Vec<(String, String)>,
}

/// A file that cannot be read.
#[derive(Debug, Serialize)]
struct Unreadable {
    message: String,
    /// The place in the playbook that needs it.
    place: String,
}

impl Unreadable {
    fn all(playbook: &Playbook) -> Vec<Self> {
        let findings = playbook.unreadable_files().into_iter();
        let one = |finding: Finding| Self {
            message: finding.error.to_string(),
            place: format!(
                "{}:{}",
                finding.error.place.source, finding.error.place.line
            ),
        };
        findings.map(one).collect()
    }
}

pub(super) fn plan(arguments: PlanArgs) -> anyhow::Result<u8> {
    let (mut run, is_offline) = arguments.split();
    let Prepared {
        playbook,
        settled,
        run: record,
        report,
        ..
    } = match prepare(&mut run)? {
        Inputs::Ready(prepared) => *prepared,
        Inputs::Wrong(code) => return Ok(code),
    };
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let asked = if is_offline {
        // A profile with a typing error would give the region of another one.
        check_profile(&run.target)?;
        None
    } else {
        asked(&runtime, &run)?
    };
    let rehearsal = Rehearsal {
        playbook,
        settled,
        run: &record,
        report: &report,
        region: region(&run.target),
    };
    let plan = Plan::make(&runtime, rehearsal, asked)?;
    answer(&plan.rendered(&report));
    Ok(plan.code())
}

/// What is rehearsed.
struct Rehearsal<'a> {
    playbook: Playbook,
    settled: Settled,
    run: &'a Run,
    report: &'a Reporter,
    region: Option<String>,
}

/// Returns the options with which the account is asked. The local cloud is asked
/// only if it is up.
fn asked(runtime: &Runtime, arguments: &RunArgs) -> anyhow::Result<Option<AwsOptions>> {
    let read_only = |options: AwsOptions| AwsOptions {
        read_only: true,
        app_name: Some("autorun-plan".to_owned()),
        ..options
    };
    if arguments.target.local {
        let found = runtime.block_on(Cloud::find())?;
        let region = arguments.target.region.clone();
        return Ok(found.map(|cloud| read_only(cloud.aws_options(region))));
    }
    let need = CloudNeed::Records;
    let target = CloudTarget::from_arguments(&arguments.target, "plan", None, need);
    Ok(Some(read_only(runtime.block_on(target)?.aws)))
}

fn account_clients(options: AwsOptions, report: &Reporter) -> anyhow::Result<Arc<Clients>> {
    let cancel = CancellationToken::new();
    let clients = Clients::new(options, local()?, report.silent(), cancel);
    Ok(Arc::new(clients))
}

/// What the user decided about a plan.
pub(super) enum Answer {
    /// The run begins.
    Runs,
    /// The program ends with this code.
    Ends(u8),
}

/// Shows the plan of a run, and asks whether the run may begin.
pub(super) fn ask(
    runtime: &Runtime,
    arguments: &RunArgs,
    prepared: &Prepared,
) -> anyhow::Result<Answer> {
    let report = &prepared.report;
    if !arguments.yes && !confirm::is_at_terminal() {
        bail!(
            "--plan asks before the run, and there is no terminal\nhint: pass --yes to run \
             without a question, or call `autorun plan` to only show the plan"
        );
    }
    if !playbook::can_be_read_again(prepared.playbook.path()) {
        bail!(
            "--plan reads the playbook twice, and `{}` can be read only once\nhint: save it as a \
             file",
            arguments.playbook.display()
        );
    }
    let Some(playbook) = load(&arguments.playbook, report) else {
        return Ok(Answer::Ends(exit::COMPILE));
    };
    if playbook.texts() != prepared.playbook.texts() {
        bail!("the playbook has just changed\nhint: run it again");
    }
    let asked = asked(runtime, arguments)?;
    let rehearsal = Rehearsal {
        playbook,
        settled: prepared.settled.clone(),
        run: &prepared.run,
        report,
        region: region(&arguments.target),
    };
    let plan = Plan::make(runtime, rehearsal, asked)?;
    match report.output() {
        Output::Json => answer(&plan.rendered(report)),
        // stdout has what the playbook prints.
        Output::Human | Output::Silent => complain(plan.rendered(report).trim_end()),
    }
    if plan.code() != exit::DONE {
        complain("nothing was created");
        return Ok(Answer::Ends(plan.code()));
    }
    if arguments.yes || confirm::agrees("\nrun it?")? {
        return Ok(Answer::Runs);
    }
    complain("nothing was created");
    Ok(Answer::Ends(exit::FAILED))
}

impl Plan {
    /// Rehearses a playbook, then asks the account with these options, if any.
    fn make(
        runtime: &Runtime,
        rehearsal: Rehearsal<'_>,
        asked: Option<AwsOptions>,
    ) -> anyhow::Result<Self> {
        let Rehearsal {
            playbook,
            settled,
            run,
            report,
            region,
        } = rehearsal;
        let path = playbook.path().to_owned();
        let written = texts(&playbook, &settled);
        let store = existing_store(report)?;
        let account = asked
            .map(|options| account_clients(options, report))
            .transpose()?;
        let launches = playbook.launches_instances();
        let unreadable = Unreadable::all(&playbook);
        let mut stage = Stage::start(runtime)?;
        let attempt = Attempt {
            playbook,
            settled,
            store: stage.store()?,
            sharing: None,
            run: run.clone(),
            report: report.silent(),
            on_error: OnError::Keep,
            resumed: false,
            again: true,
            webhook: None,
        };
        let lending = Lending {
            account: account.clone(),
            owner: store.as_ref().map(|store| store.owner().to_owned()),
        };
        let rehearsed = rehearse(runtime, &stage, region.clone(), attempt, lending)?;
        let account = match account {
            Some(there) if !rehearsed.is_interrupted => {
                let here = stage.clients(region, report)?;
                let question = Question {
                    rehearsed: &rehearsed,
                    stage: &here,
                    written,
                };
                Some(runtime.block_on(account::ask(&there, &question)))
            }
            _ => None,
        };
        stage.end();
        let differences = match &store {
            Some(store) => differences::differences(store, &rehearsed.record),
            None => Ok(None),
        };
        let paths = vec![
            (
                stage.data_dir().display().to_string(),
                data_dir()?.display().to_string(),
            ),
            (stage.files().display().to_string(), String::new()),
        ];
        Ok(Self {
            playbook: path,
            name: rehearsed.record.run.name.clone(),
            run: run.id.clone(),
            outcome: outcome(&rehearsed),
            error: rehearsed.error.as_ref().map(ToString::to_string),
            hint: rehearsed
                .error
                .as_ref()
                .and_then(|error| error.hint.clone()),
            cannot_boot: stage.cannot_boot().filter(|_| launches),
            took: rehearsed.took,
            skipped: rehearsed.skipped,
            variables: rehearsed.record.run.about.variables.clone(),
            outline: Outline::of(&rehearsed),
            unreadable: match rehearsed.error {
                Some(_) => unreadable,
                None => Vec::new(),
            },
            loans: rehearsed.loans,
            differences: differences.map_err(|e| shown(&e))?,
            account,
            _stage: stage,
            paths,
        })
    }

    /// Renders the plan in the format of the reporter, without secrets.
    pub(super) fn rendered(&self, report: &Reporter) -> String {
        let text = match report.output() {
            Output::Json => format!("{}\n", json::json(self)),
            Output::Human | Output::Silent => words::words(self),
        };
        let text = report.mask().apply(&text);
        self.paths.iter().fold(text, |text, (rehearsed, real)| {
            text.replace(rehearsed, real)
        })
    }

    /// Returns the exit code.
    pub(super) fn code(&self) -> u8 {
        let account = self.account.as_ref();
        match self.outcome {
            Outcome::Done if account.is_some_and(|account| !account.faults.is_empty()) => {
                exit::FAILED
            }
            Outcome::Done => exit::DONE,
            Outcome::Failed => exit::FAILED,
            Outcome::Interrupted => exit::INTERRUPTED,
        }
    }
}

fn outcome(rehearsed: &Rehearsed) -> Outcome {
    match &rehearsed.error {
        _ if rehearsed.is_interrupted => Outcome::Interrupted,
        Some(_) => Outcome::Failed,
        None => Outcome::Done,
    }
}
