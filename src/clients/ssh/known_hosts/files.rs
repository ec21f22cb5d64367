//! The files, read when they have changed.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{ErrorKind as IoErrorKind, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::lines::{Line, Skipped, parse};
use crate::report::Level;

/// The longest file that is read.
pub(super) const LONGEST_FILE: u64 = 64 << 20;

/// A file that changed this short a time before it was read may have changed
/// once more without another time of change.
pub(super) const CLOCK_TICK: Duration = Duration::from_secs(2);

/// A file as it was when it was last read.
#[derive(Debug)]
pub(super) struct Cached {
    pub(super) path: PathBuf,
    pub(super) stamp: Option<Stamp>,
    pub(super) bytes: Vec<u8>,
    pub(super) content: Arc<Content>,
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) file: (u64, u64),
    pub(super) length: u64,
    pub(super) modified: (i64, i64),
    pub(super) changed: (i64, i64),
}

/// The lines of a file that count.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) lines: Vec<Line>,
    /// Why it could not be read.
    pub(super) unread: Option<String>,
}

impl Cached {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            stamp: None,
            bytes: Vec::new(),
            content: Arc::default(),
        }
    }

    /// Reads the file if it is another than it was; gives what there is to say.
    pub(super) fn refresh(&mut self) -> Vec<(Level, String)> {
        let now = fs::metadata(&self.path).ok().map(|data| Stamp::of(&data));
        if now.is_some() && now == self.stamp {
            return Vec::new();
        }
        let (stamp, bytes) = match read(&self.path) {
            Ok(Some(read)) => read,
            // A file that is not there says nothing.
            Ok(None) => {
                *self = Self::new(std::mem::take(&mut self.path));
                return Vec::new();
            }
            Err(why) => {
                let text = format!(
                    "cannot read `{}`: {why}; the hosts in it are unknown",
                    self.path.display()
                );
                *self = Self::new(std::mem::take(&mut self.path));
                self.content = Arc::new(Content {
                    unread: Some(why),
                    ..Content::default()
                });
                return vec![(Level::Warn, text)];
            }
        };
        self.stamp = stamp;
        if bytes == self.bytes && self.content.unread.is_none() {
            return Vec::new();
        }
        let (lines, skipped) = parse(&bytes);
        self.bytes = bytes;
        self.content = Arc::new(Content {
            lines,
            unread: None,
        });
        said_of(&self.path, &skipped)
    }
}

impl Stamp {
    fn of(data: &Metadata) -> Self {
        Self {
            file: (data.dev(), data.ino()),
            length: data.len(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        }
    }
}

/// A file's bytes, and its stamp if that can be relied on.
type Read = (Option<Stamp>, Vec<u8>);

/// Reads a file, if it is there; or says why it cannot be read.
pub(super) fn read(path: &Path) -> Result<Option<Read>, String> {
    let why = |error: std::io::Error| {
        let text = error.to_string();
        text.split(" (os error")
            .next()
            .unwrap_or(&text)
            .to_lowercase()
    };
    // A pipe without a writer must not keep us.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == IoErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(why(error)),
    };
    let data = file.metadata().map_err(why)?;
    // `/dev/null` is how some say that they want to know no hosts.
    if !data.is_file() && !data.file_type().is_char_device() {
        return Err("it is not a regular file".to_owned());
    }
    let bytes = content(file).map_err(why)?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(format!("it is longer than {} MiB", LONGEST_FILE >> 20));
    }
    let age = data
        .modified()
        .ok()
        .and_then(|at| SystemTime::now().duration_since(at).ok());
    let settled = age.is_some_and(|age| age > CLOCK_TICK);
    Ok(Some((settled.then(|| Stamp::of(&data)), bytes)))
}

pub(super) fn content(file: File) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LONGEST_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn said_of(path: &Path, skipped: &Skipped) -> Vec<(Level, String)> {
    let all = skipped.iter().map(|((marked, why), numbers)| {
        let lines = match numbers.as_slice() {
            [one] => format!("line {one} is skipped"),
            many => format!("lines {} are skipped", ranges(many)),
        };
        let level = match marked {
            true => Level::Warn,
            false => Level::Info,
        };
        (level, format!("`{}`: {lines}: {why}", path.display()))
    });
    all.collect()
}

/// Ascending numbers as `3, 7-9`.
pub(super) fn ranges(numbers: &[usize]) -> String {
    let runs = numbers.chunk_by(|one, next| one + 1 == *next);
    let runs = runs.map(|run| match run {
        [first, .., last] => format!("{first}-{last}"),
        one => one.iter().map(usize::to_string).collect(),
    });
    runs.collect::<Vec<_>>().join(", ")
}
