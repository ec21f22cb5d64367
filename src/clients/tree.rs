//! Directories of this machine: what is in them, as streams, and back.

use std::fs::{self, File, Metadata};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use crate::error::{Error, ErrorKind, Result};

/// What an entry of a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link, wherever it leads.
    Link,
    /// A socket, a pipe or a device.
    Other,
}

/// One entry below a directory.
#[derive(Debug)]
pub struct Entry {
    /// Where it is.
    pub path: PathBuf,
    /// Its path below the directory.
    pub below: PathBuf,
    /// What it is; links are not followed.
    pub kind: Kind,
    about: Metadata,
}

impl Entry {
    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.about.len()
    }

    fn mode(&self) -> u32 {
        self.about.permissions().mode() & 0o7777
    }

    fn has_holes(&self) -> bool {
        self.about.blocks() * 512 < self.size()
    }

    fn open(&self) -> std::io::Result<Exactly> {
        Ok(Exactly {
            file: File::open(&self.path)?,
            left: self.size(),
        })
    }
}

/// Everything below a directory, each directory before what it holds.
///
/// Throws `not_found`, `denied` for what cannot be read.
pub fn walk(directory: &Path) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(folder) = open.pop() {
        let unreadable = |e: std::io::Error| Error::io("read", &folder, &e);
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let about = fs::symlink_metadata(&path).map_err(|e| Error::io("read", &path, &e))?;
            let kind = match about.file_type() {
                kind if kind.is_dir() => Kind::Directory,
                kind if kind.is_file() => Kind::File,
                kind if kind.is_symlink() => Kind::Link,
                _ => Kind::Other,
            };
            if kind == Kind::Directory {
                open.push(path.clone());
            }
            found.push(Entry {
                below: path.strip_prefix(directory).unwrap_or(&path).to_owned(),
                path,
                kind,
                about,
            });
        }
    }
    found.sort_by(|a, b| a.below.cmp(&b.below));
    Ok(found)
}

/// Writes a directory as a tar stream, under the name `tree`; the file `done`
/// is last, so that the other side knows that all is there. With `sparse` the
/// holes of files are left out, which GNU tar alone understands.
///
/// Throws `denied`, `not_found` for a file that cannot be read any more, and
/// `command_failed` for one that became shorter.
pub fn pack(directory: &Path, entries: &[Entry], sparse: bool, to: impl Write) -> Result<()> {
    let mut tar = Builder::new(to);
    tar.sparse(sparse);
    let about = fs::metadata(directory).map_err(|e| Error::io("read", directory, &e))?;
    let mut top = header(&about, EntryType::Directory);
    tar.append_data(&mut top, "tree", std::io::empty())
        .map_err(|e| not_packed(directory, &e))?;
    for entry in entries {
        let name = Path::new("tree").join(&entry.below);
        pack_one(&mut tar, entry, &name, sparse).map_err(|e| not_packed(&entry.path, &e))?;
    }
    let mut end = header(&about, EntryType::Regular);
    tar.append_data(&mut end, "done", std::io::empty())
        .and_then(|()| tar.into_inner()?.flush())
        .map_err(|e| not_packed(directory, &e))
}

fn pack_one(
    tar: &mut Builder<impl Write>,
    entry: &Entry,
    name: &Path,
    sparse: bool,
) -> std::io::Result<()> {
    match entry.kind {
        Kind::Directory => {
            let mut header = header(&entry.about, EntryType::Directory);
            tar.append_data(&mut header, name, std::io::empty())
        }
        Kind::File if sparse && entry.has_holes() => {
            tar.append_file(name, &mut File::open(&entry.path)?)
        }
        Kind::File => {
            let mut header = header(&entry.about, EntryType::Regular);
            header.set_size(entry.size());
            tar.append_data(&mut header, name, entry.open()?)
        }
        Kind::Link => {
            let mut header = header(&entry.about, EntryType::Symlink);
            tar.append_link(&mut header, name, fs::read_link(&entry.path)?)
        }
        Kind::Other => Ok(()),
    }
}

/// A file's bytes, as many as were announced: what is appended meanwhile is left
/// out, and one that becomes shorter is an error.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = (&self.file).take(self.left).read(buffer)?;
        if n == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(std::io::Error::other("it became shorter meanwhile"));
        }
        self.left -= n as u64;
        Ok(n)
    }
}

