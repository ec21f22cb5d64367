//! Programs for volumes: `mkfs`, `mount`, `umount`, `blkid`, `lsblk`. What concerns
//! no volume is passed on to the system's own programs.

mod blkid;
mod fstab;
mod lsblk;
mod mkfs;
mod mount;
mod umount;

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use super::super::init::client::ask_for_volumes;
use super::super::init::control::Reply;
use super::super::volumes::{Request, Volume};

/// The directory of the system's own programs.
const OWN: &str = "/usr/lib/autorun/own";

/// The programs of this module, and their directories.
pub(in super::super) const TOOLS: [(&str, &str); 6] = [
    ("sbin", "blkid"),
    ("bin", "lsblk"),
    ("sbin", "mkfs.ext4"),
    ("sbin", "mkfs.xfs"),
    ("bin", "mount"),
    ("bin", "umount"),
];

/// The exit status of `mount` and `umount` for a failure.
const MOUNT_FAILURE: u8 = 32;

/// Returns the path of the system's own program.
pub(in super::super) fn own(tool: &str) -> String {
    format!("{OWN}/{tool}")
}

/// Runs one of the programs. Returns `None` for other names.
pub(super) fn run(tool: &str, args: &[String]) -> Option<Reply> {
    Some(match tool {
        "blkid" => blkid::run(args),
        "lsblk" => lsblk::run(args),
        "mkfs.ext4" | "mkfs.xfs" => mkfs::run(tool, args),
        "mount" => mount::run(args),
        "umount" => umount::run(args),
        _ => return None,
    })
}

/// Replaces this process by the system's own program.
fn pass_on(tool: &str, args: &[String]) -> Reply {
    let error = Command::new(own(tool)).arg0(tool).args(args).exec();
    Reply::failure(format!("{tool}: {error}"), 127)
}

/// Runs the system's own program. Returns its exit status.
fn run_own(tool: &str, args: &[&str]) -> u8 {
    let status = Command::new(own(tool)).arg0(tool).args(args).status();
    let code = status.ok().and_then(|status| status.code());
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Returns the volumes. If the daemon cannot be asked, the list is empty.
fn volumes() -> Vec<Volume> {
    ask_for_volumes(&Request::List).unwrap_or_default()
}

/// Returns the volume that a device, one of its links, or `UUID=` and `LABEL=` name.
fn find<'a>(volumes: &'a [Volume], name: &str) -> Option<&'a Volume> {
    let quoted = |text: &str| text.trim_matches('"').to_owned();
    let with = |wanted: &dyn Fn(&Volume) -> bool| volumes.iter().find(|volume| wanted(volume));
    for prefix in ["UUID=", "/dev/disk/by-uuid/"] {
        if let Some(uuid) = name.strip_prefix(prefix).map(quoted) {
            return with(&|volume| {
                let content = volume.content.as_ref();
                content.is_some_and(|content| content.uuid.eq_ignore_ascii_case(&uuid))
            });
        }
    }
    for prefix in ["LABEL=", "/dev/disk/by-label/"] {
        if let Some(label) = name.strip_prefix(prefix).map(quoted) {
            return with(&|volume| {
                let content = volume.content.as_ref();
                content.is_some_and(|content| content.label == label)
            });
        }
    }
    let path = canonical(name);
    with(&|volume| volume.device == path || volume.links.contains(&path))
}

/// Resolves links in a path. One that does not exist stays as it is.
fn canonical(path: &str) -> String {
    let resolved = fs::canonicalize(Path::new(path));
    resolved.map_or_else(
        |_| path.to_owned(),
        |path| path.to_string_lossy().into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::volumes::{Content, Kind};
    use super::*;

    pub(super) fn volume() -> Volume {
        Volume {
            device: "/dev/nvme1n1".to_owned(),
            links: vec!["/dev/sdf".to_owned()],
            id: "vol-0a1".to_owned(),
            bytes: 10 << 30,
            content: Some(Content {
                kind: Kind::Ext4,
                label: "data".to_owned(),
                uuid: "8f3e0e6b-5c0f-4f0e-9a52-0d5f0c0f2a11".to_owned(),
            }),
            mounts: vec!["/srv/data".to_owned()],
        }
    }

    #[test]
    fn a_volume_has_several_names() {
        let all = [volume()];
        for name in [
            "/dev/nvme1n1",
            "/dev/sdf",
            "LABEL=data",
            "UUID=8f3e0e6b-5c0f-4f0e-9a52-0d5f0c0f2a11",
            "/dev/disk/by-uuid/8f3e0e6b-5c0f-4f0e-9a52-0d5f0c0f2a11",
        ] {
            assert!(find(&all, name).is_some(), "{name}");
        }
        for name in ["/dev/nvme2n1", "LABEL=other", "UUID=", "tmpfs", ""] {
            assert!(find(&all, name).is_none(), "{name}");
        }
    }
}
