//! Package files on disk, and the downloads that write them.
//!
//! A file contains the length of the head in four bytes, the head as JSON, and the
//! body. It is written under a temporary name and renamed when it is complete, so
//! a file with its final name is always complete.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tokio::sync::watch;

use super::body;

/// The maximum length of a head in bytes. A longer head means that the file is
/// damaged.
const MAX_HEAD: u32 = 64 * 1024;
/// The end of the temporary name of a file.
const UNFINISHED: &str = ".part";
/// How long no process writes to a download that it still needs.
const STALLS: Duration = Duration::from_secs(15 * 60);

/// The part of a response's head that is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) url: String,
    pub(super) length: u64,
    pub(super) content_type: Option<String>,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
}

/// A file that can be read, also while it is being downloaded.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) head: Head,
    file: Arc<File>,
    /// The offset of the body in the file.
    start: u64,
    progress: watch::Receiver<Progress>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The number of bytes of the body that have been downloaded.
    Growing(u64),
    Complete,
    Failed,
}

/// The files of one directory.
pub(super) struct Store {
    directory: PathBuf,
    limit: u64,
    downloads: Mutex<HashMap<String, Entry>>,
}

impl Store {
    /// Opens the directory and removes the downloads that a process which has
    /// ended did not finish. Another process may use the directory: a rehearsal
    /// shares the packages of the user's local cloud.
    pub(super) fn open(directory: PathBuf, limit: u64) -> io::Result<Self> {
        let failed = |e: io::Error| {
            let reason = format!("cannot cache packages in `{}`: {e}", directory.display());
            io::Error::new(e.kind(), reason)
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(failed)?;
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.to_string_lossy().ends_with(UNFINISHED) && is_abandoned(&path) {
                remove(&path);
            }
        }
        Ok(Self {
            directory,
            limit,
            downloads: Mutex::default(),
        })
    }

    /// Whether a file of this size may be cached. A file that fills more than half
    /// of the cache would displace too many others.
    pub(super) fn has_room_for(&self, length: u64) -> bool {
        length <= self.limit / 2
    }

    /// Returns the file of a URL if it is cached or being downloaded.
    pub(super) fn get(&self, url: &str) -> Option<Entry> {
        let key = key(url);
        if let Some(entry) = self.downloads().get(&key) {
            return Some(entry.clone());
        }
        let path = self.directory.join(key);
        match read(&path) {
            Ok(entry) if entry.head.url == url => Some(entry),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Ok(_) => None,
            Err(e) => {
                log::warn!("proxy: removed a damaged package from the cache: {e}");
                remove(&path);
                None
            }
        }
    }

    /// Starts to save a body. The entry can be read at once.
    pub(super) fn save(self: &Arc<Self>, head: Head, body: Incoming) -> io::Result<Entry> {
        let key = key(&head.url);
        let json = serde_json::to_vec(&head)?;
        let mut file = tempfile::Builder::new()
            .prefix(&key)
            .suffix(UNFINISHED)
            .tempfile_in(&self.directory)?;
        let length = u32::try_from(json.len()).map_err(io::Error::other)?;
        file.write_all(&length.to_be_bytes())?;
        file.write_all(&json)?;
        let (sender, progress) = watch::channel(Progress::Growing(0));
        let entry = Entry {
            head,
            start: u64::from(length) + 4,
            file: Arc::new(file.reopen()?),
            progress,
        };
        self.downloads().insert(key.clone(), entry.clone());
        let store = Arc::clone(self);
        let length = entry.head.length;
        tokio::spawn(async move {
            let result = store.fill(&key, file, body, length, &sender).await;
            // The file has its final name before its download is removed from the
            // map, so that `get` finds one of them at any time.
            store.downloads().remove(&key);
            sender.send_replace(match result {
                Ok(()) => Progress::Complete,
                Err(e) => {
                    log::warn!("proxy: cannot complete a download: {e}");
                    Progress::Failed
                }
            });
            store.make_room();
        });
        Ok(entry)
    }

