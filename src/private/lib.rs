//! Checks that files and directories are private to one user: the ledger, keys,
//! pinned host keys, the access data of the local cloud.
//!
//! Permissions for other users are removed, and the caller logs each repair. A
//! path that belongs to another user, or that is not of the expected kind, is
//! refused. Symbolic links are not followed: mode and owner are checked and
//! changed on the opened file.

mod error;

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

pub use error::{Error, Reason, Result};

/// The permission bits of group and others.
const OTHERS: u32 = 0o077;

/// The write permission bits of group and others.
const OTHERS_WRITE: u32 = 0o022;

/// The sticky bit: only the owner of a file may delete it from the directory.
const STICKY: u32 = 0o1000;

/// Checks a private directory and the permissions of its parents. Returns one
/// sentence for each repair and each warning.
///
/// `made_here` is whether autorun created the directory. autorun does not
/// change the mode of any other directory, and refuses it if others can replace
/// its files. It accepts a directory to which others can only add files, such
/// as /tmp, because this user does not own those files.
///
/// Fails with [`Error::Denied`], or with [`Error::WrongKind`] if it is not a
/// directory.
pub fn directory(path: &Path, made_here: bool) -> Result<Vec<String>> {
    let link = lstat(path)?;
    if link.is_symlink() {
        owned(path, &link)?;
    }
    // A user may link to another directory of their own.
    let path = &path.canonicalize().map_err(|e| failed(path, e))?;
    let opened = open(path, OFlags::DIRECTORY)?;
    let found = opened.metadata().map_err(|e| failed(path, e))?;
    if !found.is_dir() {
        return Err(of_another_kind(path, &found, "a directory"));
    }
    owned(path, &found)?;
    let mut messages: Vec<String> = replaceable(path).into_iter().collect();
    if found.mode() & STICKY != 0 {
        return Ok(messages);
    }
    if !made_here && found.mode() & OTHERS_WRITE != 0 {
        return Err(Error::denied(format!(
            "other users can write to `{}` (mode {:o})",
            path.display(),
            found.mode() & 0o7777
        ))
        .hint("set AUTORUN_HOME to a directory of your own; autorun creates it"));
    }
    if made_here {
        messages.extend(repaired(path, &opened, &found, OTHERS)?);
    }
    Ok(messages)
}

/// Checks a directory that only one user may change; with `readable`, others
/// may list it. Returns one sentence if it repaired the mode.
///
/// Fails with [`Error::Denied`], or with [`Error::WrongKind`] if it is not a
/// directory.
pub fn own_directory(path: &Path, readable: bool) -> Result<Option<String>> {
    let others = if readable { OTHERS_WRITE } else { OTHERS };
    let link = lstat(path)?;
    if !link.is_dir() {
        return Err(of_another_kind(path, &link, "a directory"));
    }
    owned(path, &link)?;
    let opened = open(path, OFlags::DIRECTORY)?;
    let found = opened.metadata().map_err(|e| failed(path, e))?;
    owned(path, &found)?;
    repaired(path, &opened, &found, others)
}

/// Refuses a directory in which a user other than this one and root could
/// create a file.
///
/// Fails with [`Error::Denied`].
pub fn trusted_directory(path: &Path) -> Result<()> {
    let found = lstat(path)?;
    let user = rustix::process::geteuid().as_raw();
    let others = !found.is_dir() || found.mode() & OTHERS_WRITE != 0;
    if others || ![0, user].contains(&found.uid()) {
        return Err(Error::denied(format!(
            "users other than you and root can write to `{}`",
            path.display()
        )));
    }
    Ok(())
}

/// The maximum number of symbolic links that a path may lead through.
const MOST_LINKS: u32 = 40;

/// Refuses a path of root's that another user could redirect: root must own
/// each directory above it, also along symbolic links, and others may at most
/// add files to it. Only root's paths are checked, because other users choose
/// whom to trust with the directories above their own.
///
/// Fails with [`Error::Denied`].
pub fn out_of_reach(path: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let path = std::path::absolute(path).map_err(|e| failed(path, e))?;
    let mut links = MOST_LINKS;
    parents_of_root(&path, &mut links)
}

