//! Control flow: parallel branches, repetition, failure.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rhai::plugin::*;
use rhai::{
    Array, Dynamic, EvalAltResult, FLOAT, FnPtr, INT, ImmutableString, Map, NativeCallContext,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::fanout::{Fanout, Results, gathered};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::now;
use crate::script::{self, Declared, ErrorInfo, Outcome, Seconds, Shape, Share, integer, seconds};

/// Stack size of a branch. It is large enough that Rhai's limit on nested calls
/// ends deep recursion with an error before the stack overflows.
const STACK: usize = 8 << 20;

#[export_module(manifest)]
pub mod api {
    /// Runs functions at the same time.
    ///
    /// Returns their results in the order of the functions or items.
    ///
    /// `parallel([|| .., || ..])` runs each function of the array;
    /// `parallel(items, |item| ..)` runs one function for each item. Each
    /// function or item is a branch; log lines are labeled with their branch.
    /// If a branch fails, the others finish first, unless `batches` or
    /// `max_failures` say otherwise.
    ///
    /// Return results from the functions. Do not assign to shared variables,
    /// because branches that change the same variable overwrite each other.
    ///
    /// Throws an error with every failure in `causes` if a branch fails; its
    /// kind is the kind of the failures, or `script` if they differ. Its `detail`
    /// has the labels of the branches that `failed` and of those that have
    /// `not_begun`. Throws `invalid_option` if an element of `functions` is not a
    /// function.
    ///
    /// ```rhai
    /// let doubled = parallel([1, 2, 3], |n| n * 2);
    /// assert(doubled == [2, 4, 6]);
    ///
    /// let hosts = ["web1.example.com", "web2.example.com", "web3.example.com"];
    /// parallel(hosts, |host| print(host), #{ batches: [1, "100%"] });
    /// ```
    #[rhai_fn(name = "parallel", return_raw)]
    pub fn parallel_items(
        call: NativeCallContext,
        items: Array,
        function: FnPtr,
        options: Map,
    ) -> Outcome<Dynamic> {
        super::parallel(&call, items, options, |call, item| {
            super::call_with(call, &function, item)
        })
    }

    #[rhai_fn(return_raw)]
    pub fn parallel(call: NativeCallContext, functions: Array, options: Map) -> Outcome<Dynamic> {
        if let Some(other) = functions.iter().find(|f| !f.is_fnptr()) {
            let what = other.type_name();
            let error = Error::invalid(format!(
                "parallel expects an array of functions, got {what}"
            ))
            .hint("to call one function for each item, write parallel(items, |item| ..)");
            return Err(script::throw(&call, error));
        }
        super::parallel(&call, functions, options, |call, function| {
            function.cast::<FnPtr>().call_raw(call, None, [])
        })
    }

    /// Calls a function until it succeeds.
    ///
    /// Returns the result of the successful call.
    ///
    /// `attempts` is the number of attempts, or a map with the keys below. The
    /// argument of the function is the number of the attempt, counted from 1.
    ///
    /// Throws the error of the last attempt if no attempt succeeds. Errors that
    /// another attempt cannot fix (`invalid_option`, and mistakes in the
    /// playbook such as an unknown variable) are thrown immediately.
    ///
    /// ```rhai
    /// let page = retry(#{ attempts: 5, delay: 0.1 }, |n| {
    ///     if n < 3 { throw "not yet"; }
    ///     "page " + n
    /// });
    /// assert(page == "page 3");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn retry(call: NativeCallContext, attempts: Dynamic, function: FnPtr) -> Outcome<Dynamic> {
        super::retry(&call, &attempts, &function)
    }

    /// Waits for the given number of seconds.
    ///
    /// Ctrl-C interrupts the wait.
    ///
    /// Throws `invalid_option` if `seconds` is negative or more than 10 years.
    ///
    /// ```rhai
    /// sleep(0.5);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn sleep(call: NativeCallContext, seconds: Dynamic) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            let length: Seconds = script::argument("seconds", &seconds)?;
            super::rest(cx, length.duration()).await
        })
    }

    // Rhai has its own `sleep` for these types, which cannot be interrupted.
    #[rhai_fn(name = "sleep", return_raw)]
    pub fn sleep_int(call: NativeCallContext, seconds: INT) -> Outcome<Dynamic> {
        sleep(call, seconds.into())
    }

    #[rhai_fn(name = "sleep", return_raw)]
    pub fn sleep_float(call: NativeCallContext, seconds: FLOAT) -> Outcome<Dynamic> {
        sleep(call, seconds.into())
    }

    /// Throws an error with the given message.
    ///
    /// Without a `catch`, the error ends the run.
    ///
    /// Throws `script`.
    ///
    /// ```rhai
    /// try { fail("the queue is full"); } catch (caught) {
    ///     assert(error_info(caught).message == "the queue is full");
    /// }
    /// ```
    #[rhai_fn(return_raw)]
    pub fn fail(call: NativeCallContext, message: Dynamic) -> Outcome<Dynamic> {
        Err(script::throw(
            &call,
            Error::new(ErrorKind::Script, message.to_string()),
        ))
    }

    /// Checks a condition and throws an error if it is false.
    ///
    /// Throws `script` with the message if the condition is false.
    ///
    /// ```rhai
    /// assert(1 + 1 == 2, "arithmetic is broken");
    /// ```
    #[rhai_fn(name = "assert", return_raw)]
    pub fn assert_with(
        call: NativeCallContext,
        condition: bool,
        message: ImmutableString,
    ) -> Outcome<Dynamic> {
        if condition {
            return Ok(Dynamic::UNIT);
        }
        Err(script::throw(
            &call,
            Error::new(ErrorKind::Script, message.to_string()),
        ))
    }

    #[rhai_fn(return_raw)]
    pub fn assert(call: NativeCallContext, condition: bool) -> Outcome<Dynamic> {
        assert_with(call, condition, "assertion failed".into())
    }

    /// Returns details of an error that `catch` received.
    ///
    /// Every error has one of these kinds:
    ///
    /// - `invalid_option`: an argument, an option or a file is not usable.
    /// - `not_found`: a resource, a file or a program does not exist.
    /// - `already_exists`: a resource or a file already exists.
    /// - `denied`: credentials or permissions are not sufficient.
    /// - `quota_exceeded`: a quota is reached, or a disk is full.
    /// - `throttled`: AWS refused too many requests because of their rate.
    /// - `timeout`: something did not happen within its time limit.
    /// - `unreachable`: a connection failed or broke.
    /// - `host_key_changed`: the ssh host key is not the known one.
    /// - `command_failed`: a command ran and failed.
    /// - `cancelled`: the run was interrupted.
    /// - `script`: an error of the playbook: `throw`, `fail`, `assert`, or an
    ///   error of Rhai itself.
    /// - `internal`: any other error.
    ///
    /// ```rhai
    /// try { throw "oh"; } catch (caught) {
    ///     let err = error_info(caught);
    ///     assert(err.kind == "script" && err.message == "oh");
    /// }
    /// ```
    #[rhai_fn(return_raw)]
    pub fn error_info(call: NativeCallContext, caught: Dynamic) -> Outcome<Dynamic> {
        let mut error = script::understand_caught(&caught);
        if error.place.source.is_empty() {
            call.call_source()
                .unwrap_or_default()
                .clone_into(&mut error.place.source);
        }
        Ok(Dynamic::from_map(script::to_map(&error)))
    }
}

