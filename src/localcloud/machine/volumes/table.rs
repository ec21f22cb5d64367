//! The volumes of one machine, and what its programs ask for.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::super::disk::in_use::DiskInUse;
use super::super::ids::Ids;
use super::names::{DataVolume, Naming};
use super::request::{Answer, Format, Kind, Mount, Request, Volume};
use super::store::VolumeStore;
use super::{file, inside};

/// The volumes of a machine.
#[derive(Debug)]
pub(in super::super) struct Volumes {
    store: VolumeStore,
    naming: Naming,
    ids: Ids,
    pid: i32,
    pidfd: Arc<AsyncFd<OwnedFd>>,
    user_namespace: OwnedFd,
    attached: Mutex<BTreeMap<String, Attached>>,
    /// One program is served at a time.
    turn: Mutex<()>,
    /// Receives the id of a volume whose detachment had to wait.
    freed: mpsc::UnboundedSender<String>,
}

/// A volume, by its id.
#[derive(Debug)]
struct Attached {
    device: String,
    links: Vec<String>,
    bytes: u64,
    /// The device number of its file system while it is mounted.
    number: Option<u64>,
    /// Whether a program's request is being served.
    is_busy: bool,
    /// Whether it is detached as soon as it is not in use.
    leaves: bool,
    /// Held while its file is mounted.
    in_use: Option<DiskInUse>,
}

impl Attached {
    fn is_used(&self) -> bool {
        self.is_busy || self.number.is_some()
    }
}

impl Volumes {
    /// Creates the table of a machine, and a receiver of the volumes that become
    /// free later.
    pub(in super::super) fn new(
        store: VolumeStore,
        naming: Naming,
        ids: Ids,
        (pid, pidfd): (i32, Arc<AsyncFd<OwnedFd>>),
    ) -> io::Result<(Self, mpsc::UnboundedReceiver<String>)> {
        let user_namespace = std::fs::File::open(format!("/proc/{pid}/ns/user"))?;
        let (freed, receiver) = mpsc::unbounded_channel();
        let volumes = Self {
            store,
            naming,
            ids,
            pid,
            pidfd,
            user_namespace: user_namespace.into(),
            attached: Mutex::default(),
            turn: Mutex::default(),
            freed,
        };
        Ok((volumes, receiver))
    }

    fn attached(&self) -> MutexGuard<'_, BTreeMap<String, Attached>> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn process(&self) -> BorrowedFd<'_> {
        self.pidfd.get_ref().as_fd()
    }

    /// Attaches a volume: its device appears in the machine.
    pub(in super::super) fn attach(&self, volume: &DataVolume) -> io::Result<()> {
        let mut attached = self.attached();
        if attached.contains_key(&volume.id) {
            return Ok(());
        }
        let is_taken = |path: &str| attached.values().any(|other| other.device == path);
        let (device, links) = self.naming.names(volume, is_taken);
        inside::show(self.process(), self.ids, &device, &links)?;
        let new = Attached {
            device,
            links,
            bytes: u64::from(volume.gibibytes) << 30,
            number: None,
            is_busy: false,
            leaves: false,
            in_use: None,
        };
        attached.insert(volume.id.clone(), new);
        Ok(())
    }

    /// Detaches a volume. Returns whether it is detached: one in use is not, but
    /// will be when it is unmounted. `force` unmounts it.
    pub(in super::super) fn detach(&self, id: &str, force: bool) -> io::Result<bool> {
        let mut attached = self.attached();
        let Some(volume) = attached.get_mut(id) else {
            return Ok(true);
        };
        volume.leaves = true;
        if let Some(number) = volume.number.filter(|_| force) {
            for directory in inside::mounts(self.pid, number)? {
                inside::detach(self.process(), number, &directory, true)?;
            }
            volume.number = None;
        }
        if volume.is_used() {
            return Ok(false);
        }
        if let Some(gone) = attached.remove(id) {
            inside::hide(self.process(), self.ids, &gone.device, &gone.links)?;
        }
        Ok(true)
    }

    /// Forgets all volumes, after the end of the machine.
    pub(in super::super) fn release(&self) {
        self.attached().clear();
    }

    /// Serves the request of a program.
    pub(in super::super) fn perform(&self, request: &Request) -> Answer {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let done = match request {
            Request::List => Ok(()),
            Request::Format(format) => self.format(format),
            Request::Mount(mount) => self.mount(mount),
            Request::Unmount { directory, lazy } => self.unmount(directory, *lazy),
        };
        done.and_then(|()| self.list())
            .map_err(|error| reason(&error))
    }

    fn list(&self) -> io::Result<Vec<Volume>> {
        let attached = self.attached();
        let described = attached.iter().map(|(id, volume)| {
            let mounts = volume.number.map(|number| inside::mounts(self.pid, number));
            Ok(Volume {
                device: volume.device.clone(),
                links: volume.links.clone(),
                id: id.clone(),
                bytes: volume.bytes,
                content: file::content(&self.store.directory(id)?)?,
                mounts: mounts.transpose()?.unwrap_or_default(),
            })
        });
        let mut all = described.collect::<io::Result<Vec<_>>>()?;
        all.sort_by(|a, b| (a.device.len(), &a.device).cmp(&(b.device.len(), &b.device)));
        Ok(all)
    }

