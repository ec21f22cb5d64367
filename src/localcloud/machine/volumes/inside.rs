//! Changes in a machine that its own processes may not make: mounts and devices.
//!
//! The work is done on a thread in the machine's mount namespace, so every path is
//! one of the machine. Nothing of the host can be reached by it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, SFlag, mknod};
use rustix::fs::{AtFlags, CWD, OFlags, ResolveFlags, openat2, statat};
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};

use super::super::ids::Ids;

/// Runs `work` on a thread of its own, which may change its namespaces.
pub(super) fn on_a_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("volumes".to_owned());
        let result = thread.spawn_scoped(scope, work)?.join();
        result.unwrap_or_else(|_| Err(io::Error::other("the work on a volume panicked")))
    })
}

/// Runs `work` in the mount namespace of a process.
fn inside<T: Send>(
    process: BorrowedFd,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    on_a_thread(|| {
        // The threads of the daemon share their root and working directory.
        unshare(CloneFlags::CLONE_FS)?;
        setns(process, CloneFlags::CLONE_NEWNS)?;
        work()
    })
}

/// Shows a volume: a node for its device, and links to it.
pub(super) fn show(
    process: BorrowedFd,
    ids: Ids,
    device: &str,
    links: &[String],
) -> io::Result<()> {
    inside(process, || {
        ids.act_as_root(|| {
            remove_file(device)?;
            // No driver has this number. The node tells only that it is a disk.
            mknod(device, SFlag::S_IFBLK, Mode::from_bits_truncate(0o660), 0)?;
            for link in links {
                if let Some(parent) = Path::new(link).parent() {
                    fs::create_dir_all(parent)?;
                }
                remove_file(link)?;
                symlink(device, link)?;
            }
            Ok(())
        })
    })
}

/// Removes the device of a volume and its links.
pub(super) fn hide(
    process: BorrowedFd,
    ids: Ids,
    device: &str,
    links: &[String],
) -> io::Result<()> {
    inside(process, || {
        ids.act_as_root(|| {
            links.iter().try_for_each(|link| remove_file(link))?;
            remove_file(device)
        })
    })
}

fn remove_file(path: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Attaches a mount at a directory.
pub(super) fn attach(process: BorrowedFd, mount: &OwnedFd, directory: &str) -> io::Result<()> {
    inside(process, || {
        let target = open(Path::new(directory))?;
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        Ok(move_mount(mount, "", target.as_fd(), "", flags)?)
    })
}

/// Unmounts the file system with this device number from a directory, and nothing
/// else: the machine's other mounts protect the host.
pub(super) fn detach(
    process: BorrowedFd,
    number: u64,
    directory: &str,
    lazy: bool,
) -> io::Result<()> {
    inside(process, || {
        let path = Path::new(directory);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::from(io::ErrorKind::InvalidFilename));
        };
        // Root of the machine may rename directories meanwhile, but not the mount
        // point itself.
        let parent = open(parent)?;
        let found = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if found.st_dev != number {
            return Err(io::Error::other("not mounted"));
        }
        rustix::process::fchdir(&parent)?;
        let mut flags = UnmountFlags::NOFOLLOW;
        if lazy {
            flags |= UnmountFlags::DETACH;
        }
        Ok(unmount(name, flags)?)
    })
}

/// Opens a directory. A link in /proc could lead to what only init may open.
fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mode = rustix::fs::Mode::empty();
    Ok(openat2(
        CWD,
        path,
        flags,
        mode,
        ResolveFlags::NO_MAGICLINKS,
    )?)
}

/// Returns the directories at which the file system with this device number is
/// mounted in the machine.
pub(super) fn mounts(pid: i32, number: u64) -> io::Result<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
    Ok(mounts_of(&text, number))
}

fn mounts_of(mountinfo: &str, number: u64) -> Vec<String> {
    let wanted = format!(
        "{}:{}",
        rustix::fs::major(number),
        rustix::fs::minor(number)
    );
    let mounts = mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(2);
        let (number, directory) = (fields.next()?, fields.nth(1)?);
        (number == wanted).then(|| unescaped(directory))
    });
    mounts.collect()
}

/// Decodes the kernel's `\040` and the like.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[3..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_by_their_device() {
        let text = "87 118 7:1 / /mnt rw,nodev - ext4 /dev/nvme1n1 rw\n\
                    88 118 7:2 / /other rw - ext4 /dev/loop2 rw\n\
                    89 118 7:1 / /a\\040b rw - ext4 /dev/nvme1n1 rw\n";
        let number = rustix::fs::makedev(7, 1);
        assert_eq!(mounts_of(text, number), ["/mnt", "/a b"]);
        assert!(mounts_of(text, rustix::fs::makedev(7, 3)).is_empty());
    }
}
