//! Puts a process into a machine: its root directory, its devices, its rights.
//!
//! The process is in namespaces of the machine's own, the user namespace among
//! them: root there has no id on the host, and what little it may do it may do
//! to the machine alone.

mod calls;
mod privileges;
mod root;

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

pub(super) use root::bind_read_only;

use super::boot::Limits;

/// Makes this process, the first one of its namespaces, the machine's own.
pub(super) fn enter(
    root_mount: &OwnedFd,
    root: &Path,
    binary: &Path,
    hostname: &str,
    limits: Limits,
) -> io::Result<()> {
    nix::sys::prctl::set_name(c"init")?;
    // The host's directories can be entered as the host's root only.
    root::attach(root_mount, root)?;
    let program = root::clone(binary)?;
    let root = root::enter(root)?;
    privileges::become_root()?;
    root::build(root, &program, limits)?;
    root::settle_kernel(hostname)?;
    root::protect_kernel(root)?;
    root::pivot()?;
    privileges::join_new_keyring()?;
    calls::refuse()?;
    privileges::drop_capabilities()?;
    rustix::process::umask(rustix::fs::Mode::WGRP | rustix::fs::Mode::WOTH);
    Ok(())
}
