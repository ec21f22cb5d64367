//! The file `owner` beside the ledger: its owner and its number of commits. With
//! this file, autorun recognizes a ledger that was lost, emptied or replaced by an
//! older one.
//!
//! The ledger counts each commit itself. The number is written to this file only
//! when the commit is durable, so it is never larger than the number in the
//! ledger, and a crash between the two writes is harmless.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::ids::is_owner;
use crate::error::{Error, Result};

/// The record about the ledger outside of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WitnessRecord {
    /// The number of commits, including those in the `-wal`.
    pub(super) written: u64,
    /// The number of commits in the main file.
    pub(super) in_file: u64,
    /// The main file after its last complete checkpoint.
    pub(super) file: FileStamp,
}

/// Metadata that changes whenever a file changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FileStamp {
    inode: u64,
    size: u64,
    modified: i128,
    changed: i128,
}

impl FileStamp {
    /// Reads the metadata of a file. Returns `None` if it is not accessible.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let about = std::fs::symlink_metadata(path).ok()?;
        let time = |seconds: i64, nanoseconds: i64| {
            i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
        };
        Some(Self {
            inode: about.ino(),
            size: about.size(),
            modified: time(about.mtime(), about.mtime_nsec()),
            changed: time(about.ctime(), about.ctime_nsec()),
        })
    }
}

/// The open file.
#[derive(Debug)]
pub(super) struct Witness {
    path: PathBuf,
    file: File,
    /// The ledger's ID.
    pub(super) owner: String,
    /// The record at the time of opening; `None` in a file of an older version.
    pub(super) noted: Option<WitnessRecord>,
}

impl Witness {
    /// Opens the file. Returns `None` if it does not exist.
    ///
    /// Fails if it is not readable or damaged.
    pub(super) fn open(path: &Path) -> Result<Option<Self>> {
        let mut file = match writable(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(path, &e)),
        };
        let mut text = String::new();
        file.read_to_string(&mut text)
            .map_err(|e| failed(path, &e))?;
        let (owner, noted) = parse(&text).ok_or_else(|| {
            Error::internal(format!(
                "the file `{}`, which names the ledger's owner, is damaged",
                path.display()
            ))
            .hint("restore it from a backup, or remove it to continue with the ledger as it is")
        })?;
        Ok(Some(Self {
            path: path.to_owned(),
            file,
            owner,
            noted,
        }))
    }

    /// Creates the file, or replaces one of an older version.
    pub(super) fn create(path: &Path, owner: &str, noted: WitnessRecord) -> Result<Self> {
        let write = || {
            let directory = path.parent().unwrap_or(Path::new("."));
            let mut file = tempfile::Builder::new()
                .prefix(".owner-")
                .tempfile_in(directory)?;
            file.write_all(text(owner, noted).as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(path).map_err(|e| e.error)?;
            writable(path)
        };
        Ok(Self {
            file: write().map_err(|e| failed(path, &e))?,
            path: path.to_owned(),
            owner: owner.to_owned(),
            noted: Some(noted),
        })
    }

    /// Updates the record. Numbers never decrease, because another process may have
    /// recorded more commits.
    pub(super) fn note(&self, change: impl Fn(&mut WitnessRecord)) -> Result<()> {
        self.try_note(&change).map_err(|e| failed(&self.path, &e))
    }

    fn try_note(&self, change: &impl Fn(&mut WitnessRecord)) -> io::Result<()> {
        if self.file.metadata()?.nlink() == 0 {
            // Another process has replaced the file. If the user has removed it,
            // the next start creates it again.
            return match writable(&self.path) {
                Ok(file) => note_in(&file, change),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(e) => Err(e),
            };
        }
        note_in(&self.file, change)
    }
}

