//! Paths: resolved, expanded, renamed.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::libc;

/// The absolute path; its last part need not exist.
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

/// Renames, but does not replace what is there.
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

/// Whether the file system has no links, or not for this user.
fn cannot_link(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EPERM | libc::EXDEV | libc::EMLINK)
    )
}