fn parents_of_root(path: &Path, links: &mut u32) -> Result<()> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    parents_of_root(parent, links)?;
    let found = lstat(parent)?;
    let refused = |why: String| {
        Err(Error::denied(format!(
            "`{}` {why}: other users could replace root's files in it",
            parent.display()
        ))
        .hint("choose a directory that only root can change, such as /var/lib/NAME"))
    };
    if found.uid() != 0 {
        return refused(format!("belongs to user {}", found.uid()));
    }
    if found.is_symlink() {
        *links = links.checked_sub(1).ok_or_else(|| {
            let message = format!("too many links lead to `{}`", path.display());
            Error::denied(message)
        })?;
        let target = std::fs::read_link(parent).map_err(|e| failed(parent, e))?;
        let target = parent.parent().unwrap_or(parent).join(target);
        // The path of a file in it, so that the directory itself is checked as
        // its parent.
        return parents_of_root(&target.join("inside"), links);
    }
    let mode = found.mode() & 0o7777;
    let group = mode & 0o020 != 0 && found.gid() != 0;
    if (group || mode & 0o002 != 0) && mode & STICKY == 0 {
        return refused(format!("has mode {mode:o}"));
    }
    Ok(())
}

/// Refuses a directory that contains entries which another user could have
/// planted while it was open to others: files of other users, links, and files
/// with a second hard link.
///
/// Fails with [`Error::Denied`].
pub fn own_entries(directory: &Path) -> Result<()> {
    let entries = std::fs::read_dir(directory).map_err(|e| failed(directory, e))?;
    for entry in entries {
        let path = entry.map_err(|e| failed(directory, e))?.path();
        let found = match lstat(&path) {
            Err(e) if e.is_missing() => continue,
            found => found?,
        };
        owned(&path, &found)?;
        if found.is_symlink() || found.is_file() && found.nlink() > 1 {
            let message = format!("`{}` has a second name, or is a link", path.display());
            return Err(Error::denied(message).hint("remove it"));
        }
    }
    Ok(())
}

/// Checks a file, if it exists. Returns one sentence if it repaired the mode.
///
/// Fails with [`Error::Denied`], or with [`Error::WrongKind`] if it is not a
/// regular file.
pub fn file(path: &Path) -> Result<Option<String>> {
    match lstat(path) {
        Err(e) if e.is_missing() => return Ok(None),
        Err(e) => return Err(e),
        Ok(found) if !found.is_file() => return Err(of_another_kind(path, &found, "a file")),
        Ok(found) => owned(path, &found)?,
    }
    // Another process may remove it in the meantime, as SQLite removes its own
    // files.
    let opened = match open(path, OFlags::empty()) {
        Err(e) if e.is_missing() => return Ok(None),
        opened => opened?,
    };
    let found = opened.metadata().map_err(|e| failed(path, e))?;
    if !found.is_file() {
        return Err(of_another_kind(path, &found, "a file"));
    }
    owned(path, &found)?;
    repaired(path, &opened, &found, OTHERS)
}

/// Checks a directory, if it exists, and everything in it. Returns one sentence
/// for each repair.
///
/// Fails with [`Error::Denied`], or with [`Error::WrongKind`] if an entry is
/// neither a file nor a directory.
pub fn tree(path: &Path) -> Result<Vec<String>> {
    match lstat(path) {
        Err(e) if e.is_missing() => return Ok(Vec::new()),
        Err(e) => return Err(e),
        Ok(found) if !found.is_dir() => return Err(of_another_kind(path, &found, "a directory")),
        Ok(found) => owned(path, &found)?,
    }
    let opened = open(path, OFlags::DIRECTORY)?;
    let found = opened.metadata().map_err(|e| failed(path, e))?;
    owned(path, &found)?;
    let mut messages: Vec<String> = repaired(path, &opened, &found, OTHERS)?
        .into_iter()
        .collect();
    for entry in std::fs::read_dir(path).map_err(|e| failed(path, e))? {
        let inside = entry.map_err(|e| failed(path, e))?.path();
        match lstat(&inside) {
            // A lock file or a temporary file that was removed in the meantime.
            Err(e) if e.is_missing() => {}
            Err(e) => return Err(e),
            Ok(found) if found.is_dir() => messages.extend(tree(&inside)?),
            Ok(_) => messages.extend(file(&inside)?),
        }
    }
    Ok(messages)
}

