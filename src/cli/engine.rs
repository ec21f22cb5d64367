//! Runs a playbook on its own thread and waits for its end or for a signal.

use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::context::Context;
use crate::error::{Error, ErrorKind};
use crate::playbook::{Playbook, diagnostic};
use crate::report::{Event, Outcome};
use crate::script::Understood;

/// Stack size of the engine's thread. With this size, deep recursion reaches Rhai's
/// limit of nested calls, which is an error, before the stack overflows.
const STACK: usize = 16 << 20;

/// How long the playbook may take to stop after the first signal.
const STOPS_WITHIN: Duration = Duration::from_millis(900);

/// How a playbook ended.
pub(super) enum End {
    /// It ran to its end.
    Done,
    /// It failed; the error is already reported.
    Failed(Error),
    /// A signal stopped it.
    Interrupted,
}

impl End {
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Done => Outcome::Done,
            Self::Failed(_) => Outcome::Failed,
            Self::Interrupted => Outcome::Interrupted,
        }
    }

    pub(super) fn error(&self) -> Option<&Error> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Done | Self::Interrupted => None,
        }
    }
}

/// Runs the playbook and reports its error if it fails.
pub(super) fn execute(
    runtime: &Runtime,
    playbook: Playbook,
    cx: &Context,
    resumed: bool,
) -> anyhow::Result<End> {
    let texts = playbook.texts();
    cx.report.report(&Event::RunStarted {
        playbook: playbook.path().to_owned(),
        resumed,
    });
    let (ended, end) = oneshot::channel();
    let engine_cx = cx.clone();
    thread::Builder::new()
        .name("playbook".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            let run = std::panic::AssertUnwindSafe(|| playbook.run(&engine_cx));
            // The receiver is dropped only after `STOPS_WITHIN` has passed.
            let _ = ended.send(std::panic::catch_unwind(run));
        })
        .context("cannot start a thread")?;
    let result = await_end(runtime, end, cx);
    let stopped = cx.cancel.is_cancelled();
    Ok(match result {
        Some(Ok(())) => End::Done,
        Some(Err(failed)) if !stopped || failed.error.kind != ErrorKind::Cancelled => {
            let rendered = diagnostic::render(&failed, &texts);
            let error = failed.error.clone();
            cx.report.report(&Event::RunFailed {
                error: failed.error,
                rendered,
            });
            End::Failed(error)
        }
        Some(Err(_)) | None => End::Interrupted,
    })
}

/// The result of the thread, or its panic.
type Returned = thread::Result<std::result::Result<(), Understood>>;

/// Waits for the playbook to end. Returns `None` if it did not stop within
/// `STOPS_WITHIN` after a signal.
fn await_end(
    runtime: &Runtime,
    end: oneshot::Receiver<Returned>,
    cx: &Context,
) -> Option<std::result::Result<(), Understood>> {
    let end = runtime.block_on(async {
        let mut end = end;
        tokio::select! {
            end = &mut end => return end.ok(),
            () = cx.cancel.cancelled() => {}
        }
        tokio::time::timeout(STOPS_WITHIN, end).await.ok()?.ok()
    })?;
    Some(end.unwrap_or_else(|panic| Err(internal(&*panic))))
}

fn internal(panic: &(dyn std::any::Any + Send)) -> Understood {
    let message = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_else(|| "unknown panic".to_owned());
    let error = Error::internal(format!("internal error of autorun: {message}"))
        .hint("report it with the playbook that causes it");
    Understood {
        error,
        trail: Vec::new(),
    }
}
