//! A directory of this machine, and what is below it: no name leads out of it,
//! and no link is followed on the way.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{Error, ErrorKind, Result};
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};

use super::About;

/// How directories are opened: never through a link.
const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// How files are opened that are there: a pipe must not keep us waiting.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// See the module.
#[derive(Debug)]
pub struct Root(OwnedFd);

impl Root {
    /// The directory of this name, which may itself be a link.
    pub fn open(directory: &Path) -> Result<Self> {
        let flags = FOLDER.difference(OFlags::NOFOLLOW);
        Ok(Self(rustix::fs::openat(
            CWD,
            directory,
            flags,
            Mode::empty(),
        )?))
    }

    /// A directory below it, or itself.
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

    /// The directory that something below is in, and its name there.
    fn place<'a>(&self, below: &'a Path) -> Result<(OwnedFd, &'a OsStr)> {
        let name = below.file_name().ok_or_else(leads_out)?;
        let folder = below.parent().unwrap_or(Path::new(""));
        Ok((self.folder(folder)?, name))
    }

    /// What is in a directory below, with what each is.
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

    /// Opens a regular file below to be read.
    pub fn read_file(&self, below: &Path) -> Result<File> {
        let (folder, name) = self.place(below)?;
        regular(&folder, name)?;
        let file = File::from(rustix::fs::openat(&folder, name, FILE, Mode::empty())?);
        is_regular(&file).map(|_| file)
    }

    /// Where a link below leads to.
    pub(super) fn read_link(&self, below: &Path) -> Result<std::ffi::OsString> {
        use std::os::unix::ffi::OsStringExt as _;
        let (folder, name) = self.place(below)?;
        let target = rustix::fs::readlinkat(&folder, name, Vec::new())?;
        Ok(std::ffi::OsString::from_vec(target.into_bytes()))
    }

    /// Makes a file below of which nothing was there.
    pub(super) fn make_file(&self, below: &Path) -> Result<File> {
        let (folder, name) = self.place(below)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(rustix::fs::openat(&folder, name, flags, mode)?.into())
    }

    /// Makes a directory below of which nothing was there; it is open to us.
    pub(super) fn make_folder(&self, below: &Path) -> Result<()> {
        let (folder, name) = self.place(below)?;
        Ok(rustix::fs::mkdirat(&folder, name, Mode::RWXU)?)
    }

    /// Makes a symbolic link below of which nothing was there.
    pub(super) fn make_link(&self, below: &Path, target: &OsStr) -> Result<()> {
        let (folder, name) = self.place(below)?;
        Ok(rustix::fs::symlinkat(target, &folder, name)?)
    }

    /// Gives a regular file below a second name.
    pub(super) fn make_second_name(&self, below: &Path, of: &Path) -> Result<()> {
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

    /// Sets the permissions of a directory below, or its own.
    pub(super) fn set_mode(&self, below: &Path, mode: u32) -> Result<()> {
        let folder = self.folder(below)?;
        Ok(rustix::fs::fchmod(
            &folder,
            Mode::from_raw_mode(mode & 0o777),
        )?)
    }
}

/// Opens a regular file of this name, which may be a link; nothing else, and
/// without waiting for anything.
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
        _ => Err(no_file()),
    }
}

fn is_regular(file: &File) -> Result<Metadata> {
    let about = file.metadata()?;
    if about.is_file() {
        Ok(about)
    } else {
        Err(no_file())
    }
}

fn no_file() -> Error {
    Error::new(ErrorKind::InvalidInput, "it is not a regular file")
}

fn leads_out() -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "its name leads out of the directory",
    )
}