    async fn fill(
        &self,
        key: &str,
        mut file: NamedTempFile,
        mut body: Incoming,
        length: u64,
        progress: &watch::Sender<Progress>,
    ) -> io::Result<()> {
        let mut written = 0;
        while let Some(frame) = body::next(&mut body).await? {
            let Ok(data) = frame.into_data() else {
                continue;
            };
            file.write_all(&data)?;
            written += data.len() as u64;
            progress.send_replace(Progress::Growing(written));
        }
        if written != length {
            let reason = format!("received {written} of {length} bytes");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
        }
        file.persist(self.directory.join(key))?;
        Ok(())
    }

    /// Removes the oldest files until the cache is within its limit.
    fn make_room(&self) {
        let mut files = match self.files() {
            Ok(files) => files,
            Err(e) => {
                log::warn!("proxy: cannot list the cached packages: {e}");
                return;
            }
        };
        files.sort();
        let mut size: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (_, length, path) in files {
            if size <= self.limit {
                return;
            }
            remove(&path);
            size -= length;
        }
    }

    fn files(&self) -> io::Result<Vec<(SystemTime, u64, PathBuf)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(UNFINISHED) {
                continue;
            }
            // A concurrent download may have removed the file to make room.
            if let Ok(found) = path.metadata() {
                files.push((found.modified()?, found.len(), path));
            }
        }
        Ok(files)
    }

    fn downloads(&self) -> std::sync::MutexGuard<'_, HashMap<String, Entry>> {
        self.downloads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Whether the whole file has been downloaded.
    pub(super) fn is_complete(&self) -> bool {
        *self.progress.borrow() == Progress::Complete
    }

    /// Reads at most `most` bytes from an offset. Waits for bytes that have not
    /// been downloaded yet. Returns no bytes at the end of the body.
    pub(super) async fn read(&mut self, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        loop {
            let available = match *self.progress.borrow_and_update() {
                Progress::Growing(written) => written,
                Progress::Complete => self.head.length,
                Progress::Failed => return Err(io::ErrorKind::UnexpectedEof.into()),
            };
            if offset < available || offset >= self.head.length {
                return self.read_now(offset, most, available).await;
            }
            if self.progress.changed().await.is_err() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn read_now(&self, offset: u64, most: usize, available: u64) -> io::Result<Vec<u8>> {
        let length = available.saturating_sub(offset).min(most as u64);
        let mut data = vec![0; usize::try_from(length).unwrap_or(most)];
        let (file, start) = (Arc::clone(&self.file), self.start);
        tokio::task::spawn_blocking(move || {
            file.read_exact_at(&mut data, start + offset)?;
            Ok(data)
        })
        .await?
    }
}

/// Opens a complete file.
fn read(path: &Path) -> io::Result<Entry> {
    let invalid = |reason: &str| {
        let reason = format!("`{}`: {reason}", path.display());
        io::Error::new(io::ErrorKind::InvalidData, reason)
    };
    let file = File::open(path)?;
    let mut length = [0; 4];
    file.read_exact_at(&mut length, 0)?;
    let length = u32::from_be_bytes(length);
    if length > MAX_HEAD {
        return Err(invalid("the head is too long"));
    }
    let mut json = vec![0; length as usize];
    file.read_exact_at(&mut json, 4)?;
    let head: Head = serde_json::from_slice(&json).map_err(|_| invalid("the head is damaged"))?;
    let start = u64::from(length) + 4;
    if file.metadata()?.len() != start + head.length {
        return Err(invalid("the file is incomplete"));
    }
    let (_, progress) = watch::channel(Progress::Complete);
    Ok(Entry {
        head,
        file: Arc::new(file),
        start,
        progress,
    })
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            log::warn!("proxy: cannot remove `{}`: {e}", path.display());
        }
        _ => {}
    }
}

/// Returns whether no process has written to a file for a long time.
fn is_abandoned(path: &Path) -> bool {
    let modified = path.metadata().and_then(|found| found.modified());
    modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > STALLS))
}

/// Returns the name of a URL's file.
fn key(url: &str) -> String {
    hex::encode(Sha256::digest(url))
}
