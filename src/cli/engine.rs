//! Runs a playbook on a thread of its own, and waits for its end or for a signal.

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

/// The engine's own thread: deep call chains end in an error, not in a crash.
const STACK: usize = 16 << 20;

/// After the first signal the playbook has this long to stop.
const STOPS_WITHIN: Duration = Duration::from_millis(900);

/// How a playbook ended.
pub(super) enum End {
    /// It came to its end.
    Done,
    /// It failed; that is reported already.
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

/// Runs the playbook, and reports what it fails with.
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
            // The receiver is gone only when the run was given up.
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

/// What the thread returned, or its panic.
type Returned = thread::Result<std::result::Result<(), Understood>>;

/// The playbook's end; nothing when it did not stop in time after a signal.
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
    let said = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_else(|| "no reason given".to_owned());
    let error = Error::internal(format!("a fault of autorun itself: {said}"))
        .hint("please report it with the playbook that shows it");
    Understood {
        error,
        trail: Vec::new(),
    }
}
