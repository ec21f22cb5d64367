//! Access for pid 1 and its servers to files that an instance's root controls.
//!
//! Pid 1 has one thread, so an `open` that blocks stops the whole instance.
//! Root can put a fifo where a key is expected, or a link to `/dev/zero` in the
//! place of a password file. Each file is therefore opened without blocking,
//! must be a regular file, and is read only up to a limit. Writing replaces the
//! directory entry, of any kind, and never follows it.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use nix::libc::{O_NOCTTY, O_NOFOLLOW, O_NONBLOCK};

/// The longest file that is read. Settings, keys and units are shorter.
pub(crate) const MOST: u64 = 1 << 20;

/// The maximum number of entries of a directory that are read.
const MOST_ENTRIES: usize = 4096;

/// Opens a regular file for reading. Never blocks.
pub(crate) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let mut options = OpenOptions::new();
    // Without `O_NONBLOCK` a fifo, or another process's lease on the file,
    // blocks `open`.
    options.read(true).custom_flags(O_NONBLOCK | O_NOCTTY);
    regular(options.open(path)?, path)
}

fn regular(file: File, path: &Path) -> io::Result<(File, Metadata)> {
    let found = file.metadata()?;
    if found.is_file() {
        Ok((file, found))
    } else {
        Err(not_regular(path))
    }
}

fn not_regular(path: &Path) -> io::Error {
    let message = format!("`{}` is not a regular file", path.display());
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// Returns the content of a regular file. Fails if it is longer than `most`
/// bytes.
pub(crate) fn read(path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    let (file, _) = open(path)?;
    let mut data = Vec::new();
    file.take(most + 1).read_to_end(&mut data)?;
    if data.len() as u64 > most {
        let message = format!("`{}` is longer than {most} bytes", path.display());
        Err(io::Error::new(io::ErrorKind::FileTooLarge, message))
    } else {
        Ok(data)
    }
}

/// Returns the text of a regular file. Fails if it is longer than [`MOST`]
/// bytes.
pub(crate) fn read_text(path: impl AsRef<Path>) -> io::Result<String> {
    let text = String::from_utf8(read(path, MOST)?);
    text.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Returns at most the first `most` bytes of a regular file.
pub(crate) fn head(path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    open(path.as_ref())?.0.take(most).read_to_end(&mut data)?;
    Ok(data)
}

/// Writes a new file in the place of an existing entry. A directory is moved
/// aside, because removing its content could take too long.
pub(crate) fn replace(path: impl AsRef<Path>, data: &[u8], mode: u32) -> io::Result<()> {
    let path = path.as_ref();
    let next = beside(path);
    let mut options = OpenOptions::new();
    // The name is new, and `create_new` neither follows a link nor opens an
    // existing file.
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&next)?;
    let written = file
        .write_all(data)
        .and_then(|()| file.set_permissions(fs::Permissions::from_mode(mode)))
        .and_then(|()| make_way(path))
        .and_then(|()| fs::rename(&next, path));
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&next);
    }
    written
}

/// Opens a regular file for appending. Replaces anything else by a new file.
pub(crate) fn append(path: impl AsRef<Path>, mode: u32) -> io::Result<File> {
    let path = path.as_ref();
    let open = || {
        let mut options = OpenOptions::new();
        let flags = O_NONBLOCK | O_NOCTTY | O_NOFOLLOW;
        options
            .append(true)
            .create(true)
            .mode(mode)
            .custom_flags(flags);
        Ok(regular(options.open(path)?, path)?.0)
    };
    let is_other = path
        .symlink_metadata()
        .is_ok_and(|found| !found.file_type().is_file());
    if is_other {
        replace(path, b"", mode)?;
    }
    open()
}

/// Returns the entries of a directory, at most [`MOST_ENTRIES`].
pub(crate) fn entries(directory: impl AsRef<Path>) -> impl Iterator<Item = fs::DirEntry> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.take(MOST_ENTRIES).flatten()
}

/// Returns the time zone of the instance. The usual functions of the libraries
/// block if `/etc/localtime` is a fifo.
pub(crate) fn time_zone() -> TimeZone {
    let data = read("/etc/localtime", MOST).ok();
    let zone = data.and_then(|data| TimeZone::tzif("Local", &data).ok());
    zone.unwrap_or(TimeZone::UTC)
}

/// Returns the instance's time in its time zone.
pub(crate) fn now() -> Zoned {
    Timestamp::now().to_zoned(time_zone())
}

fn make_way(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::rename(path, beside(path)),
        _ => Ok(()),
    }
}