/// Calls a function of the playbook with one argument. A function without a
/// parameter is the most likely mistake here, and Rhai's own message would name an
/// `anon$..` function that is not in the playbook.
fn call_with(call: &NativeCallContext, function: &FnPtr, argument: Dynamic) -> Outcome<Dynamic> {
    let result = function.call_raw(call, None, [argument]);
    match &result {
        Err(error)
            if matches!(&**error, EvalAltResult::ErrorFunctionNotFound(signature, _)
                if signature.starts_with(function.fn_name())) =>
        {
            let what = call.fn_name();
            let error = Error::invalid(format!("the function passed to {what} takes no argument"))
                .hint("give it a parameter: `|item| ..`");
            Err(script::throw(call, error))
        }
        _ => result,
    }
}

/// Runs `work` for each item on several threads. Returns the results in the order
/// of the items.
fn parallel(
    call: &NativeCallContext,
    items: Array,
    options: Map,
    work: impl Fn(&NativeCallContext, Dynamic) -> Outcome<Dynamic> + Sync,
) -> Outcome<Dynamic> {
    let options: Parallel = script::options(call, options).map_err(|e| script::throw(call, e))?;
    let began = now();
    let labels = labels(&items);
    let schedule = options.fanout().schedule(items.len());
    let mut done: Vec<Option<Outcome<Dynamic>>> = items.iter().map(|_| None).collect();
    let failures = AtomicUsize::new(0);
    let mut items = items.into_iter().enumerate();
    for batch in &schedule.batches {
        if !schedule.continues_after(failures.load(Ordering::Relaxed)) {
            break;
        }
        let waiting = Mutex::new(items.by_ref().take(batch.len()).collect::<VecDeque<_>>());
        let ended = Mutex::new(&mut done);
        let worker = || {
            while schedule.continues_after(failures.load(Ordering::Relaxed)) {
                let Some((n, item)) = locked(&waiting).pop_front() else {
                    return;
                };
                let (label, name) = &labels[n];
                let result = script::branch_call(call, label, name, |call| work(call, item));
                failures.fetch_add(usize::from(result.is_err()), Ordering::Relaxed);
                locked(&ended)[n] = Some(result);
            }
        };
        let started = std::thread::scope(|scope| {
            (0..batch.len().min(schedule.at_once))
                .map(|_| {
                    std::thread::Builder::new()
                        .stack_size(STACK)
                        .spawn_scoped(scope, worker)
                        .map(drop)
                })
                .collect::<std::io::Result<Vec<()>>>()
        });
        if let Err(error) = started {
            let error = Error::new(
                ErrorKind::QuotaExceeded,
                format!("cannot start a thread: {error}"),
            );
            return Err(script::throw(call, error));
        }
    }
    let stopped = !schedule.continues_after(failures.into_inner());
    let result = gather(call, &labels, done, stopped);
    let source = call.call_source().unwrap_or_default();
    let failed = result.as_ref().err();
    let error = failed.map(|error| script::understand(error, source).error);
    script::note_wait(call, &script::context(call), began, error.as_ref());
    result
}

