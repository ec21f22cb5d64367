//! Buffers the data that a client has sent and a program has not read yet.
//!
//! russh enlarges the client's window as soon as data arrives, not when a program
//! reads it, so the data has to be buffered here. A small buffer is in memory. When
//! it is full, the connection is no longer read (its [`Gate`] closes), which slows
//! the client down. However, the window updates for the program's output arrive on
//! the same connection, so a program that does not read for a while would also
//! block its output. The gate therefore opens again after a while, and further data
//! goes to a file.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::Bytes;
use tokio::sync::Notify;

/// How many bytes a channel buffers in memory.
const MEMORY: usize = 1 << 20;
/// Below this number of bytes a full channel has room again.
const ROOM: usize = MEMORY / 2;
/// How many bytes a channel buffers on disk. After that the client has to wait.
const DISK: u64 = 1 << 30;
/// How many bytes are read from disk at a time.
const CHUNK: usize = 1 << 18;

/// Decides whether the connection is read. Its channels share the gate.
#[derive(Default)]
pub(super) struct Gate(Mutex<Levels>);

#[derive(Default)]
struct Levels {
    /// The number of channels whose memory is full.
    full: usize,
    /// The number of channels whose disk space is used up.
    overfull: usize,
    /// Whether the connection is read although channels are full.
    overflow: bool,
    /// The number of bytes that programs have read.
    progress: u64,
    reader: Option<Waker>,
}

/// The state of a gate for the connection's reader.
pub(super) enum Passage {
    /// Read.
    Open,
    /// Wait for a short time. If `progress` has not changed then, call
    /// [`Gate::overflow`].
    Full { progress: u64 },
    /// Wait until the gate is open.
    Closed,
}

impl Gate {
    /// Returns whether to read. If the gate is not open, the waker is called when
    /// it opens.
    pub(super) fn passage(&self, reader: &Waker) -> Passage {
        let mut levels = lock(&self.0);
        if levels.is_open() {
            return Passage::Open;
        }
        levels.reader = Some(reader.clone());
        if levels.overfull > 0 {
            return Passage::Closed;
        }
        Passage::Full {
            progress: levels.progress,
        }
    }

    /// Opens the gate although channels are full.
    pub(super) fn overflow(&self) {
        lock(&self.0).overflow = true;
    }

    fn update(&self, change: impl FnOnce(&mut Levels)) {
        let mut levels = lock(&self.0);
        change(&mut levels);
        if levels.full == 0 {
            levels.overflow = false;
        }
        if levels.is_open()
            && let Some(reader) = levels.reader.take()
        {
            reader.wake();
        }
    }
}

impl Levels {
    fn is_open(&self) -> bool {
        self.overfull == 0 && (self.full == 0 || self.overflow)
    }
}

/// Adjusts the number of channels at a level when one channel changes.
fn step(count: &mut usize, before: bool, after: bool) {
    *count = *count + usize::from(after) - usize::from(before);
}

