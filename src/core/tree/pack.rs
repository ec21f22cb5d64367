//! Packs a directory into a tar stream for a host.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::walk::{About, is_closed};
use super::{Entry, Kind, Root};
use crate::error::{Error, ErrorKind};

/// The name of the directory in the stream.
pub const TREE: &str = "tree";

/// The name of the file that lists the directories that get their mode at the
/// end. Only the empty file `done` follows it.
pub const CLOSED: &str = "closed";

/// Writes a directory as a tar stream, under the name `tree`. The last entry is
/// the file `done`, which shows the host that the stream is complete. The file
/// `closed` lists the directories that get their mode at the very end. With
/// `sparse`, the holes of files are left out, which only GNU tar understands.
///
/// Each listed file is opened again without following a link. An entry that is
/// no longer of its listed kind is an error.
///
/// Fails with `denied` or `not_found` if a file cannot be read any more, and
/// with `command_failed` if it changed during the copy.
pub fn pack(
    directory: &Path,
    entries: &[Entry],
    sparse: bool,
    to: impl Write,
) -> Result<(), NotPacked> {
    let mut refused = false;
    let to = Watched {
        to,
        refused: &mut refused,
    };
    let packed = pack_all(directory, entries, sparse, to);
    packed.map_err(|error| {
        if refused {
            NotPacked::Refused(error)
        } else {
            NotPacked::Unreadable(error)
        }
    })
}

/// Why a directory was not packed.
#[derive(Debug)]
pub enum NotPacked {
    /// A file cannot be read, or changed during the copy.
    Unreadable(Error),
    /// The reader of the stream stopped reading.
    Refused(Error),
}

impl From<NotPacked> for Error {
    fn from(reason: NotPacked) -> Self {
        match reason {
            NotPacked::Unreadable(error) | NotPacked::Refused(error) => error,
        }
    }
}

/// A writer that remembers that a write failed: the crate `tar` returns such
/// errors and those of the files that it reads in the same way.
struct Watched<'a, W> {
    to: W,
    refused: &'a mut bool,
}

impl<W> Watched<'_, W> {
    fn note<T>(&mut self, result: std::io::Result<T>) -> std::io::Result<T> {
        if let Err(error) = &result {
            *self.refused |= error.kind() != std::io::ErrorKind::Interrupted;
        }
        result
    }
}

impl<W: Write> Write for Watched<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(bytes);
        self.note(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let flushed = self.to.flush();
        self.note(flushed)
    }
}

fn pack_all(
    directory: &Path,
    entries: &[Entry],
    sparse: bool,
    to: impl Write,
) -> Result<(), Error> {
    let mut tar = Builder::new(to);
    tar.sparse(sparse);
    let unreadable = |e: std::io::Error| Error::io("read", directory, &e);
    let root = Root::open(directory).map_err(unreadable)?;
    let about = About::from_metadata(&fs::metadata(directory).map_err(unreadable)?);
    let failed = |e: std::io::Error| not_packed(directory, &e);
    let mut top = header(&about, EntryType::Directory);
    tar.append_data(&mut top, TREE, std::io::empty())
        .map_err(failed)?;
    for entry in entries {
        let name = Path::new(TREE).join(&entry.below);
        pack_one(&mut tar, &root, entry, &name, sparse).map_err(|e| not_packed(&entry.path, &e))?;
    }
    let mut closed = closed(&about, entries).join("\n");
    if !closed.is_empty() {
        closed.push('\n');
    }
    for (name, text) in [(CLOSED, closed.as_str()), ("done", "")] {
        let mut file = header(&about, EntryType::Regular);
        file.set_mode(0o600);
        file.set_size(text.len() as u64);
        tar.append_data(&mut file, name, text.as_bytes())
            .map_err(failed)?;
    }
    tar.into_inner()
        .and_then(|mut to| to.flush())
        .map_err(failed)
}

