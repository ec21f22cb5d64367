//! Programs and calls that the local cloud does not support.

use super::super::init::control::Reply;

/// Programs of systemd that need a service that a machine does not have, with
/// the reason. They are replaced where the host has them.
pub(in super::super) const REFUSED: [(&str, &str); 6] = [
    ("busctl", "it has no message bus"),
    (
        "localectl",
        "it has no locale service; write /etc/default/locale or /etc/locale.conf",
    ),
    (
        "loginctl",
        "it has no login manager, so neither sessions nor lingering users",
    ),
    ("machinectl", "it has no containers"),
    (
        "resolvectl",
        "it has no resolver, because its HTTP proxy resolves names",
    ),
    ("systemd-run", "it runs only services that have a unit file"),
];

/// Runs one of these programs. Returns `None` for other names.
pub(super) fn run(tool: &str) -> Option<Reply> {
    let (name, reason) = REFUSED.iter().find(|(name, _)| *name == tool)?;
    let message = format!(
        "{name}: an instance of the local cloud does not support this program: {reason} \
         (see `autorun docs local-cloud`)"
    );
    Some(Reply::failure(message, 1))
}

/// Returns the failure of a program that does not support this option or
/// command.
pub(in super::super) fn unsupported(tool: &str, what: &str) -> Reply {
    let message = format!(
        "{tool}: an instance of the local cloud does not support `{what}` \
         (see `autorun docs local-cloud`)"
    );
    Reply::failure(message, 1)
}
