//! Waits for every process of the machine: those it started and those that
//! lost their parents.

use std::collections::HashMap;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};

use nix::unistd::Pid;
use rustix::process::{WaitOptions, wait};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Notify, oneshot};

/// Ends that are looked at before anything else has its turn.
const MOST_AT_ONCE: usize = 64;

type Waiting = HashMap<i32, oneshot::Sender<ExitStatus>>;

/// Tells about the end of processes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reaper {
    waiting: Arc<Mutex<Waiting>>,
    ends: Arc<Notify>,
}

impl Reaper {
    /// The end of a child. To be called right after it was started, on the
    /// machine's thread and before anything is awaited: so none is missed.
    #[must_use]
    pub(crate) fn exited(&self, pid: i32) -> oneshot::Receiver<ExitStatus> {
        let (sender, receiver) = oneshot::channel();
        self.waiting().insert(pid, sender);
        receiver
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next end of any process, from now on.
    pub(in super::super) fn next_end(&self) -> OwnedNotified {
        Arc::clone(&self.ends).notified_owned()
    }

    /// Waits until there is no other process in the machine.
    pub(super) async fn alone(&self) {
        loop {
            let next = self.next_end();
            if nix::sys::signal::kill(Pid::from_raw(-1), None).is_err() {
                return;
            }
            next.await;
        }
    }

    /// Reaps for ever.
    pub(super) async fn reap(self) -> io::Result<()> {
        let mut children = signal(SignalKind::child())?;
        loop {
            if self.reap_some() == MOST_AT_ONCE {
                // A flood of them must leave time for the rest of the machine.
                tokio::task::yield_now().await;
            } else if children.recv().await.is_none() {
                return Ok(());
            }
        }
    }

    /// Reaps some; gives back how many.
    fn reap_some(&self) -> usize {
        for count in 0..MOST_AT_ONCE {
            // No child at all is an error of `wait`.
            let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) else {
                return count;
            };
            let waiter = self.waiting().remove(&pid.as_raw_nonzero().get());
            if let Some(waiter) = waiter {
                // Who does not listen any more need not know.
                let _ = waiter.send(ExitStatus::from_raw(status.as_raw()));
            }
            self.ends.notify_waiters();
        }
        MOST_AT_ONCE
    }
}
