//! Who answers: host keys, pins and `known_hosts`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};
use ssh2::{CheckResult, KnownHostFileKind, MethodType, Session};

use super::{Host, Trust};
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
    let dir = path.parent().unwrap_or(path);
    keys::create_private_dir(dir)?;
    let failed = |e: std::io::Error| Error::io("pin the host key in", path, &e);
    let mut file = tempfile::Builder::new()
        .prefix(&unfinished_prefix(path))
        .tempfile_in(dir)
        .map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
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
    /// Whether the console output showed the same.
    pub verified: bool,
}

impl Pin {
    pub(super) fn load(data_dir: &Path, instance: &str) -> Result<Option<Self>> {
        let path = Self::path(data_dir, instance);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| {
                Error::internal(format!(
                    "the pinned key in `{}` is damaged: {e}",
                    path.display()
                ))
            }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("read the pinned host key", &path, &e)),
        }
    }

    pub(super) fn save(&self, data_dir: &Path, instance: &str) -> Result<()> {
        let path = Self::path(data_dir, instance);
        let text = serde_json::to_string(self)
            .map_err(|e| Error::internal(format!("cannot pin a host key: {e}")))?;
        write_private(&path, text.as_bytes())
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

/// Asks first for the key types that `known_hosts` has for this host:
/// otherwise a host known by its RSA key would offer its ed25519 one.
pub(super) fn prefer_known_types(session: &Session, host: &Host, known: Option<&Path>) {
    let (Trust::KnownHosts, Some(path)) = (&host.trust, known) else {
        return;
    };
    let Ok(mut file) = session.known_hosts() else {
        return;
    };
    if file.read_file(path, KnownHostFileKind::OpenSSH).is_err() {
        return;
    }
    let mut types: Vec<&str> = Vec::new();
    for entry in file.hosts().unwrap_or_default() {
        let Ok(blob) = BASE64_STANDARD.decode(entry.key()) else {
            continue;
        };
        if !matches!(
            file.check_port(&host.address, host.port, &blob),
            CheckResult::Match
        ) {
            continue;
        }
        match key_type(&blob) {
            Some("ssh-ed25519") => types.push("ssh-ed25519"),
            Some("ssh-rsa") => types.extend(["rsa-sha2-512", "rsa-sha2-256"]),
            Some("ecdsa-sha2-nistp256") => types.push("ecdsa-sha2-nistp256"),
            Some("ecdsa-sha2-nistp384") => types.push("ecdsa-sha2-nistp384"),
            Some("ecdsa-sha2-nistp521") => types.push("ecdsa-sha2-nistp521"),
            _ => {}
        }
    }
    if !types.is_empty() {
        // If libssh2 knows none of them, its own order stands and the check
        // after the handshake decides.
        drop(session.method_pref(MethodType::HostKey, &types.join(",")));
    }
}

/// Accepts the offered key or says why not. Nothing is ever skipped.
pub(super) fn check(
    session: &Session,
    host: &Host,
    offered: &Offered,
    known: Option<&Path>,
    data_dir: &Path,
) -> Result<()> {
    match &host.trust {
        Trust::Fingerprint(expected) if *expected == offered.fingerprint => Ok(()),
        Trust::Fingerprint(expected) => Err(changed(host, expected, offered)),
        Trust::Instance(id) => match Pin::load(data_dir, id)? {
            Some(pin) if pin.fingerprint == offered.fingerprint => Ok(()),
            Some(pin) => Err(changed(host, &pin.fingerprint, offered).hint(format!(
                "somebody may be in between. If you made a new machine of {id} yourself, \
                 remove `{}`",
                Pin::path(data_dir, id).display()
            ))),
            None => Err(Error::internal(format!("no key is pinned for {id}"))),
        },
        Trust::KnownHosts => check_known_hosts(session, host, offered, known),
    }
}

fn check_known_hosts(
    session: &Session,
    host: &Host,
    offered: &Offered,
    known: Option<&Path>,
) -> Result<()> {
    let path = known.unwrap_or(Path::new("~/.ssh/known_hosts"));
    let mut file = session
        .known_hosts()
        .map_err(|e| Error::internal(e.to_string()))?;
    if path.exists() {
        file.read_file(path, KnownHostFileKind::OpenSSH)
            .map_err(|e| {
                Error::new(
                    ErrorKind::Denied,
                    format!("cannot read `{}`: {e}", path.display()),
                )
            })?;
    }
    match file.check_port(&host.address, host.port, &offered.key) {
        CheckResult::Match => Ok(()),
        CheckResult::Mismatch => Err(Error::new(
            ErrorKind::HostKeyChanged,
            format!(
                "the ssh host key of {} is not the one in `{}`: it offers {}",
                host.address,
                path.display(),
                offered.fingerprint
            ),
        )
        .hint(format!(
            "somebody may be in between. If you know that the host was set up anew: \
             `ssh-keygen -R {}`",
            known_name(host)
        ))),
        CheckResult::NotFound | CheckResult::Failure => Err(Error::new(
            ErrorKind::Denied,
            format!(
                "the ssh host key of {} is unknown: it offers {}",
                host.address, offered.fingerprint
            ),
        )
        .hint(format!(
            "log in once with `ssh {}` and compare the fingerprint, or pass \
             host_key: \"SHA256:..\" to host()",
            host.arguments()
        ))),
    }
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
    .hint("somebody may be in between: compare with the machine's console before you go on")
}

/// How `known_hosts` names a host.
fn known_name(host: &Host) -> String {
    match host.port {
        22 => host.address.clone(),
        port => format!("'[{}]:{port}'", host.address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_kept_by_instance() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Pin::load(dir.path(), "i-1").unwrap(), None);
        let pin = Pin {
            fingerprint: "SHA256:abc".to_owned(),
            verified: true,
        };
        pin.save(dir.path(), "i-1").unwrap();
        assert_eq!(Pin::load(dir.path(), "i-1").unwrap(), Some(pin));
        assert_eq!(Pin::load(dir.path(), "i-2").unwrap(), None);
    }
}
