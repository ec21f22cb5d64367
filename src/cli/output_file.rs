//! Files that are there as a whole or as they were before.

use std::fs::Permissions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::error::{Error, Result};

/// Writes a file in place of the one that is there. A pipe or a terminal is
/// written to, a link is followed.
pub(super) fn write(path: &Path, content: &str) -> Result<()> {
    let failed = |e: std::io::Error| Error::io("write", path, &e);
    let there = match std::fs::metadata(path) {
        Ok(there) => Some(there),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => return Err(failed(e)),
    };
    if there.as_ref().is_some_and(std::fs::Metadata::is_dir) {
        return Err(failed(ErrorKind::IsADirectory.into()));
    }
    if there.as_ref().is_some_and(|there| !there.is_file()) {
        let mut device = std::fs::OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(failed)?;
        return device.write_all(content.as_bytes()).map_err(failed);
    }
    // What of a file that is there may not be written stays.
    let permissions = match &there {
        Some(there) if there.permissions().mode() & 0o222 == 0 => {
            return Err(failed(ErrorKind::PermissionDenied.into()));
        }
        _ => there.as_ref().map(std::fs::Metadata::permissions),
    };
    let real = match there {
        Some(_) => path.canonicalize().map_err(failed)?,
        None => path.to_owned(),
    };
    let folder = match real.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // The umask takes from it what it takes from any new file.
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
    fn a_file_is_replaced_as_a_whole_and_keeps_its_mode() {
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
    fn what_cannot_be_written_is_said() {
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
