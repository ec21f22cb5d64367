//! Reboots: waits do not take a host that is about to reboot for a host that is
//! ready.

use std::time::Duration;

use super::hosts::know_keys;
use super::servers::{ServerRef, described, instance_host};
use crate::clients::Pace;
use crate::clients::ssh::{Command, Finished, Host, Program, Trust, names_reboot};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::report::text;

/// How long a host may take to begin a reboot after a command that names one.
const BEGINS_WITHIN: Duration = Duration::from_secs(15);

/// How long a look at a host before its reboot may take.
const LOOKS_WITHIN: Duration = Duration::from_secs(5);

/// Prints `stopping` if the host shuts down, and `scheduled` if it will.
pub(super) const STATE: &str = "\
s=$(systemctl is-system-running 2>/dev/null)
[ \"$s\" = stopping ] || case $(runlevel 2>/dev/null) in
*' 6' | *' 0') s=stopping ;;
*) s=; grep -qs '^MODE=reboot' /run/systemd/shutdown/scheduled && s=scheduled ;;
esac
printf %s \"$s\"";

/// Returns whether a host that answered with this state has no reboot before it.
/// Otherwise pauses: the caller logs in again.
pub(super) async fn settled(
    cx: &Context,
    host: &Host,
    state: &Finished,
    pace: &mut Pace,
) -> Result<bool> {
    let ssh = cx.clients.ssh();
    let state = state.stdout.trim_ascii();
    if state == b"stopping" {
        ssh.expect_reboot(host, "it was shutting down", true);
    }
    let Some(expected) = ssh.expected_reboot(host) else {
        return Ok(true);
    };
    let waited = expected.since.elapsed();
    if !expected.certain && state != b"scheduled" && waited > BEGINS_WITHIN {
        cx.report.warn(format!(
            "{} did not reboot within {} after {}; it still runs",
            host.name,
            text::duration(BEGINS_WITHIN),
            expected.cause
        ));
        ssh.forgive_reboot(host);
        return Ok(true);
    }
    // A connection of the old boot may break later.
    ssh.forget(host);
    let state = format!(
        "{} has not rebooted yet after {}",
        host.name, expected.cause
    );
    pace.pause(&state).await?;
    Ok(false)
}

/// Looks which boot an instance is in before it is rebooted. An instance that does
/// not answer is rebooted nevertheless. `cause` is the function that reboots it.
pub(super) async fn before_reboot(cx: &Context, server: &ServerRef, cause: &str) -> Result<()> {
    let instance = described(cx, &server.id).await?;
    let Ok(host) = instance_host(server, &instance) else {
        // Without an address, no ssh connection waits for the reboot.
        return Ok(());
    };
    let ssh = cx.clients.ssh();
    let is_known = match &host.trust {
        Trust::Instance(id) => ssh.pin(id)?.is_some(),
        _ => true,
    };
    let looks = async {
        know_keys(cx, &host).await?;
        let command = Command {
            program: Program::Own("true".to_owned()),
            timeout: Some(LOOKS_WITHIN),
            ..Command::default()
        };
        ssh.run(&host, command, &cx.report).await
    };
    if ssh.last_boot(&host).is_none() && is_known {
        let looked = tokio::time::timeout(LOOKS_WITHIN, looks).await;
        if !matches!(looked, Ok(Ok(_))) {
            cx.report
                .debug(format!("{} does not answer before its reboot", host.name));
        }
    }
    ssh.expect_reboot(&host, cause, true);
    if ssh.last_boot(&host).is_none() {
        // Nothing to compare with: the first answer counts as the new boot.
        ssh.note_outage(&host);
    }
    Ok(())
}

/// Takes note of a command that may reboot the host, and explains an error that
/// the reboot caused.
pub(super) fn noted<T>(cx: &Context, host: &Host, command: &str, done: Result<T>) -> Result<T> {
    if !names_reboot(command) {
        return done;
    }
    let line = command.trim().lines().next().unwrap_or_default();
    match done {
        Err(error) if error.kind != ErrorKind::Unreachable => Err(error),
        done => {
            cx.clients
                .ssh()
                .expect_reboot(host, &format!("`{line}`"), false);
            done.map_err(|error| down(host, line, &error.to_string()))
        }
    }
}

/// Returns the error for a command that a reboot ended before the connection: the
/// system sends SIGTERM to all processes first.
pub(super) fn ended_by(host: &Host, command: &str, finished: &Finished) -> Option<Error> {
    let terminated = finished.signal.as_deref() == Some("TERM");
    let line = command.trim().lines().next().unwrap_or_default();
    (terminated && names_reboot(command)).then(|| down(host, line, "SIGTERM ended it"))
}

/// Returns the error for a command that a reboot broke off.
fn down(host: &Host, command: &str, how: &str) -> Error {
    Error::new(
        ErrorKind::Unreachable,
        format!(
            "{} went down while `{command}` ran, before it reported a status: {how}",
            host.name
        ),
    )
    .hint(
        "catch this error and call wait_for_ssh(server) or wait_until_ready(server), which wait \
         for the new boot",
    )
}
