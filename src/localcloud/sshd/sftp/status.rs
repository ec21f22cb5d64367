//! Answers that are only a status.

use std::io;

use nix::libc;

use super::wire::{Malformed, Packet, kind};

pub(super) const OK: u32 = 0;
pub(super) const END: u32 = 1;
pub(super) const NO_SUCH_FILE: u32 = 2;
const PERMISSION_DENIED: u32 = 3;
pub(super) const FAILURE: u32 = 4;
const BAD_MESSAGE: u32 = 5;
pub(super) const UNSUPPORTED: u32 = 8;

/// Why a request got no answer of its own.
pub(super) enum Failure {
    Status(u32, &'static str),
    Io(io::Error),
}

pub(super) type Answer = Result<Packet, Failure>;

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<nix::errno::Errno> for Failure {
    fn from(error: nix::errno::Errno) -> Self {
        Self::Io(error.into())
    }
}

impl From<Malformed> for Failure {
    fn from(_: Malformed) -> Self {
        Self::Status(BAD_MESSAGE, "Bad message")
    }
}

/// What a request without a result is answered.
pub(super) const DONE: Failure = Failure::Status(OK, "Success");

/// The answer that tells of it.
pub(super) fn status(id: u32, failure: &Failure) -> Packet {
    let (code, text) = match failure {
        Failure::Status(code, text) => (*code, (*text).to_owned()),
        Failure::Io(e) => (code(e), reason(e)),
    };
    Packet::new(kind::STATUS)
        .number(id)
        .number(code)
        .string(text)
        .string("en")
}

/// The protocol's code for a system error, as OpenSSH maps them.
fn code(error: &io::Error) -> u32 {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::EBADF | libc::ELOOP) => NO_SUCH_FILE,
        Some(libc::EPERM | libc::EACCES | libc::EFAULT) => PERMISSION_DENIED,
        Some(libc::ENAMETOOLONG | libc::EINVAL) => BAD_MESSAGE,
        Some(libc::ENOSYS | libc::EOPNOTSUPP) => UNSUPPORTED,
        _ if error.kind() == io::ErrorKind::Unsupported => UNSUPPORTED,
        _ => FAILURE,
    }
}

/// The system's words without Rust's ` (os error 2)`.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
