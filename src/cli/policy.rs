//! `autorun policy`: prints the IAM policy that a playbook or a run needs.

use std::fmt::Write as _;
use std::path::Path;

#[cfg(feature = "local-cloud")]
use anyhow::{Context as _, bail};
#[cfg(feature = "local-cloud")]
use tokio::runtime::Runtime;

#[cfg(feature = "local-cloud")]
use super::args::OnError;
use super::args::{Output, PolicyArgs};
#[cfg(feature = "local-cloud")]
use super::attempt::Attempt;
use super::output::{answer, complain, fitted};
#[cfg(feature = "local-cloud")]
use super::prepared::{Inputs, Prepared, prepare};
#[cfg(feature = "local-cloud")]
use super::rehearsal::{Lending, Source, Stage, rehearse};
use super::settings::shown;
#[cfg(feature = "local-cloud")]
use super::settings::store;
#[cfg(feature = "local-cloud")]
use super::shared::read_shared;
use super::shared::shared_store;
#[cfg(feature = "local-cloud")]
use super::target::{check_profile, region};
use crate::error::{Error, ErrorKind, exit};
use crate::playbook;
use crate::policy::{Explained, For, Policy};
use crate::report::text;

/// A policy, or the exit code of a rehearsal that failed and has reported why.
type Made = std::result::Result<Policy, u8>;

pub(super) fn policy(arguments: PolicyArgs) -> anyhow::Result<u8> {
    let (output, explain) = (arguments.report.output, arguments.explain);
    let made = if is_playbook(&arguments.subject) {
        of_playbook(arguments)?
    } else {
        Ok(of_run(&arguments)?)
    };
    let policy = match made {
        Ok(policy) => policy,
        Err(code) => return Ok(code),
    };
    for note in &policy.notes {
        complain(&fitted(&format!("note: {note}")));
    }
    answer(&match output {
        Output::Json => format!("{}\n", policy.json_with_reasons()),
        Output::Human if explain => explained(&policy.explained()),
        Output::Human => format!("{:#}\n", policy.json()),
    });
    Ok(exit::DONE)
}

/// Returns whether the argument names a playbook and not a run.
fn is_playbook(subject: &Path) -> bool {
    playbook::is_stdin(subject)
        || subject.extension().is_some_and(|ending| ending == "rhai")
        || subject.components().count() > 1
        || subject.is_file()
}

fn of_run(arguments: &PolicyArgs) -> anyhow::Result<Policy> {
    let prefix = arguments.subject.to_string_lossy();
    let store = shared_store(&arguments.ledger, &prefix, None)?;
    let run = store.find(&prefix);
    let run = run.map_err(|error| shown(&unknown_run(error, &arguments.subject)))?;
    let wanted = For {
        region: arguments.region.clone(),
        ..For::default()
    };
    Policy::of_run(&store, &run, wanted).map_err(|e| shown(&e))
}

/// Adds to an error what the argument is, if it is not a run.
fn unknown_run(error: Error, subject: &Path) -> Error {
    let playbook = subject.with_added_extension("rhai");
    let hint = match error.kind {
        ErrorKind::NotFound if playbook.is_file() => {
            format!("did you mean the playbook `{}`?", playbook.display())
        }
        ErrorKind::NotFound if subject.is_dir() => {
            let directory = subject.display();
            format!("`{directory}` is a directory: name a playbook in it")
        }
        _ => return error,
    };
    error.hint(hint)
}

/// Rehearses a playbook and returns its policy, with the tag of the user's ledger.
#[cfg(feature = "local-cloud")]
fn of_playbook(arguments: PolicyArgs) -> anyhow::Result<Made> {
    let mut arguments = arguments.into_run();
    check_profile(&arguments.target)?;
    let Prepared {
        playbook,
        settled,
        run,
        report,
        ..
    } = match prepare(&mut arguments)? {
        Inputs::Ready(prepared) => *prepared,
        Inputs::Wrong(code) => return Ok(Err(code)),
    };
    let own = read_shared(
        store(Some(&report))?,
        &arguments.ledger,
        None,
        Some(&report),
    )?;
    let owner = own.owner().to_owned();
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let stage = Stage::start(&runtime)?;
    let store = stage.store()?;
    let region = region(&arguments.target);
    let path = playbook.path().to_owned();
    let attempt = Attempt {
        playbook,
        settled,
        store: store.clone(),
        sharing: None,
        run,
        report: report.silent(),
        on_error: OnError::Keep,
        resumed: false,
        again: true,
        webhook: None,
    };
    let lending = Lending::default();
    let rehearsed = rehearse(&runtime, &stage, region.clone(), attempt, lending)?;
    if rehearsed.is_interrupted {
        return Ok(Err(exit::INTERRUPTED));
    }
    // The reporter has shown the error.
    if rehearsed.error.is_some() {
        complain("error: the rehearsal failed, so there is no policy");
        // A search that found nothing may be the reason.
        if rehearsed.loans.iter().any(|loan| loan.name.is_empty()) {
            complain(&fitted(
                "hint: a rehearsal finds nothing that only your account has: run the playbook, \
                 then pass the ID of the run",
            ));
        }
        return Ok(Err(exit::FAILED));
    }
    let requests = store.requests(&rehearsed.record.run.id);
    if requests.map_err(|e| shown(&e))?.is_empty() {
        bail!(
            "the rehearsal of `{path}` sent no request to AWS, so it needs no policy\n\
             hint: if other variables make it use AWS, pass them with --set"
        );
    }
    let wanted = For {
        region,
        owner: Some(owner),
        is_rehearsed: true,
    };
    let policy = Policy::of_run(&store, &rehearsed.record.run, wanted);
    let mut policy = policy.map_err(|e| shown(&e))?;
    let assumed = rehearsed
        .notes
        .iter()
        .filter(|note| !note.assumed.is_empty());
    let assumed = assumed.count();
    if assumed > 0 {
        policy.notes.push(format!(
            "the rehearsal assumed the results of {}, which the plan of the playbook lists; the \
             policy may lack what the playbook does if they differ",
            text::count(assumed, "call")
        ));
    }
    let borrowed = rehearsed.loans.iter();
    let borrowed = borrowed.filter(|loan| loan.source == Source::Assumed && !loan.name.is_empty());
    let names: Vec<String> = borrowed
        .map(|loan| format!("{} {}", loan.kind.words(), loan.name))
        .collect();
    if !names.is_empty() {
        policy.notes.push(format!(
            "the rehearsal assumed that the account has {}",
            text::some_of(names, 5)
        ));
    }
    Ok(Ok(policy))
}

#[cfg(not(feature = "local-cloud"))]
fn of_playbook(_: PolicyArgs) -> anyhow::Result<Made> {
    anyhow::bail!(
        "this autorun was built without the local cloud, on which a playbook is rehearsed\n\
         hint: pass the ID of a run"
    )
}

/// Returns the statements in words.
fn explained(statements: &[Explained]) -> String {
    let mut out = String::new();
    for statement in statements {
        if !out.is_empty() {
            out.push('\n');
        }
        let _ = writeln!(out, "{}", statement.sid);
        for resource in &statement.resources {
            let _ = writeln!(out, "  {resource}");
        }
        for condition in &statement.conditions {
            let _ = writeln!(out, "{}", text::wrap(&format!("  if {condition}"), 4));
        }
        for (call, actions) in &statement.calls {
            let _ = writeln!(out, "{}", text::wrap(&format!("  {call}"), 4));
            let _ = writeln!(
                out,
                "{}",
                text::wrap(&format!("    {}", actions.join(", ")), 4)
            );
        }
    }
    out
}
