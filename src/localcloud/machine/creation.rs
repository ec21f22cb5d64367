//! Creates a machine with three processes, each of which has privileges that
//! the next one lacks.
//!
//! ```text
//! outer  root of the host, in its own mount namespace: joins the cgroup, writes
//!        the id map of the user namespace, mounts the file system
//! inner  in the user namespace: creates the other namespaces, which it owns
//! init   the first process in them: root of the instance
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
use super::init::MachineParts;
use super::message::{self, FromInit, Order, ZygoteConfig};
use super::process::fork;

/// Messages between the outer and the inner process. An end of file means that
/// the other process failed and has already reported why.
#[derive(Debug, Serialize, Deserialize)]
enum Stage {
    /// The inner process has entered its user namespace.
    Unshared,
    /// The user namespace has its id map.
    Mapped,
    /// The root file system is mounted. Sent with the mount's descriptor.
    Mounted,
}

/// A machine to create.
pub(super) struct Creation<'a> {
    pub(super) config: &'a ZygoteConfig,
    pub(super) cgroups: &'a Cgroups,
    /// The seed and the package lists, the uppermost layer first.
    pub(super) layers: &'a [PathBuf],
    pub(super) order: Order,
    /// The socket between the machine and the daemon.
    pub(super) socket: OwnedFd,
    pub(super) console: OwnedFd,
}

impl Creation<'_> {
    /// Forks the processes that create the machine. Returns its parts in its
    /// first process and `None` in the helpers.
    pub(super) fn run(self) -> io::Result<Option<MachineParts>> {
        match self.begin() {
            Ok(machine) => Ok(machine),
            Err(error) => {
                let reason = format!("cannot create an instance: {error}");
                message::send(&self.socket, &FromInit::Failed { reason }, &[])?;
                Ok(None)
            }
        }
    }

    fn begin(&self) -> io::Result<Option<MachineParts>> {
        let group = self.cgroups.group(self.order.ids);
        group.make(self.order.boot.limits)?;
        group.join()?;
        let (ours, theirs) = message::pair()?;
        match fork()? {
            ForkResult::Parent { child } => {
                drop(theirs);
                self.mount_root(child, &ours)?;
                Ok(None)
            }
            ForkResult::Child => {
                drop(ours);
                self.enter_namespaces(&theirs)
            }
        }
    }

    /// The outer process's part, after the fork of the inner one.
    fn mount_root(&self, inner: Pid, socket: &OwnedFd) -> io::Result<()> {
        // The layers are mounted where only this process sees them.
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )?;
        let state = &self.config.state_dir;
        let scratch = state.join("mounts");
        image::make(state, &self.disk())?;
        let Some((Stage::Unshared, _)) = message::receive(socket)? else {
            return Ok(());
        };
        self.order.ids.map(inner.as_raw())?;
        let namespace = File::open(format!("/proc/{inner}/ns/user"))?;
        message::send(socket, &Stage::Mapped, &[])?;
        let mut layers = self.layers.to_vec();
        layers.push(self.order.base.clone());
        mount_memory(&scratch)?;
        let parts = overlay::Parts {
            layers: &layers,
            disk: &self.disk(),
            scratch: &scratch,
        };
        let root = overlay::mount(&parts, self.order.ids, namespace.as_fd())?;
        message::send(socket, &Stage::Mounted, &[root.as_fd()])
    }

    /// The inner process's part. Its child continues as init.
    fn enter_namespaces(&self, socket: &OwnedFd) -> io::Result<Option<MachineParts>> {
        unshare(CloneFlags::CLONE_NEWUSER)?;
        message::send(socket, &Stage::Unshared, &[])?;
        let Some((Stage::Mapped, _)) = message::receive(socket)? else {
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
                let Some((Stage::Mounted, mut fds)) = message::receive(socket)? else {
                    return Ok(None);
                };
                fds.pop().map(|root| self.parts(root)).transpose()
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

    fn parts(&self, root_mount: OwnedFd) -> io::Result<MachineParts> {
        Ok(MachineParts {
            boot: self.order.boot.clone(),
            root_mount,
            root: self.config.state_dir.join("root"),
            binary: self.config.binary.clone(),
            networks: self.networks(),
            console: self.console.try_clone()?,
            socket: self.socket.try_clone()?,
        })
    }

    /// Returns the networks that the machine reaches without the proxy.
    fn networks(&self) -> String {
        let shared = &self.config.subnet;
        let own = self.order.boot.network.to_string();
        if own == *shared {
            own
        } else {
            format!("{shared},{own}")
        }
    }

    fn disk(&self) -> PathBuf {
        let disks = self.config.state_dir.join("instances");
        disks.join(&self.order.boot.id)
    }
}

/// Mounts a small tmpfs over a directory, for mount points.
fn mount_memory(place: &Path) -> io::Result<()> {
    Ok(mount(
        "autorun",
        place,
        "tmpfs",
        MountFlags::NODEV,
        c"mode=700,size=1m",
    )?)
}
