//! How waits ask again: at once, then after 50 ms growing to 3 s, with
//! jitter, until a deadline or the end of the run.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};
use crate::report::{Reporter, text};

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(3);
const GROWTH: f64 = 1.4;

/// How often a long wait says that it is still there.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// The pauses of one wait.
#[derive(Debug)]
pub struct Pace {
    what: String,
    state: String,
    started: Instant,
    deadline: Instant,
    next: Duration,
    spoke: Instant,
    cancel: CancellationToken,
    report: Reporter,
}

impl Pace {
    /// A wait for `what`, as "instance i-1 to run", of at most `timeout`.
    pub(crate) fn new(
        what: String,
        timeout: Duration,
        cancel: CancellationToken,
        report: Reporter,
    ) -> Self {
        let now = Instant::now();
        Self {
            what,
            state: String::new(),
            started: now,
            deadline: now + timeout,
            next: FIRST,
            spoke: now,
            cancel,
            report,
        }
    }

    /// Waits until it is time to ask again. `state` is what was seen last.
    ///
    /// Throws `timeout` at the deadline, `cancelled` when the run is stopped.
    pub async fn pause(&mut self, state: &str) -> Result<()> {
        self.speak(state);
        let now = Instant::now();
        if now >= self.deadline {
            return Err(self.timeout());
        }
        let jitter = 0.8 + 0.4 * rand::random::<f64>();
        let pause = self.next.mul_f64(jitter).min(self.deadline - now);
        self.next = self.next.mul_f64(GROWTH).min(LONGEST);
        sleep(pause, &self.cancel).await
    }

    /// How long the wait may still take.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// How long it has taken.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The error when the deadline has come.
    #[must_use]
    pub fn timeout(&self) -> Error {
        let took = text::duration(self.started.elapsed());
        let seen = match self.state.as_str() {
            "" => String::new(),
            state => format!("; last seen: {state}"),
        };
        Error::new(
            ErrorKind::Timeout,
            format!("waited {took} for {} without success{seen}", self.what),
        )
    }

    /// Says what is waited for: when it changes, and now and then.
    fn speak(&mut self, state: &str) {
        let took = self.started.elapsed();
        self.report.doing(&format!("{}: {state}", self.what));
        if self.spoke.elapsed() >= HEARTBEAT {
            self.spoke = Instant::now();
            self.report.info(format!(
                "still waiting for {} after {}: {state}",
                self.what,
                text::duration(took)
            ));
        } else if state != self.state {
            self.report
                .debug(format!("waiting for {}: {state}", self.what));
        }
        state.clone_into(&mut self.state);
    }
}

/// Sleeps, or gives `cancelled` at once when the run is stopped.
pub(crate) async fn sleep(duration: Duration, cancel: &CancellationToken) -> Result<()> {
    tokio::select! {
        () = cancel.cancelled() => Err(Error::cancelled()),
        () = tokio::time::sleep(duration) => Ok(()),
    }
}