/// Locks a value whose state is right even after a panic of another thread.
fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns all results, or one error that has every failure in its causes. A branch
/// has no result if it has panicked, or if it has not begun because the work has
/// `stopped`.
fn gather(
    call: &NativeCallContext,
    labels: &[(String, String)],
    done: Vec<Option<Outcome<Dynamic>>>,
    stopped: bool,
) -> Outcome<Dynamic> {
    let source = call.call_source().unwrap_or_default();
    let mut results: Results<Dynamic> = Vec::with_capacity(done.len());
    for ((label, _), result) in labels.iter().zip(done) {
        results.push(match result {
            Some(Ok(value)) => Some(Ok(value)),
            Some(Err(error)) if !error.is_catchable() => return Err(error),
            Some(Err(error)) => Some(Err(script::understand(&error, source).error.on(label))),
            None if stopped => None,
            None => Some(Err(Error::internal("stopped unexpectedly").on(label))),
        });
    }
    let names: Vec<String> = labels.iter().map(|(label, _)| label.clone()).collect();
    gathered(results, &names, failed_branches, ErrorKind::Script)
        .map(Into::into)
        .map_err(|error| script::throw(call, error))
}

fn failed_branches(failures: usize, all: usize) -> String {
    format!("{failures} of {all} parallel branches failed")
}

/// Returns the label and the unique name of each branch. The second of two branches
/// with the same label has a name that ends in `#2`.
fn labels(items: &[Dynamic]) -> Vec<(String, String)> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let named = items.iter().enumerate().map(|(n, item)| {
        let label = label((n, item));
        let count = seen.entry(label.clone()).or_default();
        *count += 1;
        let name = format!("{}#{count}", label.replace('/', "%"));
        (label, name)
    });
    named.collect()
}

