//! Lists everything below a directory of this machine.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};

use super::Root;
use crate::error::{Error, Result};

/// The kind of a directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link, whatever its target.
    Link,
    /// A socket, a pipe or a device.
    Other,
}

/// The metadata of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct About {
    kind: Kind,
    /// The permissions, without the setuid, setgid and sticky bits, which would
    /// have another meaning on another machine.
    pub(super) mode: u32,
    pub(super) size: u64,
    /// The modification time, in seconds and nanoseconds since 1970.
    pub(super) changed: (i64, i64),
    /// The size on the disk in bytes.
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

    /// Returns whether this is a directory that its owner cannot write to. It
    /// gets its mode once all its entries are in place.
    pub(super) fn is_closed(&self) -> bool {
        self.kind == Kind::Directory && is_closed(self.mode)
    }
}

/// Returns whether these permissions keep a directory's owner from working in
/// it.
pub(super) fn is_closed(mode: u32) -> bool {
    mode & 0o700 != 0o700
}

/// An entry below a directory.
#[derive(Debug)]
pub struct Entry {
    /// The full path.
    pub path: PathBuf,
    /// The path below the directory.
    pub below: PathBuf,
    /// The kind of the entry; links are not followed.
    pub kind: Kind,
    pub(super) about: About,
}

impl Entry {
    /// Returns the size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.about.size
    }

    /// Returns whether this is a file with parts that take no space on the disk.
    #[must_use]
    pub fn has_holes(&self) -> bool {
        self.kind == Kind::File && self.about.has_holes()
    }
}

/// Lists everything below a directory, each directory before its entries. Links
/// are not followed, even if one replaces a directory in the meantime.
///
/// Throws `not_found`, `denied` if something cannot be read.
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

/// Returns a line for each entry below a directory. The lines differ if the
/// contents differ: they contain the mode, and for files the size and
/// modification time. For a link, these are of its target.
pub fn state(directory: &Path) -> Result<Vec<String>> {
    let line = |entry: Entry| {
        let about =
            fs::metadata(&entry.path).map_or(entry.about, |about| About::from_metadata(&about));
        let (below, mode) = (entry.below.display(), about.mode);
        // A directory's own modification time changes with every temporary file
        // in it.
        if about.kind == Kind::Directory {
            return format!("{below} {mode:o}");
        }
        let (seconds, nanoseconds) = about.changed;
        format!("{below} {mode:o} {} {seconds}.{nanoseconds}", about.size)
    };
    Ok(walk(directory)?.into_iter().map(line).collect())
}
