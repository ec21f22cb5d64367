//! What the programs in a machine ask for about its volumes.

use serde::{Deserialize, Serialize};

/// A request of a program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) enum Request {
    /// Only describe the volumes, as the answer to every request does.
    List,
    Format(Format),
    Mount(Mount),
    Unmount {
        directory: String,
        /// Whether it is hidden at once and unmounted when no process uses it.
        lazy: bool,
    },
}

/// All volumes, or why the request failed.
pub(in super::super) type Answer = Result<Vec<Volume>, String>;

/// Makes a file system.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Format {
    pub(in super::super) device: String,
    pub(in super::super) kind: Kind,
    pub(in super::super) label: Option<String>,
    pub(in super::super) uuid: Option<String>,
    /// The percentage of an ext4 file system that is reserved for root.
    pub(in super::super) reserved: Option<u8>,
}

/// Mounts a file system.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Mount {
    pub(in super::super) device: String,
    pub(in super::super) directory: String,
    pub(in super::super) flags: Flags,
}

/// The flags of a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "flags are independent")]
pub(in super::super) struct Flags {
    pub(in super::super) read_only: bool,
    pub(in super::super) no_exec: bool,
    pub(in super::super) no_suid: bool,
    pub(in super::super) no_atime: bool,
}

/// A file system that the local cloud can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) enum Kind {
    Ext4,
    Xfs,
}

impl Kind {
    /// Returns the kernel's name.
    pub(in super::super) fn as_str(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }
}

/// A volume as its machine sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Volume {
    /// The path of the device.
    pub(in super::super) device: String,
    /// The paths of links to it.
    pub(in super::super) links: Vec<String>,
    /// The id of the volume.
    pub(in super::super) id: String,
    pub(in super::super) bytes: u64,
    pub(in super::super) content: Option<Content>,
    /// The directories at which it is mounted.
    pub(in super::super) mounts: Vec<String>,
}

/// The file system on a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Content {
    pub(in super::super) kind: Kind,
    pub(in super::super) label: String,
    pub(in super::super) uuid: String,
}
