//! The ssh host keys of instances.
//!
//! The key that an instance offers first is accepted, logged and pinned, then
//! compared with the keys in the console output. Every connection is checked
//! against the pin; there is no way around it.
//!
//! The console of Nitro types can be read at any time and shows the keys once
//! cloud-init has finished, so the code that waits for such an instance waits for
//! its keys too. AWS returns the console of other types minutes late. For these,
//! work continues with the first key; the log and the map of the instance report
//! that it is unverified.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::clients::ssh::{Host, KeyTypes, Offered, Pin, is_fingerprint};
use crate::clients::{Clients, Pace};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::report::Reporter;

/// How long to wait for the host key that an instance offers.
const ANSWER: Duration = Duration::from_secs(15);

/// What reaches an instance and its console.
#[derive(Clone, Copy, Debug)]
pub struct WayTo<'a> {
    /// The clients of the instance's account.
    pub clients: &'a Clients,
    /// Where the keys are logged.
    pub report: &'a Reporter,
}

impl<'a> From<&'a Context> for WayTo<'a> {
    fn from(cx: &'a Context) -> Self {
        Self {
            clients: &cx.clients,
            report: &cx.report,
        }
    }
}

/// Pins the host key of an instance before a login, if no login from this machine has done
/// so. Warns if the key cannot be compared with the console.
pub async fn pin_before_login(way: WayTo<'_>, host: &Host, id: &str) -> Result<()> {
    if way.clients.ssh().pin(id)?.is_some() {
        return Ok(());
    }
    pin_first_key(way, host, id).await?;
    compare_or_warn(way, host, id).await
}

/// Value of `host_key` in the map of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum HostKey {
    /// The console shows the same key.
    Verified,
    /// The key has not been compared with the console.
    Unverified,
}

impl HostKey {
    /// Returns the state of the pinned key of an instance. A pin that cannot be
    /// read counts as unverified; the next login fails with the reason.
    pub(super) fn from_pin(cx: &Context, id: &str) -> Self {
        match cx.clients.ssh().pin(id) {
            Ok(Some(pin)) if pin.verified => Self::Verified,
            Ok(_) | Err(_) => Self::Unverified,
        }
    }
}

/// Result of comparing a key with the console. A different key in the console is
/// an error instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Compared {
    /// The keys are the same.
    Verified,
    /// The console shows no key yet, but may do so at any moment.
    NotYet(String),
    /// The console cannot be read, or only minutes late.
    Cannot(String),
}

/// Pins and logs the key that an instance offers first. Until the key has been
/// compared with the console, only readiness probes use it.
pub(super) async fn pin_first_key(cx: impl Into<WayTo<'_>>, host: &Host, id: &str) -> Result<()> {
    let cx = cx.into();
    if cx.clients.ssh().pin(id)?.is_some() {
        return Ok(());
    }
    let ssh = cx.clients.ssh();
    let offered = ssh.offered(host, &KeyTypes::Any, ANSWER).await?;
    let pin = ssh.save_first_pin(id, pin_of(&offered, false))?;
    cx.report.info(format!(
        "first ssh host key of {id}: {}; to be compared with its console output",
        pin.fingerprint
    ));
    Ok(())
}

fn pin_of(offered: &Offered, verified: bool) -> Pin {
    Pin {
        fingerprint: offered.fingerprint.clone(),
        key_type: offered.key_type().map(str::to_owned),
        verified,
    }
}

/// Compares a pinned key with the keys that the console shows now.
///
/// Fails with [`ErrorKind::HostKeyChanged`] if the console shows other keys.
pub(super) async fn compare(cx: impl Into<WayTo<'_>>, host: &Host, id: &str) -> Result<Compared> {
    let cx = cx.into();
    let Some(pin) = cx.clients.ssh().pin(id)? else {
        return Ok(Compared::NotYet("no key has been seen yet".to_owned()));
    };
    if pin.verified {
        return Ok(Compared::Verified);
    }
    let console = match cx.clients.ec2().await?.console(id).await {
        Ok(console) => console,
        Err(error) if error.kind.retryable() => return Ok(Compared::NotYet(error.to_string())),
        Err(error) => return Ok(Compared::Cannot(error.to_string())),
    };
    let shown = shown(&console.text);
    if !shown.is_empty() {
        return match compare_pin(cx, host, id, &pin, &shown).await {
            Ok(()) => Ok(Compared::Verified),
            // The request for a key of another type failed.
            Err(error) if error.kind.retryable() => Ok(Compared::NotYet(error.to_string())),
            Err(error) => Err(error),
        };
    }
    let why = "the console shows no fingerprints yet".to_owned();
    Ok(if console.live {
        Compared::NotYet(why)
    } else {
        Compared::Cannot(why)
    })
}

