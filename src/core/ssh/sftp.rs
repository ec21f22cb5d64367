//! Copies with the sftp protocol, for accounts that run no
//! commands: chroots with `internal-sftp`, storage services, appliances.

use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use libssh2_sys as sys;
use ssh2::{ErrorCode, FileStat, OpenFlags, OpenType, Sftp};
use tokio_util::sync::CancellationToken;

use super::channel::Channel;
use super::command::Finished;
use super::connection::{Connection, GLANCE, LOGIN_TIMEOUT};
use super::copy_programs::Trouble;
use super::errors::{Halt, halted};
use super::gate::{self, Shut};
use super::host::Host;
use super::input::CHUNK;
use super::libssh2::is_broken;
use crate::error::{Error, ErrorKind, Result};
use crate::report::text;

/// How long the end of an sftp session may take, in milliseconds.
const CLOSES_WITHIN: u32 = 2_000;

/// Why a copy failed.
#[derive(Debug)]
pub(super) enum NotCopied {
    /// The host refused, for this reason.
    Refused(Option<Trouble>, String),
    /// Another error.
    Failed(Error),
}

impl From<Error> for NotCopied {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A file for the host.
pub struct Upload {
    /// The name if the target is a directory.
    pub name: String,
    /// The path on the host.
    pub target: String,
    /// The size in bytes.
    pub size: u64,
    /// The permissions.
    pub mode: u32,
    /// The content, which must not block for long.
    pub content: Box<dyn Read + Send>,
}

impl NotCopied {
    /// Returns the result that a copy program would have.
    pub(super) fn finished(self) -> Result<Finished> {
        match self {
            Self::Refused(trouble, message) => Ok(Finished {
                status: trouble.map_or(1, Trouble::status),
                stderr: message.into_bytes(),
                ..Finished::default()
            }),
            Self::Failed(error) => Err(error),
        }
    }
}

/// An sftp session on a connection.
pub(super) struct Session<'a> {
    connection: &'a Connection,
    host: &'a Host,
    sftp: Sftp,
    limit: Option<(Duration, Instant)>,
}

impl<'a> Session<'a> {
    /// Starts the session. Returns `None` if the host has no sftp either.
    pub(super) fn open(
        connection: &'a Connection,
        host: &'a Host,
        limit: Option<Duration>,
        cancel: &CancellationToken,
    ) -> Result<Option<Self>> {
        let gate = &connection.gate;
        gate.open(Some(Instant::now() + LOGIN_TIMEOUT), cancel, gate::ASIDE);
        let sftp = match connection.finish(ssh2::Session::sftp) {
            Ok(sftp) => sftp,
            Err(Halt::Broken(error)) if !is_broken(&error) => return Ok(None),
            // libssh2 reports that the sftp server ended as if the connection had.
            Err(Halt::Broken(_)) if connection.finish(Channel::open).is_ok() => return Ok(None),
            Err(Halt::Shut(Shut::Late)) => return Ok(None),
            Err(halt) => return Err(halted(host, "starting sftp", &halt)),
        };
        connection.session.set_timeout(CLOSES_WITHIN);
        let limit = limit.map(|limit| (limit, Instant::now() + limit));
        gate.open(limit.map(|(_, until)| until), cancel, gate::ASIDE);
        Ok(Some(Self {
            connection,
            host,
            sftp,
            limit,
        }))
    }

    /// Repeats a call of the protocol until it need not wait.
    pub(super) fn ask<T>(
        &self,
        mut call: impl FnMut(&Sftp) -> std::result::Result<T, ssh2::Error>,
    ) -> std::result::Result<T, NotCopied> {
        self.connection
            .finish(|_| call(&self.sftp))
            .map_err(|halt| self.failed(&halt))
    }

    pub(super) fn host(&self) -> &Host {
        self.host
    }

    fn failed(&self, halt: &Halt) -> NotCopied {
        if let Halt::Broken(error) = halt
            && let ErrorCode::SFTP(code) = error.code()
        {
            return NotCopied::Refused(trouble(code), error.message().to_owned());
        }
        // Nothing waits for the other side any more.
        self.connection.cut();
        match (halt, self.limit) {
            (Halt::Shut(Shut::Late), Some((limit, _))) => NotCopied::Failed(Error::new(
                ErrorKind::Timeout,
                format!(
                    "the copy did not finish within {} on {}",
                    text::duration(limit),
                    self.host.name
                ),
            )),
            _ => NotCopied::Failed(halted(self.host, "copying over sftp", halt)),
        }
    }

