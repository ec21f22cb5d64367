//! Confines a process to a machine: its root directory, devices and privileges.
//!
//! The process is in the machine's own namespaces, among them a user namespace:
//! its root has an unprivileged id on the host, and its privileges apply only
//! to the machine.

mod calls;
mod privileges;
mod root;

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

pub(super) use root::bind_read_only;

use super::boot::Boot;

/// Confines this process, the first one in its namespaces.
pub(super) fn enter(
    root_mount: &OwnedFd,
    root: &Path,
    binary: &Path,
    boot: &Boot,
) -> io::Result<()> {
    nix::sys::prctl::set_name(c"init")?;
    // Only the host's root can enter the host's directories, so mount first.
    root::attach(root_mount, root)?;
    let program = root::clone(binary)?;
    let root = root::enter(root)?;
    privileges::become_root()?;
    root::build(root, &program, boot.limits)?;
    root::settle_kernel(&boot.hostname)?;
    root::protect_kernel(root)?;
    root::describe_hardware(root, &boot.id)?;
    root::pivot()?;
    privileges::join_new_keyring()?;
    calls::refuse()?;
    privileges::drop_capabilities()?;
    rustix::process::umask(rustix::fs::Mode::WGRP | rustix::fs::Mode::WOTH);
    Ok(())
}
