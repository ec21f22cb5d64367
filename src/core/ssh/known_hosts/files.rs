//! The `known_hosts` files, read again only after a change.

use std::collections::HashMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{ErrorKind as IoErrorKind, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::lines::{Line, Skipped, parse};
use super::names::Names;
use crate::report::Level;

/// The longest file that is read, in bytes.
pub(super) const LONGEST_FILE: u64 = 64 << 20;

/// A file that changed this recently before it was read may change again
/// without a new modification time.
pub(super) const CLOCK_TICK: Duration = Duration::from_secs(2);

/// A file as it was when it was last read.
#[derive(Debug)]
pub(super) struct Cached {
    pub(super) path: PathBuf,
    pub(super) stamp: Option<Stamp>,
    pub(super) bytes: Vec<u8>,
    pub(super) content: Arc<Content>,
}

/// The metadata that changes with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) file: (u64, u64),
    pub(super) length: u64,
    pub(super) modified: (i64, i64),
    pub(super) changed: (i64, i64),
}

/// The valid lines of a file.
#[derive(Debug, Default)]
pub(super) struct Content {
    lines: Vec<Line>,
    /// The places of lines by the names in them.
    by_name: HashMap<Vec<u8>, Vec<usize>>,
    /// The places of lines that have to be compared with a name: patterns and
    /// hashes.
    others: Vec<usize>,
    /// Why the file could not be read.
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

    /// Reads the file if it has changed. Returns messages for the log.
    pub(super) fn refresh(&mut self) -> Vec<(Level, String)> {
        let now = fs::metadata(&self.path).ok().map(|data| Stamp::of(&data));
        if now.is_some() && now == self.stamp {
            return Vec::new();
        }
        let (stamp, bytes) = match read(&self.path) {
            Ok(Some(read)) => read,
            // A missing file contains no hosts.
            Ok(None) => {
                *self = Self::new(std::mem::take(&mut self.path));
                return Vec::new();
            }
            Err(why) => {
                let text = format!(
                    "cannot read `{}`: {why}; its hosts count as unknown",
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
        self.content = Arc::new(Content::new(lines));
        messages_about(&self.path, &skipped)
    }
}

impl Content {
    fn new(lines: Vec<Line>) -> Self {
        let mut by_name: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
        let mut others = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            match &line.names {
                Names::List(list) if line.names.are_plain() => {
                    for name in list.split(|byte| *byte == b',') {
                        let places = by_name.entry(name.to_vec()).or_default();
                        if places.last() != Some(&at) {
                            places.push(at);
                        }
                    }
                }
                _ => others.push(at),
            }
        }
        Self {
            lines,
            by_name,
            others,
            unread: None,
        }
    }

    /// Returns the lines that apply to a name in lower case, in the order of the
    /// file.
    pub(super) fn lines_of(&self, name: &str) -> Vec<&Line> {
        let named = self.by_name.get(name.as_bytes()).into_iter().flatten();
        let applies = |at: &&usize| self.lines[**at].names.include(name);
        let mut places: Vec<usize> = named
            .chain(self.others.iter().filter(applies))
            .copied()
            .collect();
        places.sort_unstable();
        places.into_iter().map(|at| &self.lines[at]).collect()
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

/// A file's bytes, and its stamp if it is reliable.
type Read = (Option<Stamp>, Vec<u8>);

/// Reads a file, if it exists. Fails with the reason.
pub(super) fn read(path: &Path) -> Result<Option<Read>, String> {
    let why = |error: std::io::Error| {
        let text = error.to_string();
        text.split(" (os error")
            .next()
            .unwrap_or(&text)
            .to_lowercase()
    };
    // Do not wait for the writer of a pipe.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == IoErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(why(error)),
    };
    let data = file.metadata().map_err(why)?;
    // Some users link known_hosts to `/dev/null` to keep it empty.
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

pub(super) fn messages_about(path: &Path, skipped: &Skipped) -> Vec<(Level, String)> {
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

/// Formats ascending numbers as `3, 7-9`.
pub(super) fn ranges(numbers: &[usize]) -> String {
    let runs = numbers.chunk_by(|one, next| one + 1 == *next);
    let runs = runs.map(|run| match run {
        [first, .., last] => format!("{first}-{last}"),
        one => one.iter().map(usize::to_string).collect(),
    });
    runs.collect::<Vec<_>>().join(", ")
}
