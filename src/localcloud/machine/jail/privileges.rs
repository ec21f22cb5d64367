//! The privileges of root in a machine: those of root in a container, except
//! the creation of devices.

use std::io;

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, capability_is_in_bounding_set, remove_capability_from_bounding_set,
    set_capabilities,
};

/// The capabilities that remain.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::AUDIT_WRITE)
    .union(CapabilitySet::SETFCAP);

/// Becomes root of the user namespace. Until then the process has the id of the
/// host's root, which is not mapped there. Afterwards no process of the machine
/// can inspect this one, whose memory is shared with the host's zygote.
pub(super) fn become_root() -> io::Result<()> {
    nix::unistd::setgroups(&[])?;
    let root = Gid::from_raw(0);
    nix::unistd::setresgid(root, root, root)?;
    let root = Uid::from_raw(0);
    nix::unistd::setresuid(root, root, root)?;
    nix::sys::prctl::set_dumpable(false)?;
    Ok(())
}

/// Drops all other capabilities of this process and of all that it executes.
pub(super) fn drop_capabilities() -> io::Result<()> {
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(capability) {
            Ok(true) if !KEPT.contains(capability) => {
                remove_capability_from_bounding_set(capability)?;
            }
            Ok(_) => {}
            // The kernel does not have more capabilities.
            Err(_) => break,
        }
    }
    let held = rustix::thread::capabilities(None)?;
    let sets = rustix::thread::CapabilitySets {
        effective: KEPT & held.permitted,
        permitted: KEPT & held.permitted,
        inheritable: CapabilitySet::empty(),
    };
    Ok(set_capabilities(None, sets)?)
}

/// Leaves the daemon's keyring, which holds the user's keys.
#[expect(unsafe_code, reason = "no dependency wraps keyctl")]
pub(super) fn join_new_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name requests an anonymous keyring; the kernel reads
    // nothing else.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, 0usize) };
    match Errno::result(result) {
        // A kernel without keyrings needs no new one.
        Ok(_) | Err(Errno::ENOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
