//! Error messages for connections that fail, and the last lines of output.

use super::gate::Shut;
use super::host::Host;
use crate::error::{Error, ErrorKind};
use crate::report::text;

/// Why an operation on a connection did not finish.
#[derive(Debug)]
pub(super) enum Halt {
    /// The gate is shut.
    Shut(Shut),
    /// libssh2 failed.
    Broken(ssh2::Error),
}

/// The longest output in a message, in bytes.
const SHOWN: usize = 8 << 10;

/// Returns the last lines of output for a message, without control characters.
#[must_use]
pub fn tail(output: &[u8], lines: usize) -> String {
    let end = output.trim_ascii_end();
    let all = String::from_utf8_lossy(&end[end.len().saturating_sub(SHOWN)..]);
    let all: Vec<&str> = all.trim_end().lines().collect();
    text::harmless(&all[all.len().saturating_sub(lines)..].join("\n"))
}

/// Creates the error for an operation that did not finish.
pub(super) fn halted(host: &Host, attempt: &str, halt: &Halt) -> Error {
    match halt {
        Halt::Shut(Shut::Cancelled) => Error::cancelled(),
        Halt::Shut(Shut::Late) => broken(host, attempt, &"it did not answer in time"),
        Halt::Shut(Shut::TooMuch) => broken(host, attempt, &"it sends data without end"),
        Halt::Broken(error) => broken(host, attempt, &error.message()),
    }
}

/// Creates the error for a connection that broke.
pub(super) fn broken(host: &Host, attempt: &str, error: &dyn std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Unreachable,
        format!(
            "the ssh connection to {} broke while {attempt}: {error}",
            host.login()
        ),
    )
    .hint("the next call logs in again; wait_for_ssh(server) waits until the host answers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_contains_the_end_of_any_output() {
        assert_eq!(tail(b"a\nb\nc\n\n", 2), "b\nc");
        let long = vec![b'x'; 1 << 20];
        assert_eq!(tail(&long, 3).len(), SHOWN);
        assert!(!tail(b"\x1b[2J", 1).contains('\x1b'));
    }
}
