//! Who answers: host keys, and what a host must show.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use ssh2::Session;

use super::host::{Host, Trust};
use super::known_hosts::{self, Known, KnownHosts, Place, Verdict};
use super::pin::{Pin, known_hosts_path, write_private};
use super::public_key::{Kind, PublicKey};
use crate::error::{Error, ErrorKind, Result};

/// The host key that a host offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// `SHA256:...`, as ssh shows it.
    pub fingerprint: String,
    key: Vec<u8>,
}

impl Offered {
    /// The type of the key, as `ssh-ed25519`.
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
    /// Writes the file that tells the ssh program this key of an address.
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

/// The type of a key: a key blob begins with the length and the name of it.
fn key_type(blob: &[u8]) -> Option<&str> {
    let length = usize::try_from(u32::from_be_bytes(blob.get(..4)?.try_into().ok()?)).ok()?;
    std::str::from_utf8(blob.get(4..)?.get(..length)?).ok()
}

/// Types of host keys to ask for, by the names that key blobs have.
#[derive(Clone, Debug)]
pub enum KeyTypes {
    /// All, the best first.
    Any,
    /// All, that of a pinned key first: a host may have others as well.
    First(Option<String>),
    /// These and no others.
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

/// What a host's key has to be, as far as that is known before it shows it.
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

    /// The algorithms to ask for, so that it shows the key that is known.
    pub(super) fn algorithms(&self) -> String {
        match self {
            Self::Fingerprint(_) => KeyTypes::Any.algorithms(),
            Self::Pinned { pin, .. } => KeyTypes::First(pin.key_type.clone()).algorithms(),
            Self::Known(known) => known.algorithms(),
        }
    }

    /// Accepts the offered key or says why not. Nothing is ever skipped.
    pub(super) fn check(&self, host: &Host, offered: &Offered) -> Result<()> {
        match self {
            Self::Fingerprint(expected) if *expected == offered.fingerprint => Ok(()),
            Self::Fingerprint(expected) => Err(changed(host, expected, offered)),
            Self::Pinned { pin, .. } if pin.fingerprint == offered.fingerprint => Ok(()),
            Self::Pinned { id, pin, place } => {
                Err(changed(host, &pin.fingerprint, offered).hint(format!(
                    "another machine may be answering in its place. If you made a new machine of \
                     {id} yourself, remove `{}`",
                    place.display()
                )))
            }
            Self::Known(known) => check_known(known, host, offered),
        }
    }
}

/// What is to be done about a host whose certificate would be accepted.
const NO_CERTIFICATES: &str = "autorun does not verify certificates of hosts";

fn check_known(known: &Known, host: &Host, offered: &Offered) -> Result<()> {
    let key = PublicKey::of_blob(&offered.key).ok_or_else(|| {
        Error::new(
            ErrorKind::Denied,
            format!(
                "the ssh host key of {} is not a key that ssh accepts",
                host.address
            ),
        )
        .hint("an RSA key must have 1024 bits at least: make a new one on the host")
    })?;
    match known.verdict(&key) {
        Verdict::Accepted => Ok(()),
        Verdict::Changed {
            known: place,
            authority,
        } => Err(Error::new(
            ErrorKind::HostKeyChanged,
            format!(
                "the ssh host key of {} is not the one in `{}`, line {}: it offers {}",
                host.address,
                place.file.display(),
                place.line,
                offered.fingerprint
            ),
        )
        .hint(match authority {
            Some(authority) => certified(&authority),
            None => format!(
                "another machine may be answering in its place. If you know that the host was set up \
                 again: {}",
                forget(&place)
            ),
        })),
        Verdict::Revoked(place) => Err(Error::new(
            ErrorKind::HostKeyChanged,
            format!(
                "the ssh host key of {} is revoked by `{}`, line {}: it offers {}",
                host.address,
                place.file.display(),
                place.line,
                offered.fingerprint
            ),
        )
        .hint(
            "whoever has that key can pretend to be this host: do not log in; make a new key \
             on the host",
        )),
        Verdict::Unknown { authority } => Err(unknown(known, host, offered, authority)),
    }
}

fn unknown(known: &Known, host: &Host, offered: &Offered, authority: Option<Place>) -> Error {
    let message = format!(
        "the ssh host key of {} is unknown: it offers {}",
        host.address, offered.fingerprint
    );
    let hint = match (authority, known.unread().next()) {
        (Some(authority), _) => certified(&authority),
        (None, Some((file, why))) => {
            format!("make `{}` readable: {why}", file.display())
        }
        (None, None) => format!(
            "log in once with `ssh {}` and compare the fingerprint, or pass \
             host_key: \"SHA256:..\" to host()",
            host.arguments()
        ),
    };
    Error::new(ErrorKind::Denied, message).hint(hint)
}

/// What to do where `known_hosts` trusts an authority.
fn certified(authority: &Place) -> String {
    format!(
        "`{}`, line {} trusts an authority for it, but {NO_CERTIFICATES}: compare the \
         fingerprint with that of the key in /etc/ssh on the host, and pass it as \
         host_key: \"SHA256:..\" to host(), or add the key to known_hosts",
        authority.file.display(),
        authority.line
    )
}

/// How a line of `known_hosts` is removed.
fn forget(place: &Place) -> String {
    if !place.removable {
        return format!("correct line {} of `{}`", place.line, place.file.display());
    }
    let name = shell_words::quote(&place.name).into_owned();
    if place.file.ends_with(".ssh/known_hosts") {
        return format!("`ssh-keygen -R {name}`");
    }
    let file = place.file.to_string_lossy();
    format!("`ssh-keygen -R {name} -f {}`", shell_words::quote(&file))
}

/// A key that is not the expected one.
pub(super) fn changed(host: &Host, expected: &str, offered: &Offered) -> Error {
    Error::new(
        ErrorKind::HostKeyChanged,
        format!(
            "the ssh host key of {} ({}) has changed: expected {expected}, it offers {}",
            host.name, host.address, offered.fingerprint
        ),
    )
    .hint(
        "another machine may be answering in its place: compare with the machine's console before \
         you go on",
    )
}
