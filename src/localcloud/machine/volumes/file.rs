//! The file of a volume: creates, formats and mounts it.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, mknod};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change,
};

use super::super::disk::image;
use super::super::disk::overlay::map_ids;
use super::super::system::program;
use super::inside::on_a_thread;
use super::request::{Content, Flags, Format, Kind};

/// The size of an unmounted file is that of its volume from now on.
pub(super) fn resize(directory: &Path, bytes: u64) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(directory)?;
    let path = image::path(directory);
    let file = match image::new_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            File::options().write(true).open(&path)?
        }
        created => created?,
    };
    if file.metadata()?.len() < bytes {
        file.set_len(bytes)?;
    }
    Ok(())
}

/// Copies the file of a volume, or of a snapshot, to an empty directory. Without a
/// file, as before the first use of a volume, it is empty.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(to)?;
    if image::exists(from) {
        image::copy(from, to)?;
    }
    Ok(())
}

/// Copies the file of a volume that a machine uses.
pub(super) fn copy_in_use(from: &Path, to: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(to)?;
    match content(from)? {
        Some(found) if found.kind == Kind::Ext4 => image::copy_in_use(from, to),
        // The kernel replays its log when the copy is mounted.
        Some(_) => image::copy_flushed(from, to),
        None => Ok(()),
    }
}

/// Returns the file system in the file, if there is one.
pub(super) fn content(directory: &Path) -> io::Result<Option<Content>> {
    let file = match File::open(image::path(directory)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut start = [0; 2048];
    file.read_exact_at(&mut start, 0)?;
    Ok(recognized(&start))
}

/// Recognizes a file system by its superblock.
fn recognized(start: &[u8; 2048]) -> Option<Content> {
    /// Where ext4 has its superblock.
    const EXT4: usize = 1024;
    let (kind, uuid, label) = if &start[..4] == b"XFSB" {
        (Kind::Xfs, &start[32..48], &start[108..120])
    } else if start[EXT4 + 0x38..EXT4 + 0x3a] == [0x53, 0xef] {
        let (uuid, label) = (EXT4 + 0x68, EXT4 + 0x78);
        (
            Kind::Ext4,
            &start[uuid..uuid + 16],
            &start[label..label + 16],
        )
    } else {
        return None;
    };
    let label = label.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(Content {
        kind,
        label: String::from_utf8_lossy(label).into_owned(),
        uuid: written(uuid),
    })
}

/// Writes a UUID in its usual form.
fn written(uuid: &[u8]) -> String {
    let mut text = hex::encode(uuid);
    for place in [20, 16, 12, 8] {
        text.insert(place, '-');
    }
    text
}

/// Makes a file system with the host's program. Returns why it failed.
pub(super) fn format(directory: &Path, format: &Format) -> io::Result<()> {
    check(format)?;
    let image = image::path(directory);
    image::wait_until_free(&image)?;
    let name = format!("mkfs.{}", format.kind.as_str());
    let Some(program) = program(&name) else {
        return Err(io::Error::other(format!(
            "`{name}` is not installed on the machine of the local cloud \
             (see `autorun docs local-cloud`)"
        )));
    };
    let output = Command::new(program)
        .args(arguments(format))
        .arg(&image)
        .env_clear()
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let path = image.to_string_lossy();
    let last = errors.lines().last().unwrap_or("no error message");
    Err(io::Error::other(last.replace(&*path, &format.device)))
}

/// Refuses what the machine's root has no reason to pass to a program of the host.
fn check(format: &Format) -> io::Result<()> {
    let longest = match format.kind {
        Kind::Ext4 => 16,
        Kind::Xfs => 12,
    };
    let plain = |label: &str| {
        label.len() <= longest && label.chars().all(|c| c.is_ascii_graphic() && c != '/')
    };
    let is_uuid = |text: &str| {
        let dashes = [8, 13, 18, 23];
        text.len() == 36
            && text.bytes().enumerate().all(|(place, byte)| {
                if dashes.contains(&place) {
                    byte == b'-'
                } else {
                    byte.is_ascii_hexdigit()
                }
            })
    };
    if !format.label.as_deref().is_none_or(plain) {
        return Err(io::Error::other(format!(
            "the label has more than {longest} characters, or some that are not plain"
        )));
    }
    if !format.uuid.as_deref().is_none_or(is_uuid) {
        return Err(io::Error::other(
            "the UUID does not have the form of a UUID",
        ));
    }
    if format.reserved.is_some_and(|percent| percent > 50) {
        return Err(io::Error::other("more than 50 percent cannot be reserved"));
    }
    Ok(())
}

fn arguments(format: &Format) -> Vec<String> {
    let given = |option: &str, value: Option<String>| {
        let value = value.filter(|value| !value.is_empty());
        value.map(|value| [option.to_owned(), value])
    };
    let mut all: Vec<String> = match format.kind {
        Kind::Ext4 => {
            let lazy = "nodiscard,lazy_itable_init=1,lazy_journal_init=1";
            vec!["-q".into(), "-F".into(), "-E".into(), lazy.into()]
        }
        Kind::Xfs => vec!["-q".into(), "-f".into(), "-K".into()],
    };
    all.extend(given("-L", format.label.clone()).into_iter().flatten());
    let reserved = format.reserved.map(|percent| percent.to_string());
    match format.kind {
        Kind::Ext4 => {
            all.extend(given("-U", format.uuid.clone()).into_iter().flatten());
            all.extend(given("-m", reserved).into_iter().flatten());
        }
        Kind::Xfs => {
            let uuid = format.uuid.as_ref().map(|uuid| format!("uuid={uuid}"));
            all.extend(given("-m", uuid).into_iter().flatten());
        }
    }
    all
}

/// Returns a detached mount of the file, whose ids are those of the user namespace.
/// The mount shows `device` as its source.
pub(super) fn mount(
    directory: &Path,
    device: &str,
    (kind, flags): (Kind, Flags),
    user_namespace: BorrowedFd,
) -> io::Result<OwnedFd> {
    let path = image::path(directory);
    image::wait_until_free(&path)?;
    let file = File::options().read(true).write(true).open(&path)?;
    let (held, _) = image::attach(&file)?;
    let number = held.metadata()?.rdev();
    let source = PathBuf::from(device);
    let mount = on_a_thread(|| {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private)?;
        // The kernel shows the path by which it found the loop device.
        rustix::mount::mount("autorun", "/dev", "tmpfs", MountFlags::empty(), c"size=64k")?;
        mknod(&source, SFlag::S_IFBLK, Mode::S_IRUSR, number)?;
        detached(&source, kind, flags)
    })?;
    // From here on the mount holds the loop device.
    drop(held);
    map_ids(&mount, user_namespace)?;
    Ok(mount)
}

