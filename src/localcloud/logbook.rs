//! The log of the background process: a file of bounded size, in which every
//! line is one message, whatever input it contains.
//!
//! Names that instances and clients choose appear in the log. They are
//! shortened, and escaped, so that they can neither start a new line nor
//! control a terminal. Lines beyond a rate limit for each part of the program
//! are dropped.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The length, in bytes, at which the log becomes the old log and a new one
/// begins.
const LONGEST: u64 = 5 << 20;

/// The maximum number of characters of a line; the rest is only counted.
const LONGEST_LINE: usize = 1000;

/// The maximum number of characters of a name that another side chose.
const LONGEST_NAME: usize = 100;

/// The maximum number of lines of one part of the program: at once, and per
/// second after that.
const BURST: f64 = 500.0;
const PER_SECOND: f64 = 50.0;

/// The target of this package's messages; those of its modules start with it.
const OURS: &str = env!("CARGO_CRATE_NAME");

/// The target for messages that any client can cause, even without the access
/// key.
pub(crate) const STRANGERS: &str = concat!(env!("CARGO_CRATE_NAME"), "::strangers");

/// Directs log messages and standard error into a file.
pub(crate) fn start(path: &Path) -> io::Result<()> {
    let book = Logbook::open(path, LONGEST)?;
    nix::unistd::dup2_stderr(&book.file)?;
    dispatch(Box::new(book)).apply().map_err(io::Error::other)
}

/// Selects and formats the messages: from other packages only warnings and
/// errors.
fn dispatch(book: Box<dyn Write + Send>) -> fern::Dispatch {
    let limiter = Limiter::default();
    fern::Dispatch::new()
        .level(log::LevelFilter::Warn)
        .level_for(OURS, log::LevelFilter::Info)
        .filter(move |about| limiter.allows(about.target()))
        .format(|out, message, record| {
            let time = jiff::Timestamp::now();
            let line = line(&message.to_string());
            out.finish(format_args!("{time:.3} {} {line}", record.level()));
        })
        .chain(book)
}

/// Opens the log for appending. Only this user can access it.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK;
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(flags.bits())
        .open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() != 1 {
        let message = format!(
            "`{}` is not a regular file, or has other hard links",
            path.display()
        );
        return Err(io::Error::other(message));
    }
    Ok(file)
}

/// Renames a log that is too long, which replaces the previous old log.
pub(crate) fn rotate(path: &Path, longest: u64) -> io::Result<bool> {
    if !fs::symlink_metadata(path).is_ok_and(|log| log.len() >= longest) {
        return Ok(false);
    }
    let mut old = path.as_os_str().to_owned();
    old.push(".old");
    fs::rename(path, old)?;
    Ok(true)
}

/// Formats a name that another side chose for the log.
pub(crate) fn name(text: &str) -> String {
    shown(text, LONGEST_NAME)
}

/// Formats a message for the log.
pub(crate) fn line(message: &str) -> String {
    shown(message, LONGEST_LINE)
}

/// Returns the text on one line, without control characters, and shortened.
fn shown(text: &str, longest: usize) -> String {
    let mut line = String::with_capacity(text.len().min(longest));
    let mut characters = text.chars();
    for character in characters.by_ref().take(longest) {
        if is_harmless(character) {
            line.push(character);
        } else {
            line.extend(character.escape_default());
        }
    }
    let more = characters.count();
    if more > 0 {
        // Writing to a string cannot fail.
        let _ = write!(line, ".. ({more} more characters)");
    }
    line
}

