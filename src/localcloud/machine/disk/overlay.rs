//! The root file system of an instance, from top to bottom: its own changes,
//! the seed, the package lists, the base layer. The ids of each layer are
//! mapped to the instance's user namespace.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::super::ids::Ids;
use super::image;

/// The parts of a root file system.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Parts<'a> {
    /// The read-only layers, the uppermost first.
    pub(in super::super) layers: &'a [PathBuf],
    /// The directory of the instance's disk.
    pub(in super::super) disk: &'a Path,
    /// An empty directory for the mount points of the layers.
    pub(in super::super) scratch: &'a Path,
}

/// Returns a detached mount of the root file system. The caller needs its own
/// mount namespace, in which the mounts of the layers remain.
pub(in super::super) fn mount(
    parts: &Parts,
    ids: Ids,
    user_namespace: BorrowedFd,
) -> io::Result<OwnedFd> {
    let mut lower = Vec::new();
    for (number, layer) in parts.layers.iter().enumerate() {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let clone = open_tree(CWD, layer, flags)?;
        lower.push(place(
            &clone,
            parts,
            &format!("layer{number}"),
            user_namespace,
        )?);
    }
    let volume = image::mount(parts.disk)?;
    let volume = place(&volume, parts, "volume", user_namespace)?;
    let (upper, work) = (volume.join("upper"), volume.join("work"));
    ids.act_as_root(|| {
        begin(&upper, &work)?;
        overlay(&lower, &upper, &work)
    })
}

/// Maps the ids of a mount and attaches it.
fn place(
    mount: &OwnedFd,
    parts: &Parts,
    name: &str,
    user_namespace: BorrowedFd,
) -> io::Result<PathBuf> {
    let place = parts.scratch.join(name);
    map_ids(mount, user_namespace)?;
    match fs::create_dir(&place) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    move_mount(
        mount,
        "",
        CWD,
        &place,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?;
    Ok(place)
}

/// Maps the ids of a detached mount to those of a user namespace.
#[expect(unsafe_code, reason = "no dependency wraps mount_setattr")]
pub(in super::super) fn map_ids(mount: &OwnedFd, user_namespace: BorrowedFd) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::from(user_namespace.as_raw_fd().unsigned_abs()),
    };
    // SAFETY: the kernel reads an empty string and one structure of this size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    match Errno::result(result) {
        Ok(_) => Ok(()),
        Err(error) => Err(io::Error::other(format!(
            "cannot map the ids of an instance's files: {error}"
        ))),
    }
}

/// Creates the upper directory and an empty work directory. A volatile overlay
/// marks its work directory, and after a crash of the host it refuses to mount
/// with the mark. Removing the mark accepts the disk as it is, which is good
/// enough for a rehearsal.
fn begin(upper: &Path, work: &Path) -> io::Result<()> {
    match fs::remove_dir_all(work) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut builder = fs::DirBuilder::new();
    builder.mode(0o755).recursive(true).create(upper)?;
    builder.create(work)
}

fn overlay(lower: &[PathBuf], upper: &Path, work: &Path) -> io::Result<OwnedFd> {
    let layers: Vec<_> = lower.iter().map(|path| escaped(path)).collect();
    let layers = CString::new(layers.join(&b':')).map_err(io::Error::other)?;
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), "source", "overlay")?;
    fsconfig_set_string(context.as_fd(), "lowerdir", layers.as_c_str())?;
    fsconfig_set_string(context.as_fd(), "upperdir", upper)?;
    fsconfig_set_string(context.as_fd(), "workdir", work)?;
    fsconfig_set_flag(context.as_fd(), "volatile")?;
    fsconfig_create(context.as_fd())?;
    Ok(fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_RELATIME,
    )?)
}

/// Escapes the separator of layers, a colon, with a backslash.
fn escaped(path: &Path) -> Vec<u8> {
    let mut result = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b':' | b'\\') {
            result.push(b'\\');
        }
        result.push(*byte);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_escaped() {
        assert_eq!(escaped(Path::new("/a:b\\c,d")), b"/a\\:b\\\\c,d");
    }
}
