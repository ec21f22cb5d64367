//! Who answers: host keys and pins, and what a host must show.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};
use ssh2::Session;

use super::host::{Host, Trust};
use super::known_hosts::{self, Known, KnownHosts, Place, Verdict};
use super::public_key::{Kind, PublicKey};
use crate::clients::keys;
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

    pub(super) fn of(session: &Session) -> Option<Self> {
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

fn known_hosts_path(data_dir: &Path, instance: &str) -> PathBuf {
    data_dir
        .join("hosts")
        .join(format!("{instance}.known_hosts"))
}

/// The type of a key: a key blob begins with the length and the name of it.
fn key_type(blob: &[u8]) -> Option<&str> {
    let length = usize::try_from(u32::from_be_bytes(blob.get(..4)?.try_into().ok()?)).ok()?;
    std::str::from_utf8(blob.get(4..)?.get(..length)?).ok()
}

/// Writes a file that is never seen half written, in a directory of the user
/// alone.
fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = unfinished(path, bytes)?;
    file.persist(path)
        .map_err(|e| Error::io("pin the host key in", path, &e.error))?;
    Ok(())
}

/// The file before it has its name.
fn unfinished(path: &Path, bytes: &[u8]) -> Result<tempfile::NamedTempFile> {
    let dir = path.parent().unwrap_or(path);
    keys::create_private_dir(dir)?;
    let failed = |e: std::io::Error| Error::io("pin the host key in", path, &e);
    let mut file = tempfile::Builder::new()
        .prefix(&unfinished_prefix(path))
        .tempfile_in(dir)
        .map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    // A loss of power must not leave an empty pin.
    file.as_file().sync_all().map_err(failed)?;
    Ok(file)
}

/// What the names of files begin with that a crash left half written.
fn unfinished_prefix(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!(".{}.", name.split('.').next().unwrap_or_default())
}

/// The key of an instance, kept under the data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// `SHA256:...`.
    pub fingerprint: String,
    /// Its type, as `ssh-ed25519`; pins of old have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_type: Option<String>,
    /// Whether the console output showed the same.
    pub verified: bool,
}

impl Pin {
    /// The pin of an instance. One that is damaged, or that others may have
    /// written, is never taken for none: that would trust any key.
    pub(super) fn load(data_dir: &Path, instance: &str) -> Result<Option<Self>> {
        let path = Self::path(data_dir, instance);
        let again = || {
            format!(
                "if you trust what {instance} shows now, remove `{}`: its key is pinned again \
                 at the next login",
                path.display()
            )
        };
        let Some(bytes) = read_own(&path).map_err(|e| match e.hint {
            None => e.hint(again()),
            Some(_) => e,
        })?
        else {
            return Ok(None);
        };
        let damaged = |why: &str| {
            let message = format!("the pinned key in `{}` is damaged: {why}", path.display());
            Err(Error::internal(message).hint(again()))
        };
        match serde_json::from_slice::<Self>(&bytes) {
            Ok(pin) if is_fingerprint(&pin.fingerprint) => Ok(Some(pin)),
            Ok(_) => damaged("it holds no fingerprint"),
            Err(error) => damaged(&error.to_string()),
        }
    }

    pub(super) fn save(&self, data_dir: &Path, instance: &str) -> Result<()> {
        write_private(&Self::path(data_dir, instance), &self.written()?)
    }

    /// Saves it unless another one is there, which is given then.
    pub(super) fn save_first(self, data_dir: &Path, instance: &str) -> Result<Self> {
        let path = Self::path(data_dir, instance);
        let file = unfinished(&path, &self.written()?)?;
        match file.persist_noclobber(&path) {
            Ok(_) => Ok(self),
            Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => {
                Ok(Self::load(data_dir, instance)?.unwrap_or(self))
            }
            Err(e) => Err(Error::io("pin the host key in", &path, &e.error)),
        }
    }

    fn written(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::internal(format!("cannot pin a host key: {e}")))
    }

    /// One that is not there is no fault, one that stays does no harm.
    pub(super) fn remove(data_dir: &Path, instance: &str) {
        let pin = Self::path(data_dir, instance);
        let unfinished = unfinished_prefix(&pin);
        let folder = std::fs::read_dir(data_dir.join("hosts"));
        for entry in folder.into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&unfinished) {
                drop(std::fs::remove_file(entry.path()));
            }
        }
        drop(std::fs::remove_file(pin));
        drop(std::fs::remove_file(known_hosts_path(data_dir, instance)));
    }

    fn path(data_dir: &Path, instance: &str) -> PathBuf {
        data_dir.join("hosts").join(format!("{instance}.json"))
    }
}

