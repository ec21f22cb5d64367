//! Reads a settings file that no other user can have written.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind as Io, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::process::{getegid, geteuid};

use crate::error::{Error, ErrorKind, Result};

/// Reads a file that belongs to this user, to root or to `also`. Returns `None`
/// if it does not exist. Follows links, with which people manage such files.
///
/// Fails with [`ErrorKind::Denied`] if another user could have written it.
pub(super) fn read(path: &Path, also: Option<u32>) -> Result<Option<String>> {
    let failed = |e| Error::io("read the settings file", path, &e);
    // Do not wait for the writer of a named pipe.
    let nonblock = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let mut file = match OpenOptions::new()
        .read(true)
        .custom_flags(nonblock)
        .open(path)
    {
        Ok(file) => file,
        Err(e) if [Io::NotFound, Io::NotADirectory].contains(&e.kind()) => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    check_owner(path, &file, also)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed)?;
    let text = String::from_utf8(bytes).map_err(|_| {
        let message = format!("the settings file `{}` is not UTF-8 text", path.display());
        Error::invalid(message).hint("save it as UTF-8")
    })?;
    Ok(Some(text))
}

fn check_owner(path: &Path, file: &File, also: Option<u32>) -> Result<()> {
    let found = file
        .metadata()
        .map_err(|e| Error::io("read the settings file", path, &e))?;
    let shown = path.display();
    if !found.is_file() {
        let message = format!("the settings file `{shown}` is not a regular file");
        return Err(Error::invalid(message).hint("move it to another place"));
    }
    let quoted = shell_words::quote(&path.to_string_lossy()).into_owned();
    let refused = |why: String, hint: String| {
        let message = format!("the settings file `{shown}` {why}");
        Err(Error::new(ErrorKind::Denied, message).hint(hint))
    };
    let (user, owner) = (geteuid().as_raw(), found.uid());
    if ![0, user].contains(&owner) && also != Some(owner) {
        return refused(
            format!("belongs to user {owner}, not to you (user {user})"),
            format!("remove it, or take it over: `sudo chown {user} {quoted}`"),
        );
    }
    let mode = found.mode() & 0o7777;
    // Many systems give each user a group of their own, and new files are
    // writable for it.
    let group = mode & 0o020 != 0 && found.gid() != getegid().as_raw();
    if mode & 0o002 != 0 || group {
        return refused(
            format!("can be changed by other users (mode {mode:o})"),
            format!("read it, then run `chmod go-w {quoted}`"),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    #[test]
    fn a_file_that_others_can_change_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("config.toml");
        assert_eq!(read(&path, None).unwrap(), None);
        assert_eq!(read(&path.join("below"), None).unwrap(), None);
        std::fs::write(&path, "ttl = '2h'\n").unwrap();
        let mode = |mode| std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        for fine in [0o600, 0o644, 0o664] {
            mode(fine);
            assert!(read(&path, None).unwrap().is_some(), "{fine:o}");
        }
        let link = home.path().join("link.toml");
        symlink(&path, &link).unwrap();
        assert!(read(&link, None).unwrap().is_some());
        mode(0o646);
        let error = read(&link, None).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied);
        assert!(error.to_string().contains("mode 646"), "{error}");
        std::fs::write(&path, b"\xff").unwrap();
        mode(0o600);
        assert!(read(&path, None).is_err());
        assert!(read(home.path(), None).is_err(), "a directory");
        if geteuid().is_root() {
            std::fs::write(&path, "").unwrap();
            chown(&path, Some(65534), None).unwrap();
            let error = read(&path, None).unwrap_err();
            assert!(
                error.to_string().contains("belongs to user 65534"),
                "{error}"
            );
            assert!(read(&path, Some(65534)).unwrap().is_some());
            mode(0o664);
            chown(&path, Some(0), Some(65534)).unwrap();
            assert!(read(&path, None).is_err(), "writable for another group");
        }
    }
}
