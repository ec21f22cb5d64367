//! Two system calls about processes that safe crates do not have.

use nix::sys::signal::{SigHandler, Signal};
use nix::unistd::ForkResult;

#[expect(unsafe_code, reason = "fork copies the process, which std cannot do")]
pub(super) fn fork() -> nix::Result<ForkResult> {
    // SAFETY: the zygote and its children up to here have one thread, so that
    // no lock can be held by a thread that does not exist in the child.
    unsafe { nix::unistd::fork() }
}

/// Sets how a signal is met: ignored or by default.
#[expect(unsafe_code, reason = "signal handlers can be unsafe; these are none")]
pub(super) fn handle(signal: Signal, handler: SigHandler) -> nix::Result<()> {
    // SAFETY: no code is run on the signal.
    unsafe { nix::sys::signal::signal(signal, handler) }.map(drop)
}
