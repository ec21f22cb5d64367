//! The polling interval of waits: immediately, then after 50 ms growing to 3 s,
//! with jitter, until a deadline or the end of the run. Attempts that cost neither
//! side anything are repeated about every 100 ms.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};
use crate::report::{Reporter, text};

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(3);
const GROWTH: f64 = 1.4;

/// The pause between attempts that cost nothing, such as one to connect.
const BRIEF: Duration = Duration::from_millis(100);

/// How often a long wait logs that it still waits.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// The state of one wait.
#[derive(Debug)]
pub struct Pace {
    what: String,
    state: String,
    started: Instant,
    deadline: Instant,
    next: Duration,
    /// When a query beside brief pauses is due.
    due: Instant,
    reported: Instant,
    cancel: CancellationToken,
    report: Reporter,
}

impl Pace {
    /// Creates a wait for `what`, as "instance i-1 to run", of at most
    /// `timeout`.
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
            due: now,
            reported: now,
            cancel,
            report,
        }
    }

    /// Waits until the next attempt is due. `state` is the state seen last.
    ///
    /// Throws `timeout` at the deadline, `cancelled` if the run is stopped.
    pub async fn pause(&mut self, state: &str) -> Result<()> {
        if self.pause_until_end(state).await? {
            Ok(())
        } else {
            Err(self.timeout())
        }
    }

    /// Like [`pause`](Self::pause), but returns false at the deadline.
    pub async fn pause_until_end(&mut self, state: &str) -> Result<bool> {
        self.report_state(state);
        let now = Instant::now();
        if now >= self.deadline {
            return Ok(false);
        }
        let pause = self.grown().min(self.deadline - now);
        sleep(pause, &self.cancel).await?;
        Ok(true)
    }

    /// Like [`pause`](Self::pause), for an attempt that costs neither side anything.
    /// The pauses do not grow.
    pub async fn pause_briefly(&mut self, state: &str) -> Result<()> {
        self.report_state(state);
        let left = self.left();
        if left.is_zero() {
            return Err(self.timeout());
        }
        sleep(jittered(BRIEF).min(left), &self.cancel).await
    }

    /// Repeats a query until it finds something, or begins after the deadline: only such
    /// a query shows that nothing is there, however long those before it took.
    ///
    /// Throws the errors of the query, and `cancelled` if the run is stopped.
    pub async fn find<T>(
        mut self,
        mut ask: impl AsyncFnMut() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        loop {
            let is_last = self.left().is_zero();
            match ask().await? {
                None if !is_last => self.pause_until_end("not found so far").await?,
                answer => return Ok(answer),
            };
        }
    }

    /// Returns whether a query is due that costs more than the attempts between brief
    /// pauses: at first, then at the intervals of [`pause`](Self::pause).
    pub fn is_due(&mut self) -> bool {
        let now = Instant::now();
        if now < self.due {
            return false;
        }
        self.due = now + self.grown();
        true
    }

    /// Returns the length of a pause, and lets the next one grow.
    fn grown(&mut self) -> Duration {
        let pause = jittered(self.next);
        self.next = self.next.mul_f64(GROWTH).min(LONGEST);
        pause
    }

    /// Returns the time left until the deadline.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Returns the time since the wait began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns the error for a wait whose deadline has passed.
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

    /// Returns the error for a wait whose last attempt failed at its deadline. What earlier
    /// attempts saw explains more than that.
    #[must_use]
    pub fn timeout_after(&mut self, error: &Error) -> Error {
        if self.state.is_empty() {
            self.state = error.to_string();
        }
        self.timeout()
    }

    /// Reports the wait: to the debug log when its state changes, and to the
    /// user every [`HEARTBEAT`].
    fn report_state(&mut self, state: &str) {
        let took = self.started.elapsed();
        self.report.doing(&format!("{}: {state}", self.what));
        if self.reported.elapsed() >= HEARTBEAT {
            self.reported = Instant::now();
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

/// Varies a pause: parallel branches must not send their queries at the same moment.
pub(crate) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.8 + 0.4 * rand::random::<f64>())
}

/// Sleeps; fails with `cancelled` at once if the run is stopped.
pub(crate) async fn sleep(duration: Duration, cancel: &CancellationToken) -> Result<()> {
    tokio::select! {
        () = cancel.cancelled() => Err(Error::cancelled()),
        () = tokio::time::sleep(duration) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_query_is_repeated_after_the_deadline() {
        let window = Duration::from_millis(20);
        let cancel = CancellationToken::new;
        let wait = |window| Pace::new("it".into(), window, cancel(), Reporter::quiet());
        let mut asked = 0;
        let found = wait(window).find(async || {
            asked += 1;
            tokio::time::sleep(window * 3).await;
            Ok(None::<()>)
        });
        assert!(found.await.unwrap().is_none());
        assert_eq!(asked, 2);
        let first = wait(Duration::ZERO).find(async || Ok(Some(1))).await;
        assert_eq!(first.unwrap(), Some(1));
    }
}