fn note_in(file: &File, change: &impl Fn(&mut WitnessRecord)) -> io::Result<()> {
    file.lock()?;
    // 64 bytes are more than the owner needs.
    let mut current = vec![0; text("", WitnessRecord::default()).len() + 64];
    let length = file.read_at(&mut current, 0)?;
    let current = String::from_utf8_lossy(&current[..length]).into_owned();
    let written = match parse(&current) {
        Some((owner, Some(noted))) => {
            let mut next = noted;
            change(&mut next);
            next.written = next.written.max(noted.written);
            next.in_file = next.in_file.max(noted.in_file);
            // The length does not change and fits in a sector, so a crash leaves
            // the old or the new content.
            file.write_all_at(text(&owner, next).as_bytes(), 0)
        }
        _ => Err(io::Error::from(io::ErrorKind::InvalidData)),
    };
    file.unlock()?;
    written
}

/// Formats the content. All numbers are padded, so that the length never changes.
fn text(owner: &str, noted: WitnessRecord) -> String {
    let FileStamp {
        inode,
        size,
        modified,
        changed,
    } = noted.file;
    format!(
        "{owner}\ncommits {:020}\nin ledger.db {:020}\nleft as {inode:020} {size:020} \
         {modified:030} {changed:030}\n",
        noted.written, noted.in_file
    )
}

fn parse(text: &str) -> Option<(String, Option<WitnessRecord>)> {
    let mut lines = text.lines();
    let owner = lines.next().map(str::trim).filter(|id| is_owner(id))?;
    let Some(written) = lines.next() else {
        return Some((owner.to_owned(), None));
    };
    let written = written.strip_prefix("commits ")?.parse().ok()?;
    let in_file = lines.next()?.strip_prefix("in ledger.db ")?.parse().ok()?;
    let mut left = lines.next()?.strip_prefix("left as ")?.split(' ');
    let file = FileStamp {
        inode: left.next()?.parse().ok()?,
        size: left.next()?.parse().ok()?,
        modified: left.next()?.parse().ok()?,
        changed: left.next()?.parse().ok()?,
    };
    let whole = lines.next().is_none() && left.next().is_none();
    let noted = WitnessRecord {
        written,
        in_file,
        file,
    };
    whole.then(|| (owner.to_owned(), Some(noted)))
}

fn writable(path: &Path) -> io::Result<File> {
    let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(nofollow)
        .open(path)
}

fn failed(path: &Path, error: &io::Error) -> Error {
    let error = Error::io("access the ledger's file", path, error);
    if error.hint.is_some() {
        error
    } else {
        error.hint("give yourself write access to it, or set AUTORUN_HOME")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: &str = "23456789bcdfghjk";

    #[test]
    fn the_record_is_read_again_and_never_decreases() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("owner");
        assert!(Witness::open(&path).unwrap().is_none());
        let witness = Witness::create(&path, OWNER, WitnessRecord::default()).unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        let note = |written| {
            witness.note(|noted| noted.written = written).unwrap();
            Witness::open(&path)
                .unwrap()
                .unwrap()
                .noted
                .unwrap()
                .written
        };
        assert_eq!([note(7), note(5), note(u64::MAX)], [7, 7, u64::MAX]);
        witness
            .note(|noted| noted.file = FileStamp::read(&path).unwrap())
            .unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), length);
        assert_eq!(Witness::open(&path).unwrap().unwrap().owner, OWNER);
    }

    #[test]
    fn a_file_of_an_older_version_has_only_the_owner() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("owner");
        std::fs::write(&path, format!("{OWNER}\n")).unwrap();
        let witness = Witness::open(&path).unwrap().unwrap();
        assert_eq!((witness.owner.as_str(), witness.noted), (OWNER, None));
        for damaged in [
            "",
            "\0\0\0\0",
            "not an owner\n",
            "23456789bcdfghjk\ncommits 1\n",
        ] {
            std::fs::write(&path, damaged).unwrap();
            assert!(Witness::open(&path).is_err(), "{damaged:?}");
        }
    }
}
