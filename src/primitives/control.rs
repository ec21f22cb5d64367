//! Order, repetition, failure.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rhai::plugin::*;
use rhai::{
    Array, Dynamic, EvalAltResult, FLOAT, FnPtr, INT, ImmutableString, Map, NativeCallContext,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};
use crate::ledger::now;
use crate::script::{self, Declared, ErrorInfo, Outcome, Seconds, Shape, integer, seconds};

/// Branches that run at the same time; further items wait for a free place.
const MOST_BRANCHES: usize = 64;

/// Stack of a branch: deep call chains end in an error, not in a crash.
const STACK: usize = 8 << 20;

#[export_module]
pub mod api {
    /// Runs functions at the same time and gives their results in order.
    ///
    /// `parallel([|| .., || ..])` runs each function; `parallel(items, |item| ..)`
    /// runs one function for each item. Log lines say whose branch they are. A
    /// failure lets the other branches finish and is then thrown, with every
    /// failure in `causes`. At most 64 branches run at once.
    ///
    /// Give results back by value: two branches that change one variable
    /// overwrite each other.
    ///
    /// ```rhai
    /// let doubled = parallel([1, 2, 3], |n| n * 2);
    /// assert(doubled == [2, 4, 6]);
    /// ```
    #[rhai_fn(name = "parallel", return_raw)]
    pub fn parallel_items(
        call: NativeCallContext,
        items: Array,
        function: FnPtr,
    ) -> Outcome<Dynamic> {
        super::parallel(&call, items, |call, item| {
            super::call_with(call, &function, item)
        })
    }

    #[rhai_fn(return_raw)]
    pub fn parallel(call: NativeCallContext, functions: Array) -> Outcome<Dynamic> {
        if let Some(other) = functions.iter().find(|f| !f.is_fnptr()) {
            let what = other.type_name();
            let error = Error::invalid(format!("parallel takes an array of functions, not {what}"))
                .hint("write parallel(items, |item| ..) to work on items");
            return Err(script::throw(&call, error));
        }
        super::parallel(&call, functions, |call, function| {
            function.cast::<FnPtr>().call_raw(call, None, [])
        })
    }

    /// Calls a function until it succeeds, and gives its result.
    ///
    /// `attempts` is a number, or a map with the options below. The function
    /// gets the number of the attempt, from 1. Errors that a later attempt
    /// cannot mend (`invalid_option`, faults of the playbook itself) are thrown
    /// at once, the last error when the attempts are used up.
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

    /// Waits for so many seconds; Ctrl-C ends it at once.
    ///
    /// ```rhai
    /// sleep(0.5);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn sleep(call: NativeCallContext, seconds: Dynamic) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            let length: Seconds = script::argument("seconds", &seconds)?;
            cx.clients.sleep(length.duration()).await
        })
    }

    // Rhai has a `sleep` of its own for these types, which nothing can interrupt.
    #[rhai_fn(name = "sleep", return_raw)]
    pub fn sleep_int(call: NativeCallContext, seconds: INT) -> Outcome<Dynamic> {
        sleep(call, seconds.into())
    }

    #[rhai_fn(name = "sleep", return_raw)]
    pub fn sleep_float(call: NativeCallContext, seconds: FLOAT) -> Outcome<Dynamic> {
        sleep(call, seconds.into())
    }

    /// Stops with an error of kind `script`.
    ///
    /// ```rhai
    /// try { fail("the moon is full"); } catch (caught) {
    ///     assert(error_info(caught).message == "the moon is full");
    /// }
    /// ```
    #[rhai_fn(return_raw)]
    pub fn fail(call: NativeCallContext, message: Dynamic) -> Outcome<Dynamic> {
        Err(script::throw(
            &call,
            Error::new(ErrorKind::Script, message.to_string()),
        ))
    }

    /// Stops with an error unless the condition holds.
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
        assert_with(call, condition, "the assertion does not hold".into())
    }

    /// Makes an error map from anything that a `catch` can see.
    ///
    /// What `throw` and Rhai itself raise is of kind `script`.
    ///
    /// The kinds: `invalid_option`, `not_found`, `already_exists`, `denied`,
    /// `quota_exceeded`, `throttled`, `timeout`, `unreachable`,
    /// `host_key_changed`, `command_failed`, `cancelled`, `script`, `internal`.
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

/// Calls a playbook's function with one argument. That it takes none is the
/// likeliest mistake, and Rhai would speak of an `anon$..` nobody wrote.
fn call_with(call: &NativeCallContext, function: &FnPtr, argument: Dynamic) -> Outcome<Dynamic> {
    let result = function.call_raw(call, None, [argument]);
    match &result {
        Err(error)
            if matches!(&**error, EvalAltResult::ErrorFunctionNotFound(signature, _)
                if signature.starts_with(function.fn_name())) =>
        {
            let what = call.fn_name();
            let error = Error::invalid(format!("the function given to {what} takes no argument"))
                .hint("write `|item| ..`, with a name for what it is given");
            Err(script::throw(call, error))
        }
        _ => result,
    }
}

