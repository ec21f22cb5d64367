//! The files of all volumes, and their copies in snapshots.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::disk::in_use::{DiskInUse, DisksInUse};
use super::super::runtime::{is_disk_name, names_in, remove_directory};
use super::file;

/// How long to wait for a volume that something else uses.
const PATIENCE: Duration = Duration::from_secs(60);

/// The volumes of a cloud, attached or not.
#[derive(Clone, Debug)]
pub(crate) struct VolumeStore {
    volumes: PathBuf,
    snapshots: PathBuf,
    in_use: DisksInUse,
}

impl VolumeStore {
    pub(in super::super) fn new(state_dir: &Path) -> Self {
        Self {
            volumes: state_dir.join("volumes"),
            snapshots: state_dir.join("snapshots"),
            in_use: DisksInUse::default(),
        }
    }

    /// Returns the directory of a volume.
    pub(super) fn directory(&self, id: &str) -> io::Result<PathBuf> {
        in_directory(&self.volumes, id)
    }

    /// Takes a volume that nothing else uses, after a wait if necessary.
    pub(super) fn hold(&self, id: &str) -> io::Result<DiskInUse> {
        let began = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(held) = self.in_use.take(id) {
                return Ok(held);
            }
            if began.elapsed() > PATIENCE {
                return Err(io::Error::other("the volume is still being copied"));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Fills a new volume with the data of a snapshot.
    pub(crate) fn fill(&self, id: &str, snapshot: &str) -> io::Result<()> {
        let held = (self.hold(id)?, self.hold(snapshot)?);
        let from = in_directory(&self.snapshots, snapshot)?;
        let filled = file::copy(&from, &self.directory(id)?);
        drop(held);
        filled
    }

    /// Copies the data of a volume to a snapshot. An attached volume may be mounted:
    /// then what the machine wrote last may be missing, as after a crash.
    pub(crate) fn save(&self, id: &str, snapshot: &str, is_attached: bool) -> io::Result<()> {
        let (from, to) = (
            self.directory(id)?,
            in_directory(&self.snapshots, snapshot)?,
        );
        let of_snapshot = self.hold(snapshot)?;
        let held = match self.in_use.take(id) {
            None if !is_attached => Some(self.hold(id)?),
            held => held,
        };
        let saved = if held.is_some() {
            file::copy(&from, &to)
        } else {
            file::copy_in_use(&from, &to)
        };
        drop((held, of_snapshot));
        saved
    }

    /// Removes all volumes but these.
    pub(crate) fn keep(&self, known: &[String]) -> io::Result<()> {
        for id in names_in(&self.volumes)? {
            if known.contains(&id) {
                continue;
            }
            // The next call removes what an ending machine or a copy still has.
            if let Some(held) = self.in_use.take(&id) {
                remove_directory(&self.directory(&id)?)?;
                drop(held);
            }
        }
        Ok(())
    }
}

fn in_directory(directory: &Path, id: &str) -> io::Result<PathBuf> {
    if is_disk_name(id) {
        Ok(directory.join(id))
    } else {
        Err(io::Error::from(io::ErrorKind::InvalidFilename))
    }
}
