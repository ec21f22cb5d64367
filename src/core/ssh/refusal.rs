//! Errors of accounts that do not run commands: their login shell, a forced
//! command, or sudo refused.

use super::boot::Boot;
use super::errors::tail;
use super::host::Host;
use super::shell::Sudo;
use crate::error::{Error, ErrorKind};

/// How many lines of each output an error shows.
const SHOWN_LINES: usize = 5;

/// Creates the error for a host that refuses the request for a command.
pub(super) fn refuses_commands(host: &Host) -> Error {
    Error::new(
        ErrorKind::Denied,
        format!("{} refuses to run commands", host.login()),
    )
    .hint(compare(host))
}

/// Creates the error for a program that never started. The reason is what the
/// account printed instead. Without a status, something still runs in its place.
pub(super) fn not_started(
    host: &Host,
    sudo: Sudo,
    boot: &Boot,
    line: &str,
    status: Option<i64>,
) -> Error {
    let printed: Vec<String> = [boot.before(1), boot.before(0)]
        .into_iter()
        .map(|output| tail(output, SHOWN_LINES))
        .filter(|output| !output.is_empty())
        .map(|output| plain(&output, line))
        .collect();
    let reason = match (printed.as_slice(), status) {
        ([], Some(status)) => format!("status {status}, without output"),
        ([], None) => "something else runs in its place".to_owned(),
        (printed, _) => printed.join("\n"),
    };
    let error = Error::new(
        ErrorKind::Denied,
        format!("{} did not start the command: {reason}", host.login()),
    );
    match sudo {
        Sudo::Free if boot.asked_sudo => error.hint(format!(
            "on the host, allow {} to use sudo without a password, or pass `sudo_password` \
             to host(), from a secret variable",
            host.user
        )),
        Sudo::Password if boot.asked_sudo => {
            error.hint(format!("check that {} may use sudo on the host", host.user))
        }
        _ => error.hint(compare(host)),
    }
}

/// Removes the command line, which a shell may repeat in its message.
fn plain(output: &str, line: &str) -> String {
    output.replace(line, "..")
}

fn compare(host: &Host) -> String {
    format!(
        "the account's login shell, its startup files or a forced command of the ssh server \
         prevent commands: compare `ssh {} true`",
        host.arguments()
    )
}
