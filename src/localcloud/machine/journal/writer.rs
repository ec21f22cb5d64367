//! Writes the journal, in init.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::rc::Rc;

use super::super::super::accounts;
use super::super::super::files;
use super::entry::{Entry, INFO};
use super::{ARCHIVE, CURRENT, DIRECTORY, boot_id};

/// The length in bytes at which a file becomes the archive.
const LONGEST_FILE: u64 = 16 << 20;

/// The longest message in bytes, as in systemd. The rest becomes the next one.
pub(super) const LONGEST: usize = 48 * 1024;

/// The number of messages of each unit that `systemctl status` can show, and
/// the number of units.
const REMEMBERED: (usize, usize) = (50, 256);

/// The journal. Messages that cannot be written are lost, as on a full disk.
#[derive(Clone)]
pub(in super::super) struct Journal(Rc<Inner>);

struct Inner {
    boot: String,
    file: RefCell<Option<File>>,
    latest: RefCell<BTreeMap<String, VecDeque<Entry>>>,
}

/// The origin of messages.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Source {
    pub(in super::super) identifier: String,
    pub(in super::super) pid: Option<i32>,
    pub(in super::super) unit: Option<String>,
}

impl Journal {
    pub(in super::super) fn new() -> Self {
        Self(Rc::new(Inner {
            boot: boot_id(),
            file: RefCell::default(),
            latest: RefCell::default(),
        }))
    }

    /// Writes a message of init about a unit.
    pub(in super::super) fn of_init(&self, unit: &str, priority: u8, message: &str) {
        let source = Source {
            identifier: "systemd".to_owned(),
            pid: Some(1),
            unit: Some(unit.to_owned()),
        };
        self.write(&source, priority, message);
    }

    /// Writes a line of a program's output, which may begin with a priority.
    pub(in super::super) fn line(&self, source: &Source, default: u8, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let (priority, message) = split_priority(text.trim_end());
        if !message.is_empty() {
            self.write(source, priority.unwrap_or(default), message);
        }
    }

    /// Writes a message.
    pub(in super::super) fn write(&self, source: &Source, priority: u8, message: &str) {
        let entry = Entry {
            time: jiff::Timestamp::now().as_microsecond(),
            boot: self.0.boot.clone(),
            host: host(),
            priority,
            identifier: source.identifier.clone(),
            pid: source.pid,
            unit: source.unit.clone(),
            message: message.to_owned(),
        };
        if let Err(error) = self.append(&entry) {
            log::debug!("cannot write the journal: {error}");
        }
        self.remember(entry);
    }

    /// Returns the last messages of a unit, the oldest first.
    pub(in super::super) fn latest(&self, unit: &str, most: usize) -> Vec<Entry> {
        let latest = self.0.latest.borrow();
        let entries = latest.get(unit).into_iter().flatten();
        let skipped = entries.clone().count().saturating_sub(most);
        entries.skip(skipped).cloned().collect()
    }

    fn remember(&self, entry: Entry) {
        let (messages, units) = REMEMBERED;
        let mut latest = self.0.latest.borrow_mut();
        let Some(unit) = entry.unit.clone() else {
            return;
        };
        if latest.len() >= units && !latest.contains_key(&unit) {
            return;
        }
        let of_unit = latest.entry(unit).or_default();
        of_unit.push_back(entry);
        if of_unit.len() > messages {
            of_unit.pop_front();
        }
    }

    fn append(&self, entry: &Entry) -> io::Result<()> {
        let mut file = self.0.file.borrow_mut();
        // Also begin a new file if another program removed this one.
        let found = file.as_ref().map(File::metadata).transpose()?;
        let is_full = found
            .as_ref()
            .is_some_and(|found| found.len() > LONGEST_FILE);
        if is_full {
            fs::rename(CURRENT, ARCHIVE)?;
        }
        if is_full || found.is_none_or(|found| found.nlink() == 0) {
            *file = Some(create()?);
        }
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        file.as_mut().map_or(Ok(()), |file| file.write_all(&line))
    }
}

/// Opens the file. Administrators may read it, as the journal of systemd.
fn create() -> io::Result<File> {
    fs::create_dir_all(DIRECTORY)?;
    let file = files::append(CURRENT, 0o640)?;
    let readers = ["systemd-journal", "adm", "wheel"];
    if let Some(group) = readers.iter().find_map(|name| accounts::group(name)) {
        chown(CURRENT, Some(0), Some(group))?;
    }
    Ok(file)
}

fn host() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    let name = name.to_string_lossy();
    name.split('.').next().unwrap_or_default().to_owned()
}

/// Splits the priority from a message such as `<3>disk full` or, as syslog
/// sends it, with a facility, `<27>disk full`.
pub(in super::super) fn split_priority(message: &str) -> (Option<u8>, &str) {
    let number = message
        .strip_prefix('<')
        .and_then(|rest| rest.split_once('>'));
    match number.map(|(number, rest)| (number.parse::<u16>(), rest)) {
        Some((Ok(number), rest)) if number < 1024 => {
            (Some(u8::try_from(number % 8).unwrap_or(INFO)), rest)
        }
        _ => (None, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_split_from_messages() {
        assert_eq!(split_priority("<3>disk full"), (Some(3), "disk full"));
        assert_eq!(split_priority("<27>disk full"), (Some(3), "disk full"));
        assert_eq!(split_priority("<b>bold</b>"), (None, "<b>bold</b>"));
        assert_eq!(split_priority("<99999>x"), (None, "<99999>x"));
        assert_eq!(split_priority("plain"), (None, "plain"));
    }
}
