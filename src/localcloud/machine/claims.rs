//! Numbers that only one local cloud of this host may use at a time: subnets
//! and ranges of user ids.
//!
//! A claim is a lock on one byte of a file that only root can open. No other
//! user can take the lock, and the kernel releases it when its holder ends,
//! even after a crash.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use autorun_private as private;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;

/// The claims file. Its directory is created too; it belongs to root and is
/// readable by all.
const FILE: &str = "/run/autorun/claims";

/// The kind of a number. Each kind has its own range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The first three bytes of a network.
    Subnet = 0,
    /// The range of an instance's user ids.
    UserIds = 1,
}

/// The file with the locks.
#[derive(Debug)]
pub(super) struct Claims {
    file: PathBuf,
}

impl Claims {
    /// Returns the claims of this host.
    pub(super) fn of_host() -> Self {
        Self::at(FILE)
    }

    pub(super) fn at(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into() }
    }

    /// Claims the first number that neither another process nor this one holds.
    /// Returns `None` if all are taken.
    pub(super) fn first(
        &self,
        kind: Kind,
        candidates: impl IntoIterator<Item = u32>,
    ) -> io::Result<Option<Claim>> {
        // An open-file-description lock belongs to the open file, so each claim
        // opens its own.
        let file = open(&self.file)?;
        for number in candidates {
            if lock(&file, libc::F_WRLCK, kind, number)? {
                return Ok(Some(Claim { file, kind, number }));
            }
        }
        Ok(None)
    }
}

/// A number that no other process can claim until this value is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    file: File,
    kind: Kind,
    number: u32,
}

impl Claim {
    /// Claims the first number that is free on this host; see
    /// [`Claims::first`].
    pub(super) fn first(
        kind: Kind,
        candidates: impl IntoIterator<Item = u32>,
    ) -> io::Result<Option<Self>> {
        Claims::of_host().first(kind, candidates)
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // A process that was just forked may still have the file open, so
        // closing alone does not unlock.
        if let Err(error) = lock(&self.file, libc::F_UNLCK, self.kind, self.number) {
            log::debug!("a claim is released only when its file is closed: {error}");
        }
    }
}

/// Opens the file. Only this user may be able to use the file and its
/// directory.
fn open(path: &Path) -> io::Result<File> {
    let directory = path.parent().unwrap_or(path);
    match DirBuilder::new().mode(0o755).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if let Some(repaired) = private::own_directory(directory, true)? {
        log::warn!("{repaired}");
    }
    let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits())
        .open(path)?;
    let found = file.metadata()?;
    let own = found.uid() == nix::unistd::geteuid().as_raw();
    if !found.is_file() || !own || found.mode() & 0o077 != 0 || found.nlink() != 1 {
        return Err(io::Error::other(format!(
            "other users can access `{}`; remove it",
            path.display()
        )));
    }
    Ok(file)
}

/// Locks or unlocks the byte of a number. Returns false if another claim has
/// the lock.
fn lock(file: &File, how: i32, kind: Kind, number: u32) -> io::Result<bool> {
    let short = |value: i32| libc::c_short::try_from(value).map_err(io::Error::other);
    let range = libc::flock {
        l_type: short(how)?,
        l_whence: short(libc::SEEK_SET)?,
        l_start: (libc::off_t::from(kind as u8) << 32) + libc::off_t::from(number),
        l_len: 1,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&range)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn claims(directory: &Path) -> Claims {
        Claims::at(directory.join("autorun/claims"))
    }

    fn number(claim: io::Result<Option<Claim>>) -> Option<u32> {
        claim.unwrap().map(|claim| claim.number())
    }

    #[test]
    fn a_number_has_only_one_holder() {
        let directory = tempfile::tempdir().unwrap();
        let claims = claims(directory.path());
        let first = claims.first(Kind::Subnet, 7..9).unwrap().unwrap();
        let second = claims.first(Kind::Subnet, 7..9).unwrap().unwrap();
        assert_eq!((first.number(), second.number()), (7, 8));
        assert_eq!(number(claims.first(Kind::Subnet, 7..9)), None);
        assert_eq!(number(claims.first(Kind::UserIds, 7..9)), Some(7));
        assert_eq!(
            number(claims.first(Kind::Subnet, [u32::MAX])),
            Some(u32::MAX)
        );
        drop(first);
        assert_eq!(number(claims.first(Kind::Subnet, 7..9)), Some(7));
    }

    #[test]
    fn a_number_is_free_again_even_if_a_forked_process_has_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let claims = claims(directory.path());
        let claim = claims.first(Kind::Subnet, [7]).unwrap().unwrap();
        let inherited = claim.file.try_clone().unwrap();
        drop(claim);
        assert_eq!(number(claims.first(Kind::Subnet, [7])), Some(7));
        drop(inherited);
    }

    #[test]
    fn a_file_that_others_can_use_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let claims = claims(directory.path());
        assert_eq!(number(claims.first(Kind::Subnet, [1])), Some(1));
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        set(&claims.file, 0o644);
        assert!(claims.first(Kind::Subnet, [1]).is_err());
        set(&claims.file, 0o600);
        fs::hard_link(&claims.file, directory.path().join("second")).unwrap();
        assert!(claims.first(Kind::Subnet, [1]).is_err());
        fs::remove_file(&claims.file).unwrap();
        symlink(directory.path().join("second"), &claims.file).unwrap();
        assert!(claims.first(Kind::Subnet, [1]).is_err());
        fs::remove_file(&claims.file).unwrap();
        set(claims.file.parent().unwrap(), 0o777);
        assert_eq!(number(claims.first(Kind::Subnet, [1])), Some(1));
        let repaired = fs::metadata(claims.file.parent().unwrap()).unwrap();
        assert_eq!(repaired.mode() & 0o777, 0o755);
    }
}
