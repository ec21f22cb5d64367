//! Numbers that one process of this host has at a time: networks and ranges of
//! ids. A claim ends with its process, however that ends.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;

/// Where claims are kept. Root's: another user could otherwise take them all.
const DIRECTORY: &str = "/run/autorun";

/// What is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A network of instances, by its place among the candidates.
    Subnet,
    /// A range of ids.
    Ids,
}

impl Kind {
    fn file(self) -> &'static str {
        match self {
            Self::Subnet => "subnets.lock",
            Self::Ids => "ids.lock",
        }
    }
}

/// A number that no other process has, as long as this lives.
#[derive(Debug)]
pub(super) struct Claim {
    number: u32,
    /// The byte of this number is locked in it.
    _file: File,
}

impl Claim {
    /// The first of the numbers that is free; `None` if none is.
    pub(super) fn first(
        kind: Kind,
        numbers: impl IntoIterator<Item = u32>,
    ) -> io::Result<Option<Self>> {
        Self::first_in(Path::new(DIRECTORY), kind, numbers)
    }

    fn first_in(
        directory: &Path,
        kind: Kind,
        numbers: impl IntoIterator<Item = u32>,
    ) -> io::Result<Option<Self>> {
        let file = open(directory, kind)?;
        for number in numbers {
            if lock(&file, number)? {
                return Ok(Some(Self {
                    number,
                    _file: file,
                }));
            }
        }
        Ok(None)
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }
}

/// A description of its own: locks of one description do not exclude each other.
fn open(directory: &Path, kind: Kind) -> io::Result<File> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o755).create(directory)?;
    let mut options = fs::OpenOptions::new();
    options.create(true).write(true).truncate(false).mode(0o600);
    let path = directory.join(kind.file());
    let file = options.custom_flags(OFlag::O_NOFOLLOW.bits()).open(&path)?;
    let found = file.metadata()?;
    let own = nix::unistd::geteuid().as_raw();
    if found.uid() != own || found.mode() & 0o077 != 0 {
        return Err(io::Error::other(format!(
            "{} can be used by others than its owner: remove it",
            path.display()
        )));
    }
    Ok(file)
}

/// Locks the byte of a number; whether that was possible.
fn lock(file: &File, number: u32) -> io::Result<bool> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "both are small numbers, of types that differ by architecture"
    )]
    let wanted = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: number.into(),
        l_len: 1,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&wanted)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_had_once_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let take = |numbers: [u32; 2]| {
            let claim = Claim::first_in(directory.path(), Kind::Ids, numbers);
            claim.unwrap()
        };
        let first = take([7, 8]).unwrap();
        let second = take([7, 8]).unwrap();
        assert_eq!((first.number(), second.number()), (7, 8));
        assert!(take([7, 8]).is_none());
        drop(first);
        assert_eq!(take([8, 7]).unwrap().number(), 7);
    }

    #[test]
    fn kinds_do_not_meet() {
        let directory = tempfile::tempdir().unwrap();
        let take = |kind| Claim::first_in(directory.path(), kind, [1]).unwrap();
        let both = (take(Kind::Ids), take(Kind::Subnet));
        assert!(both.0.is_some() && both.1.is_some());
    }

    #[test]
    fn a_file_that_others_could_lock_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(Kind::Ids.file());
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Claim::first_in(directory.path(), Kind::Ids, [1]).is_err());
    }
}
