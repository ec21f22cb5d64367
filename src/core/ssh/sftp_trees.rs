//! Directories with the sftp protocol. On this machine they are the same tar
//! streams as with a shell on the host; here they become calls of the protocol.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use libssh2_sys as sys;
use ssh2::{ErrorCode, FileStat};
use tar::{Archive, Builder, EntryType, Header};

use super::copy_programs::Trouble;
use super::sftp::{NotCopied, Session, from_start, permissions};
use crate::error::{Error, ErrorKind};
use crate::tree::{self, CLOSED, TREE};

type Result<T> = std::result::Result<T, NotCopied>;

/// The type of a file in its mode, and that of a symbolic link.
const TYPE: u32 = 0o170_000;
const LINK: u32 = 0o120_000;

/// A directory for the host.
pub struct TreeUpload {
    /// The name if the target ends in `/`.
    pub name: String,
    /// The path on the host.
    pub target: String,
    /// Whether an existing directory is replaced.
    pub replace: bool,
    /// The output of [`tree::pack`], without sparse files.
    pub stream: Box<dyn Read + Send>,
}

/// The mode of a directory, and its path below the copied one.
type Closed = (u32, PathBuf);

/// An entry that arrived under the hidden name.
struct Arrived {
    below: PathBuf,
    /// The permissions of a directory; `None` for a file or a link.
    directory: Option<u32>,
}

