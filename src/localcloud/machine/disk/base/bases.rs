//! Builds and removes the base layers of this host, which all machines share.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};

use super::packages;
use super::settings::BaseSettings;
use super::sources::Sources;
use super::writer::Writer;

/// The link from a disk to its base layer.
const LINK: &str = "base";

/// The entries of a base layer's directory: its files, the state of its
/// sources, and links to the disks that use it.
const FILES: &str = "files";

const SOURCES: &str = "sources.json";

const DISKS: &str = "disks";

/// How often a build is tried if packages change meanwhile.
const ATTEMPTS: u32 = 3;

/// The base layers of this host.
#[derive(Clone, Debug)]
pub(in crate::machine) struct Bases {
    settings: BaseSettings,
    /// The latest base layer, and the state of the databases for which it is
    /// current.
    latest: Arc<Mutex<Option<(PathBuf, Sources)>>>,
}

impl Bases {
    pub(in crate::machine) fn new(settings: BaseSettings) -> Self {
        Self {
            settings,
            latest: Arc::default(),
        }
    }

    /// Returns the files of the base layer for the host's current packages.
    /// Builds the layer if it does not exist.
    pub(in crate::machine) fn current(&self) -> io::Result<PathBuf> {
        let _lock = self.lock()?;
        self.current_locked().map(|base| base.join(FILES))
    }

    /// Whether a base layer for the host's current packages exists.
    pub(in crate::machine) fn is_built(&self) -> bool {
        self.all()
            .is_ok_and(|all| all.iter().any(|base| self.is_current(base)))
    }

    /// Returns the files of the base layer that this disk uses from its first
    /// boot to its removal.
    pub(in crate::machine) fn of_disk(&self, disk: &Path) -> io::Result<PathBuf> {
        let link = disk.join(LINK);
        if let Ok(base) = fs::read_link(&link) {
            if base.starts_with(&self.settings.directory) && base.join(FILES).is_dir() {
                return Ok(base.join(FILES));
            }
            log::warn!(
                "the base layer of {} is missing; the disk now uses the current packages",
                disk.display()
            );
            fs::remove_file(&link)?;
        }
        let _lock = self.lock()?;
        let base = self.current_locked()?;
        attach(disk, &base)?;
        Ok(base.join(FILES))
    }

    /// Makes a disk use the base layer of another disk, of which it is a copy.
    pub(in crate::machine) fn follow(&self, disk: &Path, model: &Path) -> io::Result<()> {
        let _lock = self.lock()?;
        let base = fs::read_link(model.join(LINK))?;
        attach(disk, &base)
    }

    /// Removes outdated base layers that no disk uses.
    pub(in crate::machine) fn remove_unused(&self) -> io::Result<()> {
        let lock = self.lock()?;
        let mut unused = Vec::new();
        for base in self.all()? {
            if !self.is_current(&base) && !is_in_use(&base)? {
                let next = self.unfinished("removed");
                fs::rename(&base, &next)?;
                unused.push(next);
            }
        }
        // The lock protects only directories that other processes can find.
        drop(lock);
        unused.iter().try_for_each(|base| remove_directory(base))
    }