    /// Repeats a call on a file until it need not wait.
    pub(super) fn move_bytes(
        &self,
        mut call: impl FnMut() -> std::io::Result<usize>,
    ) -> std::result::Result<usize, NotCopied> {
        let gate = &self.connection.gate;
        loop {
            match call() {
                Ok(n) => {
                    gate.credit(n);
                    return Ok(n);
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(NotCopied::Refused(None, e.to_string())),
            }
            if let Some(shut) = gate.shut() {
                return Err(self.failed(&Halt::Shut(shut)));
            }
            // If waiting fails, the next call fails too.
            let _ = self.connection.wait(GLANCE);
        }
    }

    /// Returns the size and the permissions of a file, or `None` for a
    /// directory.
    pub(super) fn look(&self, path: &str) -> std::result::Result<Option<(u64, u32)>, NotCopied> {
        let path = from_start(path)?;
        let stat = self.ask(|sftp| sftp.stat(Path::new(path)))?;
        if stat.is_dir() {
            return Ok(None);
        }
        match (stat.is_file(), stat.size) {
            (true, Some(size)) => Ok(Some((size, stat.perm.unwrap_or(0o644) & 0o777))),
            _ => Err(NotCopied::Refused(
                Some(Trouble::Special),
                format!("{path} is neither a file nor a directory"),
            )),
        }
    }

    /// Writes the file to `into`.
    pub(super) fn get(
        &self,
        path: &str,
        mut into: Box<dyn Write + Send>,
    ) -> std::result::Result<(), NotCopied> {
        let path = from_start(path)?;
        let mut file = self.ask(|sftp| sftp.open(Path::new(path)))?;
        let mut buffer = vec![0; CHUNK];
        let written = |e: std::io::Error| {
            let message = format!("cannot write the data from {}: {e}", self.host.name);
            NotCopied::Failed(Error::new(ErrorKind::CommandFailed, message))
        };
        loop {
            let read = self.move_bytes(|| file.read(&mut buffer))?;
            if read == 0 {
                break;
            }
            into.write_all(&buffer[..read]).map_err(written)?;
        }
        into.flush().map_err(written)?;
        self.connection
            .finish(|_| file.close())
            .map_err(|halt| self.failed(&halt))
    }

    /// Copies a file to the host: under a hidden name first, which gets its
    /// final name when the file is complete. Returns the path of the copy.
    pub(super) fn put(&self, upload: &mut Upload) -> std::result::Result<String, NotCopied> {
        let target = from_start(&upload.target)?;
        let is_directory = match self.ask(|sftp| sftp.stat(Path::new(target))) {
            Ok(stat) => stat.is_dir(),
            Err(NotCopied::Refused(Some(Trouble::Missing), _)) if !target.ends_with('/') => false,
            Err(error) => return Err(error),
        };
        let path = if is_directory {
            format!("{}/{}", target.trim_end_matches('/'), upload.name)
        } else {
            target.to_owned()
        };
        let (folder, name) = path.rsplit_once('/').unwrap_or((".", &path));
        let hidden = format!("{folder}/.{name}.autorun-{:08x}", rand::random::<u32>());
        let hidden = Path::new(&hidden);
        let copied = self.fill(hidden, &mut upload.content, upload.size, upload.mode);
        let renamed = copied.and_then(|()| self.rename(hidden, Path::new(&path)));
        if renamed.is_err() {
            // The copy has failed already; a hidden file may be left.
            let _ = self.ask(|sftp| sftp.unlink(hidden));
        }
        renamed.map(|()| path)
    }

    /// Writes a new file, and checks that it has this size on the host.
    pub(super) fn fill(
        &self,
        path: &Path,
        content: &mut dyn Read,
        size: u64,
        mode: u32,
    ) -> std::result::Result<(), NotCopied> {
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        let mut file = self.ask(|sftp| sftp.open_mode(path, flags, 0o600, OpenType::File))?;
        let mut buffer = Vec::with_capacity(CHUNK);
        let mut sent = 0;
        loop {
            buffer.clear();
            let mut piece = content.take(CHUNK as u64);
            piece.read_to_end(&mut buffer).map_err(|e| {
                let message = format!("cannot read the input for {}: {e}", self.host.name);
                Error::new(ErrorKind::CommandFailed, message)
            })?;
            if buffer.is_empty() {
                break;
            }
            let mut done = 0;
            while done < buffer.len() {
                done += self.move_bytes(|| file.write(&buffer[done..]))?;
            }
            sent += done as u64;
        }
        self.connection
            .finish(|_| file.close())
            .map_err(|halt| self.failed(&halt))?;
        let stored = self.ask(|sftp| sftp.stat(path))?;
        if sent != size || stored.size != Some(size) {
            return Err(NotCopied::Refused(
                Some(Trouble::Incomplete),
                format!("received {sent} of {size} bytes"),
            ));
        }
        self.ask(|sftp| sftp.setstat(path, permissions(mode)))
    }

    /// The protocol does not rename over an existing file, so that is deleted
    /// first.
    pub(super) fn rename(&self, hidden: &Path, path: &Path) -> std::result::Result<(), NotCopied> {
        let exists = match self.ask(|sftp| sftp.lstat(path)) {
            Ok(_) => true,
            Err(NotCopied::Refused(Some(Trouble::Missing), _)) => false,
            Err(error) => return Err(error),
        };
        if exists {
            self.ask(|sftp| sftp.unlink(path))?;
        }
        self.ask(|sftp| sftp.rename(hidden, path, None))
    }
}

/// Returns the attributes that set only the permissions.
pub(super) fn permissions(mode: u32) -> FileStat {
    FileStat {
        size: None,
        uid: None,
        gid: None,
        perm: Some(mode),
        atime: None,
        mtime: None,
    }
}

/// Returns the path for sftp, where relative paths start at the directory after
/// the login. The homes of other users are unknown without a shell.
pub(super) fn from_start(path: &str) -> std::result::Result<&str, NotCopied> {
    match path.strip_prefix('~') {
        None => Ok(path),
        Some("" | "/") => Ok("."),
        Some(rest) if rest.starts_with('/') => Ok(rest.trim_start_matches('/')),
        Some(_) => Err(NotCopied::Refused(
            None,
            "`~user` needs a shell on the host".to_owned(),
        )),
    }
}

/// Returns the reason for a status of the protocol's version 3, the only one
/// that OpenSSH has.
fn trouble(code: i32) -> Option<Trouble> {
    match code {
        sys::LIBSSH2_FX_NO_SUCH_FILE | sys::LIBSSH2_FX_NO_SUCH_PATH => Some(Trouble::Missing),
        sys::LIBSSH2_FX_PERMISSION_DENIED | sys::LIBSSH2_FX_WRITE_PROTECT => Some(Trouble::Denied),
        sys::LIBSSH2_FX_NO_SPACE_ON_FILESYSTEM | sys::LIBSSH2_FX_QUOTA_EXCEEDED => {
            Some(Trouble::Full)
        }
        _ => None,
    }
}
