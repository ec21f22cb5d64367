//! Resolving, expanding and renaming paths.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::libc;

/// Returns the absolute path. Its last component may be missing.
pub(super) fn real(path: &Path) -> io::Result<PathBuf> {
    match (path.canonicalize(), path.file_name()) {
        (Err(e), Some(name)) if e.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().filter(|parent| *parent != Path::new(""));
            Ok(parent.unwrap_or(Path::new(".")).canonicalize()?.join(name))
        }
        (result, _) => result,
    }
}

/// Replaces `~` by the home directory.
pub(super) fn expand(path: &Path) -> io::Result<PathBuf> {
    let mut parts = path.components();
    match parts.next().map(|first| first.as_os_str().as_bytes()) {
        Some(b"~") => {
            let home = std::env::var_os("HOME").unwrap_or_else(|| ".".into());
            Ok(Path::new(&home).join(parts.as_path()))
        }
        Some([b'~', ..]) => Err(io::ErrorKind::NotFound.into()),
        _ => Ok(path.to_owned()),
    }
}

/// Renames a file without replacing an existing file. A hard link fails if the
/// target exists, which a rename does not.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    if from.symlink_metadata()?.is_file() {
        match fs::hard_link(from, to) {
            Ok(()) => return fs::remove_file(from),
            Err(e) if !cannot_link(&e) => return Err(e),
            Err(_) => {}
        }
    }
    match to.symlink_metadata() {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(from, to),
    }
}

/// Whether the file system does not allow this user to create a hard link.
fn cannot_link(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EPERM | libc::EXDEV | libc::EMLINK)
    )
}