    fn current_locked(&self) -> io::Result<PathBuf> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((base, sources)) = &*latest
            && sources.still_hold(&self.settings)
            && base.is_dir()
        {
            return Ok(base.clone());
        }
        let sources = Sources::of_databases(&self.settings);
        let base = self.find_or_build()?;
        *latest = Some((base.clone(), sources));
        Ok(base)
    }

    fn find_or_build(&self) -> io::Result<PathBuf> {
        let mut all = self.all()?;
        if let Some(base) = all.iter().rfind(|base| self.is_current(base)) {
            return Ok(base.clone());
        }
        if packages_are_changing()
            && let Some(base) = all.pop()
        {
            log::info!(
                "packages are being installed on this host; instances start with the previous base layer"
            );
            return Ok(base);
        }
        self.build()
    }

    fn is_current(&self, base: &Path) -> bool {
        let sources = Sources::read(&base.join(SOURCES));
        sources.is_ok_and(|sources| sources.still_hold(&self.settings))
    }

    /// Returns all finished base layers, the oldest first.
    fn all(&self) -> io::Result<Vec<PathBuf>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.settings.directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir()
                && !entry.file_name().as_encoded_bytes().starts_with(b".")
            {
                all.push(entry.path());
            }
        }
        all.sort();
        Ok(all)
    }

    fn build(&self) -> io::Result<PathBuf> {
        self.remove_unfinished()?;
        let mut attempt = 1;
        loop {
            let next = self.unfinished("new");
            let unchanged = self.build_at(&next)?;
            if unchanged || attempt == ATTEMPTS {
                let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%3f");
                let base = self.settings.directory.join(now.to_string());
                fs::rename(&next, &base)?;
                return Ok(base);
            }
            fs::remove_dir_all(&next)?;
            attempt += 1;
        }
    }

    /// Builds a base layer. Returns false if packages changed during the build.
    fn build_at(&self, next: &Path) -> io::Result<bool> {
        let mut private = fs::DirBuilder::new();
        private.mode(0o700).create(next)?;
        private.create(next.join(DISKS))?;
        let files = next.join(FILES);
        fs::DirBuilder::new().mode(0o755).create(&files)?;
        let before = Sources::of_host(&self.settings, &[]);
        let mut writer = Writer::new(&files, &self.settings.hidden, self.settings.copy);
        writer.add_owned(&packages::files()?)?;
        writer.add_generated()?;
        let copied = writer.finish()?;
        let unchanged = before.still_hold(&self.settings);
        let sources = Sources::of_host(&self.settings, &copied);
        let mut file = File::create_new(next.join(SOURCES))?;
        file.write_all(&serde_json::to_vec(&sources)?)?;
        // Once it has its final name, a base layer must be complete, even after
        // a crash of the host.
        rustix::fs::syncfs(&file)?;
        Ok(unchanged)
    }

    fn unfinished(&self, what: &str) -> PathBuf {
        let name = format!(".{what}-{:016x}", rand::random::<u64>());
        self.settings.directory.join(name)
    }

    /// Removes interrupted builds and removals. The caller holds the lock, but
    /// another process may be in the middle of a removal.
    fn remove_unfinished(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.settings.directory)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                remove_directory(&entry.path())?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> io::Result<Flock<File>> {
        let directory = &self.settings.directory;
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(directory)?;
        let mut options = fs::OpenOptions::new();
        options.create(true).write(true).truncate(false).mode(0o600);
        let file = options.open(directory.join("lock"))?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error.into())
    }
}

/// Links a disk with its base layer, in both directions. An interrupted call is
/// repeated.
fn attach(disk: &Path, base: &Path) -> io::Result<()> {
    let user = base.join(DISKS).join(digest(disk));
    for (original, link) in [(disk, user), (base, disk.join(LINK))] {
        match symlink(original, link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Removes a directory that another process may be removing, too.
fn remove_directory(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether this host has a supported package database.
pub(in crate::machine) fn packages_are_known() -> bool {
    packages::are_known()
}

/// Whether a disk that uses this base layer still exists.
fn is_in_use(base: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(base.join(DISKS))? {
        let user = entry?.path();
        if user.exists() {
            return Ok(true);
        }
        fs::remove_file(user)?;
    }
    Ok(false)
}

/// Whether dpkg is running, so that a package may be partly installed.
fn packages_are_changing() -> bool {
    let Ok(lock) = File::open("/var/lib/dpkg/lock") else {
        return false;
    };
    let short = |value: i32| nix::libc::c_short::try_from(value).unwrap_or_default();
    let mut wanted = nix::libc::flock {
        l_type: short(nix::libc::F_RDLCK),
        l_whence: short(nix::libc::SEEK_SET),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    let asked = nix::fcntl::fcntl(&lock, nix::fcntl::FcntlArg::F_GETLK(&mut wanted));
    asked.is_ok() && i32::from(wanted.l_type) != nix::libc::F_UNLCK
}

fn digest(path: &Path) -> String {
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    hex::encode(&digest[..16])
}
