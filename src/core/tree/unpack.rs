//! Unpacks a directory from the tar stream of a host. The host decides only the
//! contents: its stream becomes files and directories below one directory, or
//! it fails.

use std::ffi::OsStr;
use std::io::{Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tar::EntryType;

use super::Root;
use super::archive::{Archive, Item, invalid};
use crate::error::{Error, ErrorKind};
use crate::report::text;

/// The number of skipped names that are kept for the log.
const NAMED: usize = 5;

/// The result of unpacking.
#[derive(Debug, Default)]
pub struct Unpacked {
    /// Number of regular files.
    pub files: usize,
    /// The total size of the files in bytes.
    pub size: u64,
    /// The skipped entries: neither files, directories nor links, or links that
    /// lead out of the directory.
    pub left_out: LeftOut,
    /// The modes of the directories, innermost first. The last one, with an
    /// empty path, is that of the directory itself.
    pub modes: Vec<(PathBuf, u32)>,
}

/// The skipped entries: their number and the first few names.
#[derive(Debug, Default)]
pub struct LeftOut {
    /// The number of skipped entries.
    pub count: usize,
    /// The first few names.
    pub names: Vec<String>,
}

/// Unpacks the tar stream of `tar -cf - .` into an empty directory.
///
/// The first entry must be the directory itself. Every other entry must be new,
/// in a directory that came before it. Setuid bits are removed. The directories
/// stay writable to their owner until [`super::settle`].
///
/// Fails with `command_failed` for any other stream and for a damaged one, with
/// `quota_exceeded` if the disk is full, and with `denied`.
pub fn unpack(from: impl Read, into: &Path) -> Result<Unpacked, NotUnpacked> {
    let mut ended = false;
    let from = Watched {
        from,
        ended: &mut ended,
    };
    unpack_all(from, into).map_err(|error| {
        if ended {
            NotUnpacked::Short(error)
        } else {
            NotUnpacked::Refused(error)
        }
    })
}

/// Why a stream was not unpacked.
#[derive(Debug)]
pub enum NotUnpacked {
    /// The stream ended too early; its sender knows why.
    Short(Error),
    /// The stream is not acceptable, or cannot be written here.
    Refused(Error),
}

impl From<NotUnpacked> for Error {
    fn from(reason: NotUnpacked) -> Self {
        match reason {
            NotUnpacked::Short(error) | NotUnpacked::Refused(error) => error,
        }
    }
}

/// A reader that remembers that it ended or failed.
struct Watched<'a, R> {
    from: R,
    ended: &'a mut bool,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.from.read(buffer);
        *self.ended |= match &read {
            Ok(n) => *n == 0 && !buffer.is_empty(),
            Err(error) => error.kind() != std::io::ErrorKind::Interrupted,
        };
        read
    }
}

fn unpack_all(from: impl Read, into: &Path) -> Result<Unpacked, Error> {
    let root = Root::open(into).map_err(|e| Error::io("write", into, &e))?;
    let mut archive = Archive::new(from);
    let mut unpacked = Unpacked::default();
    while let Some(item) = archive.next_item().map_err(|e| refused(&e))? {
        let below = below(&item).map_err(|e| refused(&e))?;
        let is_first = unpacked.modes.is_empty();
        if below.as_os_str().is_empty() {
            if !is_first || item.kind != EntryType::Directory || item.size > 0 {
                return Err(refused(&invalid(
                    "an invalid entry for the directory itself",
                )));
            }
            unpacked.modes.push((below, item.mode));
            continue;
        }
        if is_first {
            return Err(refused(&invalid("its first entry is not the directory")));
        }
        unpack_one(&mut archive, &root, &item, &below, &mut unpacked)
            .map_err(|e| not_unpacked(into, &below, &e))?;
    }
    if unpacked.modes.is_empty() {
        return Err(refused(&invalid("it is empty")));
    }
    unpacked.modes.sort_by(|a, b| b.0.cmp(&a.0));
    Ok(unpacked)
}