/// Returns a warning if a parent directory is writable by every user, who could
/// then replace the path. Only a warning, because the parent may belong to
/// another user.
fn replaceable(path: &Path) -> Option<String> {
    path.ancestors().skip(1).find_map(|parent| {
        // A parent that this user cannot see cannot be checked.
        let mode = lstat(parent).ok()?.mode() & 0o7777;
        let open = mode & 0o002 != 0 && mode & STICKY == 0;
        open.then(|| {
            format!(
                "any user can replace `{}`: `{}` has mode {mode:o}",
                path.display(),
                parent.display()
            )
        })
    })
}

/// Removes the permissions of other users. The mode is changed on the open
/// file, so a link put in its place in the meantime has no effect.
fn repaired(path: &Path, opened: &File, found: &Metadata, others: u32) -> Result<Option<String>> {
    let mode = found.mode() & 0o7777;
    if mode & others == 0 {
        return Ok(None);
    }
    let own = mode & 0o777 & !others;
    rustix::fs::fchmod(opened, Mode::from_raw_mode(own))
        .map_err(|e| Error::system("remove the permissions of other users on", path, e.into()))?;
    Ok(Some(format!(
        "other users had access to `{}` (mode {mode:o}); its mode is now {own:o}",
        path.display()
    )))
}

/// Refuses a path that belongs to another user.
fn owned(path: &Path, found: &Metadata) -> Result<()> {
    let user = rustix::process::geteuid().as_raw();
    let owner = found.uid();
    if owner == user {
        return Ok(());
    }
    let shown = path.display();
    let error = |message: String| Error::denied(message);
    Err(match (user, owner) {
        (0, owner) => error(format!(
            "`{shown}` belongs to user {owner}, but autorun runs as root"
        ))
        .hint(
            "call autorun without sudo: the owner could not remove files that root creates there",
        ),
        (_, 0) if found.mode() & STICKY != 0 => error(format!("`{shown}` belongs to root"))
            .hint("set AUTORUN_HOME to a directory of your own"),
        (user, 0) => error(format!("`{shown}` belongs to root")).hint(format!(
            "if autorun was once called with sudo: `sudo chown -R {user} {}`; otherwise set \
             AUTORUN_HOME to a directory of your own",
            quoted(path)
        )),
        (user, owner) => error(format!(
            "`{shown}` belongs to user {owner}, not to you (user {user})"
        ))
        .hint("set AUTORUN_HOME to a directory of your own"),
    })
}

fn lstat(path: &Path) -> Result<Metadata> {
    std::fs::symlink_metadata(path).map_err(|e| failed(path, e))
}

/// Opens a path without following a link and without waiting for a writer.
fn open(path: &Path, flags: OFlags) -> Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
        .open(path)
        .map_err(|e| failed(path, e))
}

fn failed(path: &Path, error: io::Error) -> Error {
    Error::system("check", path, error)
}

fn of_another_kind(path: &Path, found: &Metadata, wanted: &str) -> Error {
    let kind = found.file_type();
    let is = match kind {
        _ if kind.is_symlink() => "a symbolic link",
        _ if kind.is_dir() => "a directory",
        _ if kind.is_file() => "a file",
        _ if kind.is_fifo() => "a named pipe",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    };
    let shown = path.display();
    Error::wrong_kind(format!("`{shown}` is {is}, not {wanted}")).hint(if kind.is_symlink() {
        "replace the link with its target, because links are not followed here"
    } else {
        "move it to another place"
    })
}

