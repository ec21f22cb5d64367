//! Verification of host keys: what a host must present.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use ssh2::Session;

use super::host::{Host, Trust};
use super::known_hosts::{self, Known, KnownHosts, Place, Verdict};
use super::pin::{Pin, known_hosts_path, write_private};
use super::public_key::{Kind, PublicKey};
use super::revocations;
use crate::error::{Error, ErrorKind, Result};

/// The key that a host offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// The fingerprint, as ssh shows it: `SHA256:...`.
    pub fingerprint: String,
    key: Vec<u8>,
}

impl Offered {
    /// Returns the type of the key, for example `ssh-ed25519`.
    #[must_use]
    pub fn key_type(&self) -> Option<&str> {
        key_type(&self.key)
    }

    pub(super) fn from_session(session: &Session) -> Option<Self> {
        let hash = session.host_key_hash(ssh2::HashType::Sha256)?;
        let fingerprint = format!("SHA256:{}", BASE64_STANDARD_NO_PAD.encode(hash));
        Some(Self {
            fingerprint,
            key: session.host_key()?.0.to_vec(),
        })
    }
}

impl Offered {
    /// Writes a `known_hosts` file with this key for an address, for the ssh
    /// program.
    pub(super) fn write_known_hosts(
        &self,
        data_dir: &Path,
        instance: &str,
        address: &str,
    ) -> Result<PathBuf> {
        let path = known_hosts_path(data_dir, instance);
        let name = key_type(&self.key).unwrap_or_default();
        let line = format!("{address} {name} {}\n", BASE64_STANDARD.encode(&self.key));
        write_private(&path, line.as_bytes())?;
        Ok(path)
    }
}

/// Returns the type of a key: a blob begins with the length and the name of the
/// type.
pub(super) fn key_type(blob: &[u8]) -> Option<&str> {
    let length = usize::try_from(u32::from_be_bytes(blob.get(..4)?.try_into().ok()?)).ok()?;
    std::str::from_utf8(blob.get(4..)?.get(..length)?).ok()
}

/// The host key types to request, by their names in key blobs.
#[derive(Clone, Debug)]
pub enum KeyTypes {
    /// All types, the best first.
    Any,
    /// All types, the type of a pinned key first: the host may have other keys
    /// as well.
    First(Option<String>),
    /// Only these types.
    Only(Vec<String>),
}

impl KeyTypes {
    pub(super) fn algorithms(&self) -> String {
        match self {
            Self::Any => known_hosts::algorithms(|_| true),
            Self::First(first) => {
                known_hosts::algorithms(|kind: &Kind| first.as_deref() == Some(kind.name()))
            }
            Self::Only(types) => {
                let names = types.iter().map(|name| match name.as_str() {
                    "ssh-rsa" => "rsa-sha2-512,rsa-sha2-256,ssh-rsa",
                    name => name,
                });
                names.collect::<Vec<_>>().join(",")
            }
        }
    }
}

/// What is known about a host's key before the host presents it.
#[derive(Debug)]
pub(super) enum Expected {
    Fingerprint(String),
    Pinned {
        id: String,
        pin: Pin,
        place: PathBuf,
    },
    Known(Known),
}

impl Expected {
    pub(super) fn for_host(host: &Host, known: &KnownHosts, data_dir: &Path) -> Result<Self> {
        Ok(match &host.trust {
            Trust::Fingerprint(fingerprint) => Self::Fingerprint(fingerprint.clone()),
            Trust::Instance(id) => Self::Pinned {
                pin: Pin::load(data_dir, id)?
                    .ok_or_else(|| Error::internal(format!("no key is pinned for {id}")))?,
                place: Pin::path(data_dir, id),
                id: id.clone(),
            },
            Trust::KnownHosts => Self::Known(known.look_up(host)),
        })
    }

    /// Returns the algorithms to request, so that the host presents the known
    /// key.
    pub(super) fn algorithms(&self) -> String {
        match self {
            Self::Fingerprint(_) => KeyTypes::Any.algorithms(),
            Self::Pinned { pin, .. } => KeyTypes::First(pin.key_type.clone()).algorithms(),
            Self::Known(known) => known.algorithms(),
        }
    }

    /// Accepts the offered key, or fails with the reason. There is no way
    /// around this check.
    pub(super) fn check(&self, host: &Host, offered: &Offered) -> Result<()> {
        if let Some(file) = &host.settings.revoked_host_keys
            && revocations::contains(file, &offered.key)?
        {
            return Err(revoked(host, offered, &format!("`{}`", file.display())));
        }
        match self {
            Self::Fingerprint(expected) if *expected == offered.fingerprint => Ok(()),
            Self::Fingerprint(expected) => {
                Err(other_key(host, "the `host_key` option", expected, offered)
                    .hint(compare_on_console(offered)))
            }
            Self::Pinned { pin, .. } if pin.fingerprint == offered.fingerprint => Ok(()),
            Self::Pinned { id, pin, place } => Err(not_pinned(host, pin, offered).hint(format!(
                "another host may be impersonating this one; if you replaced the host key of \
                     {id} yourself, remove `{}`",
                place.display()
            ))),
            Self::Known(known) => check_known(known, host, offered),
        }
    }
}

/// The reason why a host certificate is not accepted.
const NO_CERTIFICATES: &str = "autorun does not verify host certificates";