impl Session<'_> {
    /// Copies a directory to the host: under a hidden name first, which gets its
    /// final name when the directory is complete. Returns the path of the copy.
    pub(super) fn put_tree(&self, upload: &mut TreeUpload) -> Result<String> {
        let target = from_start(&upload.target)?;
        let path = if target.ends_with('/') {
            if self.kind(Path::new(target))? != Some(true) {
                return Err(refused(Trouble::Missing, target, "no such directory"));
            }
            format!("{target}{}", upload.name)
        } else {
            target.to_owned()
        };
        let exists = match self.kind(Path::new(&path))? {
            Some(false) => return Err(refused(Trouble::InTheWay, &path, "is not a directory")),
            found => found.is_some(),
        };
        if exists && upload.replace && self.holds_home(&path)? {
            let reason = "it contains the home directory";
            return Err(refused(Trouble::HoldsHome, &path, reason));
        }
        let (folder, name) = path.rsplit_once('/').unwrap_or((".", &path));
        let hidden = format!("{folder}/.{name}.autorun-{:08x}", rand::random::<u32>());
        let hidden = Path::new(&hidden);
        self.ask(|sftp| sftp.mkdir(hidden, 0o700))?;
        let put = self.unpack(hidden, &mut upload.stream);
        let put = put.and_then(|(arrived, closed)| {
            let path = Path::new(&path);
            let built = hidden.join(TREE);
            match (exists, upload.replace) {
                (false, _) => self.rename_new(&built, path)?,
                (true, true) => self.replace(&built, path, &hidden.join("old"))?,
                (true, false) => self.merge(&built, path, &arrived)?,
            }
            for (mode, below) in closed {
                self.set_mode(&path.join(below), mode)?;
            }
            Ok(())
        });
        let removed = self.remove_all(hidden);
        // The first error is the reason; the hidden directory may be left.
        put.and(removed).map(|()| path)
    }

    /// Creates the entries of a stream in the hidden directory. Returns them, and
    /// the directories that get their mode at the end.
    fn unpack(&self, hidden: &Path, stream: &mut dyn Read) -> Result<(Vec<Arrived>, Vec<Closed>)> {
        let incomplete = |_| {
            let message = "the directory arrived incomplete".to_owned();
            NotCopied::Refused(Some(Trouble::Incomplete), message)
        };
        let mut archive = Archive::new(stream);
        let mut arrived = Vec::new();
        for entry in archive.entries().map_err(incomplete)? {
            let mut entry = entry.map_err(incomplete)?;
            let name = entry.path().map_err(incomplete)?.into_owned();
            if name == Path::new(CLOSED) {
                let mut text = String::new();
                entry.read_to_string(&mut text).map_err(incomplete)?;
                return Ok((arrived, tree::parse_closed(&text)));
            }
            let below = name.strip_prefix(TREE).unwrap_or(&name).to_owned();
            let path = hidden.join(&name);
            let mode = entry.header().mode().map_err(incomplete)?;
            let directory = match entry.header().entry_type() {
                EntryType::Directory => {
                    self.make_directory(&path, mode)?;
                    Some(mode)
                }
                EntryType::Symlink => {
                    let target = entry.link_name().map_err(incomplete)?;
                    let target = target.unwrap_or_default();
                    self.link(&path, &target)?;
                    None
                }
                _ => {
                    let size = entry.size();
                    self.fill(&path, &mut entry, size, mode)?;
                    None
                }
            };
            arrived.push(Arrived { below, directory });
        }
        Err(incomplete(std::io::Error::other("no end")))
    }

    fn make_directory(&self, path: &Path, mode: u32) -> Result<()> {
        self.ask(|sftp| sftp.mkdir(path, 0o700))?;
        self.set_mode(path, mode)
    }

    fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
        self.ask(|sftp| sftp.setstat(path, permissions(mode)))
    }

    /// OpenSSH takes the two paths of a link in the other order than the
    /// protocol says, and so do clients.
    fn link(&self, path: &Path, target: &Path) -> Result<()> {
        self.ask(|sftp| sftp.symlink(target, path))
    }

    /// Renames a complete directory to a name that is free.
    fn rename_new(&self, built: &Path, path: &Path) -> Result<()> {
        self.ask(|sftp| sftp.rename(built, path, None))
    }

    /// Puts a complete directory in the place of another one.
    fn replace(&self, built: &Path, path: &Path, old: &Path) -> Result<()> {
        self.rename_new(path, old)?;
        let renamed = self.rename_new(built, path);
        if renamed.is_err() {
            // The old directory returns to its place; the first error is the
            // reason.
            let _ = self.rename_new(old, path);
        }
        renamed
    }

    /// Moves the entries of a complete directory into an existing one.
    fn merge(&self, built: &Path, path: &Path, arrived: &[Arrived]) -> Result<()> {
        let place = |entry: &Arrived| path.join(&entry.below);
        for entry in arrived {
            let place = place(entry);
            match (entry.directory, self.kind_of_entry(&place)?) {
                (Some(_), Some(false)) if !entry.below.as_os_str().is_empty() => {
                    let reason = "is a directory here, but not on the host";
                    return Err(refused(Trouble::InTheWay, &shown(&place), reason));
                }
                (None, Some(true)) => {
                    let reason = "is a directory on the host, but not here";
                    return Err(refused(Trouble::InTheWay, &shown(&place), reason));
                }
                _ => {}
            }
        }
        for entry in arrived {
            let place = place(entry);
            match entry.directory {
                Some(_) if self.kind(&place)? == Some(true) => {}
                Some(mode) => self.make_directory(&place, mode)?,
                None => self.rename(&built.join(&entry.below), &place)?,
            }
        }
        Ok(())
    }

    /// Returns whether a path is a directory or a link to one; `None` if it does
    /// not exist.
    fn kind(&self, path: &Path) -> Result<Option<bool>> {
        found(self.ask(|sftp| sftp.stat(path)))
    }

    /// Returns whether a path is a directory and no link; `None` if it does not
    /// exist.
    fn kind_of_entry(&self, path: &Path) -> Result<Option<bool>> {
        found(self.ask(|sftp| sftp.lstat(path)))
    }

    fn holds_home(&self, path: &str) -> Result<bool> {
        let home = self.ask(|sftp| sftp.realpath(Path::new(".")))?;
        let path = self.ask(|sftp| sftp.realpath(Path::new(path)))?;
        Ok(home.starts_with(path))
    }

    /// Removes a path with everything below it. Links are not followed.
    fn remove_all(&self, path: &Path) -> Result<()> {
        if self.kind_of_entry(path)? != Some(true) {
            return self.ask(|sftp| sftp.unlink(path));
        }
        // A directory that its owner cannot write to cannot be emptied.
        self.set_mode(path, 0o700)?;
        for (name, _) in self.list(path)? {
            self.remove_all(&path.join(name))?;
        }
        self.ask(|sftp| sftp.rmdir(path))
    }

    /// Returns the entries of a directory, by name.
    fn list(&self, path: &Path) -> Result<Vec<(PathBuf, FileStat)>> {
        let mut directory = self.ask(|sftp| sftp.opendir(path))?;
        let mut entries = Vec::new();
        loop {
            match self.ask(|_| match directory.readdir() {
                Err(e) if e.code() == ErrorCode::Session(sys::LIBSSH2_ERROR_FILE) => Ok(None),
                entry => entry.map(Some),
            })? {
                None => break,
                Some((name, _)) if name == Path::new(".") || name == Path::new("..") => {}
                Some((name, _)) if name.components().count() != 1 || name.is_absolute() => {
                    let reason = "the host sent a name that is not one of a file";
                    return Err(refused(Trouble::Special, &shown(path), reason));
                }
                Some(entry) => entries.push(entry),
            }
        }
        self.ask(|_| directory.close())?;
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    }

    /// Writes a directory of the host to `into`, as `tar -cf - .` does.
    pub(super) fn get_tree(&self, path: &str, into: Box<dyn Write + Send>) -> Result<()> {
        let top = Path::new(from_start(path)?);
        let failed = RefCell::new(None);
        // An error of the host is its own; any other is one of the stream.
        let stopped = |e: std::io::Error| {
            failed.take().unwrap_or_else(|| {
                let message = format!("cannot write the data from {}: {e}", self.host().name);
                NotCopied::Failed(Error::new(ErrorKind::CommandFailed, message))
            })
        };
        let mut tar = Builder::new(into);
        let stat = self.ask(|sftp| sftp.stat(top))?;
        let mut header = header(&stat, EntryType::Directory);
        tar.append_data(&mut header, "./", std::io::empty())
            .map_err(stopped)?;
        let mut open = vec![PathBuf::new()];
        while let Some(folder) = open.pop() {
            for (name, stat) in self.list(&top.join(&folder))? {
                let below = folder.join(name);
                if stat.is_dir() {
                    open.push(below.clone());
                }
                self.pack_one(&mut tar, &top.join(&below), &below, &stat, &failed)?
                    .map_err(stopped)?;
            }
        }
        tar.into_inner()
            .and_then(|mut into| into.flush())
            .map_err(stopped)
    }

    /// Adds an entry to the stream. An error of the host in the middle of a file
    /// is put into `failed`.
    fn pack_one(
        &self,
        tar: &mut Builder<impl Write>,
        path: &Path,
        below: &Path,
        stat: &FileStat,
        failed: &RefCell<Option<NotCopied>>,
    ) -> Result<std::io::Result<()>> {
        let name = Path::new(".").join(below);
        if stat.is_dir() {
            let mut header = header(stat, EntryType::Directory);
            return Ok(tar.append_data(&mut header, name, std::io::empty()));
        }
        if stat.is_file() {
            let size = stat.size.unwrap_or(0);
            let mut header = header(stat, EntryType::Regular);
            header.set_size(size);
            let mut file = self.ask(|sftp| sftp.open(path))?;
            let content = Content {
                read: |buffer: &mut [u8]| self.move_bytes(|| file.read(buffer)),
                left: size,
                failed,
            };
            let added = tar.append_data(&mut header, name, content);
            self.ask(|_| file.close())?;
            return Ok(added);
        }
        if stat.perm.is_some_and(|mode| mode & TYPE == LINK) {
            let target = self.ask(|sftp| sftp.readlink(path))?;
            let mut header = header(stat, EntryType::Symlink);
            return Ok(tar.append_link(&mut header, name, target));
        }
        // The other side of the stream skips it and names it in a warning.
        let mut header = header(stat, EntryType::Fifo);
        Ok(tar.append_data(&mut header, name, std::io::empty()))
    }
}

