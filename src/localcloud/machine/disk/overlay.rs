//! The root file system of an instance: what it wrote, over the seed, over
//! fresh package lists, over the base layer; each of them with the ids of the
//! instance's user namespace.

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

/// What a root file system is made of.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Parts<'a> {
    /// Read-only layers, uppermost first.
    pub(in super::super) layers: &'a [PathBuf],
    /// The directory of the instance's disk.
    pub(in super::super) disk: &'a Path,
    /// An empty directory in which the layers are mounted meanwhile.
    pub(in super::super) scratch: &'a Path,
}

/// Mounts the root file system, without a place yet. The caller's mount
/// namespace is its own; the layers stay in it.
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

/// Gives a mount the ids of the instance and a place.
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

#[expect(unsafe_code, reason = "no crate at hand wraps mount_setattr")]
fn map_ids(mount: &OwnedFd, user_namespace: BorrowedFd) -> io::Result<()> {
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
            "cannot give files the ids of an instance: {error}"
        ))),
    }
}

/// The work directory begins empty at each boot: a volatile overlay marks it
/// as not to be trusted after a crash of the system, and after one a
/// rehearsal's disk is worth no more than its last state.
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

/// A colon separates layers, a backslash escapes it.
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