    fn format(&self, format: &Format) -> io::Result<()> {
        self.with(&format.device, |id, number| {
            if number.is_some() {
                return Err(io::Error::other(format!(
                    "{} is mounted; will not make a filesystem here!",
                    format.device
                )));
            }
            file::format(&self.store.directory(id)?, format).map(|()| None)
        })
    }

    fn mount(&self, mount: &Mount) -> io::Result<()> {
        self.with(&mount.device, |id, number| {
            if let Some(number) = number {
                let places = inside::mounts(self.pid, number)?.join(" and ");
                return Err(io::Error::other(format!(
                    "{} already mounted on {places}",
                    mount.device
                )));
            }
            let directory = self.store.directory(id)?;
            let Some(content) = file::content(&directory)? else {
                return Err(io::Error::other(format!(
                    "wrong fs type, bad option, bad superblock on {}: it has no file system that \
                     the local cloud knows",
                    mount.device
                )));
            };
            self.mount_file(id, mount, content.kind).map(Some)
        })
    }

    /// Mounts the file of a volume. Returns the device number of the file system.
    fn mount_file(&self, id: &str, mount: &Mount, kind: Kind) -> io::Result<u64> {
        let options = (kind, mount.flags);
        let namespace = self.user_namespace.as_fd();
        let detached = file::mount(
            &self.store.directory(id)?,
            &mount.device,
            options,
            namespace,
        )?;
        let number = std::fs::File::from(detached.try_clone()?).metadata()?.dev();
        inside::attach(self.process(), &detached, &mount.directory)?;
        Ok(number)
    }

    fn unmount(&self, directory: &str, lazy: bool) -> io::Result<()> {
        let mounted = self.list()?.into_iter();
        let mut mounted = mounted.filter(|one| one.mounts.iter().any(|at| at == directory));
        let Some(volume) = mounted.next() else {
            return Err(io::Error::other("not mounted"));
        };
        self.with(&volume.device, |_, number| {
            if let Some(number) = number {
                inside::detach(self.process(), number, directory, lazy)?;
            }
            Ok(number)
        })
    }

    /// Runs `work` on a volume that no other machine and no copy uses. `work` gets
    /// its id and the number of its mounted file system, and returns that number.
    fn with(
        &self,
        device: &str,
        work: impl FnOnce(&str, Option<u64>) -> io::Result<Option<u64>>,
    ) -> io::Result<()> {
        let (id, number, bytes) = self.begin(device)?;
        let held = match number {
            Some(_) => Ok(None),
            None => self.hold(&id, bytes).map(Some),
        };
        let (held, done) = match held {
            Ok(held) => (held, work(&id, number)),
            Err(error) => (None, Err(error)),
        };
        let now = match &done {
            Ok(now) => *now,
            Err(_) => number,
        };
        self.finish(&id, now, held)?;
        done.map(drop)
    }

    fn begin(&self, device: &str) -> io::Result<(String, Option<u64>, u64)> {
        let mut attached = self.attached();
        let mut all = attached.iter_mut();
        let found = all.find(|(_, volume)| volume.device == device);
        let Some((id, volume)) = found else {
            return Err(io::Error::other(format!("{device} is not attached")));
        };
        volume.is_busy = true;
        Ok((id.clone(), volume.number, volume.bytes))
    }

    /// Takes the file of a volume for this machine, and makes it as large as the
    /// volume.
    fn hold(&self, id: &str, bytes: u64) -> io::Result<DiskInUse> {
        let held = self.store.hold(id)?;
        file::resize(&self.store.directory(id)?, bytes)?;
        Ok(held)
    }

    /// Records where the volume is mounted now, and completes a detachment.
    fn finish(&self, id: &str, number: Option<u64>, held: Option<DiskInUse>) -> io::Result<()> {
        let still = match number {
            Some(number) => !inside::mounts(self.pid, number)?.is_empty(),
            None => false,
        };
        let mut attached = self.attached();
        let Some(volume) = attached.get_mut(id) else {
            return Ok(());
        };
        volume.is_busy = false;
        volume.number = number.filter(|_| still);
        if still {
            if held.is_some() {
                volume.in_use = held;
            }
            return Ok(());
        }
        volume.in_use = None;
        if volume.leaves
            && let Some(gone) = attached.remove(id)
        {
            // The receiver ends with the machine.
            let _ = self.freed.send(id.to_owned());
            inside::hide(self.process(), self.ids, &gone.device, &gone.links)?;
        }
        Ok(())
    }
}

/// Returns the words of `mount` for an error.
fn reason(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EBUSY) => "target is busy".to_owned(),
        Some(Errno::ENOENT) => "mount point does not exist".to_owned(),
        Some(Errno::ENODEV) => "unknown filesystem type on this machine's kernel (see \
            `autorun docs local-cloud`)"
            .to_owned(),
        Some(known) => known.desc().to_owned(),
        None => error.to_string(),
    }
}
