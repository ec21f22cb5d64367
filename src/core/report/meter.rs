//! Counts the bytes of a transfer.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Reporter, text};

/// How often the progress of a long transfer is logged if there is no terminal.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// How often the bar is updated, because a transfer has thousands of chunks a
/// second.
const GRAIN: Duration = Duration::from_millis(50);

/// A counter of transferred bytes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Meter(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    report: Reporter,
    what: String,
    total: u64,
    count: Mutex<Count>,
}

#[derive(Debug)]
struct Count {
    done: u64,
    began: Instant,
    shown: Instant,
    logged: Instant,
}

impl Meter {
    pub(super) fn new(report: Reporter, what: String, total: u64) -> Self {
        let now = Instant::now();
        Self(Arc::new(Counted {
            report,
            what,
            total,
            count: Mutex::new(Count {
                done: 0,
                began: now,
                shown: now,
                logged: now,
            }),
        }))
    }

    /// Adds transferred bytes.
    pub fn add(&self, bytes: u64) {
        let counted = &*self.0;
        let mut count = counted.count.lock().unwrap_or_else(PoisonError::into_inner);
        count.done = count.done.saturating_add(bytes);
        let now = Instant::now();
        if now.duration_since(count.shown) >= GRAIN {
            count.shown = now;
            if let Some(task) = &counted.report.task {
                task.meter(count.done, counted.total);
            }
        }
        if counted.report.task.is_none() && now.duration_since(count.logged) >= HEARTBEAT {
            count.logged = now;
            let (what, done) = (&counted.what, text::bytes(count.done));
            counted.report.info(format!(
                "{what}: {done} of {} after {}",
                text::bytes(counted.total),
                text::duration(now.duration_since(count.began))
            ));
        }
    }

    /// Wraps a reader, to count its bytes.
    pub fn reading<R: Read>(&self, from: R) -> Metered<R> {
        Metered {
            inner: from,
            meter: self.clone(),
        }
    }

    /// Wraps a writer, to count its bytes.
    pub fn writing<W: Write>(&self, to: W) -> Metered<W> {
        Metered {
            inner: to,
            meter: self.clone(),
        }
    }
}

/// A reader or writer whose bytes are counted.
#[derive(Debug)]
pub struct Metered<T> {
    inner: T,
    meter: Meter,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.meter.add(n as u64);
        Ok(n)
    }
}

impl<W: Write> Write for Metered<W> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let n = self.inner.write(buffer)?;
        self.meter.add(n as u64);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