/// What tar says of an entry: nothing of owners, who are others over there.
fn header(about: &Metadata, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(about.permissions().mode() & 0o7777);
    header.set_mtime(u64::try_from(about.mtime()).unwrap_or(0));
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

/// Writes a directory as lines for a host without tar: `directory PATH`,
/// `file SIZE MODE PATH` with the file's bytes behind, `link TARGET PATH`,
/// `mode MODE PATH`, `done`. Names are as `printf %b` takes them.
///
/// Throws as [`pack`] does.
pub fn spell(directory: &Path, entries: &[Entry], mut to: impl Write) -> Result<()> {
    let about = fs::metadata(directory).map_err(|e| Error::io("read", directory, &e))?;
    let failed = |e: std::io::Error| not_packed(directory, &e);
    writeln!(to, "directory tree").map_err(failed)?;
    let mut modes = vec![format!(
        "mode {:o} tree",
        about.permissions().mode() & 0o7777
    )];
    for entry in entries {
        let name = escaped(&Path::new("tree").join(&entry.below));
        if entry.kind == Kind::Directory {
            modes.push(format!("mode {:o} {name}", entry.mode()));
        }
        spell_one(&mut to, entry, &name).map_err(|e| not_packed(&entry.path, &e))?;
    }
    // The innermost first: a directory may be closed to its own owner.
    for mode in modes.iter().rev() {
        writeln!(to, "{mode}").map_err(failed)?;
    }
    writeln!(to, "done")
        .and_then(|()| to.flush())
        .map_err(failed)
}

fn spell_one(to: &mut impl Write, entry: &Entry, name: &str) -> std::io::Result<()> {
    match entry.kind {
        Kind::Directory => writeln!(to, "directory {name}"),
        Kind::File => {
            let mut file = entry.open()?;
            writeln!(to, "file {} {:o} {name}", entry.size(), entry.mode())?;
            std::io::copy(&mut file, to).map(drop)
        }
        Kind::Link => {
            let target = fs::read_link(&entry.path)?;
            writeln!(to, "link {} {name}", escaped(&target))
        }
        Kind::Other => Ok(()),
    }
}

/// A name for `printf %b`: without blanks, quotes or anything odd.
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

/// What came out of a tar stream.
#[derive(Debug, Default)]
pub struct Unpacked {
    /// Number of regular files.
    pub files: usize,
    /// Their bytes.
    pub size: u64,
    /// What was neither file, directory nor link, and was left out.
    pub passed_over: Vec<PathBuf>,
}

/// Unpacks a tar stream that another machine wrote into an empty directory.
/// Nothing gets outside of it, and no file becomes setuid.
///
/// Throws `command_failed` for a damaged stream, `quota_exceeded` for a full
/// disk, `denied`.
pub fn unpack(from: impl Read, into: &Path) -> Result<Unpacked> {
    let failed = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::PermissionDenied => {
            Error::io("write", into, &e)
        }
        _ => Error::new(
            ErrorKind::CommandFailed,
            format!("cannot unpack into `{}`: {}", into.display(), innermost(&e)),
        ),
    };
    let mut unpacked = Unpacked::default();
    let mut archive = tar::Archive::new(from);
    archive.set_preserve_permissions(true);
    archive.set_mask(0o7000);
    // Last and from the inside: a directory may be closed to its own owner.
    let mut directories = Vec::new();
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let path = entry.path().map_err(failed)?.into_owned();
        match entry.header().entry_type() {
            EntryType::Directory => {
                directories.push((path, entry));
                continue;
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                unpacked.files += 1;
                unpacked.size += entry.size();
            }
            EntryType::Symlink | EntryType::Link => {}
            _ => {
                unpacked.passed_over.push(path);
                continue;
            }
        }
        if !entry.unpack_in(into).map_err(failed)? {
            let path = path.display();
            return Err(Error::new(
                ErrorKind::CommandFailed,
                format!("the host sent a file `{path}` that leads out of the directory"),
            ));
        }
    }
    directories.sort_by(|a, b| b.0.cmp(&a.0));
    for (_, mut directory) in directories {
        directory.unpack_in(into).map_err(failed)?;
    }
    Ok(unpacked)
}

/// tar wraps what the system says.
fn innermost(error: &std::io::Error) -> String {
    let mut said = error.to_string();
    let mut source = error.get_ref().and_then(std::error::Error::source);
    while let Some(inner) = source {
        said = inner.to_string();
        source = inner.source();
    }
    said
}

/// Moves a finished directory to its place: in one go when nothing is there or
/// when it is replaced, else file by file into what is there.
///
/// Throws `already_exists` for a file in the place of a directory or the other
/// way round, and what the disk says.
pub fn settle(tree: &Path, target: &Path, replace: bool) -> Result<()> {
    let failed = |e: std::io::Error| Error::io("write", target, &e);
    if fs::symlink_metadata(target).is_err() {
        return fs::rename(tree, target).map_err(failed);
    }
    if !target.is_dir() {
        return Err(in_the_way(target, "no directory"));
    }
    if !replace {
        return merge(tree, target);
    }
    let target = fs::canonicalize(target).map_err(failed)?;
    // Beside it, under a hidden name that is gone in a moment.
    let old = tempfile::Builder::new()
        .prefix(".autorun-")
        .tempdir_in(target.parent().unwrap_or(&target))
        .map_err(failed)?;
    let away = old.path().join("old");
    fs::rename(&target, &away).map_err(failed)?;
    fs::rename(tree, &target).map_err(|e| {
        drop(fs::rename(&away, &target));
        failed(e)
    })
}