/// Returns the label of an item in log lines: the item itself if it is short, else
/// its name, else its number.
pub(super) fn label((n, item): (usize, &Dynamic)) -> String {
    let short = |text: String| (!text.is_empty() && text.len() <= 40).then_some(text);
    let named = |item: &Dynamic| {
        let map = item.read_lock::<Map>()?;
        map.get("name")
            .and_then(|name| name.clone().into_string().ok())
    };
    item.clone()
        .into_string()
        .ok()
        .or_else(|| item.as_int().ok().map(|i| i.to_string()))
        .or_else(|| named(item))
        .and_then(short)
        .unwrap_or_else(|| (n + 1).to_string())
}

pub(super) const DECLARED: &[Declared] = &[
    Declared::of("parallel").options::<Parallel>(),
    Declared::of("retry").takes::<Retry>("attempts"),
    Declared::of("error_info").returns::<ErrorInfo>(Shape::One),
];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Parallel {
    /// How many branches run at the same time: a number, or a percentage such as
    /// "10%". The default is 64.
    at_once: Option<Share<1>>,
    /// Sizes of batches of branches, such as `[1, "10%", "100%"]`: each batch
    /// begins when the previous one has finished. The last size is repeated. By
    /// default, all branches are one batch.
    #[serde(default)]
    batches: Vec<Share<1>>,
    /// How many branches may fail before no other branch begins: a number, or a
    /// percentage. By default there is no limit; with `batches` it is 0.
    max_failures: Option<Share<0>>,
}

impl Parallel {
    fn fanout(&self) -> Fanout {
        Fanout {
            at_once: self.at_once,
            batches: self.batches.clone(),
            max_failures: self.max_failures,
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Retry {
    /// Maximum number of attempts.
    #[serde(default = "integer::<3>")]
    attempts: i64,
    /// Pause before the second attempt. The pause doubles after each attempt.
    #[serde(default = "seconds::<1>")]
    delay: Seconds,
}

impl Retry {
    fn of(value: &Dynamic) -> Result<(i64, Duration)> {
        let options = match value.as_int() {
            Ok(attempts) => Self {
                attempts,
                delay: seconds::<1>(),
            },
            Err(_) => script::argument("attempts", value)?,
        };
        if options.attempts < 1 {
            return Err(Error::invalid("argument `attempts`: it must be at least 1"));
        }
        Ok((options.attempts, options.delay.duration()))
    }
}

fn retry(call: &NativeCallContext, attempts: &Dynamic, function: &FnPtr) -> Outcome<Dynamic> {
    let (attempts, mut delay) = Retry::of(attempts).map_err(|e| script::throw(call, e))?;
    let cx = script::context(call);
    let mut attempt = 1;
    loop {
        let error = match call_with(call, function, attempt.into()) {
            Ok(value) => return Ok(value),
            Err(error) if attempt == attempts || !is_worth_retrying(&error) => return Err(error),
            Err(error) => script::understand(&error, call.call_source().unwrap_or_default()).error,
        };
        cx.report
            .warn(format!("attempt {attempt} of {attempts} failed: {error}"));
        let _ = script::run(call, async |cx| rest(cx, delay).await)?;
        delay = delay.saturating_mul(2);
        attempt += 1;
    }
}

/// Returns whether another attempt could succeed. An interrupted run must end, and a
/// mistake in the playbook remains one.
fn is_worth_retrying(error: &EvalAltResult) -> bool {
    match error.unwrap_inner() {
        EvalAltResult::ErrorRuntime(thrown, _) => {
            script::understand_caught(thrown).kind != ErrorKind::InvalidOption
        }
        _ => false,
    }
}

/// Sleeps. A rehearsal skips the wait for something that it only assumes.
async fn rest(cx: &Context, length: Duration) -> Result<()> {
    match &cx.rehearsal {
        Some(rehearsal) if rehearsal.skips(length) => Ok(()),
        _ => cx.clients.sleep(length).await,
    }
}
