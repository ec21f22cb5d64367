//! Running the work of a primitive: blocking on it, the ledger, the report.

use std::pin::pin;
use std::time::{Duration, Instant};

use rhai::{Dynamic, EvalAltResult, GlobalRuntimeState, NativeCallContext, Position};
use serde::Serialize;
use serde_json::Value;

use super::call_context::context;
use super::identity::identity;
use super::options::to_dynamic;
use super::throw::throw;
use crate::clients::calls::{Cause, caused_by};
use crate::context::{Context, Note};
use crate::error::{Error, Result};
use crate::ledger::{Call, Millis, Step, Wait, now};
use crate::report::Event;

/// The result of a primitive for Rhai.
pub type Outcome<T> = std::result::Result<T, Box<EvalAltResult>>;

/// How long work may continue after Ctrl-C until its outcome is known: the answer to
/// a request is recorded, and a remote command is ended. Waits end immediately.
const GRACE: Duration = Duration::from_millis(750);

/// The shortest wait that the ledger records.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// Runs the work of a primitive: blocks on it, reports it, and converts its result
/// or its error for the script.
pub fn run<T: Serialize>(
    call: &NativeCallContext,
    work: impl AsyncFnOnce(&Context) -> Result<T>,
) -> Outcome<Dynamic> {
    run_blocking(call, |cx| block_on(call, cx, work))
}

fn block_on<T>(
    call: &NativeCallContext,
    cx: &Context,
    work: impl AsyncFnOnce(&Context) -> Result<T>,
) -> Result<T> {
    let cause = Cause {
        place: place(call),
        function: call.fn_name().to_owned(),
    };
    cx.runtime.block_on(async {
        let mut work = pin!(caused_by(cause, work(cx)));
        tokio::select! {
            biased;
            () = cx.cancel.cancelled() => {}
            result = &mut work => return result,
        }
        tokio::time::timeout(GRACE, work)
            .await
            .unwrap_or_else(|_| Err(Error::cancelled()))
    })
}

/// Runs work with an effect, which is a step of the ledger. The `arguments` of the
/// call identify the step.
///
/// The work records the beginning of the step before it changes anything. The end is
/// recorded here.
pub fn effect<T: Serialize>(
    call: &NativeCallContext,
    arguments: &[&Dynamic],
    work: impl AsyncFnOnce(&Context, &mut Step) -> Result<T>,
) -> Outcome<Dynamic> {
    let arguments = identity(arguments);
    let place = place(call);
    let all = async |cx: &Context| {
        let mut step = Step::new(
            &cx.ledger,
            Call {
                branch: &cx.path,
                function: call.fn_name(),
                arguments: &arguments,
                place,
            },
        );
        let result = work(cx, &mut step).await;
        match (result, step) {
            (Ok(value), step) => {
                let result = Ok(value);
                step.finish(&result)?;
                result
            }
            (Err(error), step) => {
                // The error of the work is more important than the failure to
                // record it.
                let result: Result<T> = Err(error);
                if let Err(unwritten) = step.finish(&result) {
                    cx.report.warn(unwritten.to_string());
                }
                result
            }
        }
    };
    reported(call, Some(&arguments), |cx| block_on(call, cx, all))
}

/// Runs work that does not need the async runtime.
pub fn run_blocking<T: Serialize>(
    call: &NativeCallContext,
    work: impl FnOnce(&Context) -> Result<T>,
) -> Outcome<Dynamic> {
    reported(call, None, |cx| {
        let (began, started) = (Instant::now(), now());
        let result = work(cx);
        if began.elapsed() >= SHORTEST_WAIT {
            note_wait(call, cx, started, result.as_ref().err());
        }
        result
    })
}

/// Records in the ledger that a call without an effect has waited since `since`.
pub fn note_wait(call: &NativeCallContext, cx: &Context, since: Millis, error: Option<&Error>) {
    let wait = Wait {
        branch: cx.path.to_string(),
        function: call.fn_name().to_owned(),
        place: place(call),
        error: error.map(ToString::to_string),
        started: since,
        ended: now(),
    };
    cx.ledger.waited(wait);
}