/// Returns the directories whose owner cannot write to them, as `MODE NAME`,
/// innermost first.
fn closed(top: &About, entries: &[Entry]) -> Vec<String> {
    let line = |mode: u32, name: &Path| format!("{mode:o} {}", escaped(name));
    let below = entries.iter().rev().filter(|entry| entry.about.is_closed());
    let mut lines: Vec<String> = below
        .map(|entry| line(entry.about.mode, &entry.below))
        .collect();
    if is_closed(top.mode) {
        lines.push(line(top.mode, Path::new(".")));
    }
    lines
}

fn pack_one(
    tar: &mut Builder<impl Write>,
    root: &Root,
    entry: &Entry,
    name: &Path,
    sparse: bool,
) -> std::io::Result<()> {
    match entry.kind {
        Kind::Directory => {
            let mut header = header(&entry.about, EntryType::Directory);
            tar.append_data(&mut header, name, std::io::empty())
        }
        Kind::File => {
            let mut file = root.read_file(&entry.below)?;
            let before = file.metadata()?;
            let about = About::from_metadata(&before);
            if sparse && about.has_holes() {
                tar.append_file(name, &mut file)?;
                return unchanged(&before, &file);
            }
            let mut header = header(&about, EntryType::Regular);
            header.set_size(about.size);
            let bytes = Exactly {
                file,
                left: about.size,
            };
            tar.append_data(&mut header, name, bytes)
        }
        Kind::Link => {
            let mut header = header(&entry.about, EntryType::Symlink);
            tar.append_link(&mut header, name, root.read_link(&entry.below)?)
        }
        Kind::Other => Ok(()),
    }
}

/// Checks that a sparse file did not change, because `append_file` determines
/// its size itself.
fn unchanged(before: &Metadata, file: &File) -> std::io::Result<()> {
    let (before, after) = (
        About::from_metadata(before),
        About::from_metadata(&file.metadata()?),
    );
    if (before.size, before.changed) == (after.size, after.changed) {
        Ok(())
    } else {
        Err(std::io::Error::other("it changed during the copy"))
    }
}

/// A reader of exactly the announced number of bytes: bytes appended in the
/// meantime are left out, and a file that became shorter is an error.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = (&self.file).take(self.left).read(buffer)?;
        if n == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(std::io::Error::other("it became shorter during the copy"));
        }
        self.left -= n as u64;
        Ok(n)
    }
}

/// Returns the tar header of an entry. It leaves out the owner, because user
/// ids differ between hosts.
fn header(about: &About, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(match kind {
        // The directory must be writable until its entries are in place: see
        // `closed`.
        EntryType::Directory => about.mode | 0o700,
        _ => about.mode,
    });
    header.set_mtime(u64::try_from(about.changed.0).unwrap_or(0));
    header.set_size(0);
    header
}

fn not_packed(path: &Path, error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => {
            Error::io("read", path, error)
        }
        _ => Error::new(
            ErrorKind::CommandFailed,
            format!("cannot send `{}`: {error}", path.display()),
        ),
    }
}

/// Parses the file [`CLOSED`]: the mode of each directory, and its path below the
/// directory, innermost first.
#[must_use]
pub fn parse_closed(text: &str) -> Vec<(u32, PathBuf)> {
    let line = |line: &str| {
        let (mode, name) = line.split_once(' ')?;
        Some((u32::from_str_radix(mode, 8).ok()?, unescaped(name)))
    };
    text.lines().filter_map(line).collect()
}

fn unescaped(name: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, more @ ..] = rest {
        rest = more;
        let code = more.get(..4).filter(|_| *first == b'\\');
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &more[4..];
            }
            None => bytes.push(*first),
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Escapes a name for `printf %b`, so that it contains only harmless
/// characters.
fn escaped(name: &Path) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for byte in name.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'/' => {
                out.push(char::from(*byte));
            }
            other => {
                let _ = write!(out, "\\0{other:03o}");
            }
        }
    }
    out
}
