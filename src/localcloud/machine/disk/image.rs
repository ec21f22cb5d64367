//! The disk of an instance: an ext4 file system in a sparse file, as large as
//! the root volume on AWS. It limits what an instance can write. Its files have
//! no paths on the host, and their set-user-ID bits and capabilities no effect.

use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use linux_raw_sys::loop_device::{
    LO_FLAGS_AUTOCLEAR, LOOP_CONFIGURE, LOOP_CTL_GET_FREE, loop_config,
};
use nix::errno::Errno;
use nix::libc;
use rustix::fs::FlockOperation;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::super::system::program;

/// The size of Amazon Linux's root volume.
pub(in super::super) const GIBIBYTES: u64 = 8;

/// The name of the image in a disk's directory.
const IMAGE: &str = "image";

/// How long to wait for the unmount of an earlier boot.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often to try again if another process takes the free loop device.
const ATTEMPTS: u32 = 64;

/// Creates the empty file system that disks are copied from, unless it exists.
pub(in super::super) fn make_blank(state_dir: &Path) -> io::Result<()> {
    let blank = blank(state_dir);
    if blank.exists() {
        return Ok(());
    }
    let Some(mkfs) = program("mkfs.ext4") else {
        return Err(io::Error::other(
            "`mkfs.ext4`, which creates the disks of instances, is missing: install e2fsprogs",
        ));
    };
    let next = state_dir.join(format!(".blank.{}", std::process::id()));
    new_file(&next)?.set_len(GIBIBYTES << 30)?;
    // A disk lives for minutes: it needs no journal, and only small tables.
    let output = Command::new(mkfs)
        .args(["-q", "-F", "-m", "0", "-N", "524288"])
        .args([
            "-O",
            "^has_journal,^resize_inode",
            "-E",
            "lazy_itable_init=1,nodiscard",
        ])
        .arg(&next)
        .env_clear()
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.lines().last().unwrap_or("no error message");
        return Err(io::Error::other(format!("mkfs.ext4 failed: {last}")));
    }
    fs::rename(next, blank)
}

fn blank(state_dir: &Path) -> PathBuf {
    state_dir.join(format!("blank-{GIBIBYTES}g.ext4"))
}

/// Creates the image of a disk, unless it exists.
pub(in super::super) fn make(state_dir: &Path, disk: &Path) -> io::Result<()> {
    let image = disk.join(IMAGE);
    if image.exists() {
        return Ok(());
    }
    let next = disk.join(".image");
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    copy_sparse(&File::open(blank(state_dir))?, &new_file(&next)?)?;
    fs::rename(next, image)
}

/// Returns the path of the image in a disk's directory.
pub(in super::super) fn path(disk: &Path) -> PathBuf {
    disk.join(IMAGE)
}

/// Whether a disk has its image.
pub(in super::super) fn exists(disk: &Path) -> bool {
    disk.join(IMAGE).exists()
}

/// Copies the image of a disk that no machine uses to the directory of another
/// disk.
pub(in super::super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    wait_until_free(&from.join(IMAGE))?;
    copied(from, to, |_| Ok(()))
}

/// Copies the image of a disk while a machine uses it. What the machine writes
/// meanwhile may be in the copy or not, as after a crash.
pub(in super::super) fn copy_in_use(from: &Path, to: &Path) -> io::Result<()> {
    flush(&from.join(IMAGE))?;
    copied(from, to, repair)
}

/// Copies the image of a disk while a machine uses it, without a repair.
pub(in super::super) fn copy_flushed(from: &Path, to: &Path) -> io::Result<()> {
    flush(&from.join(IMAGE))?;
    copied(from, to, |_| Ok(()))
}

/// Copies an image and finishes the copy before it gets its name.
fn copied(from: &Path, to: &Path, finish: fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let next = to.join(".image");
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    copy_sparse(&File::open(from.join(IMAGE))?, &new_file(&next)?)?;
    finish(&next)?;
    fs::rename(next, to.join(IMAGE))
}

/// Makes the file system on an image consistent.
fn repair(image: &Path) -> io::Result<()> {
    let Some(e2fsck) = program("e2fsck") else {
        return Err(io::Error::other(
            "`e2fsck`, which repairs the copy of a disk in use, is missing: install e2fsprogs",
        ));
    };
    let status = Command::new(e2fsck)
        .args(["-f", "-y"])
        .arg(image)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    // 1: errors were corrected.
    match status.code() {
        Some(0 | 1) => Ok(()),
        _ => Err(io::Error::other(format!("e2fsck failed: {status}"))),
    }
}

pub(in super::super) fn new_file(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    options.open(path)
}

/// Copies a file without its holes.
fn copy_sparse(mut from: &File, to: &File) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let length = from.metadata()?.len();
    to.set_len(length)?;
    let mut buffer = vec![0; 128 * 1024];
    let mut position = 0;
    while let Ok(start) = rustix::fs::seek(from, rustix::fs::SeekFrom::Data(position)) {
        position = rustix::fs::seek(from, rustix::fs::SeekFrom::Hole(start))?;
        from.seek(SeekFrom::Start(start))?;
        let mut at = start;
        while at < position {
            let most = usize::try_from(position - at).unwrap_or(usize::MAX);
            let part = buffer.len().min(most);
            from.read_exact_at(&mut buffer[..part], at)?;
            to.write_all_at(&buffer[..part], at)?;
            at += part as u64;
        }
    }
    Ok(())
}

