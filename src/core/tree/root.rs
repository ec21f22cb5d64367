//! Access to a directory of this machine: no name leads out of it, and no link
//! on the way is followed.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{Error, ErrorKind, Result};
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};

use super::About;

/// The flags for directories: never follow a link.
const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The flags for existing files: never follow a link or wait for a pipe.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// An open directory; see the module.
#[derive(Debug)]
pub struct Root(OwnedFd);

impl Root {
    /// Opens the directory of this name, which may itself be a link.
    pub fn open(directory: &Path) -> Result<Self> {
        let flags = FOLDER.difference(OFlags::NOFOLLOW);
        Ok(Self(rustix::fs::openat(
            CWD,
            directory,
            flags,
            Mode::empty(),
        )?))
    }

    /// Opens a directory below this one, or this one again.
    pub(super) fn folder(&self, below: &Path) -> Result<OwnedFd> {
        let mut at = self.0.try_clone()?;
        for part in below.components() {
            let Component::Normal(name) = part else {
                return Err(leads_out());
            };
            at = rustix::fs::openat(&at, name, FOLDER, Mode::empty())?;
        }
        Ok(at)
    }

    /// Opens the parent directory of a path below. Returns it with the file
    /// name.
    fn place<'a>(&self, below: &'a Path) -> Result<(OwnedFd, &'a OsStr)> {
        let name = below.file_name().ok_or_else(leads_out)?;
        let folder = below.parent().unwrap_or(Path::new(""));
        Ok((self.folder(folder)?, name))
    }

    /// Lists a directory below with the metadata of each entry.
    pub(super) fn list(&self, below: &Path) -> Result<Vec<(std::ffi::OsString, About)>> {
        use std::os::unix::ffi::OsStringExt as _;
        let folder = self.folder(below)?;
        let mut found = Vec::new();
        for entry in Dir::read_from(&folder)? {
            let name = std::ffi::OsString::from_vec(entry?.file_name().to_bytes().to_vec());
            if name != "." && name != ".." {
                let about = rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW)?;
                found.push((name, About::of_stat(&about)));
            }
        }
        Ok(found)
    }

    /// Opens an existing regular file below for reading.
    pub fn read_file(&self, below: &Path) -> Result<File> {
        let (folder, name) = self.place(below)?;
        regular(&folder, name)?;
        let file = File::from(rustix::fs::openat(&folder, name, FILE, Mode::empty())?);
        is_regular(&file).map(|_| file)
    }

    /// Returns the target of a link below.
    pub(super) fn read_link(&self, below: &Path) -> Result<std::ffi::OsString> {
        use std::os::unix::ffi::OsStringExt as _;
        let (folder, name) = self.place(below)?;
        let target = rustix::fs::readlinkat(&folder, name, Vec::new())?;
        Ok(std::ffi::OsString::from_vec(target.into_bytes()))
    }

    /// Creates a file below; it must not exist.
    pub(super) fn make_file(&self, below: &Path) -> Result<File> {
        let (folder, name) = self.place(below)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(rustix::fs::openat(&folder, name, flags, mode)?.into())
    }

    /// Creates a directory below; it must not exist. Its owner can write to it.
    pub(super) fn make_folder(&self, below: &Path) -> Result<()> {
        let (folder, name) = self.place(below)?;
        Ok(rustix::fs::mkdirat(&folder, name, Mode::RWXU)?)
    }

    /// Creates a symbolic link below; it must not exist.
    pub(super) fn make_link(&self, below: &Path, target: &OsStr) -> Result<()> {
        let (folder, name) = self.place(below)?;
        Ok(rustix::fs::symlinkat(target, &folder, name)?)
    }

    /// Creates a hard link to a regular file below.
    pub(super) fn make_hard_link(&self, below: &Path, of: &Path) -> Result<()> {
        let (from, known) = self.place(of)?;
        regular(&from, known)?;
        let (folder, name) = self.place(below)?;
        Ok(rustix::fs::linkat(
            &from,
            known,
            &folder,
            name,
            AtFlags::empty(),
        )?)
    }

    /// Sets the permissions of a directory below, or of this one.
    pub(super) fn set_mode(&self, below: &Path, mode: u32) -> Result<()> {
        let folder = self.folder(below)?;
        Ok(rustix::fs::fchmod(
            &folder,
            Mode::from_raw_mode(mode & 0o777),
        )?)
    }
}

/// Opens a regular file of this name, which may be a link. Fails for anything
/// else, without blocking.
pub fn open_file(path: &Path) -> Result<(File, Metadata)> {
    let flags = FILE.difference(OFlags::NOFOLLOW);
    let file = File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?);
    let about = is_regular(&file)?;
    Ok((file, about))
}

fn regular(folder: &OwnedFd, name: &OsStr) -> Result<()> {
    let about = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(about.st_mode) {
        FileType::RegularFile => Ok(()),
        _ => Err(not_regular()),
    }
}

fn is_regular(file: &File) -> Result<Metadata> {
    let about = file.metadata()?;
    if about.is_file() {
        Ok(about)
    } else {
        Err(not_regular())
    }
}

fn not_regular() -> Error {
    Error::new(ErrorKind::InvalidInput, "it is not a regular file")
}

fn leads_out() -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "its name leads out of the directory",
    )
}
