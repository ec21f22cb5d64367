//! What ends a wait for the store: the user's first signal.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::elapsed::elapsed;

/// Whether the user wants this process to stop. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop(Arc<Mutex<CancellationToken>>);

/// Keeps a [`Wake`] ready for the signal, as long as it lives.
pub(super) type Alarm = Pin<Box<WaitForCancellationFutureOwned>>;

impl Stop {
    /// Stops with this token, in place of the one before.
    pub(super) fn follow(&self, token: CancellationToken) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }

    fn token(&self) -> CancellationToken {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns whether to stop.
    pub(super) fn is_wanted(&self) -> bool {
        self.token().is_cancelled()
    }

    /// Sleeps, at most until it is time to stop.
    pub(super) fn sleep(&self, at_most: Duration) {
        let waker = Waker::from(Arc::new(Sleeper(thread::current())));
        let token = self.token();
        let mut stopped = pin!(token.cancelled());
        let end = elapsed() + at_most;
        while stopped
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
        {
            let rest = end.saturating_sub(elapsed());
            if rest.is_zero() {
                return;
            }
            thread::park_timeout(rest);
        }
    }

    /// Wakes `sleeper` when it is time to stop, also if it is so now.
    pub(super) fn wakes(&self, sleeper: &Arc<impl Wake + Send + Sync + 'static>) -> Alarm {
        let waker = Waker::from(Arc::clone(sleeper));
        let mut alarm = Box::pin(self.token().cancelled_owned());
        if alarm
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            waker.wake();
        }
        alarm
    }
}

/// A thread in [`Stop::sleep`].
struct Sleeper(Thread);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_ends_a_sleep() {
        let stop = Stop::default();
        let token = CancellationToken::new();
        stop.follow(token.clone());
        thread::scope(|scope| {
            scope.spawn(|| stop.sleep(Duration::from_secs(3600)));
            token.cancel();
        });
        assert!(stop.is_wanted());
        // After it, nothing sleeps any more.
        stop.sleep(Duration::from_secs(3600));
        stop.follow(CancellationToken::new());
        let before = elapsed();
        stop.sleep(Duration::from_millis(20));
        assert!(elapsed() >= before + Duration::from_millis(20));
    }
}
