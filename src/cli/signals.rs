//! The signals that stop a run or a removal.

use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long more signals may follow the first one and belong to it.
const ECHO: Duration = Duration::from_millis(50);

/// SIGINT (Ctrl-C), SIGTERM, and SIGHUP (the terminal was closed).
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Starts to watch. These signals no longer terminate the process.
    pub(super) fn watch(runtime: &Runtime) -> anyhow::Result<Self> {
        let _inside = runtime.enter();
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("cannot watch for Ctrl-C")?,
            terminate: signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?,
            hang_up: signal(SignalKind::hangup()).context("cannot watch for SIGHUP")?,
        })
    }

    /// Waits until signals that belong to the first one have arrived: `timeout`
    /// signals the process and its group, systemd may send SIGTERM and SIGHUP.
    pub(super) async fn settle(&mut self) {
        let end = tokio::time::sleep(ECHO);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return,
                () = self.next() => (),
            }
        }
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => (),
            _ = self.terminate.recv() => (),
            _ = self.hang_up.recv() => (),
        }
    }
}
