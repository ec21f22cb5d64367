//! Content on disk, and content that is being written to disk.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use s3s::crypto::{Checksum as _, Md5};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use super::super::checksum::{Algorithm, Checksum, Hasher};
use super::super::failure::{Result, internal};
use super::files;

/// How many bytes the writer and the digests process at a time, and how many such
/// batches may wait for each of them.
const BATCH: usize = 1 << 20;
const QUEUE: usize = 3;

/// A file of content. The file is deleted when its last reference is dropped,
/// unless it is kept. This handles an interrupted upload, and an object that is
/// overwritten while a client reads it.
#[derive(Debug)]
pub(in super::super) struct Blob {
    dir: Arc<Path>,
    name: String,
    kept: AtomicBool,
}

impl Blob {
    fn new(dir: &Arc<Path>) -> Self {
        Self {
            dir: Arc::clone(dir),
            name: files::unique_name(),
            kept: AtomicBool::new(false),
        }
    }

    /// Returns the existing file that a document names.
    pub(super) fn existing(dir: &Arc<Path>, name: &str) -> Self {
        Self {
            dir: Arc::clone(dir),
            name: name.to_owned(),
            kept: AtomicBool::new(true),
        }
    }

    pub(in super::super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.join(&self.name)
    }

    pub(super) fn keep(&self) {
        self.kept.store(true, Ordering::Release);
    }

    pub(super) fn discard(&self) {
        self.kept.store(false, Ordering::Release);
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Acquire) {
            files::discard(&self.path());
        }
    }
}

/// Content on disk, and the checksums that were calculated while it arrived.
pub(in super::super) struct Received {
    pub(in super::super) blob: Arc<Blob>,
    pub(in super::super) size: u64,
    pub(in super::super) md5: [u8; 16],
    pub(in super::super) checksum: Checksum,
    /// The checksum in the other algorithm that was asked for.
    pub(in super::super) other: Option<Checksum>,
}

impl Received {
    /// Returns the entity tag of content that was uploaded in one request.
    pub(in super::super) fn etag(&self) -> String {
        hex::encode(self.md5)
    }

    /// Returns the checksum in this algorithm, if it was calculated.
    pub(in super::super) fn checksum_in(&self, algorithm: Algorithm) -> Option<&Checksum> {
        let mut calculated = [Some(&self.checksum), self.other.as_ref()]
            .into_iter()
            .flatten();
        calculated.find(|checksum| checksum.algorithm == algorithm)
    }
}

/// Writes content to a new file in `dir`. Receiving, writing and digesting run
/// concurrently. A slow client does not occupy a thread. The checksum is
/// calculated in `algorithm`, and also in the `other` one.
pub(in super::super) async fn receive(
    dir: &Arc<Path>,
    content: impl Stream<Item = Result<Bytes>>,
    algorithm: Algorithm,
    other: Option<Algorithm>,
) -> Result<Received> {
    let mut content = pin!(content);
    let other = other.filter(|other| *other != algorithm);
    let mut pipeline = Pipeline::new(dir, algorithm, other);
    while let Some(piece) = content.next().await {
        pipeline.push(piece?).await;
    }
    pipeline.finish().await
}

struct Pipeline {
    blob: Arc<Blob>,
    size: u64,
    batch: Vec<Bytes>,
    batch_size: usize,
    writing: Stage<Writer>,
    digesting: Stage<Digests>,
}

impl Pipeline {
    fn new(dir: &Arc<Path>, algorithm: Algorithm, other: Option<Algorithm>) -> Self {
        let blob = Arc::new(Blob::new(dir));
        let writer = Writer {
            blob: Arc::clone(&blob),
            file: None,
        };
        Self {
            blob,
            size: 0,
            batch: Vec::new(),
            batch_size: 0,
            writing: Stage::new(writer, Writer::write),
            digesting: Stage::new(Digests::new(algorithm, other), Digests::update),
        }
    }

    async fn push(&mut self, piece: Bytes) {
        self.size += piece.len() as u64;
        self.batch_size += piece.len();
        self.batch.push(piece);
        if self.batch_size >= BATCH {
            self.flush().await;
        }
    }

    async fn flush(&mut self) {
        let batch: Arc<[Bytes]> = std::mem::take(&mut self.batch).into();
        self.batch_size = 0;
        self.writing.push(Arc::clone(&batch)).await;
        self.digesting.push(batch).await;
    }

    async fn finish(mut self) -> Result<Received> {
        // An empty object needs a file, too.
        if !self.batch.is_empty() || self.size == 0 {
            self.flush().await;
        }
        self.writing.finish().await?;
        let digests = self.digesting.finish().await?;
        Ok(Received {
            blob: self.blob,
            size: self.size,
            md5: digests.md5.finalize(),
            checksum: digests.checksum.finish(),
            other: digests.other.map(Hasher::finish),
        })
    }
}

/// A worker that processes batches one after the other on threads that may block.
struct Stage<T> {
    queue: mpsc::Sender<Arc<[Bytes]>>,
    work: JoinHandle<io::Result<T>>,
}

impl<T: Send + 'static> Stage<T> {
    fn new(mut state: T, step: fn(&mut T, &[Bytes]) -> io::Result<()>) -> Self {
        let (queue, mut batches) = mpsc::channel::<Arc<[Bytes]>>(QUEUE);
        let work = tokio::spawn(async move {
            while let Some(batch) = batches.recv().await {
                let stepped = spawn_blocking(move || step(&mut state, &batch).map(|()| state));
                state = stepped.await.map_err(io::Error::other)??;
            }
            Ok(state)
        });
        Self { queue, work }
    }

    /// Queues a batch. If the worker has failed, [`Self::finish`] returns its error.
    async fn push(&self, batch: Arc<[Bytes]>) {
        let _ = self.queue.send(batch).await;
    }

    async fn finish(self) -> Result<T> {
        drop(self.queue);
        let finished = self.work.await.map_err(io::Error::other).flatten();
        finished.map_err(|error| internal("store content", &error))
    }
}

/// Writes a blob's file. It holds the blob, so that the file of an interrupted
/// upload is deleted only after the last write.
struct Writer {
    blob: Arc<Blob>,
    file: Option<File>,
}

impl Writer {
    fn write(&mut self, batch: &[Bytes]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            empty => empty.insert(files::create(&self.blob.path())?),
        };
        batch.iter().try_for_each(|piece| file.write_all(piece))
    }
}

struct Digests {
    md5: Md5,
    checksum: Hasher,
    other: Option<Hasher>,
}

impl Digests {
    fn new(algorithm: Algorithm, other: Option<Algorithm>) -> Self {
        Self {
            md5: Md5::new(),
            checksum: Hasher::new(algorithm),
            other: other.map(Hasher::new),
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "the signature of a stage's step")]
    fn update(&mut self, batch: &[Bytes]) -> io::Result<()> {
        for piece in batch {
            self.md5.update(piece);
            self.checksum.update(piece);
            if let Some(other) = &mut self.other {
                other.update(piece);
            }
        }
        Ok(())
    }
}
