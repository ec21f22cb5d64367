//! Reads the journal, in `journalctl`.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;

use super::super::super::files;
use super::{ARCHIVE, CURRENT, Entry};

/// The end of what has been read of the current file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Position {
    inode: u64,
    offset: u64,
}

/// Opens the current file. Fails if the user may not read it.
pub(in super::super) fn open() -> io::Result<File> {
    Ok(files::open(CURRENT.as_ref())?.0)
}

/// Returns all messages, the oldest first, and the position after them.
pub(in super::super) fn all() -> io::Result<(Vec<Entry>, Position)> {
    let mut entries = Vec::new();
    if let Ok((archive, _)) = files::open(ARCHIVE.as_ref()) {
        let mut reader = BufReader::new(archive);
        read_lines(&mut reader, &mut entries)?;
    }
    let position = Position::default().read_on(&mut entries)?;
    Ok((entries, position))
}

impl Position {
    /// Adds the messages that were written since. Returns the new position.
    pub(in super::super) fn read_on(self, entries: &mut Vec<Entry>) -> io::Result<Self> {
        let mut file = open()?;
        let inode = file.metadata()?.ino();
        let mut offset = if inode == self.inode { self.offset } else { 0 };
        if self.inode != 0 && inode != self.inode {
            // The rest of the file that has become the archive.
            if let Ok((mut archive, found)) = files::open(ARCHIVE.as_ref())
                && found.ino() == self.inode
            {
                archive.seek(SeekFrom::Start(self.offset))?;
                read_lines(&mut BufReader::new(archive), entries)?;
            }
        }
        file.seek(SeekFrom::Start(offset))?;
        offset += read_lines(&mut BufReader::new(file), entries)?;
        Ok(Self { inode, offset })
    }
}

/// Reads complete lines. Returns their length. Lines of other programs are
/// skipped.
fn read_lines(reader: &mut BufReader<File>, entries: &mut Vec<Entry>) -> io::Result<u64> {
    let mut length = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        reader
            .by_ref()
            .take(files::MOST)
            .read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Ok(length);
        }
        length += line.len() as u64;
        entries.extend(serde_json::from_slice(&line).ok());
    }
}