/// Compares a pinned key before it is used for work. Warns once per instance if
/// the key cannot be compared.
pub(super) async fn compare_or_warn(cx: impl Into<WayTo<'_>>, host: &Host, id: &str) -> Result<()> {
    let cx = cx.into();
    let ssh = cx.clients.ssh();
    let known = ssh.pin(id)?.is_some_and(|pin| pin.verified);
    if known || ssh.logged_unverified(id) {
        return Ok(());
    }
    if let Compared::NotYet(why) | Compared::Cannot(why) = compare(cx, host, id).await? {
        ssh.note_unverified(id);
        cx.report.warn(format!(
            "cannot verify the ssh host key of {id}: {why}; \
             continuing with the key that it offered first"
        ));
    }
    Ok(())
}

/// Waits until the console shows the pinned key.
pub(super) async fn await_console_key(
    cx: &Context,
    host: &Host,
    id: &str,
    pace: &mut Pace,
) -> Result<()> {
    loop {
        match compare(cx, host, id).await? {
            Compared::Verified => return Ok(()),
            Compared::NotYet(why) | Compared::Cannot(why) => pace.pause(&why).await?,
        }
    }
}

/// A key that the console shows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    fingerprint: String,
    /// Names of the types that the key may have; empty if the console does not
    /// show the type.
    types: &'static [&'static str],
}

/// Marks the pinned key as verified if the console shows it. If the console shows
/// keys of other types only, the host must offer a key of one of these types.
async fn compare_pin(
    cx: WayTo<'_>,
    host: &Host,
    id: &str,
    pin: &Pin,
    shown: &[Shown],
) -> Result<()> {
    let ssh = cx.clients.ssh();
    let is_shown = |fingerprint: &str| shown.iter().any(|key| key.fingerprint == fingerprint);
    if is_shown(&pin.fingerprint) {
        let verified = Pin {
            verified: true,
            ..pin.clone()
        };
        return verified_as(cx, id, &verified);
    }
    let comparable = |key: &Shown| match &pin.key_type {
        Some(pinned) => key.types.is_empty() || key.types.contains(&pinned.as_str()),
        None => true,
    };
    if shown.iter().any(comparable) {
        ssh.forget(host);
        return Err(other_key(host, id, &pin.fingerprint, shown));
    }
    let types = shown.iter().flat_map(|key| key.types);
    let types = KeyTypes::Only(types.map(|name| (*name).to_owned()).collect());
    let offered = ssh.offered(host, &types, ANSWER).await?;
    ssh.forget(host);
    if is_shown(&offered.fingerprint) {
        verified_as(cx, id, &pin_of(&offered, true))
    } else {
        Err(other_key(host, id, &offered.fingerprint, shown))
    }
}

fn verified_as(cx: WayTo<'_>, id: &str, pin: &Pin) -> Result<()> {
    cx.report.info(format!(
        "verified the ssh host key of {id} by its console output"
    ));
    cx.clients.ssh().save_pin(id, pin)
}

fn other_key(host: &Host, id: &str, offered: &str, shown: &[Shown]) -> Error {
    let shown = shown.iter().map(|key| key.fingerprint.as_str());
    Error::new(
        ErrorKind::HostKeyChanged,
        format!(
            "the ssh host key of {id} ({}) is not the one its console shows: the host offers \
             {offered}, the console shows {}",
            host.address,
            shown.collect::<Vec<_>>().join(", ")
        ),
    )
    .hint(
        "another machine may be answering in its place: do not log in; check the instance in the \
         AWS console",
    )
}

/// Returns the keys that cloud-init wrote to the console at the last boot that
/// reached this point. cloud-init writes a block of fingerprints and after it a
/// block of keys; either may be missing.
fn shown(console: &str) -> Vec<Shown> {
    let prints = last_block(console, "SSH HOST KEY FINGERPRINTS");
    let keys = last_block(console, "SSH HOST KEY KEYS");
    // Keys before the fingerprints are from an earlier boot.
    let keys = keys.filter(|(start, _)| prints.is_none_or(|(first, _)| *start > first));
    let prints = prints
        .map_or("", |(_, block)| block)
        .lines()
        .filter_map(of_print);
    let keys = keys
        .map_or("", |(_, block)| block)
        .lines()
        .filter_map(of_key);
    let mut all: Vec<Shown> = Vec::new();
    for key in prints.chain(keys) {
        if !all.iter().any(|known| known.fingerprint == key.fingerprint) {
            all.push(key);
        }
    }
    all
}

/// Returns the offset and the text of the newest complete block of this name.
fn last_block<'a>(console: &'a str, name: &str) -> Option<(usize, &'a str)> {
    let begin = format!("-----BEGIN {name}-----");
    let end = format!("-----END {name}-----");
    let starts: Vec<usize> = console
        .match_indices(&begin)
        .map(|(start, _)| start)
        .collect();
    starts.into_iter().rev().find_map(|start| {
        let rest = &console[start + begin.len()..];
        let block = &rest[..rest.find(&end)?];
        // A second beginning inside means that the first block was cut off.
        (!block.contains(&begin)).then_some((start, block))
    })
}

