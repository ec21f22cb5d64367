//! What is below a directory of this machine.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};

use super::Root;
use crate::error::{Error, Result};

/// What an entry of a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link, wherever it leads.
    Link,
    /// A socket, a pipe or a device.
    Other,
}

/// What the system says of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct About {
    kind: Kind,
    /// Its permissions, without what would make a file another user's program
    /// elsewhere.
    pub(super) mode: u32,
    pub(super) size: u64,
    /// Seconds and nanoseconds.
    pub(super) changed: (i64, i64),
    /// What it takes on the disk.
    stored: u64,
}

impl About {
    pub(super) fn of_stat(stat: &Stat) -> Self {
        let stored = u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        Self {
            kind: match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => Kind::Directory,
                FileType::RegularFile => Kind::File,
                FileType::Symlink => Kind::Link,
                _ => Kind::Other,
            },
            mode: stat.st_mode & 0o777,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            changed: (
                stat.st_mtime,
                i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
            ),
            stored,
        }
    }

    pub(super) fn from_metadata(about: &Metadata) -> Self {
        Self {
            kind: match about.file_type() {
                kind if kind.is_dir() => Kind::Directory,
                kind if kind.is_file() => Kind::File,
                kind if kind.is_symlink() => Kind::Link,
                _ => Kind::Other,
            },
            mode: about.mode() & 0o777,
            size: about.len(),
            changed: (about.mtime(), about.mtime_nsec()),
            stored: about.blocks() * 512,
        }
    }

    pub(super) fn has_holes(&self) -> bool {
        self.stored < self.size
    }

    /// Whether a directory keeps its own owner from working in it: it gets this
    /// mode when all is in its place.
    pub(super) fn is_closed(&self) -> bool {
        self.kind == Kind::Directory && is_closed(self.mode)
    }
}

/// Whether these permissions keep a directory's owner from working in it.
pub(super) fn is_closed(mode: u32) -> bool {
    mode & 0o700 != 0o700
}

/// One entry below a directory.
#[derive(Debug)]
pub struct Entry {
    /// Where it is.
    pub path: PathBuf,
    /// Its path below the directory.
    pub below: PathBuf,
    /// What it is; links are not followed.
    pub kind: Kind,
    pub(super) about: About,
}

impl Entry {
    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.about.size
    }
}

/// Everything below a directory, each directory before what it holds. No link is
/// followed, though one takes the place of a directory meanwhile.
///
/// Throws `not_found`, `denied` for what cannot be read.
pub fn walk(directory: &Path) -> Result<Vec<Entry>> {
    let unreadable = |below: &Path, e: &std::io::Error| {
        let path = if below.as_os_str().is_empty() {
            directory.to_owned()
        } else {
            directory.join(below)
        };
        Error::io("read", &path, e)
    };
    let root = Root::open(directory).map_err(|e| unreadable(Path::new(""), &e))?;
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(folder) = open.pop() {
        for (name, about) in root.list(&folder).map_err(|e| unreadable(&folder, &e))? {
            let below = folder.join(name);
            if about.kind == Kind::Directory {
                open.push(below.clone());
            }
            found.push(Entry {
                path: directory.join(&below),
                below,
                kind: about.kind,
                about,
            });
        }
    }
    found.sort_by(|a, b| a.below.cmp(&b.below));
    Ok(found)
}

/// A line for each thing below a directory, which tells one content of it from
/// another: mode, and for files size and time of change; of a link those of what
/// it leads to.
pub fn state(directory: &Path) -> Result<Vec<String>> {
    let line = |entry: Entry| {
        let about =
            fs::metadata(&entry.path).map_or(entry.about, |about| About::from_metadata(&about));
        let (below, mode) = (entry.below.display(), about.mode);
        // A directory's own time changes with every temporary file in it.
        if about.kind == Kind::Directory {
            return format!("{below} {mode:o}");
        }
        let (seconds, nanoseconds) = about.changed;
        format!("{below} {mode:o} {} {seconds}.{nanoseconds}", about.size)
    };
    Ok(walk(directory)?.into_iter().map(line).collect())
}