/// The buffered data of a channel, which has one reader.
pub(super) struct Intake {
    gate: Arc<Gate>,
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Default)]
struct Queue {
    memory: VecDeque<Bytes>,
    in_memory: usize,
    disk: Option<Overflow>,
    flow: Flow,
    /// The level that was last reported to the gate.
    level: Level,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Flow {
    #[default]
    Open,
    /// The client does not send further data.
    Ended,
    /// The program does not read further data.
    Abandoned,
}

#[derive(Clone, Copy, Default)]
struct Level {
    is_full: bool,
    is_overfull: bool,
}

/// The data in an unnamed file, which is newer than the data in memory.
struct Overflow {
    file: File,
    read: u64,
    written: u64,
}

impl Intake {
    pub(super) fn new(gate: Arc<Gate>) -> Self {
        Self {
            gate,
            queue: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Buffers data of the client.
    pub(super) fn push(&self, data: &[u8]) -> io::Result<()> {
        let mut queue = lock(&self.queue);
        if queue.flow != Flow::Open {
            return Ok(());
        }
        queue.push(data)?;
        self.report(&mut queue, 0);
        self.changed.notify_one();
        Ok(())
    }

    /// Marks the end of the client's data.
    pub(super) fn end(&self) {
        let mut queue = lock(&self.queue);
        if queue.flow == Flow::Open {
            queue.flow = Flow::Ended;
        }
        self.changed.notify_one();
    }

    /// Discards the buffered data and all further data, because nothing reads it.
    pub(super) fn abandon(&self) {
        let mut queue = lock(&self.queue);
        queue.flow = Flow::Abandoned;
        queue.memory.clear();
        queue.in_memory = 0;
        queue.disk = None;
        self.report(&mut queue, 0);
    }

    /// Waits for the next piece of data. Returns `None` at the end.
    pub(super) async fn next(&self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(data) = self.take()? {
                return Ok(Some(data));
            }
            if lock(&self.queue).flow != Flow::Open {
                return Ok(None);
            }
            self.changed.notified().await;
        }
    }

    fn take(&self) -> io::Result<Option<Bytes>> {
        let mut queue = lock(&self.queue);
        let data = queue.pop()?;
        if let Some(data) = &data {
            self.report(&mut queue, data.len());
        }
        Ok(data)
    }

    /// Reports to the gate the new level and how many bytes were read.
    fn report(&self, queue: &mut Queue, read: usize) {
        let limit = if queue.level.is_full { ROOM } else { MEMORY };
        let level = Level {
            is_full: queue.disk.is_some() || queue.in_memory >= limit,
            is_overfull: queue.on_disk() >= DISK,
        };
        let before = std::mem::replace(&mut queue.level, level);
        self.gate.update(|levels| {
            step(&mut levels.full, before.is_full, level.is_full);
            step(&mut levels.overfull, before.is_overfull, level.is_overfull);
            levels.progress = levels.progress.wrapping_add(read as u64);
        });
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl Queue {
    fn push(&mut self, data: &[u8]) -> io::Result<()> {
        if self.disk.is_none() && self.in_memory < MEMORY {
            self.memory.push_back(Bytes::copy_from_slice(data));
            self.in_memory += data.len();
            return Ok(());
        }
        let disk = match &mut self.disk {
            Some(disk) => disk,
            empty => empty.insert(Overflow::new()?),
        };
        disk.file.write_all_at(data, disk.written)?;
        disk.written += data.len() as u64;
        Ok(())
    }

    fn pop(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(data) = self.memory.pop_front() {
            self.in_memory -= data.len();
            return Ok(Some(data));
        }
        let Some(disk) = &mut self.disk else {
            return Ok(None);
        };
        let data = disk.next()?;
        if disk.read == disk.written {
            self.disk = None;
        }
        Ok(Some(data))
    }

    fn on_disk(&self) -> u64 {
        self.disk.as_ref().map_or(0, |disk| disk.written)
    }
}

impl Overflow {
    fn new() -> io::Result<Self> {
        // Not in /tmp, which is in memory.
        let file = tempfile::tempfile_in("/var/tmp").or_else(|_| tempfile::tempfile())?;
        Ok(Self {
            file,
            read: 0,
            written: 0,
        })
    }

    fn next(&mut self) -> io::Result<Bytes> {
        let left = usize::try_from(self.written - self.read).unwrap_or(CHUNK);
        let mut data = vec![0; left.min(CHUNK)];
        self.file.read_exact_at(&mut data, self.read)?;
        self.read += data.len() as u64;
        Ok(data.into())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_open(gate: &Gate) -> bool {
        matches!(gate.passage(Waker::noop()), Passage::Open)
    }

    #[tokio::test]
    async fn the_gate_closes_when_full_and_opens_when_read() {
        let gate = Arc::new(Gate::default());
        let intake = Intake::new(Arc::clone(&gate));
        let piece = vec![7; MEMORY / 4];
        for _ in 0..3 {
            intake.push(&piece).unwrap();
        }
        assert!(is_open(&gate));
        intake.push(&piece).unwrap();
        assert!(!is_open(&gate));
        for _ in 0..2 {
            intake.next().await.unwrap();
        }
        assert!(!is_open(&gate));
        intake.next().await.unwrap();
        assert!(is_open(&gate));
    }

    #[tokio::test]
    async fn overflowed_data_is_read_in_order() {
        let gate = Arc::new(Gate::default());
        let intake = Intake::new(Arc::clone(&gate));
        let sent: Vec<u8> = (0..=250).cycle().take(5 * MEMORY).collect();
        for piece in sent.chunks(30_000) {
            intake.push(piece).unwrap();
            gate.overflow();
        }
        intake.end();
        let mut received = Vec::new();
        while let Some(data) = intake.next().await.unwrap() {
            received.extend_from_slice(&data);
        }
        assert!(received == sent);
        assert!(is_open(&gate));
        assert!(!lock(&gate.0).overflow);
    }

    #[test]
    fn an_abandoned_channel_does_not_keep_the_gate_closed() {
        let gate = Arc::new(Gate::default());
        let intake = Intake::new(Arc::clone(&gate));
        intake.push(&vec![0; 2 * MEMORY]).unwrap();
        assert!(!is_open(&gate));
        drop(intake);
        assert!(is_open(&gate));
    }
}
