//! Answers that consist of a status: success, or the reason of a failure.

use std::io;

use nix::errno::Errno;
use nix::libc;

use super::kind;
use super::wire::{Malformed, Packet};

pub(super) const OK: u32 = 0;
pub(super) const END: u32 = 1;
pub(super) const NO_SUCH_FILE: u32 = 2;
const PERMISSION_DENIED: u32 = 3;
pub(super) const FAILURE: u32 = 4;
const BAD_MESSAGE: u32 = 5;
pub(super) const UNSUPPORTED: u32 = 8;

/// The reason of a failure.
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

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

impl From<Malformed> for Failure {
    fn from(_: Malformed) -> Self {
        Self::Status(BAD_MESSAGE, "Bad message")
    }
}

/// Returns the answer to a successful request without a result.
pub(super) fn success() -> Packet {
    status(OK, "Success")
}

/// Returns the answer to a failed request.
pub(super) fn failed(failure: &Failure) -> Packet {
    match failure {
        Failure::Status(code, text) => status(*code, text),
        Failure::Io(e) => status(code(e), &reason(e)),
    }
}

fn status(code: u32, text: &str) -> Packet {
    Packet::new(kind::STATUS)
        .number(code)
        .string(text)
        .string("en")
}

/// Returns the protocol's code for a system error, with OpenSSH's mapping.
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

/// Returns the system's message for an error without its number.
fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}
