//! How many objects are transferred at the same time.
//!
//! S3 needs 20 ms or more for each small object, whatever its distance, so many are on
//! their way at once. From a distant region each takes longer, and more of them cost
//! only connections. Large objects wait for memory: see [`crate::clients::s3`].

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::Semaphore;

/// How many objects are transferred at the same time.
const USUAL: usize = 64;

/// How many are if S3 is distant.
const DISTANT: usize = 128;

/// After so many transfers, the fastest one shows whether S3 is distant. The others may
/// have waited for this machine.
const SAMPLE: usize = 32;

/// S3 is distant if no transfer was faster.
const LONG: Duration = Duration::from_millis(40);

/// Performs transfers, and returns their results as they end.
pub(super) fn side_by_side<F: Future>(
    transfers: impl IntoIterator<Item = F>,
) -> impl Stream<Item = F::Output> {
    let places = Arc::new((Semaphore::new(USUAL), Mutex::new(Pace::default())));
    let transfers = transfers.into_iter().map(move |transfer| {
        let places = Arc::clone(&places);
        async move {
            let (free, pace) = &*places;
            // An error means that there are no limits any more.
            let _place = free.acquire().await;
            let began = Instant::now();
            let done = transfer.await;
            let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
            free.add_permits(pace.more_after(began.elapsed()));
            done
        }
    });
    stream::iter(transfers).buffer_unordered(DISTANT)
}

/// How long the first transfers took.
#[derive(Debug, Default)]
struct Pace {
    ended: usize,
    fastest: Option<Duration>,
}

impl Pace {
    /// Takes the time of a transfer. Returns how many more may now run.
    fn more_after(&mut self, took: Duration) -> usize {
        self.ended += 1;
        let fastest = self.fastest.map_or(took, |fastest| fastest.min(took));
        self.fastest = Some(fastest);
        if self.ended == SAMPLE && fastest > LONG {
            DISTANT - USUAL
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn only_a_distance_that_all_transfers_show_widens() {
        let more = |first: u64, others: u64| {
            let mut pace = Pace::default();
            let first = pace.more_after(Duration::from_millis(first));
            let others = (0..100).map(|_| pace.more_after(Duration::from_millis(others)));
            first + others.sum::<usize>()
        };
        assert_eq!(more(60, 70), DISTANT - USUAL);
        assert_eq!(more(3, 70), 0);
        assert_eq!(more(60, 30), 0);
    }

    #[tokio::test]
    async fn all_transfers_end_and_only_so_many_run() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let transfers = (0..300).map(async |n| {
            let now = running.fetch_add(1, Ordering::Relaxed) + 1;
            most.fetch_max(now, Ordering::Relaxed);
            tokio::task::yield_now().await;
            running.fetch_sub(1, Ordering::Relaxed);
            n
        });
        let mut done: Vec<usize> = side_by_side(transfers).collect().await;
        done.sort_unstable();
        assert!(done.into_iter().eq(0..300));
        assert_eq!(most.into_inner(), USUAL);
    }
}
