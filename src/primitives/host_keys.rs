//! ssh host keys of instances: accepted aloud, compared with the console,
//! pinned; never bypassed.

use std::time::Duration;

use crate::clients::Pace;
use crate::clients::ssh::{Host, Pin};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};

/// How long to wait for an instance's first answer.
const ANSWER: Duration = Duration::from_secs(15);

/// Pins the key that an instance offers first, aloud. Until it has been
/// compared with the console it serves readiness probes only.
pub(super) async fn pin_first_key(cx: &Context, host: &Host, id: &str) -> Result<()> {
    if cx.clients.ssh().pin(id)?.is_some() {
        return Ok(());
    }
    let offered = cx.clients.ssh().offered(host, ANSWER).await?;
    cx.report.info(format!(
        "first ssh host key of {id}: {}; to be compared with its console output",
        offered.fingerprint
    ));
    let pin = Pin {
        fingerprint: offered.fingerprint,
        verified: false,
    };
    cx.clients.ssh().save_pin(id, &pin)
}

/// Whether a comparison that finds nothing in the console will be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// It will in a moment, so nothing is said.
    Soon,
    /// It will, so it is only noted.
    Later,
    /// It will not: work goes on with an unverified key, and that is said.
    No,
}

/// Compares a pinned key with the fingerprints in the console output, without
/// waiting for them.
pub(super) async fn compare_with_console(
    cx: &Context,
    host: &Host,
    id: &str,
    again: Again,
) -> Result<()> {
    let Some(pin) = cx.clients.ssh().pin(id)? else {
        return Ok(());
    };
    if pin.verified || (again == Again::No && cx.clients.ssh().said_unverified(id)) {
        return Ok(());
    }
    let console = console_fingerprints(cx, id).await;
    let why = match console {
        Ok(shown) if !shown.is_empty() => return settle(cx, host, id, &pin, &shown),
        Ok(_) => "the console shows no fingerprints yet".to_owned(),
        Err(error) => error.message.clone(),
    };
    match again {
        Again::Soon => {}
        Again::Later => cx.report.info(format!(
            "host key of {id} not compared yet ({why}); compared again when it is ready"
        )),
        Again::No => {
            cx.clients.ssh().note_unverified(id);
            cx.report.warn(format!(
                "the ssh host key of {id} could not be verified: {why}; \
                 going on with the key it offered first"
            ));
        }
    }
    Ok(())
}

/// Waits until the console shows fingerprints, and compares.
pub(super) async fn await_console_key(
    cx: &Context,
    host: &Host,
    id: &str,
    pace: &mut Pace,
) -> Result<()> {
    loop {
        let Some(pin) = cx.clients.ssh().pin(id)? else {
            return Ok(());
        };
        if pin.verified {
            return Ok(());
        }
        let shown = console_fingerprints(cx, id).await?;
        if !shown.is_empty() {
            return settle(cx, host, id, &pin, &shown);
        }
        pace.pause("the console shows no fingerprints yet").await?;
    }
}

fn settle(cx: &Context, host: &Host, id: &str, pin: &Pin, shown: &[String]) -> Result<()> {
    if shown.contains(&pin.fingerprint) {
        cx.report.info(format!(
            "verified the ssh host key of {id} by its console output"
        ));
        return cx.clients.ssh().save_pin(
            id,
            &Pin {
                verified: true,
                ..pin.clone()
            },
        );
    }
    cx.clients.ssh().forget(host);
    Err(Error::new(
        ErrorKind::HostKeyChanged,
        format!(
            "the ssh host key of {id} ({}) is not the one its console shows: it offers {}, \
             the console shows {}",
            host.address,
            pin.fingerprint,
            shown.join(", ")
        ),
    )
    .hint("somebody may be in between: do not log in; look at the instance in the AWS console"))
}

/// The SHA256 fingerprints that cloud-init wrote to the console.
async fn console_fingerprints(cx: &Context, id: &str) -> Result<Vec<String>> {
    let console = cx.clients.ec2().await?.console(id).await?;
    Ok(fingerprints(&console))
}

/// Those of the newest complete block: a console may hold several boots.
fn fingerprints(console: &str) -> Vec<String> {
    const BEGIN: &str = "-----BEGIN SSH HOST KEY FINGERPRINTS-----";
    const END: &str = "-----END SSH HOST KEY FINGERPRINTS-----";
    let mut blocks = console.rsplit(BEGIN);
    let count = console.matches(BEGIN).count();
    let block = blocks
        .by_ref()
        .take(count)
        .find_map(|rest| rest.split_once(END));
    let words = block.map_or("", |(block, _)| block).split_whitespace();
    words
        .filter(|word| word.starts_with("SHA256:"))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::fingerprints;

    #[test]
    fn fingerprints_are_read_from_the_newest_block() {
        let console = "\
ec2: #############################################################
ec2: -----BEGIN SSH HOST KEY FINGERPRINTS-----
ec2: 256 SHA256:old root@ip-10-0-0-1 (ED25519)
ec2: -----END SSH HOST KEY FINGERPRINTS-----
reboot
ec2: -----BEGIN SSH HOST KEY FINGERPRINTS-----
ec2: 256 SHA256:abc root@ip-10-0-0-1 (ECDSA)
ec2: 256 SHA256:def root@ip-10-0-0-1 (ED25519)
ec2: -----END SSH HOST KEY FINGERPRINTS-----
";
        assert_eq!(fingerprints(console), ["SHA256:abc", "SHA256:def"]);
        assert!(fingerprints("Linux version 6.1 SHA256:stray").is_empty());
        let cut = "-----BEGIN SSH HOST KEY FINGERPRINTS-----\n256 SHA256:half";
        assert!(fingerprints(cut).is_empty());
    }
}