/// Returns an unused name in the same directory.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(format!(".{:016x}", rand::random::<u64>()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// Runs work that must return soon.
    fn soon<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || sender.send(work()));
        receiver
            .recv_timeout(Duration::from_secs(10))
            .expect("the work does not return")
    }

    /// Creates one entry of each kind that is not a regular file of acceptable
    /// size.
    fn odd_entries(place: &Path) -> Vec<PathBuf> {
        let at = |name: &str| place.join(name);
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::create_dir(at("directory")).unwrap();
        fs::write(at("directory/entry"), "").unwrap();
        drop(UnixListener::bind(at("socket")).unwrap());
        symlink("loop", at("loop")).unwrap();
        symlink("fifo", at("link")).unwrap();
        for device in ["zero", "null", "full", "tty", "console"] {
            symlink(format!("/dev/{device}"), at(device)).unwrap();
        }
        symlink("/proc/kcore", at("kcore")).unwrap();
        symlink("/proc/kmsg", at("kmsg")).unwrap();
        symlink("/nowhere/at/all", at("dangling")).unwrap();
        let sparse = File::create(at("sparse")).unwrap();
        sparse.set_len(10 << 30).unwrap();
        let names = [
            "fifo",
            "directory",
            "socket",
            "loop",
            "link",
            "zero",
            "null",
            "full",
            "tty",
            "console",
            "kcore",
            "kmsg",
            "dangling",
            "sparse",
        ];
        names.map(at).into()
    }

    #[test]
    fn only_regular_files_of_acceptable_size_are_read() {
        let place = tempfile::tempdir().unwrap();
        for path in odd_entries(place.path()) {
            let shown = path.display().to_string();
            assert!(soon(move || read(path, MOST)).is_err(), "{shown} was read");
        }
        let good = place.path().join("good");
        fs::write(&good, "text").unwrap();
        assert_eq!(read_text(&good).unwrap(), "text");
        let link = place.path().join("good-link");
        symlink("good", &link).unwrap();
        assert_eq!(read_text(&link).unwrap(), "text");
        assert_eq!(read(&good, 4).unwrap(), b"text");
        let error = read(&good, 3).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn heads_are_bounded() {
        let place = tempfile::tempdir().unwrap();
        for path in odd_entries(place.path()) {
            let length = |data: io::Result<Vec<u8>>| data.map_or(0, |data| data.len());
            assert!(soon(move || length(head(path, 100))) <= 100);
        }
        let good = place.path().join("good");
        fs::write(&good, "0123456789").unwrap();
        assert_eq!(head(&good, 3).unwrap(), b"012");
    }

    #[test]
    fn writing_replaces_every_kind_of_entry_and_follows_no_link() {
        let place = tempfile::tempdir().unwrap();
        let other = place.path().join("other");
        fs::write(&other, "untouched").unwrap();
        let mut odd = odd_entries(place.path());
        let link = place.path().join("to-other");
        symlink("other", &link).unwrap();
        odd.push(link);
        for path in odd {
            let target = path.clone();
            soon(move || replace(target, b"new", 0o640)).unwrap();
            let found = path.symlink_metadata().unwrap();
            assert!(found.is_file(), "{}", path.display());
            assert_eq!(found.permissions().mode() & 0o7777, 0o640);
            assert_eq!(fs::read(&path).unwrap(), b"new");
        }
        assert_eq!(fs::read(&other).unwrap(), b"untouched");
        let left = fs::read_dir(place.path()).unwrap().flatten();
        let moved = left.filter(|entry| entry.path().join("entry").exists());
        assert_eq!(moved.count(), 1, "the directory was moved aside");
    }

    #[test]
    fn append_opens_only_regular_files() {
        let place = tempfile::tempdir().unwrap();
        for path in odd_entries(place.path()) {
            if path.ends_with("sparse") {
                continue;
            }
            let target = path.clone();
            let mut file = soon(move || append(target, 0o640)).unwrap();
            file.write_all(b"a line\n").unwrap();
            let mut again = append(&path, 0o640).unwrap();
            again.write_all(b"another\n").unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"a line\nanother\n");
        }
    }

    #[test]
    fn only_some_of_many_directory_entries_are_read() {
        let place = tempfile::tempdir().unwrap();
        for number in 0..MOST_ENTRIES + 10 {
            File::create(place.path().join(number.to_string())).unwrap();
        }
        assert_eq!(entries(place.path()).count(), MOST_ENTRIES);
        assert_eq!(entries(place.path().join("1")).count(), 0);
    }
}
