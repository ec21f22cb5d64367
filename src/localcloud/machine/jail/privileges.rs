//! What root may do in a machine: what it may in a container, without making
//! devices.

use std::io;

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, capability_is_in_bounding_set, remove_capability_from_bounding_set,
    set_capabilities,
};

/// The rights that remain.
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

/// Becomes root of the user namespace: until then the process has the id of the
/// host's root, which has no name there. Afterwards no process of the machine
/// can look into this one, whose memory is the host's.
pub(super) fn become_root() -> io::Result<()> {
    nix::unistd::setgroups(&[])?;
    let root = Gid::from_raw(0);
    nix::unistd::setresgid(root, root, root)?;
    let root = Uid::from_raw(0);
    nix::unistd::setresuid(root, root, root)?;
    nix::sys::prctl::set_dumpable(false)?;
    Ok(())
}

/// Drops all other rights, of this process and of all that it will run.
pub(super) fn drop_capabilities() -> io::Result<()> {
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(capability) {
            Ok(true) if !KEPT.contains(capability) => {
                remove_capability_from_bounding_set(capability)?;
            }
            Ok(_) => {}
            // The kernel knows no more.
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

/// Leaves the daemon's keyring: keys in it are the user's.
#[expect(unsafe_code, reason = "no crate at hand wraps keyctl")]
pub(super) fn join_new_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring; nothing else is read.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, 0usize) };
    match Errno::result(result) {
        // A kernel without keyrings has nothing to leave.
        Ok(_) | Err(Errno::ENOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