/// Returns a detached mount of a disk's image.
pub(in super::super) fn mount(disk: &Path) -> io::Result<OwnedFd> {
    let path = disk.join(IMAGE);
    wait_until_free(&path)?;
    let image = File::options().read(true).write(true).open(&path)?;
    let (device, name) = attach(&image)?;
    let context = fsopen("ext4", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), "source", name)?;
    // Otherwise the kernel initializes the tables in the background, and
    // flushes to the host's disk at the unmount.
    fsconfig_set_flag(context.as_fd(), "noinit_itable")?;
    fsconfig_set_flag(context.as_fd(), "nobarrier")?;
    fsconfig_create(context.as_fd())?;
    let mount = fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_RELATIME,
    )?;
    // From here on the mount holds the loop device, which is released at the
    // unmount.
    drop(device);
    Ok(mount)
}

/// Attaches the image to a loop device. Returns the device and its name.
pub(in super::super) fn attach(image: &File) -> io::Result<(File, String)> {
    let control = File::options()
        .read(true)
        .write(true)
        .open("/dev/loop-control")?;
    // Without turns, all instances that boot at the same time try the same device.
    rustix::fs::flock(&control, FlockOperation::LockExclusive)?;
    let mut busy = io::Error::from(Errno::EBUSY);
    for _ in 0..ATTEMPTS {
        let number = free_device(&control)?;
        let name = format!("/dev/loop{number}");
        match configured(&name, image) {
            Ok(device) => return Ok((device, name)),
            // Another program was faster, or the new device has no file yet.
            Err(error) if is_busy(&error) => busy = error,
            Err(error) => return Err(error),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(busy)
}

fn configured(name: &str, image: &File) -> io::Result<File> {
    let device = File::options().read(true).write(true).open(name)?;
    configure(&device, image)?;
    Ok(device)
}

fn is_busy(error: &io::Error) -> bool {
    let known = error.raw_os_error().map(Errno::from_raw);
    matches!(known, Some(Errno::EBUSY | Errno::ENXIO | Errno::ENOENT))
}

#[expect(unsafe_code, reason = "no dependency wraps loop devices")]
fn free_device(control: &File) -> nix::Result<i32> {
    // SAFETY: the call has no argument and returns a number.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE.into()) };
    Errno::result(number)
}

#[expect(unsafe_code, reason = "no dependency wraps loop devices")]
fn configure(device: &File, image: &File) -> nix::Result<()> {
    // SAFETY: a structure of numbers, for which zeros are valid.
    let mut config: loop_config = unsafe { std::mem::zeroed() };
    config.fd = image.as_raw_fd().cast_unsigned();
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR as u32;
    // SAFETY: the kernel reads one structure of this type.
    let result =
        unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE.into(), &raw const config) };
    Errno::result(result).map(drop)
}

/// Waits until no loop device has the image. The kernel unmounts the image of
/// an earlier boot shortly after its last process ends, and two mounts of one
/// image would destroy it.
pub(in super::super) fn wait_until_free(image: &Path) -> io::Result<()> {
    let image = image.canonicalize()?;
    let began = Instant::now();
    let mut pause = Duration::from_millis(1);
    while is_attached(&image)? {
        if began.elapsed() > PATIENCE {
            return Err(io::Error::other(
                "an earlier boot still has the disk mounted",
            ));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
    Ok(())
}

fn is_attached(image: &Path) -> io::Result<bool> {
    device_of(image).map(|device| device.is_some())
}

/// Returns the loop device that has the image.
fn device_of(image: &Path) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir("/sys/block")? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b"loop") {
            continue;
        }
        let backing = fs::read_to_string(entry.path().join("loop/backing_file"));
        if backing.is_ok_and(|backing| Path::new(backing.trim_end()) == image) {
            return Ok(Some(Path::new("/dev").join(entry.file_name())));
        }
    }
    Ok(None)
}

/// Writes what the mounted file system has in memory to its image.
#[expect(unsafe_code, reason = "no dependency wraps loop devices")]
fn flush(image: &Path) -> io::Result<()> {
    /// `BLKFLSBUF`, which synchronizes the file system on a block device.
    const FLUSH: u32 = 0x1261;
    let Some(device) = device_of(&image.canonicalize()?)? else {
        return Ok(());
    };
    let device = File::open(device)?;
    // SAFETY: the call has no argument.
    let flushed = unsafe { libc::ioctl(device.as_raw_fd(), FLUSH.into(), 0) };
    Errno::result(flushed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_a_sparse_file_is_sparse() {
        use std::os::unix::fs::MetadataExt as _;
        let from = tempfile::tempfile().unwrap();
        from.set_len(1 << 30).unwrap();
        from.write_all_at(b"begin", 0).unwrap();
        from.write_all_at(b"middle", 300 << 20).unwrap();
        let to = tempfile::tempfile().unwrap();
        copy_sparse(&from, &to).unwrap();
        let found = to.metadata().unwrap();
        assert_eq!(found.len(), 1 << 30);
        assert!(found.blocks() * 512 < 1 << 20, "{} blocks", found.blocks());
        let mut text = [0; 6];
        to.read_exact_at(&mut text, 300 << 20).unwrap();
        assert_eq!(&text, b"middle");
    }
}
