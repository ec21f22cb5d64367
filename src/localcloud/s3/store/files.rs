//! Documents and directories, written such that a killed process leaves only
//! complete ones.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The prefix of the names of files and directories that are being created or
/// removed.
const TEMPORARY: char = '.';

/// Returns a unique name.
pub(super) fn unique_name() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Returns a unique name that sorts after the names of earlier times.
pub(super) fn ordered_name() -> String {
    let now = jiff::Timestamp::now().as_nanosecond();
    format!("{now:020x}{}", unique_name())
}

/// Returns a unique name for a file or directory that is being created or
/// removed.
pub(super) fn temporary_name() -> String {
    format!("{TEMPORARY}{}", unique_name())
}

pub(super) fn create_dir(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(path)
        .map_err(|error| with_path("create", path, &error))
}

pub(super) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| with_path("create", path, &error))
}

/// Writes a document to a temporary file and renames it, so that a reader never
/// finds an incomplete document.
pub(super) fn write<T: Serialize>(dir: &Path, name: &str, document: &T) -> io::Result<()> {
    let temporary = dir.join(temporary_name());
    let written = create(&temporary).and_then(|file| {
        let mut file = BufWriter::new(file);
        serde_json::to_writer(&mut file, document)?;
        file.flush()?;
        fs::rename(&temporary, dir.join(name))
    });
    if written.is_err() {
        discard(&temporary);
    }
    written
}

pub(super) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let text = fs::read(path).map_err(|error| with_path("read", path, &error))?;
    serde_json::from_slice(&text).map_err(|error| with_path("parse", path, &error.into()))
}

/// Returns the names in a directory. Removes the temporary files and directories
/// of a process that was killed.
pub(super) fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| with_path("read", dir, &error))? {
        let entry = entry?;
        match entry.file_name().into_string() {
            Ok(name) if !name.starts_with(TEMPORARY) => names.push(name),
            _ => discard(&entry.path()),
        }
    }
    Ok(names)
}

/// Removes a file or directory. A failure is logged and ignored.
pub(super) fn discard(path: &Path) {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            log::warn!("s3: cannot remove `{}`: {error}", path.display());
        }
        _ => {}
    }
}

/// Adds the failed action and the path to an error.
fn with_path(attempt: &str, path: &Path, error: &io::Error) -> io::Error {
    let text = format!("cannot {attempt} `{}`: {error}", path.display());
    io::Error::new(error.kind(), text)
}