/// Parses `ec2: 256 SHA256:... root@ip-10-0-0-1 (ED25519)`.
fn of_print(line: &str) -> Option<Shown> {
    let mut words = line.split_whitespace();
    let fingerprint = words.find(|word| is_fingerprint(word))?.to_owned();
    let types: &[&str] = match words.last() {
        Some("(ED25519)") => &["ssh-ed25519"],
        Some("(ECDSA)") => &ECDSA,
        Some("(RSA)") => &["ssh-rsa"],
        _ => &[],
    };
    Some(Shown { fingerprint, types })
}

const ECDSA: [&str; 3] = [
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
];

/// Parses `ssh-ed25519 AAAA... root@ip-10-0-0-1`.
fn of_key(line: &str) -> Option<Shown> {
    let mut words = line.split_whitespace();
    let types: &[&str] = words.find_map(|word| match word {
        "ssh-ed25519" => Some(&["ssh-ed25519"][..]),
        "ssh-rsa" => Some(&["ssh-rsa"][..]),
        word => ECDSA.contains(&word).then_some(&ECDSA[..]),
    })?;
    let blob = BASE64_STANDARD.decode(words.next()?).ok()?;
    let hash = BASE64_STANDARD_NO_PAD.encode(Sha256::digest(&blob));
    Some(Shown {
        fingerprint: format!("SHA256:{hash}"),
        types,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "SHA256:ooooooooooooooooooooooooooooooooooooooooooo";
    const ONE: &str = "SHA256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const TWO: &str = "SHA256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

    fn block(name: &str, lines: &[&str]) -> String {
        let lines = lines.join("\r\nec2: ");
        format!("ec2: -----BEGIN {name}-----\r\nec2: {lines}\r\nec2: -----END {name}-----\r\n")
    }

    fn prints(of: &[(&str, &str)]) -> String {
        let lines = of
            .iter()
            .map(|(print, kind)| format!("256 {print} root@ip-10-0-0-1 ({kind})"));
        let lines: Vec<String> = lines.collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        block("SSH HOST KEY FINGERPRINTS", &lines)
    }

    fn found(console: &str) -> Vec<String> {
        shown(console)
            .into_iter()
            .map(|key| key.fingerprint)
            .collect()
    }

    #[test]
    fn fingerprints_are_read_from_the_newest_block() {
        let first = prints(&[(OLD, "ED25519")]);
        let second = prints(&[(ONE, "ECDSA"), (TWO, "ED25519")]);
        assert_eq!(found(&format!("{first}reboot\r\n{second}")), [ONE, TWO]);
        assert!(found(&format!("Linux version 6.1 {ONE}")).is_empty());
        // A block that was cut off, at the end or by a reboot.
        let cut = &second[..second.len() - 60];
        assert!(found(cut).is_empty());
        assert_eq!(found(&format!("{first}{cut}")), [OLD]);
        assert_eq!(found(&format!("{cut}\r\n{first}")), [OLD]);
    }

    #[test]
    fn each_fingerprint_has_its_type() {
        let console = prints(&[(ONE, "ECDSA"), (TWO, "ED25519"), (OLD, "RSA")]);
        let types: Vec<_> = shown(&console).into_iter().map(|key| key.types).collect();
        assert_eq!(types, [&ECDSA[..], &["ssh-ed25519"], &["ssh-rsa"]]);
        // A kernel message between two words, and one inside a word.
        let torn = console.replace("root@ip", "[   12.3] random\r\nroot@ip");
        assert_eq!(found(&torn), [ONE, TWO, OLD]);
        assert!(shown(&torn).iter().all(|key| key.types.is_empty()));
        let torn = console.replace("aaaaa", "aa[   12.3] random\r\na");
        assert_eq!(found(&torn), [TWO, OLD]);
    }

    #[test]
    fn fingerprints_are_computed_if_the_console_shows_keys_only() {
        let keys = block("SSH HOST KEY KEYS", &[KEY]);
        let alone = shown(&keys);
        assert_eq!(alone.len(), 1);
        assert!(is_fingerprint(&alone[0].fingerprint));
        assert_eq!(alone[0].types, ["ssh-ed25519"]);
        // Old versions of cloud-init show MD5 fingerprints.
        let old = block(
            "SSH HOST KEY FINGERPRINTS",
            &["256 0d:1c:56:60:7b:8c:43:0c root (ED25519)"],
        );
        assert_eq!(found(&format!("{old}{keys}")), found(&keys));
        // Keys of an earlier boot do not count.
        let new = prints(&[(ONE, "ED25519")]);
        assert_eq!(found(&format!("{keys}{new}")), [ONE]);
        assert_eq!(found(&format!("{new}{keys}")).len(), 2);
    }
}