/// Whether a character neither controls the terminal nor changes the order of
/// text.
fn is_harmless(character: char) -> bool {
    let moves = matches!(
        character,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    !character.is_control() && !moves
}

/// The open log file.
struct Logbook {
    path: PathBuf,
    file: File,
    length: u64,
    longest: u64,
}

impl Logbook {
    fn open(path: &Path, longest: u64) -> io::Result<Self> {
        rotate(path, longest)?;
        let file = open(path)?;
        Ok(Self {
            path: path.to_owned(),
            length: file.metadata()?.len(),
            file,
            longest,
        })
    }

    fn make_room(&mut self) -> io::Result<()> {
        rotate(&self.path, self.longest)?;
        self.file = open(&self.path)?;
        self.length = self.file.metadata()?.len();
        // Panics of the runtime go to standard error.
        nix::unistd::dup2_stderr(&self.file)?;
        Ok(())
    }
}

impl Write for Logbook {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.length >= self.longest {
            self.make_room()?;
        }
        let written = self.file.write(bytes)?;
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The remaining lines of each part of the program. The parts are few.
#[derive(Default)]
pub(crate) struct Limiter(Mutex<HashMap<String, Allowance>>);

struct Allowance {
    lines: f64,
    since: Instant,
}

impl Limiter {
    /// Whether a part of the program may log one more line now.
    pub(crate) fn allows(&self, part: &str) -> bool {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !parts.contains_key(part) {
            let (lines, since) = (BURST, Instant::now());
            parts.insert(part.to_owned(), Allowance { lines, since });
        }
        parts.get_mut(part).is_none_or(Allowance::take)
    }
}

impl Allowance {
    fn take(&mut self) -> bool {
        let now = Instant::now();
        let gained = now.duration_since(self.since).as_secs_f64() * PER_SECOND;
        self.since = now;
        self.lines = (self.lines + gained).min(BURST);
        let allowed = self.lines >= 1.0;
        if allowed {
            self.lines -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_names_stay_on_their_line() {
        assert_eq!(name("RunInstances"), "RunInstances");
        assert_eq!(
            name("a\r\n2026 ERROR b\u{1b}[2J\u{9b}\u{202e}\u{2028}\0ü"),
            "a\\r\\n2026 ERROR b\\u{1b}[2J\\u{9b}\\u{202e}\\u{2028}\\u{0}ü"
        );
        let long = name(&"x".repeat(1_000_000));
        assert!(long.len() < 140 && long.ends_with("(999900 more characters)"));
    }

    #[test]
    fn a_log_has_a_bounded_size() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cloud.log");
        let mut book = Logbook {
            file: open(&path).unwrap(),
            path: path.clone(),
            length: 0,
            longest: 1000,
        };
        let old = directory.path().join("cloud.log.old");
        for line in 0..100 {
            if book.length >= book.longest {
                rotate(&path, book.longest).unwrap();
                book = Logbook::open(&path, book.longest).unwrap();
            }
            writeln!(book, "{line:050}").unwrap();
        }
        for file in [&path, &old] {
            let length = fs::metadata(file).unwrap().len();
            assert!((1..1060).contains(&length), "{length}");
            assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_link_instead_of_the_log_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let other = directory.path().join("other");
        fs::write(&other, "").unwrap();
        let path = directory.path().join("cloud.log");
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert!(open(&path).is_err());
        fs::remove_file(&path).unwrap();
        fs::hard_link(&other, &path).unwrap();
        assert!(open(&path).is_err());
    }

    #[test]
    fn a_noisy_part_does_not_silence_another() {
        let limiter = Limiter::default();
        let allowed = (0..5000).filter(|_| limiter.allows(STRANGERS)).count();
        assert!((500..700).contains(&allowed), "{allowed}");
        assert!(limiter.allows(module_path!()));
    }

    #[test]
    fn requests_are_logged_and_details_of_libraries_are_not() {
        let (_, log) = dispatch(Box::new(io::sink())).into_log();
        let logs = |target: &str| {
            let mut about = log::Metadata::builder();
            log.enabled(&about.level(log::Level::Info).target(target).build())
        };
        assert!(logs(module_path!()) && logs(STRANGERS));
        assert!(!logs("hyper::proto"));
    }
}
