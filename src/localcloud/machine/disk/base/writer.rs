//! Places files of the host in a base layer: as hard links where the host never
//! changes a file in place, as copies elsewhere.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::generated::{COPIED, DIRECTORIES, LEFT_OUT};

/// Directories of the host that instances never see, even if a package owns
/// them.
const OUTSIDE: [&str; 15] = [
    "/boot",
    "/dev",
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/srv",
    "/sys",
    "/tmp",
    "/usr/local",
    "/var/mail",
    "/var/tmp",
];

/// Directories whose files are edited in place: a link would change, too.
const EDITED: [&str; 2] = ["/etc", "/var"];

const SET_ID: u32 = 0o6000;
const READ_BY_ALL: u32 = 0o004;

/// Collects the content of a base layer, then writes its files.
pub(super) struct Writer<'a> {
    root: &'a Path,
    hidden: &'a [PathBuf],
    always_copy: bool,
    /// Directories that are left out in any case.
    outside: &'static [&'static str],
    /// The real paths of directories, by the paths under which they are known.
    real: HashMap<PathBuf, Option<PathBuf>>,
    /// Paths that the layer has or will have.
    seen: HashSet<PathBuf>,
    files: Vec<(PathBuf, Metadata)>,
}

impl<'a> Writer<'a> {
    /// Writes below `root`, without the `hidden` paths.
    pub(super) fn new(root: &'a Path, hidden: &'a [PathBuf], always_copy: bool) -> Self {
        Self {
            root,
            hidden,
            always_copy,
            outside: &OUTSIDE,
            real: HashMap::new(),
            seen: HashSet::new(),
            files: Vec::new(),
        }
    }

    /// Adds the files of packages, and for Python modules their compiled code,
    /// which each instance would otherwise compile again.
    pub(super) fn add_owned(&mut self, paths: &[PathBuf]) -> io::Result<()> {
        let mut python = HashSet::new();
        for path in paths {
            self.add(path)?;
            if path.extension().is_some_and(|extension| extension == "py") {
                python.extend(path.parent().map(|parent| parent.join("__pycache__")));
            }
        }
        for directory in python {
            self.add_compiled(&directory)?;
        }
        Ok(())
    }