/// Runs `work` for each item on a few threads; results in the items' order.
fn parallel(
    call: &NativeCallContext,
    items: Array,
    work: impl Fn(&NativeCallContext, Dynamic) -> Outcome<Dynamic> + Sync,
) -> Outcome<Dynamic> {
    let began = now();
    let labels = labels(&items);
    let count = items.len();
    let waiting: Mutex<VecDeque<(usize, Dynamic)>> =
        Mutex::new(items.into_iter().enumerate().collect());
    let done: Mutex<Vec<Option<Outcome<Dynamic>>>> = Mutex::new((0..count).map(|_| None).collect());
    let worker = || {
        loop {
            let next = waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            let Some((n, item)) = next else { return };
            let (label, name) = &labels[n];
            let result = script::branch_call(call, label, name, |call| work(call, item));
            done.lock().unwrap_or_else(PoisonError::into_inner)[n] = Some(result);
        }
    };
    let started = std::thread::scope(|scope| {
        (0..count.min(MOST_BRANCHES))
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
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let result = gather(call, &labels, done);
    let source = call.call_source().unwrap_or_default();
    let failed = result.as_ref().err();
    let error = failed.map(|error| script::understand(error, source).error);
    script::note_wait(call, &script::context(call), began, error.as_ref());
    result
}

/// All results, or one error that holds all failures.
fn gather(
    call: &NativeCallContext,
    labels: &[(String, String)],
    done: Vec<Option<Outcome<Dynamic>>>,
) -> Outcome<Dynamic> {
    let count = done.len();
    let source = call.call_source().unwrap_or_default();
    let mut results = Array::with_capacity(count);
    let mut causes = Vec::new();
    for ((label, _), result) in labels.iter().zip(done) {
        match result {
            Some(Ok(value)) => results.push(value),
            Some(Err(error)) if !error.is_catchable() => return Err(error),
            Some(Err(error)) => {
                let error = script::understand(&error, source).error;
                causes.push(error.while_doing(&format!("[{label}]")));
            }
            // Its thread panicked.
            None => causes.push(Error::internal(format!("[{label}]: stopped unexpectedly"))),
        }
    }
    let Some(first) = causes.first() else {
        return Ok(results.into());
    };
    let same_kind = causes.iter().all(|cause| cause.kind == first.kind);
    let kind = if same_kind {
        first.kind
    } else {
        ErrorKind::Script
    };
    let message = format!("{} of {count} parallel branches failed", causes.len());
    Err(script::throw(
        call,
        Error::new(kind, message).caused_by(causes),
    ))
}

/// The label of each branch, and the name that tells it from its siblings: of
/// two with one label the second is `#2`.
fn labels(items: &[Dynamic]) -> Vec<(String, String)> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let named = items.iter().enumerate().map(|(n, item)| {
        let label = label(n, item);
        let count = seen.entry(label.clone()).or_default();
        *count += 1;
        let name = format!("{}#{count}", label.replace('/', "%"));
        (label, name)
    });
    named.collect()
}

/// What log lines call a branch: the item itself if it is short, else its
/// name, else its number.
fn label(n: usize, item: &Dynamic) -> String {
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
    Declared::of("retry").takes::<Retry>("attempts"),
    Declared::of("error_info").gives::<ErrorInfo>(Shape::One),
];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Retry {
    /// How often the function is called at most.
    #[serde(default = "integer::<3>")]
    attempts: i64,
    /// The pause before the second attempt; it doubles each time.
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
            return Err(Error::invalid("`attempts` must be 1 or more"));
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
            Err(error) if attempt == attempts || !mendable(&error) => return Err(error),
            Err(error) => script::understand(&error, call.call_source().unwrap_or_default()).error,
        };
        cx.report
            .warn(format!("attempt {attempt} of {attempts} failed: {error}"));
        let _ = script::run(call, async |cx| cx.clients.sleep(delay).await)?;
        delay = delay.saturating_mul(2);
        attempt += 1;
    }
}

/// Whether another attempt could end otherwise. A stopped run must stop, and
/// a fault of the playbook stays one.
fn mendable(error: &EvalAltResult) -> bool {
    match error.unwrap_inner() {
        EvalAltResult::ErrorRuntime(thrown, _) => {
            script::understand_caught(thrown).kind != ErrorKind::InvalidOption
        }
        _ => false,
    }
}