fn detached(source: &Path, kind: Kind, flags: Flags) -> io::Result<OwnedFd> {
    let context = fsopen(kind.as_str(), FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), "source", source)?;
    match kind {
        // As for the disk of a machine.
        Kind::Ext4 => {
            fsconfig_set_flag(context.as_fd(), "noinit_itable")?;
            fsconfig_set_flag(context.as_fd(), "nobarrier")?;
        }
        // The copy of a volume may be mounted in another machine, but for this
        // kernel both are here.
        Kind::Xfs => fsconfig_set_flag(context.as_fd(), "nouuid")?,
    }
    fsconfig_create(context.as_fd())?;
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NODEV;
    for (is_set, attribute) in [
        (flags.read_only, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (flags.no_exec, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        (flags.no_suid, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (flags.no_atime, MountAttrFlags::MOUNT_ATTR_NOATIME),
    ] {
        if is_set {
            attributes |= attribute;
        }
    }
    Ok(fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format_of(kind: Kind, label: Option<&str>) -> Format {
        Format {
            device: "/dev/nvme1n1".to_owned(),
            kind,
            label: label.map(str::to_owned),
            uuid: None,
            reserved: None,
        }
    }

    #[test]
    fn a_file_system_is_recognized() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(content(place.path()).unwrap(), None);
        resize(place.path(), 16 << 20).unwrap();
        assert_eq!(content(place.path()).unwrap(), None);
        let uuid = "8f3e0e6b-5c0f-4f0e-9a52-0d5f0c0f2a11".to_owned();
        let wanted = Format {
            uuid: Some(uuid.clone()),
            ..format_of(Kind::Ext4, Some("data"))
        };
        format(place.path(), &wanted).unwrap();
        let found = content(place.path()).unwrap().unwrap();
        assert_eq!(found.kind, Kind::Ext4);
        assert_eq!((found.label, found.uuid), ("data".to_owned(), uuid));
    }

    #[test]
    fn a_program_of_the_host_gets_plain_arguments_only() {
        for label in ["a b", "../x", "a\nb", "longer-than-16-characters"] {
            assert!(
                check(&format_of(Kind::Ext4, Some(label))).is_err(),
                "{label}"
            );
        }
        let with_uuid = |uuid: &str| Format {
            uuid: Some(uuid.to_owned()),
            ..format_of(Kind::Ext4, None)
        };
        assert!(check(&with_uuid("8f3e0e6b-5c0f-4f0e-9a52-0d5f0c0f2a11")).is_ok());
        assert!(check(&with_uuid("random")).is_err());
    }
}