fn quoted(path: &Path) -> String {
    shell_words::quote(&path.to_string_lossy()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn permissions_of_others_are_removed_and_reported() {
        let home = tempfile::tempdir().unwrap();
        let inside = home.path().join("keys/deep");
        fs::create_dir_all(&inside).unwrap();
        let key = inside.join("web");
        fs::write(&key, "key").unwrap();
        for (path, open) in [
            (&inside, 0o777),
            (&key, 0o644),
            (&key, 0o602),
            (&key, 0o660),
        ] {
            set_mode(path, open);
            let messages = tree(&home.path().join("keys")).unwrap();
            assert!(
                messages
                    .iter()
                    .any(|s| s.contains(&format!("mode {open:o}"))),
                "{messages:?}"
            );
            assert_eq!(mode(path), open & 0o700);
            assert!(tree(&home.path().join("keys")).unwrap().is_empty());
        }
        assert!(file(&home.path().join("nosuch")).unwrap().is_none());
        assert!(tree(&home.path().join("nosuch")).unwrap().is_empty());
    }

    #[test]
    fn links_pipes_and_directories_are_refused_and_not_changed() {
        let home = tempfile::tempdir().unwrap();
        let other = home.path().join("other");
        fs::write(&other, "of another user").unwrap();
        set_mode(&other, 0o644);
        let at = home.path().join("ledger.db");
        symlink(&other, &at).unwrap();
        assert!(
            file(&at)
                .unwrap_err()
                .to_string()
                .contains("a symbolic link")
        );
        assert!(
            tree(&at)
                .unwrap_err()
                .to_string()
                .contains("a symbolic link")
        );
        assert_eq!(mode(&other), 0o644);
        fs::remove_file(&at).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &at,
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        assert!(file(&at).unwrap_err().to_string().contains("a named pipe"));
        fs::remove_file(&at).unwrap();
        fs::create_dir(&at).unwrap();
        assert!(file(&at).unwrap_err().to_string().contains("a directory"));
    }

    #[test]
    fn paths_of_root_are_out_of_reach_of_other_users() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let top = tempfile::tempdir().unwrap();
        let users = top.path().join("users");
        let inside = users.join("cloud/state");
        fs::create_dir_all(&inside).unwrap();
        out_of_reach(&inside).unwrap();
        let of_user = || {
            let refused = out_of_reach(&inside).unwrap_err();
            assert!(matches!(refused, Error::Denied(_)));
            refused.to_string()
        };
        std::os::unix::fs::chown(&users, Some(65534), None).unwrap();
        assert!(of_user().contains("belongs to user 65534"));
        let link = top.path().join("link");
        symlink("users/cloud", &link).unwrap();
        assert!(out_of_reach(&link.join("state")).is_err(), "through a link");
        std::os::unix::fs::chown(&users, Some(0), None).unwrap();
        out_of_reach(&link.join("state")).unwrap();
        set_mode(&users, 0o777);
        assert!(of_user().contains("mode 777"));
        set_mode(&users, 0o1777);
        out_of_reach(&inside).unwrap();
        std::os::unix::fs::chown(users.join("cloud"), None, Some(65534)).unwrap();
        set_mode(&users.join("cloud"), 0o775);
        assert!(of_user().contains("mode 775"));
        symlink("loop", top.path().join("loop")).unwrap();
        assert!(out_of_reach(&top.path().join("loop/x")).is_err());
    }

    #[test]
    fn entries_that_other_users_planted_are_refused() {
        let top = tempfile::tempdir().unwrap();
        let state = top.path().join("state");
        fs::create_dir_all(state.join("instances")).unwrap();
        let planted = state.join("ec2.json");
        fs::write(&planted, "").unwrap();
        own_entries(&state).unwrap();
        fs::hard_link(&planted, top.path().join("second")).unwrap();
        assert!(own_entries(&state).is_err());
        fs::remove_file(&planted).unwrap();
        symlink(top.path().join("second"), &planted).unwrap();
        assert!(own_entries(&state).is_err());
    }

    #[test]
    fn a_directory_that_any_user_can_replace_causes_a_warning() {
        let home = tempfile::tempdir().unwrap();
        let open = home.path().join("open");
        let inside = open.join("autorun");
        fs::create_dir_all(&inside).unwrap();
        set_mode(&inside, 0o700);
        set_mode(&open, 0o777);
        let messages = directory(&inside, true).unwrap();
        assert!(messages[0].contains("any user can replace"), "{messages:?}");
        set_mode(&open, 0o1777);
        assert!(directory(&inside, true).unwrap().is_empty());
        // A directory that every user may write to is not made private.
        assert!(directory(&open, true).unwrap().is_empty());
        assert_eq!(mode(&open), 0o1777);
        set_mode(&inside, 0o775);
        let refused = directory(&inside, false).unwrap_err();
        assert!(
            refused.to_string().contains("other users can write"),
            "{refused}"
        );
        set_mode(&inside, 0o755);
        assert!(directory(&inside, false).unwrap().is_empty());
        assert_eq!(directory(&inside, true).unwrap().len(), 1);
        assert_eq!(mode(&inside), 0o700);
    }
}