    /// Adds `X.cpython-311.pyc` for every `X.py` of a package.
    fn add_compiled(&mut self, directory: &Path) -> io::Result<()> {
        let Some(parent) = directory.parent() else {
            return Ok(());
        };
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let module = name.to_string_lossy();
            let module = module.split('.').next().unwrap_or_default();
            let source = parent.join(format!("{module}.py"));
            let is_owned = self
                .real_place(&source)
                .is_some_and(|source| self.seen.contains(&source));
            if is_owned {
                self.add(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Adds the listed generated files, and the empty directories.
    pub(super) fn add_generated(&mut self) -> io::Result<()> {
        for path in COPIED {
            self.add_tree(Path::new(path))?;
        }
        for (path, mode) in DIRECTORIES {
            let place = self.directory(Path::new(path))?;
            fs::set_permissions(place, fs::Permissions::from_mode(*mode))?;
        }
        Ok(())
    }

    fn add_tree(&mut self, path: &Path) -> io::Result<()> {
        if LEFT_OUT.iter().any(|left_out| path == Path::new(left_out)) {
            return Ok(());
        }
        let Ok(found) = path.symlink_metadata() else {
            return Ok(());
        };
        // A directory that others may not list is private.
        if found.is_dir() && found.mode() & READ_BY_ALL == 0 {
            return Ok(());
        }
        self.add(path)?;
        if found.is_symlink() && path.starts_with("/etc/ssl/certs") {
            return self.add_certificate(path);
        }
        if found.is_dir() {
            for entry in fs::read_dir(path)? {
                self.add_tree(&entry?.path())?;
            }
        }
        Ok(())
    }

    /// Replaces the link to a certificate that an administrator added by its
    /// content, because it lies in `/usr/local`, which instances do not see.
    fn add_certificate(&mut self, path: &Path) -> io::Result<()> {
        let Ok(target) = path.canonicalize() else {
            return Ok(());
        };
        let found = target.metadata()?;
        if !target.starts_with("/usr/local") || !found.is_file() || found.mode() & 0o004 == 0 {
            return Ok(());
        }
        let place = self.below_root(path);
        fs::remove_file(&place)?;
        copy(&target, &place, &found)
    }

    /// Adds a file, directory or link, if instances may see it.
    fn add(&mut self, path: &Path) -> io::Result<()> {
        let Some(path) = self.real_place(path) else {
            return Ok(());
        };
        if self.is_outside(&path) || self.seen.contains(&path) {
            return Ok(());
        }
        let Ok(found) = path.symlink_metadata() else {
            return Ok(());
        };
        if found.is_dir() {
            return self.directory(&path).map(drop);
        }
        let kind = found.file_type();
        // A socket, pipe or device would connect an instance to the host.
        if kind.is_socket() || kind.is_fifo() || kind.is_char_device() || kind.is_block_device() {
            return Ok(());
        }
        if kind.is_file() && found.mode() & (READ_BY_ALL | SET_ID) == 0 {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.directory(parent)?;
        }
        if kind.is_symlink() {
            let place = self.below_root(&path);
            symlink(fs::read_link(&path)?, &place)?;
            lchown(&place, Some(found.uid()), Some(found.gid()))?;
        } else {
            self.files.push((path.clone(), found));
        }
        self.seen.insert(path);
        Ok(())
    }

    fn is_outside(&self, path: &Path) -> bool {
        let is_below = |start: &Path| path.starts_with(start);
        self.outside.iter().any(|start| is_below(Path::new(start)))
            || self.hidden.iter().any(|hidden| is_below(hidden))
    }

    /// Creates a directory of the layer and its parents, with the host's mode
    /// and owner.
    fn directory(&mut self, path: &Path) -> io::Result<PathBuf> {
        let place = self.below_root(path);
        if path == Path::new("/") || !self.seen.insert(path.to_owned()) {
            return Ok(place);
        }
        if let Some(parent) = path.parent() {
            self.directory(parent)?;
        }
        fs::create_dir(&place)?;
        let mode = match path.symlink_metadata() {
            Ok(found) if found.is_dir() => {
                lchown(&place, Some(found.uid()), Some(found.gid()))?;
                found.mode() & 0o7777
            }
            _ => 0o755,
        };
        fs::set_permissions(&place, fs::Permissions::from_mode(mode))?;
        Ok(place)
    }

    /// Resolves the links in a path's directory, as overlays need it. Returns
    /// `None` if the directory does not exist.
    fn real_place(&mut self, path: &Path) -> Option<PathBuf> {
        let (parent, name) = (path.parent()?, path.file_name()?);
        if let Some(real) = self.real.get(parent) {
            return real.as_ref().map(|real| real.join(name));
        }
        let real = parent.canonicalize().ok();
        self.real.insert(parent.to_owned(), real.clone());
        real.map(|real| real.join(name))
    }

    fn below_root(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Writes the files. Returns the paths of the copied ones, because the
    /// layer does not follow their changes on the host.
    pub(super) fn finish(self) -> io::Result<Vec<PathBuf>> {
        let copied = Mutex::new(Vec::new());
        let next = AtomicUsize::new(0);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            let work = || -> io::Result<()> {
                let mut own = Vec::new();
                while let Some((path, found)) = self.files.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    if self.place(path, found)? {
                        own.push(path.clone());
                    }
                }
                let mut all = copied
                    .lock()
                    .map_err(|_| io::Error::other("a copying thread panicked"))?;
                all.append(&mut own);
                Ok(())
            };
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| {
                let panicked = |_| Err(io::Error::other("a copying thread panicked"));
                worker.join().unwrap_or_else(panicked)
            })
        })?;
        copied
            .into_inner()
            .map_err(|_| io::Error::other("a copying thread panicked"))
    }

    /// Places a file. Returns whether it was copied.
    fn place(&self, path: &Path, found: &Metadata) -> io::Result<bool> {
        let place = self.below_root(path);
        let is_edited = EDITED.iter().any(|start| path.starts_with(start));
        // When dpkg replaces a set-id file, it removes the permissions of every
        // hard link.
        let must_copy = self.always_copy || is_edited || found.mode() & SET_ID != 0;
        let outcome = if must_copy {
            copy(path, &place, found).map(|()| true)
        } else {
            link_or_copy(path, &place, found)
        };
        match outcome {
            // The file was removed during the build, so the layer is outdated
            // and will be rebuilt.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => {
                let message = format!("cannot place {}: {error}", path.display());
                Err(io::Error::new(error.kind(), message))
            }
            done => done,
        }
    }
}

/// Links a file. Copies it if it lies on another file system, is immutable, or
/// has the most links possible. Returns whether it was copied.
fn link_or_copy(path: &Path, place: &Path, found: &Metadata) -> io::Result<bool> {
    match fs::hard_link(path, place) {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
        Err(_) => copy(path, place, found).map(|()| true),
    }
}

/// Copies a file with its owner, mode, time and attributes. The copy shares the
/// content if the file system can.
fn copy(path: &Path, place: &Path, found: &Metadata) -> io::Result<()> {
    let mut from = File::open(path)?;
    let mut to = File::create_new(place)?;
    if rustix::fs::ioctl_ficlone(&to, &from).is_err() {
        io::copy(&mut from, &mut to)?;
    }
    std::os::unix::fs::fchown(&to, Some(found.uid()), Some(found.gid()))?;
    copy_attributes(path, place)?;
    // Last, because a change of owner clears set-id bits.
    to.set_permissions(fs::Permissions::from_mode(found.mode() & 0o7777))?;
    to.set_modified(found.modified()?)
}

