//! The journal of a machine: what services, programs and init itself report.
//! Init writes it, `journalctl` reads it.
//!
//! It is a file with one JSON object for each message. When it is long, it
//! replaces the archive, and a new one begins, so that a machine's disk cannot
//! fill up.

mod entry;
mod reader;
mod stream;
mod writer;

pub(super) use entry::{Entry, INFO, Style};
pub(super) use reader::{Position, all, open};
pub(super) use writer::{Journal, Source, split_priority};

/// The directory of the journal.
const DIRECTORY: &str = "/var/log/journal";

/// The file with the newest messages.
const CURRENT: &str = "/var/log/journal/autorun.jsonl";

/// The file with the messages before those.
const ARCHIVE: &str = "/var/log/journal/autorun.1.jsonl";

/// The id of the boot that this process runs in.
pub(super) fn boot_id() -> String {
    let id = super::super::files::read_text("/proc/sys/kernel/random/boot_id");
    id.unwrap_or_default().trim().replace('-', "")
}
