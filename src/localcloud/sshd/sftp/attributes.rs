//! Attributes of files: in packets, as lines of `ls -l`, and setting them.

use std::fs::{self, File, FileTimes, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use super::wire::{Fields, Malformed, Packet};

// The flags of attributes in the protocol.
const SIZE: u32 = 1;
const OWNER: u32 = 2;
const PERMISSIONS: u32 = 4;
const TIMES: u32 = 8;
const EXTENDED: u32 = 0x8000_0000;

/// The bits of a mode that can be set.
const MODE: u32 = 0o7777;

/// The attributes that a client sets. Missing attributes stay unchanged.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    size: Option<u64>,
    owner: Option<(u32, u32)>,
    mode: Option<u32>,
    /// The times of the last access and the last modification.
    times: Option<(u32, u32)>,
}

impl Attributes {
    pub(super) fn parse(fields: &mut Fields) -> Result<Self, Malformed> {
        let flags = fields.number()?;
        let mut found = Self::default();
        if flags & SIZE != 0 {
            found.size = Some(fields.long()?);
        }
        if flags & OWNER != 0 {
            found.owner = Some((fields.number()?, fields.number()?));
        }
        if flags & PERMISSIONS != 0 {
            found.mode = Some(fields.number()? & MODE);
        }
        if flags & TIMES != 0 {
            found.times = Some((fields.number()?, fields.number()?));
        }
        if flags & EXTENDED != 0 {
            for _ in 0..fields.number()? {
                fields.string()?;
                fields.string()?;
            }
        }
        Ok(found)
    }

    /// Returns the mode of a new file or directory.
    pub(super) fn mode_or(&self, default: u32) -> u32 {
        self.mode.unwrap_or(default)
    }

    pub(super) fn set_on_path(&self, path: &Path) -> io::Result<()> {
        if let Some(size) = self.size {
            let size = size.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
            nix::unistd::truncate(path, size)?;
        }
        if let Some(mode) = self.mode {
            fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
        self.set_times(path, UtimensatFlags::FollowSymlink)?;
        if let Some((uid, gid)) = self.owner {
            std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    /// Sets the attributes that a symbolic link itself can have.
    pub(super) fn set_on_link(&self, path: &Path) -> io::Result<()> {
        if self.size.is_some() || self.mode.is_some() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.set_times(path, UtimensatFlags::NoFollowSymlink)?;
        if let Some((uid, gid)) = self.owner {
            std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    pub(super) fn set_on_file(&self, file: &File) -> io::Result<()> {
        if let Some(size) = self.size {
            file.set_len(size)?;
        }
        if let Some(mode) = self.mode {
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        if let Some((access, change)) = self.times {
            let time = |seconds: u32| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into());
            let times = FileTimes::new()
                .set_accessed(time(access))
                .set_modified(time(change));
            file.set_times(times)?;
        }
        if let Some((uid, gid)) = self.owner {
            std::os::unix::fs::fchown(file, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    fn set_times(&self, path: &Path, follow: UtimensatFlags) -> io::Result<()> {
        let Some((access, change)) = self.times else {
            return Ok(());
        };
        let time = |seconds: u32| TimeSpec::new(seconds.into(), 0);
        Ok(utimensat(
            AT_FDCWD,
            path,
            &time(access),
            &time(change),
            follow,
        )?)
    }
}

/// Appends the attributes of a file.
pub(super) fn put(packet: Packet, found: &Metadata) -> Packet {
    // The protocol's times end in 2106.
    let seconds = |time: i64| u32::try_from(time).unwrap_or_default();
    packet
        .number(SIZE | OWNER | PERMISSIONS | TIMES)
        .long(found.size())
        .number(found.uid())
        .number(found.gid())
        .number(found.mode())
        .number(seconds(found.atime()))
        .number(seconds(found.mtime()))
}

/// Returns a line in the format of `ls -ln`.
pub(super) fn line(name: &[u8], found: &Metadata) -> Vec<u8> {
    let mut line = format!(
        "{}{} {:>3} {:<8} {:<8} {:>8} {} ",
        letter(found),
        rights(found.mode()),
        found.nlink(),
        found.uid(),
        found.gid(),
        found.size(),
        date(found.mtime(), jiff::Timestamp::now()),
    )
    .into_bytes();
    line.extend_from_slice(name);
    line
}

fn letter(found: &Metadata) -> char {
    let kind = found.file_type();
    match () {
        () if kind.is_dir() => 'd',
        () if kind.is_symlink() => 'l',
        () if kind.is_block_device() => 'b',
        () if kind.is_char_device() => 'c',
        () if kind.is_fifo() => 'p',
        () if kind.is_socket() => 's',
        () => '-',
    }
}

fn rights(mode: u32) -> String {
    let of = |shift: u32, special: u32, letter: char| {
        let bits = mode >> shift;
        let run = match (bits & 1 != 0, mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        };
        let read = if bits & 4 != 0 { 'r' } else { '-' };
        let write = if bits & 2 != 0 { 'w' } else { '-' };
        [read, write, run]
    };
    [of(6, 0o4000, 's'), of(3, 0o2000, 's'), of(0, 0o1000, 't')]
        .concat()
        .iter()
        .collect()
}

/// Returns a date in the format of `ls`: with the time of day for the last half
/// year, otherwise with the year.
fn date(seconds: i64, now: jiff::Timestamp) -> String {
    let Ok(time) = jiff::Timestamp::from_second(seconds) else {
        return "?".to_owned();
    };
    let age = now.as_second() - seconds;
    let format = if (0..182 * 86_400).contains(&age) {
        "%b %e %H:%M"
    } else {
        "%b %e  %Y"
    };
    time.to_zoned(crate::files::time_zone())
        .strftime(format)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_shown_as_by_ls() {
        assert_eq!(rights(0o100_644), "rw-r--r--");
        assert_eq!(rights(0o104_755), "rwsr-xr-x");
        assert_eq!(rights(0o101_666), "rw-rw-rwT");
    }

    #[test]
    fn only_the_flagged_attributes_are_parsed() {
        let packet = [0, 0, 0, 4, 0, 0, 0x81, 0xa4];
        let found = Attributes::parse(&mut Fields(&packet)).unwrap();
        assert_eq!(found.mode, Some(0o644));
        assert_eq!(found.size, None);
        let endless = [0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(Attributes::parse(&mut Fields(&endless)), Err(Malformed));
    }
}