fn merge(tree: &Path, target: &Path) -> Result<()> {
    // Files are moved out of it, and it is gone in a moment.
    drop(fs::set_permissions(tree, fs::Permissions::from_mode(0o700)));
    for entry in fs::read_dir(tree).map_err(|e| Error::io("read", tree, &e))? {
        let path = entry.map_err(|e| Error::io("read", tree, &e))?.path();
        let place = target.join(path.file_name().unwrap_or_default());
        let is_directory = fs::symlink_metadata(&path).is_ok_and(|about| about.is_dir());
        match (is_directory, place.is_dir()) {
            (true, true) => merge(&path, &place)?,
            (true, false) if fs::symlink_metadata(&place).is_ok() => {
                return Err(in_the_way(&place, "no directory"));
            }
            // A link to a directory is replaced like a file.
            (false, true) if !place.is_symlink() => return Err(in_the_way(&place, "a directory")),
            _ => fs::rename(&path, &place).map_err(|e| Error::io("write", &place, &e))?,
        }
    }
    Ok(())
}

fn in_the_way(path: &Path, what: &str) -> Error {
    Error::new(
        ErrorKind::AlreadyExists,
        format!("`{}` is there, and is {what}", path.display()),
    )
    .hint("move it away, or choose another target")
}

/// A line for each thing below a directory, which tells one content of it from
/// another: size and time of change, of a link those of what it leads to.
pub fn state(directory: &Path) -> Result<Vec<String>> {
    let line = |entry: Entry| {
        let about = fs::metadata(&entry.path).unwrap_or(entry.about);
        let (below, size) = (entry.below.display(), about.len());
        format!("{below} {size} {}.{}", about.mtime(), about.mtime_nsec())
    };
    Ok(walk(directory)?.into_iter().map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two files, a link that leads round in a circle, a closed directory, a
    /// socket and an odd name.
    fn sample() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("closed")).unwrap();
        fs::write(at("closed/file"), "inside").unwrap();
        fs::write(at("two words\n"), "odd").unwrap();
        std::os::unix::fs::symlink(dir.path(), at("loop")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        fs::set_permissions(at("closed"), fs::Permissions::from_mode(0o500)).unwrap();
        dir
    }

    fn packed(dir: &Path) -> Vec<u8> {
        let mut tar = Vec::new();
        pack(dir, &walk(dir).unwrap(), false, &mut tar).unwrap();
        tar
    }

    #[test]
    fn a_directory_comes_back_as_it_was() {
        let (from, to) = (sample(), tempfile::tempdir().unwrap());
        let unpacked = unpack(&packed(from.path())[..], to.path()).unwrap();
        assert_eq!((unpacked.files, unpacked.size), (3, 9), "with `done`");
        let at = |name: &str| to.path().join("tree").join(name);
        assert_eq!(fs::read_to_string(at("closed/file")).unwrap(), "inside");
        assert_eq!(fs::read_to_string(at("two words\n")).unwrap(), "odd");
        assert_eq!(fs::read_link(at("loop")).unwrap(), from.path());
        assert!(!at("socket").exists() && to.path().join("done").exists());
        let mode = fs::metadata(at("closed")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o500);
    }

    #[test]
    fn a_stream_cannot_lead_out_of_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let (into, outside) = (dir.path().join("into"), dir.path().join("outside"));
        fs::create_dir(&into).unwrap();
        fs::create_dir(&outside).unwrap();
        let mut tar = Builder::new(Vec::new());
        let mut link = Header::new_gnu();
        link.set_entry_type(EntryType::Symlink);
        link.set_size(0);
        tar.append_link(&mut link, "way", &outside).unwrap();
        let mut file = Header::new_gnu();
        file.set_size(2);
        tar.append_data(&mut file, "way/file", &b"hi"[..]).unwrap();
        let stream = tar.into_inner().unwrap();
        assert!(unpack(&stream[..], &into).is_err());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn a_cut_stream_is_an_error() {
        let (from, to) = (sample(), tempfile::tempdir().unwrap());
        let stream = packed(from.path());
        assert!(unpack(&stream[..1000], to.path()).is_err());
    }

    #[test]
    fn what_is_there_stays_unless_it_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let make = |name: &str| {
            fs::create_dir_all(at(name).join("sub")).unwrap();
            fs::write(at(name).join("sub/new"), name).unwrap();
        };
        fs::create_dir_all(at("there/sub")).unwrap();
        fs::write(at("there/sub/old"), "old").unwrap();
        make("tree");
        settle(&at("tree"), &at("there"), false).unwrap();
        assert!(at("there/sub/old").exists() && at("there/sub/new").exists());
        make("tree2");
        settle(&at("tree2"), &at("there"), true).unwrap();
        assert!(!at("there/sub/old").exists());
        assert_eq!(fs::read_to_string(at("there/sub/new")).unwrap(), "tree2");
        // A file is not put in the place of a directory.
        fs::create_dir_all(at("tree3")).unwrap();
        fs::write(at("tree3/sub"), "file").unwrap();
        let error = settle(&at("tree3"), &at("there"), false).unwrap_err();
        assert_eq!(error.kind, ErrorKind::AlreadyExists);
    }
}
