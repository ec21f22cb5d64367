//! The file `owner` beside the ledger: whose it is, and how much was written to
//! it. So a ledger that was lost, emptied, or replaced by an older one is known
//! from one that never had more.
//!
//! Each commit is counted in the ledger itself, and noted here when it is
//! durable. What is noted is therefore never more than what the ledger has, and
//! a crash between the two does no harm.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::ids::is_owner;
use crate::error::{Error, Result};

/// What is known of the ledger from outside of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WitnessRecord {
    /// Commits that it has, its `-wal` included.
    pub(super) written: u64,
    /// Commits that its main file has by itself.
    pub(super) in_file: u64,
    /// The main file as it was left whole, by which it is known again.
    pub(super) file: FileStamp,
}

/// Tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FileStamp {
    inode: u64,
    size: u64,
    modified: i128,
    changed: i128,
}

impl FileStamp {
    /// Nothing that equals another one when the file cannot be seen.
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
    /// The ledger's id.
    pub(super) owner: String,
    /// What was noted when it was opened; nothing in one of an older version.
    pub(super) noted: Option<WitnessRecord>,
}

impl Witness {
    /// The one that is there.
    ///
    /// Throws when it cannot be read, or is damaged.
    pub(super) fn open(path: &Path) -> Result<Option<Self>> {
        let mut file = match writable(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(path, &e)),
        };
        let mut text = String::new();
        file.read_to_string(&mut text)
            .map_err(|e| failed(path, &e))?;
        let (owner, noted) = understood(&text).ok_or_else(|| {
            Error::internal(format!(
                "the file `{}`, which names the ledger's owner, is damaged",
                path.display()
            ))
            .hint("bring it back from a backup, or remove it to go on with the ledger as it is")
        })?;
        Ok(Some(Self {
            path: path.to_owned(),
            file,
            owner,
            noted,
        }))
    }

    /// Writes one for a ledger that has none, or one of an older version.
    pub(super) fn make(path: &Path, owner: &str, noted: WitnessRecord) -> Result<Self> {
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

    /// Notes what the ledger has; of several processes the one that
    /// knows of more is right.
    pub(super) fn note(&self, change: impl Fn(&mut WitnessRecord)) -> Result<()> {
        self.try_note(&change).map_err(|e| failed(&self.path, &e))
    }

    fn try_note(&self, change: &impl Fn(&mut WitnessRecord)) -> io::Result<()> {
        if self.file.metadata()?.nlink() == 0 {
            // Another process wrote a new one; if the user took it away, the
            // next start makes one.
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
    let mut there = vec![0; text("", WitnessRecord::default()).len() + 64];
    let length = file.read_at(&mut there, 0)?;
    let there = String::from_utf8_lossy(&there[..length]).into_owned();
    let written = match understood(&there) {
        Some((owner, Some(noted))) => {
            let mut next = noted;
            change(&mut next);
            next.written = next.written.max(noted.written);
            next.in_file = next.in_file.max(noted.in_file);
            // As long as before: one sector, which is old or new.
            file.write_all_at(text(&owner, next).as_bytes(), 0)
        }
        _ => Err(io::Error::from(io::ErrorKind::InvalidData)),
    };
    file.unlock()?;
    written
}

/// All numbers have as many digits, so that a later text is as long.
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

fn understood(text: &str) -> Option<(String, Option<WitnessRecord>)> {
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
    let error = Error::io("write down beside the ledger, in", path, error);
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
    fn what_is_noted_is_read_again_and_never_becomes_less() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("owner");
        assert!(Witness::open(&path).unwrap().is_none());
        let witness = Witness::make(&path, OWNER, WitnessRecord::default()).unwrap();
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
    fn one_of_an_older_version_names_the_owner_alone() {
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
