//! Moves finished directories to their target.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::Root;
use super::walk::is_closed;
use crate::error::{Error, ErrorKind, Result};

/// A hidden temporary directory in which a copy is prepared. Dropping it
/// removes the directory and everything in it.
#[derive(Debug)]
pub struct Stage(PathBuf);

impl Stage {
    /// Creates a stage in this directory.
    pub fn within(folder: &Path) -> std::io::Result<Self> {
        let created = tempfile::Builder::new()
            .prefix(".autorun-")
            .tempdir_in(folder)?;
        Ok(Self(created.keep()))
    }

    /// Adopts an existing directory.
    #[cfg(test)]
    pub(super) fn of(path: PathBuf) -> Self {
        Self(path)
    }

    /// Returns its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Removes the directory. Fails if it still exists afterwards.
    pub fn clear(&self) -> Result<()> {
        match remove(&self.0) {
            Err(error) if self.0.exists() => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A caller that needs the error calls `clear` itself.
        drop(self.clear());
    }
}

/// The modes of existing directories, by path below the target.
type Kept = BTreeMap<PathBuf, u32>;

/// Moves a finished directory to its target. If the target does not exist or is
/// replaced, this is a single rename, and afterwards `tree` is the previous
/// directory. Otherwise the files move one by one into the existing directory.
/// The new directories get their modes last; existing ones keep theirs.
///
/// Throws `already_exists`, before anything moves, if a file is in the place of
/// a directory or the other way round; and the errors of the file system.
pub fn settle(tree: &Path, target: &Path, replace: bool, modes: &[(PathBuf, u32)]) -> Result<()> {
    let failed = |e: std::io::Error| Error::io("write", target, &e);
    let mut kept = Kept::new();
    if fs::symlink_metadata(target).is_err() {
        fs::rename(tree, target).map_err(failed)?;
    } else if !target.is_dir() {
        return Err(in_the_way(target, "not a directory"));
    } else if replace {
        exchange(tree, &fs::canonicalize(target).map_err(failed)?).map_err(failed)?;
    } else {
        let merged =
            open_all(tree, target, Path::new(""), &mut kept).and_then(|()| merge(tree, target));
        if let Err(error) = merged {
            drop(set_modes(target, kept.iter().rev()));
            return Err(error);
        }
    }
    let modes = modes
        .iter()
        .map(|(below, mode)| (below, kept.get(below).unwrap_or(mode)));
    set_modes(target, modes)
}

/// Sets the modes of directories, innermost first.
fn set_modes<'a>(target: &Path, modes: impl Iterator<Item = (&'a PathBuf, &'a u32)>) -> Result<()> {
    let failed = |e: std::io::Error| Error::io("write", target, &e);
    let root = Root::open(target).map_err(failed)?;
    for (below, mode) in modes {
        let failed = |e: std::io::Error| Error::io("write", &target.join(below), &e);
        root.set_mode(below, *mode).map_err(failed)?;
    }
    Ok(())
}

/// Exchanges two directories, atomically if the system supports it.
fn exchange(one: &Path, other: &Path) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    make_writable(other);
    let exchanged = renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
    match exchanged {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
        exchanged => return Ok(exchanged?),
    }
    let away = one.with_file_name("old");
    fs::rename(other, &away)?;
    let moved = fs::rename(one, other);
    // In both cases, the remaining directory ends up in the place of the
    // finished one.
    fs::rename(&away, if moved.is_ok() { one } else { other })?;
    moved
}

/// Makes a directory writable to its owner, so that entries can move into and
/// out of it.
fn make_writable(directory: &Path) {
    if let Ok(about) = fs::metadata(directory)
        && is_closed(mode_of(&about))
    {
        let open = fs::Permissions::from_mode(mode_of(&about) | 0o700);
        // If this fails, the move reports the error.
        drop(fs::set_permissions(directory, open));
    }
}

fn mode_of(about: &Metadata) -> u32 {
    about.mode() & 0o777
}

/// Checks that one directory fits into another, and makes its existing
/// directories writable.
fn open_all(tree: &Path, target: &Path, below: &Path, kept: &mut Kept) -> Result<()> {
    let about = fs::metadata(target).map_err(|e| Error::io("write", target, &e))?;
    kept.insert(below.to_owned(), mode_of(&about));
    make_writable(target);
    for entry in fs::read_dir(tree).map_err(|e| Error::io("read", tree, &e))? {
        let path = entry.map_err(|e| Error::io("read", tree, &e))?.path();
        let name = path.file_name().unwrap_or_default();
        let place = target.join(name);
        match (is_directory(&path), is_directory(&place)) {
            (true, true) => open_all(&path, &place, &below.join(name), kept)?,
            (true, false) if fs::symlink_metadata(&place).is_ok() => {
                return Err(in_the_way(&place, "not a directory"));
            }
            (false, true) => return Err(in_the_way(&place, "a directory")),
            _ => {}
        }
    }
    Ok(())
}

/// Returns whether the path is a directory. A link is not followed, because it
/// might lead anywhere.
fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|about| about.is_dir())
}

/// Moves the entries of one directory into another; `open_all` has checked that
/// they fit.
fn merge(tree: &Path, target: &Path) -> Result<()> {
    for entry in fs::read_dir(tree).map_err(|e| Error::io("read", tree, &e))? {
        let path = entry.map_err(|e| Error::io("read", tree, &e))?.path();
        let place = target.join(path.file_name().unwrap_or_default());
        if is_directory(&path) && is_directory(&place) {
            merge(&path, &place)?;
        } else {
            fs::rename(&path, &place).map_err(|e| Error::io("write", &place, &e))?;
        }
    }
    Ok(())
}

/// Removes a directory with everything in it, including directories that are
/// not writable.
fn remove(directory: &Path) -> Result<()> {
    if fs::remove_dir_all(directory).is_ok() {
        return Ok(());
    }
    let mut closed = vec![directory.to_owned()];
    while let Some(folder) = closed.pop() {
        make_writable(&folder);
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        closed.extend(below.map(|entry| entry.path()));
    }
    fs::remove_dir_all(directory).map_err(|e| Error::io("remove", directory, &e))
}

fn in_the_way(path: &Path, what: &str) -> Error {
    Error::new(
        ErrorKind::AlreadyExists,
        format!("`{}` already exists and is {what}", path.display()),
    )
    .hint("move it to another place, or choose another target")
}
