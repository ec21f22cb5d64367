//! Reaps every process of the machine: its own children and orphans.

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

/// The maximum number of processes to reap before other tasks run.
const MOST_AT_ONCE: usize = 64;

type Waiting = HashMap<i32, oneshot::Sender<ExitStatus>>;

/// Reports the end of processes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reaper {
    waiting: Arc<Mutex<Waiting>>,
    ends: Arc<Notify>,
}

impl Reaper {
    /// Returns a receiver for the end of a child. Call this on the machine's
    /// thread, directly after the start and before awaiting anything: then the
    /// end cannot be missed.
    #[must_use]
    pub(crate) fn exited(&self, pid: i32) -> oneshot::Receiver<ExitStatus> {
        let (sender, receiver) = oneshot::channel();
        self.waiting().insert(pid, sender);
        receiver
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next end of any process.
    pub(in super::super) fn next_end(&self) -> OwnedNotified {
        Arc::clone(&self.ends).notified_owned()
    }

    /// Waits until no other process exists in the machine.
    pub(super) async fn alone(&self) {
        loop {
            let next = self.next_end();
            if nix::sys::signal::kill(Pid::from_raw(-1), None).is_err() {
                return;
            }
            next.await;
        }
    }

    /// Reaps until the machine ends.
    pub(super) async fn reap(self) -> io::Result<()> {
        let mut children = signal(SignalKind::child())?;
        loop {
            if self.reap_some() == MOST_AT_ONCE {
                // Other tasks of the machine must run even during a flood of
                // ends.
                tokio::task::yield_now().await;
            } else if children.recv().await.is_none() {
                return Ok(());
            }
        }
    }

    /// Reaps some processes. Returns their number.
    fn reap_some(&self) -> usize {
        for count in 0..MOST_AT_ONCE {
            // Without any child, `wait` fails.
            let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) else {
                return count;
            };
            let waiter = self.waiting().remove(&pid.as_raw_nonzero().get());
            if let Some(waiter) = waiter {
                // The receiver may have been dropped.
                let _ = waiter.send(ExitStatus::from_raw(status.as_raw()));
            }
            self.ends.notify_waiters();
        }
        MOST_AT_ONCE
    }
}
