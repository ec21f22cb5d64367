//! ssh keys on this machine: made here, never overwritten, 0600 from the start.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey};

use crate::crash;
use crate::error::{Error, ErrorKind, Result};

/// Makes a new ed25519 key pair; the private half goes into `path`. `row` goes
/// into its comment, by which it is known again.
///
/// Throws `already_exists` rather than overwriting a file.
pub(crate) fn create(path: &Path, name: &str, row: &str) -> Result<PublicKey> {
    let mut key = PrivateKey::random(&mut ssh_key::rand_core::OsRng, Algorithm::Ed25519)
        .map_err(|e| Error::internal(format!("cannot make an ssh key: {e}")))?;
    key.set_comment(format!("{name} {row}"));
    let text = key
        .to_openssh(LineEnding::LF)
        .map_err(|e| Error::internal(format!("cannot write an ssh key: {e}")))?;
    write_new_private(path, row, text.as_bytes())?;
    Ok(key.public_key().clone())
}

/// Writes a file that only the user may read, and that did not exist before. It
/// has its name when it is whole: a crash leaves nothing, or a file that
/// [`remove_unfinished`] knows.
fn write_new_private(path: &Path, row: &str, bytes: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        create_private_dir(parent)?;
    }
    let failed = |e| match std::io::Error::kind(&e) {
        std::io::ErrorKind::AlreadyExists => Error::new(
            ErrorKind::AlreadyExists,
            format!("the private key file `{}` exists already", path.display()),
        )
        .hint("choose another name or `path`; a private key is never overwritten"),
        _ => Error::io("create the private key file", path, &e),
    };
    remove_unfinished(path, row);
    let unfinished = unfinished(path, row);
    let name = unfinished.file_name().unwrap_or_default();
    let folder = unfinished.parent().unwrap_or(Path::new(""));
    // 0600 from the start.
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

/// Removes what a crash left of a key that was being written.
pub(crate) fn remove_unfinished(path: &Path, row: &str) {
    drop(std::fs::remove_file(unfinished(path, row)));
}

/// The comment of a private key that is not encrypted.
///
/// Throws `not_found` when there is no such file.
pub(crate) fn comment(path: &Path) -> Result<Option<String>> {
    let text = std::fs::read(path).map_err(|e| Error::io("read the ssh key", path, &e))?;
    let key = PrivateKey::from_openssh(text).ok();
    Ok(key.map(|key| key.comment().to_owned()))
}

/// Makes a directory that only the user may enter.
pub(crate) fn create_private_dir(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| Error::io("create directory", path, &e))
}

/// What a key file turned out to be.
#[derive(Clone, Debug)]
pub(crate) struct KeyFile {
    /// The public half.
    pub(crate) public: PublicKey,
    /// Whether `path` is the private half.
    pub(crate) private: bool,
    /// Whether a passphrase protects it.
    pub(crate) encrypted: bool,
}

/// Reads a private or public key file. The public half of a private key in
/// PEM form is read from `PATH.pub`.
///
/// Throws `not_found`, `denied`, or `invalid_option` for what is no ssh key.
pub(crate) fn read(path: &Path) -> Result<KeyFile> {
    let bytes = std::fs::read(path).map_err(|e| Error::io("read the ssh key", path, &e))?;
    let text = String::from_utf8_lossy(&bytes);
    let not_a_key = |what: &str| {
        Error::invalid(format!("`{}` is not an ssh key: {what}", path.display()))
            .hint("`ssh-keygen -t ed25519` makes one")
    };
    if text.contains("BEGIN OPENSSH PRIVATE KEY") {
        let key =
            PrivateKey::from_openssh(text.as_bytes()).map_err(|e| not_a_key(&e.to_string()))?;
        let encrypted = key.is_encrypted();
        return Ok(KeyFile {
            public: key.public_key().clone(),
            private: true,
            encrypted,
        });
    }
    if text.contains("PRIVATE KEY-----") {
        return read_beside(path, text.contains("ENCRYPTED"));
    }
    let public =
        PublicKey::from_openssh(text.trim()).map_err(|_| not_a_key("no key was found in it"))?;
    Ok(KeyFile {
        public,
        private: false,
        encrypted: false,
    })
}

/// Whether a file says of itself that it holds a private key of some kind.
pub(crate) fn looks_private(path: &Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text.contains("PRIVATE KEY-----"))
}

/// Refuses a private key of one's own that others can read, as ssh does.
///
/// Throws `denied`.
pub(crate) fn refuse_open(path: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(found) = std::fs::metadata(path) else {
        return Ok(()); // What is not there is said by whoever reads it.
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
        format!("others can read the private key `{shown}` (mode {mode:o}), so it is not used"),
    )
    .hint(format!(
        "`chmod 600 {}`, and make another key if others may have read it",
        shell_words::quote(&path.to_string_lossy())
    )))
}

/// A PEM key says nothing of its public half without being unlocked.
fn read_beside(path: &Path, encrypted: bool) -> Result<KeyFile> {
    let beside = PathBuf::from(format!("{}.pub", path.display()));
    let text = std::fs::read_to_string(&beside).map_err(|_| {
        Error::new(
            ErrorKind::NotFound,
            format!("the public half of `{}` is not beside it", path.display()),
        )
        .hint(format!(
            "make it: `ssh-keygen -y -f '{}' > '{}'`",
            path.display(),
            beside.display()
        ))
    })?;
    let public = PublicKey::from_openssh(text.trim())
        .map_err(|e| Error::invalid(format!("`{}` is not a public key: {e}", beside.display())))?;
    Ok(KeyFile {
        public,
        private: true,
        encrypted,
    })
}

/// `SHA256:...`, as ssh shows it.
pub(crate) fn fingerprint(key: &PublicKey) -> String {
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
        assert!(read.private && !read.encrypted);
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
    fn what_is_no_key_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.txt");
        std::fs::write(&path, "hello").unwrap();
        assert_eq!(read(&path).unwrap_err().kind, ErrorKind::InvalidOption);
    }
}
