//! Pins: the host key that an instance presented first, each in its own file.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::keys;

/// The pinned key of an instance, stored in the data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The fingerprint, for example `SHA256:...`.
    pub fingerprint: String,
    /// The type of the key, for example `ssh-ed25519`; pins of earlier versions
    /// have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_type: Option<String>,
    /// Whether the console output showed the same fingerprint.
    pub verified: bool,
}

impl Pin {
    /// Loads the pin of an instance. A pin that is damaged, or that another
    /// user may have written, is an error: treating it as missing would accept
    /// any key.
    pub(super) fn load(data_dir: &Path, instance: &str) -> Result<Option<Self>> {
        let path = Self::path(data_dir, instance);
        let again = || {
            format!(
                "if you trust the current host key of {instance}, remove `{}`; the next login pins \
                 its key again",
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
            Ok(_) => damaged("it does not contain a fingerprint"),
            Err(error) => damaged(&error.to_string()),
        }
    }

    pub(super) fn save(&self, data_dir: &Path, instance: &str) -> Result<()> {
        write_private(&Self::path(data_dir, instance), &self.serialized()?)
    }

    /// Saves the pin unless there already is one. Returns the pin that is
    /// stored.
    pub(super) fn save_first(self, data_dir: &Path, instance: &str) -> Result<Self> {
        let path = Self::path(data_dir, instance);
        let file = unfinished(&path, &self.serialized()?)?;
        match file.persist_noclobber(&path) {
            Ok(_) => Ok(self),
            Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => {
                Ok(Self::load(data_dir, instance)?.unwrap_or(self))
            }
            Err(e) => Err(Error::io("pin the host key in", &path, &e.error)),
        }
    }

    fn serialized(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::internal(format!("cannot pin a host key: {e}")))
    }

    /// Removes the pin. A missing pin is not an error, and a remaining one does
    /// no harm.
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

    pub(super) fn path(data_dir: &Path, instance: &str) -> PathBuf {
        data_dir.join("hosts").join(format!("{instance}.json"))
    }
}

/// Returns whether the text is `SHA256:` and the base64 of 32 bytes.
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

/// Reads a file that this user wrote. Returns `None` if it does not exist.
///
/// Throws `denied` if another user may have written it.
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
        return foreign("is writable by other users");
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|e| failed(&e))?;
    Ok(Some(bytes))
}

/// Writes a file atomically, in a directory that is private to the user.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = unfinished(path, bytes)?;
    file.persist(path)
        .map_err(|e| Error::io("pin the host key in", path, &e.error))?;
    Ok(())
}

/// Writes the temporary file that will be renamed.
fn unfinished(path: &Path, bytes: &[u8]) -> Result<tempfile::NamedTempFile> {
    let dir = path.parent().unwrap_or(path);
    keys::create_private_dir(dir)?;
    let failed = |e: std::io::Error| Error::io("pin the host key in", path, &e);
    let mut file = tempfile::Builder::new()
        .prefix(&unfinished_prefix(path))
        .tempfile_in(dir)
        .map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    // A power loss must not leave an empty pin.
    file.as_file().sync_all().map_err(failed)?;
    Ok(file)
}

/// Returns the prefix of temporary files, which a crash may leave behind.
fn unfinished_prefix(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!(".{}.", name.split('.').next().unwrap_or_default())
}

pub(super) fn known_hosts_path(data_dir: &Path, instance: &str) -> PathBuf {
    data_dir
        .join("hosts")
        .join(format!("{instance}.known_hosts"))
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
    fn a_damaged_or_foreign_pin_is_an_error() {
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
        // The format of an earlier version.
        assert!(written(&whole, 0o600).unwrap().is_some());
        for length in 0..whole.len() {
            let error = written(&whole[..length], 0o600).unwrap_err();
            assert!(error.to_string().contains("is damaged"), "{error}");
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