/// Copies file capabilities and user attributes.
fn copy_attributes(path: &Path, place: &Path) -> io::Result<()> {
    let mut names = vec![0; 1024];
    let length = match rustix::fs::llistxattr(path, &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    names.truncate(length);
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        if !name.starts_with(b"security.capability") && !name.starts_with(b"user.") {
            continue;
        }
        let mut value = vec![0; 64 * 1024];
        let length = rustix::fs::lgetxattr(path, name, &mut value)?;
        rustix::fs::lsetxattr(
            place,
            name,
            &value[..length],
            rustix::fs::XattrFlags::empty(),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A host's files and an empty layer.
    struct Ground {
        host: tempfile::TempDir,
        layer: tempfile::TempDir,
    }

    impl Ground {
        fn new() -> Self {
            Self {
                host: tempfile::tempdir().unwrap(),
                layer: tempfile::tempdir().unwrap(),
            }
        }

        fn file(&self, name: &str, mode: u32) -> PathBuf {
            let path = self.host.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, name).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        }

        /// Builds the layer. Returns the copied paths.
        fn write(&self, paths: &[PathBuf], hidden: &[PathBuf], copy: bool) -> Vec<PathBuf> {
            let mut writer = Writer::new(self.layer.path(), hidden, copy);
            // The files of the test may lie in any directory.
            writer.outside = &[];
            writer.add_owned(paths).unwrap();
            writer.finish().unwrap()
        }

        fn placed(&self, path: &Path) -> Option<Metadata> {
            let place = self.layer.path().join(path.strip_prefix("/").unwrap());
            place.symlink_metadata().ok()
        }
    }

    #[test]
    fn files_that_others_may_not_read_are_left_out() {
        let ground = Ground::new();
        let open = ground.file("usr/open", 0o644);
        let secret = ground.file("usr/secret", 0o600);
        let group = ground.file("usr/group", 0o640);
        let set_id = ground.file("usr/sudo", 0o4711);
        let socket = ground.host.path().join("usr/socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        let missing = ground.host.path().join("usr/missing");
        let all = [&open, &secret, &group, &set_id, &socket, &missing].map(PathBuf::clone);
        let copied = ground.write(&all, &[], false);
        assert!(ground.placed(&secret).is_none() && ground.placed(&group).is_none());
        assert!(ground.placed(&socket).is_none() && ground.placed(&missing).is_none());
        // The readable file is a link, the set-user-ID program a copy.
        let inode = |path: &Path| path.metadata().unwrap().ino();
        assert_eq!(ground.placed(&open).unwrap().ino(), inode(&open));
        let own = ground.placed(&set_id).unwrap();
        assert_eq!(own.mode() & 0o7777, 0o4711);
        assert_ne!(own.ino(), inode(&set_id));
        assert_eq!(copied, [set_id]);
    }

    #[test]
    fn hidden_files_and_directories_are_left_out() {
        let ground = Ground::new();
        let kept = ground.file("etc/app/conf", 0o644);
        let hidden = ground.file("etc/app/token", 0o644);
        let below = ground.file("etc/keys/a/b", 0o644);
        let all = [&kept, &hidden, &below].map(PathBuf::clone);
        let directory = ground.host.path().join("etc/keys");
        ground.write(&all, &[hidden.clone(), directory], false);
        assert!(ground.placed(&kept).is_some());
        assert!(ground.placed(&hidden).is_none() && ground.placed(&below).is_none());
    }

    #[test]
    fn a_copy_has_the_content_mode_and_time_and_an_inode_of_its_own() {
        let ground = Ground::new();
        let file = ground.file("usr/bin/x", 0o755);
        let copied = ground.write(std::slice::from_ref(&file), &[], true);
        let (model, copy) = (file.metadata().unwrap(), ground.placed(&file).unwrap());
        assert_eq!(
            (copy.mode(), copy.len(), copy.mtime()),
            (model.mode(), model.len(), model.mtime())
        );
        assert_ne!(copy.ino(), model.ino());
        assert_eq!((copied, model.nlink()), (vec![file], 1));
    }

    #[test]
    fn a_path_through_a_link_is_resolved() {
        let ground = Ground::new();
        let file = ground.file("usr/bin/x", 0o755);
        let link = ground.host.path().join("bin");
        symlink("usr/bin", &link).unwrap();
        ground.write(&[link.join("x"), link.clone()], &[], false);
        assert!(ground.placed(&file).unwrap().is_file());
        assert!(ground.placed(&link).unwrap().is_symlink());
    }

    #[test]
    fn compiled_code_of_python_modules_is_added() {
        let ground = Ground::new();
        let source = ground.file("usr/lib/m.py", 0o644);
        let compiled = ground.file("usr/lib/__pycache__/m.cpython-311.pyc", 0o644);
        let stray = ground.file("usr/lib/__pycache__/n.cpython-311.pyc", 0o644);
        ground.write(&[source], &[], false);
        assert!(ground.placed(&compiled).is_some());
        assert!(ground.placed(&stray).is_none());
    }
}
