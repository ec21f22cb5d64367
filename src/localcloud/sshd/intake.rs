//! What a client sent and a program has not read yet.
//!
//! The protocol's library grants a client more room as soon as data arrives,
//! not when it is used. So the data is kept here: a little in memory, and when
//! that is full the connection is no longer read (its [`Gate`] closes), which
//! slows the client down. A program that does not read for a while must not
//! keep its own output waiting, whose acknowledgements come in on the same
//! connection: then the gate opens again and the rest goes to a file.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::Bytes;
use tokio::sync::Notify;

/// What is held in memory for one channel.
const MEMORY: usize = 1 << 20;
/// Below this a channel counts as having room again.
const ROOM: usize = MEMORY / 2;
/// What is held on disk for one channel; after that the client has to wait.
const DISK: u64 = 1 << 30;
/// What is read back from disk at once.
const CHUNK: usize = 1 << 18;

/// Whether the connection may be read; shared by its channels.
#[derive(Default)]
pub(super) struct Gate(Mutex<Levels>);

#[derive(Default)]
struct Levels {
    /// Channels whose memory is full.
    full: usize,
    /// Channels whose disk space is used up.
    overfull: usize,
    /// Reading goes on in spite of full channels.
    overflow: bool,
    /// Counts what the programs have read.
    progress: u64,
    reader: Option<Waker>,
}

/// What the connection's reader has to do.
pub(super) enum Passage {
    Open,
    /// Wait a little; if `progress` is the same then, let it overflow.
    Full {
        progress: u64,
    },
    /// Wait until it is open.
    Closed,
}

impl Gate {
    /// Whether to read; if not, the waker is called when that changes.
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

    /// Lets data in although no program reads it.
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

/// Counts one channel more or less.
fn step(count: &mut usize, before: bool, after: bool) {
    *count = *count + usize::from(after) - usize::from(before);
}

/// The data of one channel, on its way to one reader.
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
    /// What the gate was told last.
    level: Level,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Flow {
    #[default]
    Open,
    /// The client will send no more.
    Ended,
    /// Nobody will read any more.
    Abandoned,
}

#[derive(Clone, Copy, Default)]
struct Level {
    is_full: bool,
    is_overfull: bool,
}

/// The part that is kept in a nameless file, newer than what is in memory.
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

    /// Takes in what the client sent.
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

    /// The client will send no more.
    pub(super) fn end(&self) {
        let mut queue = lock(&self.queue);
        if queue.flow == Flow::Open {
            queue.flow = Flow::Ended;
        }
        self.changed.notify_one();
    }

    /// Nobody will read any more: what came and what comes is thrown away.
    pub(super) fn abandon(&self) {
        let mut queue = lock(&self.queue);
        queue.flow = Flow::Abandoned;
        queue.memory.clear();
        queue.in_memory = 0;
        queue.disk = None;
        self.report(&mut queue, 0);
    }

    /// The next piece; `None` at the end.
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

    /// Tells the gate when a level was passed, and how much was read.
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
            none => none.insert(Overflow::new()?),
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
        // Not in /tmp, which is memory.
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
    async fn what_overflows_comes_back_in_order() {
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
    fn an_abandoned_channel_holds_nothing_back() {
        let gate = Arc::new(Gate::default());
        let intake = Intake::new(Arc::clone(&gate));
        intake.push(&vec![0; 2 * MEMORY]).unwrap();
        assert!(!is_open(&gate));
        drop(intake);
        assert!(is_open(&gate));
    }
}
