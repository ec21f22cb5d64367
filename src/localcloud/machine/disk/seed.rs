//! The seed: a layer between the base layer and the instance's own changes.
//!
//! It relies on these rules of overlays: a character device 0:0 hides a file
//! (whiteout), a directory with `trusted.overlay.opaque` hides the lower
//! directory, and the topmost layer determines the mode and owner of a
//! directory.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, mknod};
use rustix::fs::XattrFlags;

const OPAQUE: &str = "trusted.overlay.opaque";

/// A layer's directory. Paths in its methods are absolute paths in a machine.
#[derive(Clone, Debug)]
pub(in super::super) struct Seed {
    root: PathBuf,
    /// The base layer below.
    base: PathBuf,
}

impl Seed {
    /// Creates an empty layer and removes the previous content.
    pub(in super::super) fn new(root: PathBuf, base: PathBuf) -> io::Result<Self> {
        remove(&root)?;
        fs::create_dir(&root)?;
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755))?;
        Ok(Self { root, base })
    }

    /// The directory of the layer.
    pub(in super::super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns a directory, created with the mode and owner that it has in the
    /// base layer.
    pub(super) fn directory(&self, path: &Path) -> io::Result<PathBuf> {
        let path = real(path);
        let mut place = self.root.clone();
        let mut seen = PathBuf::from("/");
        for part in path.components() {
            let Component::Normal(name) = part else {
                continue;
            };
            place.push(name);
            seen.push(name);
            if !place.symlink_metadata().is_ok_and(|found| found.is_dir()) {
                remove(&place)?;
                fs::DirBuilder::new().mode(0o755).create(&place)?;
                mirror(&self.below(&seen), &place)?;
            }
        }
        Ok(place)
    }

    /// Creates an empty directory, which hides the content of the base layer's
    /// directory.
    pub(super) fn empty_directory(&self, path: &Path) -> io::Result<PathBuf> {
        let place = self.directory(path)?;
        rustix::fs::lsetxattr(&place, OPAQUE, b"y", XattrFlags::empty())?;
        Ok(place)
    }

    /// Hides a file or directory of the base layer.
    pub(super) fn hide(&self, path: &Path) -> io::Result<()> {
        let place = self.place(path)?;
        remove(&place)?;
        mknod(&place, SFlag::S_IFCHR, Mode::empty(), 0)?;
        Ok(())
    }

    /// Writes a file in the place of an existing entry.
    pub(super) fn file(&self, path: &str, text: impl AsRef<[u8]>, mode: u32) -> io::Result<()> {
        let place = self.place(Path::new(path))?;
        remove(&place)?;
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(place)?;
        io::Write::write_all(&mut file, text.as_ref())?;
        // The umask does not apply to this call.
        file.set_permissions(fs::Permissions::from_mode(mode))
    }

    /// Creates a symbolic link in the place of an existing entry.
    pub(super) fn link(&self, path: &str, target: &str) -> io::Result<()> {
        let place = self.place(Path::new(path))?;
        remove(&place)?;
        symlink(target, place)
    }

    /// Whether the base layer has an entry at this path.
    pub(super) fn is_in_base(&self, path: impl AsRef<Path>) -> bool {
        self.below(path.as_ref()).symlink_metadata().is_ok()
    }

    /// Returns the text of a file in the base layer, if it exists.
    pub(super) fn text_in_base(&self, path: &str) -> Option<String> {
        let place = self.below(Path::new(path));
        // Do not follow a link, which would lead to a file of the host.
        let is_file = place.symlink_metadata().is_ok_and(|found| found.is_file());
        is_file.then(|| fs::read_to_string(place).ok()).flatten()
    }

    fn below(&self, path: &Path) -> PathBuf {
        self.base.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn place(&self, path: &Path) -> io::Result<PathBuf> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::from(io::ErrorKind::InvalidFilename));
        };
        Ok(self.directory(parent)?.join(name))
    }
}

/// Resolves the host's symbolic links in a path, as far as it exists: an
/// overlay merges directories by their real names.
fn real(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => real(parent).join(name),
        _ => PathBuf::from("/"),
    }
}

/// Copies the mode and owner of a directory.
fn mirror(model: &Path, place: &Path) -> io::Result<()> {
    let Ok(found) = model.symlink_metadata() else {
        return fs::set_permissions(place, fs::Permissions::from_mode(0o755));
    };
    std::os::unix::fs::lchown(place, Some(found.uid()), Some(found.gid()))?;
    fs::set_permissions(place, fs::Permissions::from_mode(found.mode() & 0o7777))
}

fn remove(place: &Path) -> io::Result<()> {
    match place.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(place),
        Ok(_) => fs::remove_file(place),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
