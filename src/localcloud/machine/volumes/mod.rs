//! The volumes of a machine besides its own disk.
//!
//! A volume is a sparse file on the host. Processes of a machine may not mount
//! anything, so the daemon mounts the file for them: a program in the machine asks
//! init, and init asks the daemon. The kernel reads the file system, which has to
//! be trustworthy therefore. Only the host's `mkfs` and the kernel ever write the
//! file, and no process of a machine can open it. The block device that a machine
//! sees is a node without a driver: it shows that the volume is attached.
//!
//! - `request` is what programs ask for, and `table` does it.
//! - `file` creates, formats and mounts the file of a volume.
//! - `names` are the device names of a volume.
//! - `store` has the files of all machines.
//! - `inside` changes mounts and devices in the machine.

mod file;
mod inside;
mod names;
mod request;
mod store;
mod table;

pub(crate) use names::{DataVolume, Naming};
#[cfg(test)]
pub(super) use request::Content;
pub(super) use request::{Answer, Flags, Format, Kind, Mount, Request, Volume};
pub(crate) use store::VolumeStore;
pub(super) use table::Volumes;
