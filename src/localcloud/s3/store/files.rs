//! Documents and directories, written so that a killed process leaves whole
//! ones.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is in the making or on its way out has a name that begins so.
const PASSING: char = '.';

/// A name nobody else has.
pub(super) fn fresh_name() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// A name for what is in the making or on its way out.
pub(super) fn passing_name() -> String {
    format!("{PASSING}{}", fresh_name())
}

pub(super) fn create_dir(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(path)
        .map_err(|error| said("create", path, &error))
}

pub(super) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| said("create", path, &error))
}

/// Puts a document in its place, all at once.
pub(super) fn write<T: Serialize>(dir: &Path, name: &str, document: &T) -> io::Result<()> {
    let passing = dir.join(passing_name());
    let written = create(&passing).and_then(|file| {
        let mut file = BufWriter::new(file);
        serde_json::to_writer(&mut file, document)?;
        file.flush()?;
        fs::rename(&passing, dir.join(name))
    });
    if written.is_err() {
        discard(&passing);
    }
    written
}

pub(super) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let text = fs::read(path).map_err(|error| said("read", path, &error))?;
    serde_json::from_slice(&text).map_err(|error| said("understand", path, &error.into()))
}

/// The names in a directory; what was passing when the process ended is
/// removed.
pub(super) fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| said("read", dir, &error))? {
        let entry = entry?;
        match entry.file_name().into_string() {
            Ok(name) if !name.starts_with(PASSING) => names.push(name),
            _ => discard(&entry.path()),
        }
    }
    Ok(names)
}

/// Removes a file or a directory; what cannot be removed is said, not fatal.
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

fn said(attempt: &str, path: &Path, error: &io::Error) -> io::Error {
    let text = format!("cannot {attempt} `{}`: {error}", path.display());
    io::Error::new(error.kind(), text)
}