/// Runs work and reports its beginning and its end. `arguments` are those of a step.
fn reported<T: Serialize>(
    call: &NativeCallContext,
    arguments: Option<&Value>,
    work: impl FnOnce(&Context) -> Result<T>,
) -> Outcome<Dynamic> {
    let function = call.fn_name();
    run_quietly(call, |cx| {
        let started = Instant::now();
        cx.report.report(&Event::StepStarted {
            function: function.to_owned(),
        });
        let cx = cx.of_call(function);
        let result = work(&cx);
        cx.report.report(&Event::StepFinished {
            function: function.to_owned(),
            seconds: started.elapsed().as_secs_f64(),
            ok: result.is_ok(),
        });
        note(call, &cx, arguments, &result)?;
        result
    })
}

/// Notes a step in a rehearsal, and a call of which something was assumed.
fn note<T: Serialize>(
    call: &NativeCallContext,
    cx: &Context,
    arguments: Option<&Value>,
    result: &Result<T>,
) -> Result<()> {
    let Some(rehearsal) = &cx.rehearsal else {
        return Ok(());
    };
    let assumed = cx.assumptions();
    if arguments.is_none() && assumed.is_empty() {
        return Ok(());
    }
    let mask = cx.report.mask();
    let masked = |mut value: Value| {
        mask.apply_json(&mut value);
        value
    };
    let value = result.as_ref().ok().map(serde_json::to_value);
    let noted = Note {
        function: call.fn_name().to_owned(),
        branch: mask.apply(&cx.path),
        place: place(call),
        arguments: masked(arguments.cloned().unwrap_or_default()),
        result: masked(value.and_then(std::result::Result::ok).unwrap_or_default()),
        error: (result.as_ref().err()).map(|error| mask.apply(&error.to_string())),
        assumed: assumed
            .into_iter()
            .map(|assumed| assumed.masked(mask))
            .collect(),
        follows: None,
    };
    let position = call.call_position();
    let at = (
        position.line().unwrap_or(0),
        position.position().unwrap_or(0),
    );
    rehearsal.note(noted, (call.call_source().unwrap_or_default(), at.0, at.1))
}

/// Returns the names of the files that may contain a call, the most likely first.
///
/// In a closure of the playbook that a function of another file calls, Rhai knows only
/// that other file. The playbook's own library is the first one.
#[must_use]
pub fn files<'a>(call: &'a NativeCallContext) -> Vec<&'a str> {
    let libraries = &call.global_runtime_state().lib;
    let names = libraries.iter().rev().filter_map(|library| library.id());
    call.call_source().into_iter().chain(names).collect()
}

/// Returns the place of a call in the playbook, such as `web.rhai:12`.
fn place(call: &NativeCallContext) -> String {
    format!(
        "{}:{}",
        call.call_source().unwrap_or_default(),
        call.call_position().line().unwrap_or(0)
    )
}

/// Runs work that is not reported as a step, such as writing a log line.
pub fn run_quietly<T: Serialize>(
    call: &NativeCallContext,
    work: impl FnOnce(&Context) -> Result<T>,
) -> Outcome<Dynamic> {
    let cx = context(call);
    if cx.cancel.is_cancelled() {
        return Err(throw(call, Error::cancelled()));
    }
    let result = work(&cx);
    // Even if the work succeeded, a cancelled run ends here.
    if cx.cancel.is_cancelled() {
        return Err(throw(call, Error::cancelled()));
    }
    result
        .and_then(|value| to_dynamic(&value))
        .map_err(|error| throw(call, error))
}

/// Runs work with the call of a branch of `parallel`. Primitives in the branch report
/// with its label, and its name is part of the identity of their steps.
pub fn branch_call<R>(
    call: &NativeCallContext,
    label: &str,
    name: &str,
    work: impl FnOnce(&NativeCallContext) -> R,
) -> R {
    let mut global: GlobalRuntimeState = call.global_runtime_state().clone();
    global.tag = Dynamic::from(context(call).branch(label, name));
    let position: Position = call.call_position();
    let call = NativeCallContext::new_with_all_fields(
        call.engine(),
        call.fn_name(),
        call.fn_source(),
        &global,
        position,
    );
    work(&call)
}