/// `SHA256:` and the base64 of 32 bytes.
#[must_use]
pub fn is_fingerprint(text: &str) -> bool {
    let hash = text.strip_prefix("SHA256:");
    hash.is_some_and(|hash| {
        hash.len() == 43
            && hash
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+/".contains(c))
    })
}

/// The bytes of a file that this user wrote; nothing if there is none.
///
/// Throws `denied` for a file that another user may have written.
fn read_own(path: &Path) -> Result<Option<Vec<u8>>> {
    let failed = |e: &std::io::Error| Error::io("read the pinned host key", path, e);
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut options = std::fs::OpenOptions::new();
    options.read(true).custom_flags(flags.bits().cast_signed());
    let mut file = match options.open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(&e)),
    };
    let data = file.metadata().map_err(|e| failed(&e))?;
    let user = rustix::process::geteuid().as_raw();
    let foreign = |what: &str| {
        let message = format!("the pinned host key in `{}` {what}", path.display());
        Err(Error::new(ErrorKind::Denied, message))
    };
    if data.uid() != user && data.uid() != 0 {
        return foreign(&format!("belongs to user {}, not to {user}", data.uid()));
    }
    if data.mode() & 0o022 != 0 {
        return foreign("may be written by other users");
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|e| failed(&e))?;
    Ok(Some(bytes))
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
    pub(super) fn of(host: &Host, known: &KnownHosts, data_dir: &Path) -> Result<Self> {
        Ok(match &host.trust {
            Trust::Fingerprint(fingerprint) => Self::Fingerprint(fingerprint.clone()),
            Trust::Instance(id) => Self::Pinned {
                pin: Pin::load(data_dir, id)?
                    .ok_or_else(|| Error::internal(format!("no key is pinned for {id}")))?,
                place: Pin::path(data_dir, id),
                id: id.clone(),
            },
            Trust::KnownHosts => Self::Known(known.of(host)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_kept_by_instance() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Pin::load(dir.path(), "i-1").unwrap(), None);
        let pin = Pin {
            fingerprint: format!("SHA256:{}", "a".repeat(43)),
            key_type: Some("ssh-ed25519".to_owned()),
            verified: true,
        };
        pin.save(dir.path(), "i-1").unwrap();
        assert_eq!(Pin::load(dir.path(), "i-1").unwrap(), Some(pin.clone()));
        assert_eq!(Pin::load(dir.path(), "i-2").unwrap(), None);
        let other = Pin {
            verified: false,
            ..pin.clone()
        };
        assert_eq!(other.clone().save_first(dir.path(), "i-1").unwrap(), pin);
        let first = other.clone().save_first(dir.path(), "i-2").unwrap();
        assert_eq!(first, other);
    }

    #[test]
    fn a_pin_that_is_damaged_or_foreign_is_never_taken_for_none() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let hash = "a".repeat(43);
        let whole = format!(r#"{{"fingerprint":"SHA256:{hash}","verified":true}}"#);
        let path = Pin::path(dir.path(), "i-1");
        let written = |text: &str, mode: u32| {
            write_private(&path, text.as_bytes()).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            Pin::load(dir.path(), "i-1")
        };
        // As an earlier version wrote it.
        assert!(written(&whole, 0o600).unwrap().is_some());
        for length in 0..whole.len() {
            let error = written(&whole[..length], 0o600).unwrap_err();
            assert!(error.message.contains("is damaged"), "{error}");
            assert!(error.hint.as_ref().unwrap().contains("remove `"));
        }
        for text in [
            whole.replace("SHA256:", "MD5:"),
            whole.replace(&hash, "a"),
            format!("{whole}{whole}"),
            whole.replace("true", "\"yes\""),
            format!("[{whole}]"),
        ] {
            assert!(written(&text, 0o600).is_err(), "{text}");
        }
        for mode in [0o620, 0o602, 0o666] {
            let error = written(&whole, mode).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Denied);
        }
        std::fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert!(Pin::load(dir.path(), "i-1").is_err());
    }
}
