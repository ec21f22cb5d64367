//! Puts a process into a machine: its root directory, its devices, its rights.
//!
//! For one's own scripts, as containers are: the kernel is shared, and root
//! inside is the kernel's root with most of its rights taken away.

mod privileges;
mod root;

use std::io;
use std::path::Path;

pub(super) use root::bind_read_only;

use super::disk::layers::Layer;

/// Makes this process, the first one of its namespaces, the machine's own.
pub(super) fn enter(
    layers: &[Layer],
    disk: &Path,
    root: &Path,
    binary: &Path,
    hostname: &str,
) -> io::Result<()> {
    nix::sys::prctl::set_name(c"init")?;
    root::build(layers, disk, root, binary)?;
    root::settle_kernel(hostname)?;
    root::protect_kernel(root)?;
    root::pivot(root)?;
    privileges::join_new_keyring()?;
    privileges::drop_capabilities()?;
    rustix::process::umask(rustix::fs::Mode::WGRP | rustix::fs::Mode::WOTH);
    Ok(())
}
