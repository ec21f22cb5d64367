//! What a person reads when a connection fails, and the ends of outputs.

use super::gate::Shut;
use super::host::Host;
use crate::error::{Error, ErrorKind};
use crate::report::text;

/// Why something on a connection did not come to its end.
#[derive(Debug)]
pub(super) enum Halt {
    /// The gate shut.
    Shut(Shut),
    /// libssh2 failed.
    Broken(ssh2::Error),
}

/// How much of an output a message holds, in bytes.
const SHOWN: usize = 8 << 10;

/// Ends of output for messages: the last lines, harmless.
#[must_use]
pub fn tail(output: &[u8], lines: usize) -> String {
    let end = output.trim_ascii_end();
    let all = String::from_utf8_lossy(&end[end.len().saturating_sub(SHOWN)..]);
    let all: Vec<&str> = all.trim_end().lines().collect();
    text::harmless(&all[all.len().saturating_sub(lines)..].join("\n"))
}

/// What could not be done on a connection while it lasted.
pub(super) fn halted(host: &Host, attempt: &str, halt: &Halt) -> Error {
    match halt {
        Halt::Shut(Shut::Cancelled) => Error::cancelled(),
        Halt::Shut(Shut::Late) => broken(host, attempt, &"it did not answer in time"),
        Halt::Shut(Shut::TooMuch) => broken(host, attempt, &"it sends without end"),
        Halt::Broken(error) => broken(host, attempt, &error.message()),
    }
}

/// An ssh2 error in the middle of something.
pub(super) fn broken(host: &Host, attempt: &str, error: &dyn std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Unreachable,
        format!(
            "the ssh connection to {} broke while {attempt}: {error}",
            host.login()
        ),
    )
    .hint("the next call logs in afresh; wait_for_ssh(server) waits until the host answers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_holds_the_end_of_an_output_however_long_it_is() {
        assert_eq!(tail(b"a\nb\nc\n\n", 2), "b\nc");
        let long = vec![b'x'; 1 << 20];
        assert_eq!(tail(&long, 3).len(), SHOWN);
        assert!(!tail(b"\x1b[2J", 1).contains('\x1b'));
    }
}