/// The content of a file on the host, of exactly the announced size.
struct Content<'a, R> {
    read: R,
    left: u64,
    failed: &'a RefCell<Option<NotCopied>>,
}

impl<R: FnMut(&mut [u8]) -> Result<usize>> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if most == 0 {
            return Ok(0);
        }
        let error = match (self.read)(&mut buffer[..most]) {
            Ok(0) => {
                let message = "a file became shorter during the copy".to_owned();
                NotCopied::Refused(Some(Trouble::Incomplete), message)
            }
            Ok(n) => {
                self.left -= n as u64;
                return Ok(n);
            }
            Err(error) => error,
        };
        self.failed.replace(Some(error));
        Err(std::io::Error::other("the host failed"))
    }
}

/// Returns whether a found path is a directory; `None` if it does not exist.
fn found(stat: Result<FileStat>) -> Result<Option<bool>> {
    match stat {
        Ok(stat) => Ok(Some(stat.is_dir())),
        Err(NotCopied::Refused(Some(Trouble::Missing), _)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn header(stat: &FileStat, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(stat.perm.unwrap_or(0o755) & 0o777);
    header.set_mtime(stat.mtime.unwrap_or(0));
    header.set_size(0);
    header
}

fn refused(trouble: Trouble, path: &str, reason: &str) -> NotCopied {
    NotCopied::Refused(Some(trouble), format!("{path}: {reason}"))
}

fn shown(path: &Path) -> String {
    String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned()
}
