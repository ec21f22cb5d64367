//! Two system calls about processes that no safe crate provides.

use nix::sys::signal::{SigHandler, Signal};
use nix::unistd::ForkResult;

#[expect(unsafe_code, reason = "fork copies the process, which std cannot do")]
pub(super) fn fork() -> nix::Result<ForkResult> {
    // SAFETY: the zygote and its children up to this point have one thread, so
    // no lock can be held by a thread that does not exist in the child.
    unsafe { nix::unistd::fork() }
}

/// Sets the disposition of a signal: ignored or default.
#[expect(
    unsafe_code,
    reason = "signal handlers can be unsafe; no handler is installed here"
)]
pub(super) fn handle(signal: Signal, handler: SigHandler) -> nix::Result<()> {
    // SAFETY: no code runs on the signal.
    unsafe { nix::sys::signal::signal(signal, handler) }.map(drop)
}
