//! Directories of this machine: what is in them, as streams, and back.

use std::fs::{self, File, Metadata};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

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

    /// Without what would make a file another user's program elsewhere.
    fn mode(&self) -> u32 {
        mode_of(&self.about)
    }

    /// Whether a directory keeps its own owner from working in it: it gets this
    /// mode when all is in its place.
    fn is_closed(&self) -> bool {
        self.kind == Kind::Directory && is_closed(self.mode())
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

fn mode_of(about: &Metadata) -> u32 {
    about.permissions().mode() & 0o777
}

fn is_closed(mode: u32) -> bool {
    mode & 0o700 != 0o700
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
/// is last, so that the other side knows that all is there. `closed` has the
/// directories that get their mode at the very end. With `sparse` the holes of
/// files are left out, which GNU tar alone understands.
///
/// Throws `denied`, `not_found` for a file that cannot be read any more, and
/// `command_failed` for one that became shorter.
pub fn pack(directory: &Path, entries: &[Entry], sparse: bool, to: impl Write) -> Result<()> {
    let mut tar = Builder::new(to);
    tar.sparse(sparse);
    let about = fs::metadata(directory).map_err(|e| Error::io("read", directory, &e))?;
    let failed = |e: std::io::Error| not_packed(directory, &e);
    let mut top = header(&about, EntryType::Directory);
    tar.append_data(&mut top, "tree", std::io::empty())
        .map_err(failed)?;
    for entry in entries {
        let name = Path::new("tree").join(&entry.below);
        pack_one(&mut tar, entry, &name, sparse).map_err(|e| not_packed(&entry.path, &e))?;
    }
    let mut closed = closed(&about, entries).join("\n");
    if !closed.is_empty() {
        closed.push('\n');
    }
    for (name, text) in [("closed", closed.as_str()), ("done", "")] {
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

/// The directories that are closed to their own owner, as `MODE NAME`; the
/// innermost first.
fn closed(top: &Metadata, entries: &[Entry]) -> Vec<String> {
    let line = |mode: u32, name: &Path| format!("{mode:o} {}", escaped(name));
    let below = entries.iter().rev().filter(|entry| entry.is_closed());
    let mut lines: Vec<String> = below
        .map(|entry| line(entry.mode(), &entry.below))
        .collect();
    if is_closed(mode_of(top)) {
        lines.push(line(mode_of(top), Path::new(".")));
    }
    lines
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
    header.set_mode(match kind {
        // Things are moved out of it first: see `closed`.
        EntryType::Directory => mode_of(about) | 0o700,
        _ => mode_of(about),
    });
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
/// `mode MODE PATH`, `closed MODE PATH`, `done`. Names are as `printf %b` takes
/// them.
///
/// Throws as [`pack`] does.
pub fn spell(directory: &Path, entries: &[Entry], mut to: impl Write) -> Result<()> {
    let about = fs::metadata(directory).map_err(|e| Error::io("read", directory, &e))?;
    let failed = |e: std::io::Error| not_packed(directory, &e);
    writeln!(to, "directory tree").map_err(failed)?;
    let mut modes = vec![format!("mode {:o} tree", mode_of(&about) | 0o700)];
    for entry in entries {
        let name = escaped(&Path::new("tree").join(&entry.below));
        if entry.kind == Kind::Directory {
            modes.push(format!("mode {:o} {name}", entry.mode() | 0o700));
        }
        spell_one(&mut to, entry, &name).map_err(|e| not_packed(&entry.path, &e))?;
    }
    for mode in modes {
        writeln!(to, "{mode}").map_err(failed)?;
    }
    for line in closed(&about, entries) {
        writeln!(to, "closed {line}").map_err(failed)?;
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
    /// The modes of the directories, the innermost first; the last one is that
    /// of the directory itself, without a path.
    pub modes: Vec<(PathBuf, u32)>,
}

/// Unpacks a tar stream that another machine wrote into an empty directory.
/// Nothing gets outside of it, and no file becomes setuid. Its directories stay
/// open to us until [`settle`].
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
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let path = entry.path().map_err(failed)?.into_owned();
        match entry.header().entry_type() {
            EntryType::Directory => {
                let below: PathBuf = path
                    .components()
                    .filter(|part| *part != Component::CurDir)
                    .collect();
                let mode = entry.header().mode().map_err(failed)? & 0o777;
                unpacked.modes.push((below, mode));
                entry.set_preserve_permissions(false);
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
        if !entry.unpack_in(into).map_err(failed)? && path != Path::new("./") {
            let path = path.display();
            return Err(Error::new(
                ErrorKind::CommandFailed,
                format!("the host sent a file `{path}` that leads out of the directory"),
            ));
        }
    }
    unpacked.modes.sort_by(|a, b| b.0.cmp(&a.0));
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
/// when it is replaced, and then `tree` is what was there before; else file by
/// file into what is there. Its directories get their modes last.
///
/// Throws `already_exists` for a file in the place of a directory or the other
/// way round, and what the disk says.
pub fn settle(tree: &Path, target: &Path, replace: bool, modes: &[(PathBuf, u32)]) -> Result<()> {
    let failed = |e: std::io::Error| Error::io("write", target, &e);
    if fs::symlink_metadata(target).is_err() {
        fs::rename(tree, target).map_err(failed)?;
    } else if !target.is_dir() {
        return Err(in_the_way(target, "no directory"));
    } else if replace {
        exchange(tree, &fs::canonicalize(target).map_err(failed)?).map_err(failed)?;
    } else {
        merge(tree, target)?;
    }
    for (below, mode) in modes {
        let path = target.join(below);
        // What is a link there was there before.
        if fs::symlink_metadata(&path).is_ok_and(|about| about.is_dir())
            || below.as_os_str().is_empty()
        {
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode))
                .map_err(|e| Error::io("write", &path, &e))?;
        }
    }
    Ok(())
}

/// Two directories take each other's place, at no moment without one there
/// where the system can do that.
fn exchange(one: &Path, other: &Path) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    open_to_us(other);
    let exchanged = renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
    match exchanged {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
        exchanged => return Ok(exchanged?),
    }
    let away = one.with_file_name("old");
    fs::rename(other, &away)?;
    let moved = fs::rename(one, other);
    // Either way what is left over stands where the finished one stood.
    fs::rename(&away, if moved.is_ok() { one } else { other })?;
    moved
}

/// Things are moved in and out of a directory: its owner may do that.
fn open_to_us(directory: &Path) {
    if let Ok(about) = fs::metadata(directory)
        && is_closed(mode_of(&about))
    {
        let open = fs::Permissions::from_mode(mode_of(&about) | 0o700);
        // If not, the move says why.
        drop(fs::set_permissions(directory, open));
    }
}

fn merge(tree: &Path, target: &Path) -> Result<()> {
    open_to_us(target);
    for entry in fs::read_dir(tree).map_err(|e| Error::io("read", tree, &e))? {
        let path = entry.map_err(|e| Error::io("read", tree, &e))?.path();
        let place = target.join(path.file_name().unwrap_or_default());
        // A link is not followed: it might lead anywhere.
        let is_directory =
            |path: &Path| fs::symlink_metadata(path).is_ok_and(|about| about.is_dir());
        match (is_directory(&path), is_directory(&place)) {
            (true, true) => merge(&path, &place)?,
            (true, false) if fs::symlink_metadata(&place).is_ok() => {
                return Err(in_the_way(&place, "no directory"));
            }
            (false, true) => return Err(in_the_way(&place, "a directory")),
            _ => fs::rename(&path, &place).map_err(|e| Error::io("write", &place, &e))?,
        }
    }
    Ok(())
}

/// Removes a directory with all that it holds, closed directories too.
pub fn remove(directory: &Path) -> Result<()> {
    if fs::remove_dir_all(directory).is_ok() {
        return Ok(());
    }
    let mut closed = vec![directory.to_owned()];
    while let Some(folder) = closed.pop() {
        open_to_us(&folder);
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        closed.extend(below.map(|entry| entry.path()));
    }
    fs::remove_dir_all(directory).map_err(|e| Error::io("remove", directory, &e))
}

fn in_the_way(path: &Path, what: &str) -> Error {
    Error::new(
        ErrorKind::AlreadyExists,
        format!("`{}` is there, and is {what}", path.display()),
    )
    .hint("move it away, or choose another target")
}

/// A line for each thing below a directory, which tells one content of it from
/// another: mode, and for files size and time of change; of a link those of what
/// it leads to.
pub fn state(directory: &Path) -> Result<Vec<String>> {
    let line = |entry: Entry| {
        let about = fs::metadata(&entry.path).unwrap_or(entry.about);
        let (below, mode) = (entry.below.display(), mode_of(&about));
        // A directory's own time changes with every temporary file in it.
        match about.is_dir() {
            true => format!("{below} {mode:o}"),
            false => format!(
                "{below} {mode:o} {} {}.{}",
                about.len(),
                about.mtime(),
                about.mtime_nsec()
            ),
        }
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
        // With `closed` and `done`.
        let closed = "500 closed\n".len() as u64;
        assert_eq!((unpacked.files, unpacked.size), (4, 9 + closed));
        let at = |name: &str| to.path().join("tree").join(name);
        assert_eq!(fs::read_to_string(at("closed/file")).unwrap(), "inside");
        assert_eq!(fs::read_to_string(at("two words\n")).unwrap(), "odd");
        assert_eq!(fs::read_link(at("loop")).unwrap(), from.path());
        assert!(!at("socket").exists() && to.path().join("done").exists());
        let said = fs::read_to_string(to.path().join("closed")).unwrap();
        assert_eq!(said, "500 closed\n");
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
        settle(&at("tree"), &at("there"), false, &[]).unwrap();
        assert!(at("there/sub/old").exists() && at("there/sub/new").exists());
        make("tree2");
        let modes = [("sub".into(), 0o500), (PathBuf::new(), 0o711)];
        settle(&at("tree2"), &at("there"), true, &modes).unwrap();
        let mode = |name: &str| mode_of(&fs::metadata(at(name)).unwrap());
        assert_eq!((mode("there"), mode("there/sub")), (0o711, 0o500));
        assert!(!at("there/sub/old").exists());
        assert_eq!(fs::read_to_string(at("there/sub/new")).unwrap(), "tree2");
        // A file is not put in the place of a directory.
        fs::create_dir_all(at("tree3")).unwrap();
        fs::write(at("tree3/sub"), "file").unwrap();
        let error = settle(&at("tree3"), &at("there"), false, &[]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::AlreadyExists);
        // Nor is a link followed that stands in the place of a directory.
        fs::create_dir(at("outside")).unwrap();
        std::os::unix::fs::symlink(at("outside"), at("there/way")).unwrap();
        fs::create_dir_all(at("tree4/way")).unwrap();
        fs::write(at("tree4/way/file"), "hi").unwrap();
        let error = settle(&at("tree4"), &at("there"), false, &[]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::AlreadyExists);
        assert_eq!(fs::read_dir(at("outside")).unwrap().count(), 0);
        fs::set_permissions(at("there"), fs::Permissions::from_mode(0o000)).unwrap();
        remove(&at("there")).unwrap();
    }
}
