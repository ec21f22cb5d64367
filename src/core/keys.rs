//! ssh keys on this machine: creates them with mode 0600 and never overwrites
//! one.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey};

use crate::crash;
use crate::error::{Error, ErrorKind, Result};
use crate::key_file;

/// Creates an ed25519 key pair and writes the private key to `path`. The
/// comment of the key contains `row`, which identifies the key later.
///
/// Throws `already_exists` if the file exists.
pub fn create(path: &Path, name: &str, row: &str) -> Result<PublicKey> {
    let mut key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519)
        .map_err(|e| Error::internal(format!("cannot create an ssh key: {e}")))?;
    key.set_comment(format!("{name} {row}"));
    let text = key
        .to_openssh(LineEnding::LF)
        .map_err(|e| Error::internal(format!("cannot encode an ssh key: {e}")))?;
    write_new_private(path, row, text.as_bytes())?;
    Ok(key.public_key().clone())
}

/// Writes a new file that only the user may read. The file gets its name only
/// once it is complete, so a crash leaves at most a temporary file, which
/// [`remove_unfinished`] recognizes.
fn write_new_private(path: &Path, row: &str, bytes: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        create_private_dir(parent)?;
    }
    let failed = |e| match std::io::Error::kind(&e) {
        std::io::ErrorKind::AlreadyExists => Error::new(
            ErrorKind::AlreadyExists,
            format!("the private key file `{}` already exists", path.display()),
        )
        .hint("choose another name or `path`; autorun never overwrites a private key"),
        _ => Error::io("create the private key file", path, &e),
    };
    remove_unfinished(path, row);
    let unfinished = unfinished(path, row);
    let name = unfinished.file_name().unwrap_or_default();
    let folder = unfinished.parent().unwrap_or(Path::new(""));
    // `tempfile` creates files with mode 0600.
    let mut file = tempfile::Builder::new()
        .prefix(name)
        .rand_bytes(0)
        .tempfile_in(folder)
        .map_err(failed)?;
    file.write_all(bytes)
        .and_then(|()| file.as_file().sync_all())
        .map_err(failed)?;
    crash::reached("before a key file has its name");
    file.persist_noclobber(path).map_err(|e| failed(e.error))?;
    crash::reached("after a key file has its name");
    Ok(())
}

fn unfinished(path: &Path, row: &str) -> PathBuf {
    path.with_file_name(format!(".{row}"))
}

/// Removes the temporary file that a crash left while a key was written.
pub fn remove_unfinished(path: &Path, row: &str) {
    drop(std::fs::remove_file(unfinished(path, row)));
}

/// Returns the comment of an unencrypted private key.
///
/// Throws `not_found` if the file does not exist.
pub fn comment(path: &Path) -> Result<Option<String>> {
    let text = std::fs::read(path).map_err(|e| Error::io("read the ssh key", path, &e))?;
    let key = PrivateKey::from_openssh(text).ok();
    Ok(key.map(|key| key.comment().as_str_lossy().to_owned()))
}

/// Creates a directory that only the user may enter.
pub fn create_private_dir(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| Error::io("create directory", path, &e))
}

/// The contents of a key file.
#[derive(Clone, Debug)]
pub struct KeyFile {
    /// The public key.
    pub public: PublicKey,
    /// Whether `path` holds the private key.
    pub private: bool,
}

/// Reads a private or public key file. The public key of a private key in PEM
/// form is read from `PATH.pub`.
///
/// Throws `not_found`, `denied`, or `invalid_option` if the file is not an ssh
/// key.
pub fn read(path: &Path) -> Result<KeyFile> {
    let bytes = std::fs::read(path).map_err(|e| Error::io("read the ssh key", path, &e))?;
    let text = String::from_utf8_lossy(&bytes);
    if let Ok(public) = PublicKey::from_openssh(text.trim()) {
        return Ok(KeyFile {
            public,
            private: false,
        });
    }
    let key = key_file::parse(path, &bytes)?;
    match key.public {
        None => read_beside(path),
        Some(public) => Ok(KeyFile {
            public,
            private: true,
        }),
    }
}

/// Returns whether the file's header is that of a private key of any format.
#[must_use]
pub fn looks_private(path: &Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text.contains("PRIVATE KEY-----"))
}

/// Refuses the user's own private key if other users can read it, as ssh does.
///
/// Throws `denied`.
pub fn refuse_open(path: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(found) = std::fs::metadata(path) else {
        return Ok(()); // The function that reads the file reports the error.
    };
    let mode = found.mode() & 0o7777;
    let others = mode & 0o077;
    let own = found.uid() == rustix::process::geteuid().as_raw();
    if !own || others == 0 || !looks_private(path) {
        return Ok(());
    }
    let shown = path.display();
    Err(Error::new(
        ErrorKind::Denied,
        format!(
            "other users can read the private key `{shown}` (mode {mode:o}), so autorun does \
             not use it"
        ),
    )
    .hint(format!(
        "`chmod 600 {}`; create another key if other users may have read it",
        shell_words::quote(&path.to_string_lossy())
    )))
}

/// Reads the public key beside a PEM private key, which does not contain it in
/// the clear.
fn read_beside(path: &Path) -> Result<KeyFile> {
    let beside = PathBuf::from(format!("{}.pub", path.display()));
    let text = std::fs::read_to_string(&beside).map_err(|_| {
        Error::new(
            ErrorKind::NotFound,
            format!(
                "the public key of `{}` is missing: `{}` cannot be read",
                path.display(),
                beside.display()
            ),
        )
        .hint(format!(
            "create it: `ssh-keygen -y -f '{}' > '{}'`",
            path.display(),
            beside.display()
        ))
    })?;
    let public = PublicKey::from_openssh(text.trim())
        .map_err(|e| Error::invalid(format!("`{}` is not a public key: {e}", beside.display())))?;
    Ok(KeyFile {
        public,
        private: true,
    })
}

/// Returns the fingerprint as ssh shows it, `SHA256:...`.
#[must_use]
pub fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_private_key_is_0600_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys/web");
        let public = create(&path, "web", "row-1").unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let before = std::fs::read(&path).unwrap();
        assert_eq!(
            create(&path, "web", "row-2").unwrap_err().kind,
            ErrorKind::AlreadyExists
        );
        assert_eq!(std::fs::read(&path).unwrap(), before);
        let read = read(&path).unwrap();
        assert_eq!(read.public.key_data(), public.key_data());
        assert!(read.private);
        assert_eq!(comment(&path).unwrap().as_deref(), Some("web row-1"));
        let left = std::fs::read_dir(dir.path().join("keys")).unwrap();
        assert_eq!(left.count(), 1);
    }

    #[test]
    fn a_private_key_that_others_can_read_is_refused_and_a_public_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web");
        let public = create(&path, "web", "row-1").unwrap();
        let beside = dir.path().join("web.pub");
        std::fs::write(&beside, public.to_openssh().unwrap()).unwrap();
        for (mode, refused) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            for file in [&path, &beside] {
                let mode = std::fs::Permissions::from_mode(mode);
                std::fs::set_permissions(file, mode).unwrap();
            }
            assert_eq!(refuse_open(&path).is_err(), refused, "{mode:o}");
            assert!(refuse_open(&beside).is_ok());
        }
        assert!(refuse_open(&dir.path().join("nosuch")).is_ok());
    }

    #[test]
    fn a_file_that_is_not_a_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.txt");
        std::fs::write(&path, "hello").unwrap();
        assert_eq!(read(&path).unwrap_err().kind, ErrorKind::InvalidOption);
    }
}
