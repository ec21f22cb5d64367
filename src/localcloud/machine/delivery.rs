//! How an instance comes into being: three processes, each for what the next
//! one has no right to.
//!
//! ```text
//! midwife  root of the host, in a mount namespace of its own: joins the control
//!          group, gives the user namespace its ids, mounts the file system
//! cradle   in the user namespace: makes the other namespaces, which belong to it
//! init     the first process in them: root of the instance
//! ```

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{ForkResult, Pid};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use serde::{Deserialize, Serialize};

use super::cgroups::Cgroups;
use super::disk::{image, overlay};
use super::init::Machine;
use super::message::{self, FromInit, Ground, Order};
use super::zygote::fork;

/// What the processes of a delivery say to each other. An end of file says
/// that the other one failed, and has said so itself.
#[derive(Debug, Serialize, Deserialize)]
enum Word {
    /// The cradle is in its user namespace.
    Unshared,
    /// The user namespace has its ids.
    Mapped,
    /// The root file system; beside it its mount.
    Mounted,
}

/// One instance to deliver.
pub(super) struct Delivery<'a> {
    pub(super) ground: &'a Ground,
    pub(super) cgroups: &'a Cgroups,
    /// The seed and fresh package lists, uppermost first.
    pub(super) layers: &'a [PathBuf],
    pub(super) order: Order,
    /// The instance's socket to the daemon.
    pub(super) socket: OwnedFd,
    pub(super) console: OwnedFd,
}

impl Delivery<'_> {
    /// Delivers, in a process of its own. Returns the instance in the first
    /// process of it, nothing in the others.
    pub(super) fn run(self) -> io::Result<Option<Machine>> {
        match self.begin() {
            Ok(machine) => Ok(machine),
            Err(error) => {
                let reason = format!("cannot make an instance: {error}");
                message::send(&self.socket, &FromInit::Failed { reason }, &[])?;
                Ok(None)
            }
        }
    }

    fn begin(&self) -> io::Result<Option<Machine>> {
        let group = self.cgroups.group(self.order.ids);
        group.make(self.order.boot.limits)?;
        group.join()?;
        let (ours, theirs) = message::pair()?;
        match fork()? {
            ForkResult::Parent { child } => {
                drop(theirs);
                self.attend(child, &ours)?;
                Ok(None)
            }
            ForkResult::Child => {
                drop(ours);
                self.lie(&theirs)
            }
        }
    }

    /// The midwife's part, after the cradle is there.
    fn attend(&self, cradle: Pid, socket: &OwnedFd) -> io::Result<()> {
        // The layers are mounted where only this process sees them.
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )?;
        let state = &self.ground.state_dir;
        let scratch = state.join("mounts");
        image::make(state, &self.disk())?;
        let Some((Word::Unshared, _)) = message::receive(socket)? else {
            return Ok(());
        };
        self.order.ids.map(cradle.as_raw())?;
        let namespace = File::open(format!("/proc/{cradle}/ns/user"))?;
        message::send(socket, &Word::Mapped, &[])?;
        let mut layers = self.layers.to_vec();
        layers.push(self.order.base.clone());
        mount_memory(&scratch)?;
        let parts = overlay::Parts {
            layers: &layers,
            disk: &self.disk(),
            scratch: &scratch,
        };
        let root = overlay::mount(&parts, self.order.ids, namespace.as_fd())?;
        message::send(socket, &Word::Mounted, &[root.as_fd()])
    }

    /// The cradle's part, and the beginning of the instance's own.
    fn lie(&self, socket: &OwnedFd) -> io::Result<Option<Machine>> {
        unshare(CloneFlags::CLONE_NEWUSER)?;
        message::send(socket, &Word::Unshared, &[])?;
        let Some((Word::Mapped, _)) = message::receive(socket)? else {
            return Ok(None);
        };
        unshare(
            CloneFlags::CLONE_NEWNS
                | CloneFlags::CLONE_NEWNET
                | CloneFlags::CLONE_NEWUTS
                | CloneFlags::CLONE_NEWIPC
                | CloneFlags::CLONE_NEWPID
                | CloneFlags::CLONE_NEWCGROUP,
        )?;
        match fork()? {
            ForkResult::Parent { child } => {
                self.announce(child)?;
                Ok(None)
            }
            ForkResult::Child => {
                let Some((Word::Mounted, mut fds)) = message::receive(socket)? else {
                    return Ok(None);
                };
                fds.pop().map(|root| self.born(root)).transpose()
            }
        }
    }

    fn announce(&self, child: Pid) -> io::Result<()> {
        let pid = rustix::process::Pid::from_raw(child.as_raw()).ok_or(io::ErrorKind::NotFound)?;
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
        let started = FromInit::Started {
            pid: child.as_raw(),
        };
        message::send(&self.socket, &started, &[pidfd.as_fd()])
    }

    fn born(&self, root_mount: OwnedFd) -> io::Result<Machine> {
        Ok(Machine {
            boot: self.order.boot.clone(),
            root_mount,
            root: self.ground.state_dir.join("root"),
            binary: self.ground.binary.clone(),
            subnet: self.ground.subnet.clone(),
            console: self.console.try_clone()?,
            socket: self.socket.try_clone()?,
        })
    }

    fn disk(&self) -> PathBuf {
        let disks = self.ground.state_dir.join("instances");
        disks.join(&self.order.boot.id)
    }
}

/// A place for mount points, over whatever is there.
fn mount_memory(place: &Path) -> io::Result<()> {
    Ok(mount(
        "autorun",
        place,
        "tmpfs",
        MountFlags::NODEV,
        c"mode=700,size=1m",
    )?)
}
