//! Bytes of a transfer, counted.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Reporter, text};

/// How often a long transfer says where it is when no terminal shows it.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// How often a bar learns of it: a transfer has thousands of pieces a second.
const GRAIN: Duration = Duration::from_millis(50);

/// Counts what has gone through. Cheap to clone.
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
    spoke: Instant,
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
                spoke: now,
            }),
        }))
    }

    /// So many more bytes are through.
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
        if counted.report.task.is_none() && now.duration_since(count.spoke) >= HEARTBEAT {
            count.spoke = now;
            let (what, done) = (&counted.what, text::bytes(count.done));
            counted.report.info(format!(
                "{what}: {done} of {} after {}",
                text::bytes(counted.total),
                text::duration(now.duration_since(count.began))
            ));
        }
    }

    /// Counts what is read.
    pub fn reading<R: Read>(&self, from: R) -> Metered<R> {
        Metered {
            inner: from,
            meter: self.clone(),
        }
    }

    /// Counts what is written.
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