fn unpack_one(
    archive: &mut Archive<impl Read>,
    root: &Root,
    item: &Item,
    below: &Path,
    unpacked: &mut Unpacked,
) -> std::io::Result<()> {
    let is_file = matches!(item.kind, EntryType::Regular | EntryType::Continuous);
    if item.size > 0 && !is_file {
        return Err(invalid("contents for an entry that is not a file"));
    }
    match item.kind {
        _ if is_file => {
            let mut file = root.make_file(below)?;
            archive.content(item.size, |piece| file.write_all(piece))?;
            file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(item.mode))?;
            if let Some(time) =
                SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(item.changed))
            {
                file.set_modified(time)?;
            }
            unpacked.files += 1;
            unpacked.size += item.size;
        }
        EntryType::Directory => {
            root.make_folder(below)?;
            unpacked.modes.push((below.to_owned(), item.mode));
        }
        EntryType::Link => {
            root.make_hard_link(below, &path_below(&item.link)?)?;
            unpacked.files += 1;
        }
        EntryType::Symlink if stays_inside(below, &item.link) => {
            root.make_link(below, OsStr::from_bytes(&item.link))?;
        }
        EntryType::Symlink | EntryType::Fifo | EntryType::Char | EntryType::Block => {
            unpacked.left_out.count += 1;
            if unpacked.left_out.names.len() < NAMED {
                unpacked.left_out.names.push(shown(below));
            }
        }
        _ => return Err(invalid("an entry of an unknown kind")),
    }
    Ok(())
}

/// Returns the path of an entry below the directory.
fn below(item: &Item) -> std::io::Result<PathBuf> {
    let name = match item.kind {
        EntryType::Directory => item.name.strip_suffix(b"/").unwrap_or(&item.name),
        _ => &item.name,
    };
    path_below(name)
}

/// Parses `./a/b` or `a/b` as a path below the directory; `.` is the directory
/// itself.
fn path_below(name: &[u8]) -> std::io::Result<PathBuf> {
    let odd = || {
        invalid(&format!(
            "the name `{}`",
            shown(Path::new(OsStr::from_bytes(name)))
        ))
    };
    if name == b"." {
        return Ok(PathBuf::new());
    }
    let rest = name.strip_prefix(b"./").unwrap_or(name);
    let plain = |part: &[u8]| !part.is_empty() && part != b"." && part != b"..";
    if rest.split(|byte| *byte == b'/').all(plain) && !rest.contains(&0) {
        Ok(PathBuf::from(OsStr::from_bytes(rest)))
    } else {
        Err(odd())
    }
}

/// Returns whether a link leads to a path in the directory, whatever else the
/// directory contains: the target first goes up, never above the directory, and
/// then only down.
fn stays_inside(below: &Path, target: &[u8]) -> bool {
    let depth = below.components().count() - 1;
    let parts: Vec<&[u8]> = target.split(|byte| *byte == b'/').collect();
    let up = parts.iter().take_while(|part| **part == b"..").count();
    let is_plain = |part: &&[u8]| **part != b".."[..];
    !target.starts_with(b"/")
        && !target.is_empty()
        && !target.contains(&0)
        && up <= depth
        && parts[up..].iter().all(is_plain)
}

/// Formats a name for messages, on one line.
fn shown(path: &Path) -> String {
    text::harmless(&path.to_string_lossy()).replace('\n', "\\n")
}

/// Creates the error for a stream that is refused.
fn refused(error: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::CommandFailed,
        format!("the tar stream from the host is refused: {error}"),
    )
}

fn not_unpacked(into: &Path, below: &Path, error: &std::io::Error) -> Error {
    use std::io::ErrorKind as Io;
    let name = shown(below);
    match error.kind() {
        Io::InvalidData => refused(error),
        Io::InvalidInput => refused(&invalid(&format!("`{name}`: {error}"))),
        Io::AlreadyExists => refused(&invalid(&format!("`{name}` occurs twice"))),
        Io::NotFound | Io::NotADirectory => {
            refused(&invalid(&format!("`{name}` without its directory")))
        }
        Io::InvalidFilename => refused(&invalid(&format!("the name `{name}`"))),
        _ => Error::io("write", &into.join(below), error),
    }
}