fn check_known(known: &Known, host: &Host, offered: &Offered) -> Result<()> {
    let key = PublicKey::of_blob(&offered.key).ok_or_else(|| {
        Error::new(
            ErrorKind::Denied,
            format!(
                "the ssh host key of {} is not a key that ssh accepts",
                host.address
            ),
        )
        .hint("an RSA key must have at least 1024 bits: create a new key on the host")
    })?;
    match known.verdict(&key) {
        Verdict::Accepted => Ok(()),
        Verdict::Changed {
            known: place,
            authority,
        } => Err(Error::new(
            ErrorKind::HostKeyChanged,
            format!(
                "the ssh host key of {} is not the one in `{}`, line {}: the host offers {}",
                host.address,
                place.file.display(),
                place.line,
                offered.fingerprint
            ),
        )
        .hint(match authority {
            Some(authority) => certified(&authority),
            None => format!(
                "another host may be impersonating this one; if the host was reinstalled, remove \
                 the old key {}",
                forget(&place)
            ),
        })),
        Verdict::Revoked(place) => {
            let by = format!("`{}`, line {}", place.file.display(), place.line);
            Err(revoked(host, offered, &by))
        }
        Verdict::Unknown { authority } => Err(unknown(known, host, offered, authority)),
    }
}

fn revoked(host: &Host, offered: &Offered, by: &str) -> Error {
    Error::new(
        ErrorKind::HostKeyChanged,
        format!(
            "the ssh host key of {} is revoked by {by}: the host offers {}",
            host.address, offered.fingerprint
        ),
    )
    .hint(
        "do not log in: an attacker with this key can impersonate the host; create a new key on \
         the host",
    )
}

fn unknown(known: &Known, host: &Host, offered: &Offered, authority: Option<Place>) -> Error {
    let message = format!(
        "the ssh host key of {} is unknown: the host offers {}",
        host.address, offered.fingerprint
    );
    let hint = match (authority, known.unread().next()) {
        (Some(authority), _) => certified(&authority),
        (None, Some((file, why))) => {
            format!("make `{}` readable: {why}", file.display())
        }
        (None, None) if host.settings.accepts_unknown.is_some() => format!(
            "autorun never accepts an unknown key, whatever StrictHostKeyChecking says: get the \
             key with `ssh-keyscan -p {} {}` and compare the fingerprint, or pass host_key: \
             \"SHA256:..\" to host()",
            host.port, host.address
        ),
        (None, None)
            if host
                .settings
                .known_hosts
                .as_ref()
                .is_some_and(|files| keeps_nothing(files)) =>
        {
            format!(
                "the ssh configuration has no UserKnownHostsFile to keep keys: get the key with \
             `ssh-keyscan -p {} {}`, compare the fingerprint, and pass host_key: \"SHA256:..\" to \
             host()",
                host.port, host.address
            )
        }
        (None, None) => format!(
            "log in once with `ssh {}` and compare the fingerprint, or pass \
             host_key: \"SHA256:..\" to host()",
            host.arguments()
        ),
    };
    Error::new(ErrorKind::Denied, message).hint(hint)
}

/// Returns whether ssh cannot write a key to any of the files.
fn keeps_nothing(files: &[PathBuf]) -> bool {
    files.iter().all(|file| file == Path::new("/dev/null"))
}

/// Returns the hint for a host for which `known_hosts` trusts a certificate
/// authority.
fn certified(authority: &Place) -> String {
    format!(
        "`{}`, line {} trusts a certificate authority for this host, but {NO_CERTIFICATES}: \
         compare the fingerprint with that of the key in /etc/ssh on the host, and pass it as \
         host_key: \"SHA256:..\" to host(), or add the key to known_hosts",
        authority.file.display(),
        authority.line
    )
}

/// Returns how to remove a line from `known_hosts`.
fn forget(place: &Place) -> String {
    if !place.removable {
        return format!("from line {} of `{}`", place.line, place.file.display());
    }
    let name = shell_words::quote(&place.name).into_owned();
    if place.file.ends_with(".ssh/known_hosts") {
        return format!("with `ssh-keygen -R {name}`");
    }
    let file = place.file.to_string_lossy();
    format!(
        "with `ssh-keygen -R {name} -f {}`",
        shell_words::quote(&file)
    )
}

/// Creates the error for a key that is not the pinned one.
pub(super) fn not_pinned(host: &Host, pin: &Pin, offered: &Offered) -> Error {
    other_key(host, "its pinned key", &pin.fingerprint, offered).hint(
        "another host may be impersonating this one: compare the fingerprint on the host's \
         console before you continue",
    )
}

/// Creates the error for a key that is not the expected one. `source` is where the
/// expected key comes from.
fn other_key(host: &Host, source: &str, expected: &str, offered: &Offered) -> Error {
    let name = if host.name == host.address {
        host.address.clone()
    } else {
        format!("{} ({})", host.name, host.address)
    };
    Error::new(
        ErrorKind::HostKeyChanged,
        format!(
            "the ssh host key of {name} does not match {source}: expected {expected}, the host \
             offered {}",
            offered.fingerprint
        ),
    )
}

/// Returns the hint to compare the offered key with the key file of the host.
fn compare_on_console(offered: &Offered) -> String {
    let kind = match offered.key_type() {
        Some("ssh-rsa") => "rsa",
        Some(name) if name.starts_with("ecdsa-") => "ecdsa",
        _ => "ed25519",
    };
    format!(
        "run `ssh-keygen -l -f /etc/ssh/ssh_host_{kind}_key.pub` on the host's console; if it \
         prints the offered fingerprint, update `host_key`; if not, another host may be \
         impersonating this one"
    )
}
