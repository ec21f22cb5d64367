//! Atomic file writes: after a crash, a file has its old or its new content.

use std::fs::Permissions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::error::{Error, Result};

/// Creates or replaces a file atomically. Follows symbolic links; writes directly
/// to a pipe or terminal.
pub(super) fn write(path: &Path, content: &str) -> Result<()> {
    let failed = |e: std::io::Error| Error::io("write", path, &e);
    let existing = match std::fs::metadata(path) {
        Ok(existing) => Some(existing),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => return Err(failed(e)),
    };
    if existing.as_ref().is_some_and(std::fs::Metadata::is_dir) {
        return Err(failed(ErrorKind::IsADirectory.into()));
    }
    if existing
        .as_ref()
        .is_some_and(|existing| !existing.is_file())
    {
        let mut device = std::fs::OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(failed)?;
        return device.write_all(content.as_bytes()).map_err(failed);
    }
    // Renaming would also replace a read-only file, so check this explicitly.
    let permissions = match &existing {
        Some(existing) if existing.permissions().mode() & 0o222 == 0 => {
            return Err(failed(ErrorKind::PermissionDenied.into()));
        }
        _ => existing.as_ref().map(std::fs::Metadata::permissions),
    };
    let real = match existing {
        Some(_) => path.canonicalize().map_err(failed)?,
        None => path.to_owned(),
    };
    let folder = match real.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // The umask applies to this mode as for any new file.
    let mut unfinished = tempfile::Builder::new()
        .prefix(".autorun-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(failed)?;
    if let Some(permissions) = permissions {
        let file = unfinished.as_file();
        file.set_permissions(permissions).map_err(failed)?;
    }
    unfinished.write_all(content.as_bytes()).map_err(failed)?;
    unfinished.persist(&real).map_err(|e| failed(e.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_file_is_replaced_atomically_and_keeps_its_mode() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("report.html");
        write(&file, "one").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write(&link, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "two");
        assert!(link.is_symlink());
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let error = write(home.path(), "").unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidOption, "{error}");
        assert!(error.to_string().contains("is a directory"), "{error}");
        let error = write(&home.path().join("no/such"), "").unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
        let kept = home.path().join("kept");
        std::fs::write(&kept, "kept").unwrap();
        std::fs::set_permissions(&kept, Permissions::from_mode(0o444)).unwrap();
        let error = write(&kept, "lost").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied, "{error}");
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), "kept");
    }
}
