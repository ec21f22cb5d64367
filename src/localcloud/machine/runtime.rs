//! The daemon's interface to all machines: boots them, opens their firewall,
//! keeps their disks.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use ipnet::Ipv4Net;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::time::timeout;

use super::boot::Boot;
use super::cgroups::Cgroups;
use super::claims::{self, Claims, Kind};
use super::disk::base::Bases;
use super::disk::image;
use super::disk::in_use::{DiskInUse, DisksInUse};
use super::error::Error;
use super::ids::Ids;
use super::instance::{Held, Machine, console_of, until_gone};
use super::message::{Channel, FromInit, Order, ToInit};
use super::network::firewall::{Gateway, Port};
use super::network::inside;
use super::network::inside::Wiring;
use super::network::namespace::NetworkNamespace;
use super::network::routing::Routing;
use super::network::subnet::{self, Claim};
use super::network::switch::{self, Switch};
use super::settings::RuntimeSettings;
use super::volumes::{DataVolume, VolumeStore, Volumes};
use super::zygote_handle::ZygoteHandle;

/// The name of the console file beside a machine's disk.
const CONSOLE: &str = "console.log";

/// How long a machine may take to boot. Its disk belongs to its root and may
/// contain anything, so a boot may hang.
const BOOT: Duration = Duration::from_secs(60);

/// How long a machine that has ended may take to say why.
const SAYS_WITHIN: Duration = Duration::from_secs(1);

/// Boots and manages machines.
#[derive(Debug)]
pub(crate) struct Runtime {
    settings: RuntimeSettings,
    claim: Claim,
    bases: Bases,
    cgroups: Cgroups,
    /// The numbers of the id ranges for machines.
    ids: Vec<u32>,
    zygote: ZygoteHandle,
    switch: Arc<Switch>,
    machines: Mutex<Vec<Machine>>,
    disks: DisksInUse,
    volumes: VolumeStore,
    /// The number of veth pairs ever created.
    cables: AtomicU32,
}

impl Runtime {
    /// Finds or builds the base layer, and creates the namespaces and the
    /// host's interface. The rest, such as querying packages, continues in the
    /// background; the first boot waits for it.
    pub(crate) async fn start(settings: RuntimeSettings) -> Result<Self, Error> {
        if !nix::unistd::geteuid().is_root() {
            let message = "instances need root: start the local cloud with sudo";
            return Err(Error::new(message));
        }
        prepare(&settings.state_dir)
            .map_err(|error| Error::io("prepare the state directory", error))?;
        let bases = Bases::new(settings.base.clone());
        let current = in_background(&bases, Bases::current).await;
        let current = current.map_err(|error| Error::io("build the base layer", error))?;
        let host =
            Routing::open().map_err(|error| Error::io("open a netlink connection", error))?;
        let taken = subnet::taken(&host);
        let taken = taken.map_err(|error| Error::io("read the host's routes", error))?;
        let claim = Claim::of_free(&Claims::of_host(), &taken, settings.subnet)
            .map_err(|error| Error::io("claim a network", error))?
            .ok_or_else(|| {
                Error::new("no subnet is free: the host has routes to all of 10/8 and 100.64/10")
            })?;
        let zygote = ZygoteHandle::start(&settings, current, claim.subnet).await?;
        let switch = Switch::start(host, zygote.pid(), claim.subnet).await;
        let switch = switch.map_err(|error| Error::io("create the network of instances", error))?;
        let cgroups =
            Cgroups::of_host().map_err(|error| Error::io("read the mounted cgroups", error))?;
        let unused = bases.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = unused.remove_unused() {
                log::warn!("cannot remove outdated base layers: {error}");
            }
        });
        let volumes = VolumeStore::new(&settings.state_dir);
        let runtime = Self {
            settings,
            claim,
            bases,
            cgroups,
            ids: Ids::free(),
            zygote,
            switch: Arc::new(switch),
            machines: Mutex::default(),
            disks: DisksInUse::default(),
            volumes,
            cables: AtomicU32::new(0),
        };
        // All ports stay closed until a security group opens them.
        runtime.set_firewall(Vec::new()).await?;
        Ok(runtime)
    }

    /// Returns the network of the machines.
    #[must_use]
    pub(crate) fn subnet(&self) -> Ipv4Net {
        self.claim.subnet
    }

    /// Returns the host's address in this network.
    #[must_use]
    pub(crate) fn gateway(&self) -> Ipv4Addr {
        switch::gateway(self.subnet())
    }

    /// Returns the number of outdated packages, which machines hold. Returns
    /// `None` while it is not known.
    #[must_use]
    pub(crate) fn held_packages(&self) -> Option<usize> {
        self.zygote.held_packages()
    }

    /// Returns the names of the resources that no cgroup limits.
    #[must_use]
    pub(crate) fn unlimited(&self) -> Vec<&'static str> {
        self.cgroups.missing()
    }

    /// Waits until machines can boot.
    pub(crate) async fn until_ready(&self) -> Result<(), Error> {
        self.zygote.until_ready().await
    }

    /// Returns the non-blocking listener of the metadata service,
    /// 169.254.169.254:80. The source address of a connection is that of a
    /// machine.
    pub(crate) async fn listen_for_metadata(&self) -> Result<TcpListener, Error> {
        let listener = self.switch.listen_for_metadata().await;
        listener.map_err(|error| Error::io("listen for the metadata service", error))
    }

    /// Boots a machine. Returns it when its ssh server listens.
    pub(crate) async fn boot(&self, boot: Boot) -> Result<Machine, Error> {
        self.check(&boot)?;
        let Some(disk) = self.disks.take(&boot.id) else {
            let message = format!("the disk of {} is in use", boot.id);
            return Err(Error::new(message));
        };
        self.zygote.until_ready().await?;
        let machine = self.bring_up(boot, disk).await?;
        let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        machines.retain(|machine| !machine.has_ended());
        machines.push(machine.clone());
        Ok(machine)
    }

    /// Returns a machine that is up.
    pub(crate) fn machine(&self, id: &str) -> Option<Machine> {
        let machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut up = machines.iter().filter(|machine| !machine.has_ended());
        up.find(|machine| machine.id() == id).cloned()
    }

    fn check(&self, boot: &Boot) -> Result<(), Error> {
        let Boot { id, user, .. } = boot;
        if !is_disk_name(id) || !boot.snapshot.as_deref().is_none_or(is_disk_name) {
            return Err(Error::new(format!("`{id}` cannot be the name of a disk")));
        }
        let subnet = self.subnet();
        let reserved = [subnet.network(), self.gateway(), subnet.broadcast()];
        let networks = [Some((boot.address, boot.network))].into_iter();
        let outside = boot.outside.map(|address| (address, subnet));
        for (address, network) in networks.chain([outside]).flatten() {
            if !network.contains(&address) || reserved.contains(&address) {
                let message = format!("{address} cannot be an address of an instance in {network}");
                return Err(Error::new(message));
            }
        }
        if is_user_name(user) {
            Ok(())
        } else {
            Err(Error::new(format!("`{user}` cannot be the name of a user")))
        }
    }

    async fn bring_up(&self, boot: Boot, disk: DiskInUse) -> Result<Machine, Error> {
        let failed = |error: io::Error| Error::io("boot an instance", error);
        let wiring = Wiring {
            address: boot.address,
            network: boot.network,
            outside: boot.outside,
            shared: self.subnet(),
        };
        let addresses = boot.addresses();
        let about = (boot.id.clone(), boot.faults.agent);
        let directory = self.disk(&boot.id);
        let console = open_console(&directory).map_err(failed)?;
        let snapshot = boot.snapshot.as_ref().map(|id| self.snapshot(id));
        let of_disk = move |bases: &Bases| {
            if let Some(snapshot) = snapshot.filter(|_| !image::exists(&directory)) {
                bases.follow(&directory, &snapshot)?;
                image::copy(&snapshot, &directory)?;
            }
            bases.of_disk(&directory)
        };
        let base = in_background(&self.bases, of_disk).await.map_err(failed)?;
        let claim = claims::Claim::first(Kind::UserIds, self.ids.iter().copied());
        let claim = claim
            .map_err(failed)?
            .ok_or_else(|| failed(io::Error::other("all ranges of user ids are in use")))?;
        let ids = Ids::of_range(claim.number());
        let (attached, naming) = (boot.volumes.clone(), boot.naming);
        let order = Order { boot, base, ids };
        let (channel, pid, pidfd) = self.zygote.order(order, &console).await.map_err(failed)?;
        let number = self.cables.fetch_add(1, Ordering::Relaxed);
        let name = format!("machine{number}");
        let cable = match self.switch.plug(&name, pid, &addresses).await {
            Ok(cable) => cable,
            Err(error) => return Err(failed(reason_of_end(&channel).await.unwrap_or(error))),
        };
        let held = Held {
            cable,
            switch: Arc::clone(&self.switch),
            group: self.cgroups.group(ids),
            _ids: claim,
            _disk: disk,
        };
        let pidfd = Arc::new(pidfd);
        let finished = async {
            let proxy = self.finish(&channel, pid, wiring, held.cable).await?;
            let process = (pid, Arc::clone(&pidfd));
            let volumes = Volumes::new(self.volumes.clone(), naming, ids, process)?;
            attach(&volumes.0, &attached, &channel).await?;
            Ok::<_, io::Error>((proxy, volumes))
        };
        let finished = timeout(BOOT, finished).await;
        let late = |_| Err(io::Error::other("it is not up after 60 seconds"));
        match finished.unwrap_or_else(late) {
            Ok((proxy, volumes)) => Ok(Machine::new(about, pidfd, proxy, volumes, channel, held)),
            Err(error) => {
                // Without its socket the machine ends, unless it hangs.
                drop(channel);
                let _ = pidfd_send_signal(pidfd.get_ref(), Signal::KILL);
                until_gone(&pidfd).await;
                held.release().await;
                Err(failed(error))
            }
        }
    }

    /// Configures the machine's network from inside, and waits until the
    /// machine is up.
    async fn finish(
        &self,
        channel: &Channel,
        pid: i32,
        wiring: Wiring,
        cable: u32,
    ) -> io::Result<TcpListener> {
        let namespace = NetworkNamespace::of_process(pid)?;
        let settle = namespace.run(move || inside::settle(wiring));
        let proxy = settle.await?;
        self.switch.open(wiring.addresses(), cable).await?;
        // If the machine failed already, its message is still in the socket.
        let linked = channel.send(&ToInit::Linked, &[]).await;
        match channel.receive::<FromInit>().await? {
            Some((FromInit::Ready, _)) => Ok(proxy),
            Some((FromInit::Failed { reason }, _)) => Err(io::Error::other(reason)),
            _ => Err(linked
                .err()
                .unwrap_or_else(|| io::Error::other("it ended during the boot"))),
        }
    }

    /// Replaces all firewall rules of the machines at once.
    pub(crate) async fn set_firewall(&self, ports: Vec<Port>) -> Result<(), Error> {
        let gateway = Gateway {
            address: self.gateway(),
            port: self.settings.endpoint_port,
        };
        let applied = self.switch.let_in(gateway, ports).await;
        applied.map_err(|error| Error::io("apply the security groups", error))
    }

    /// Returns the console output of a machine, which need not be running.
    pub(crate) fn console(&self, id: &str) -> io::Result<Vec<u8>> {
        if is_disk_name(id) {
            console_of(&self.disk(id).join(CONSOLE))
        } else {
            Err(io::Error::from(io::ErrorKind::InvalidFilename))
        }
    }

    /// Removes the disk of a machine that has ended. A missing disk is not an
    /// error.
    pub(crate) async fn remove_disk(&self, id: &str) -> io::Result<()> {
        if !is_disk_name(id) {
            return Err(io::Error::from(io::ErrorKind::InvalidFilename));
        }
        let Some(in_use) = self.disks.take(id) else {
            return Err(io::Error::from(io::ErrorKind::ResourceBusy));
        };
        let disk = self.disk(id);
        let removed = tokio::task::spawn_blocking(move || remove_directory(&disk)).await?;
        drop(in_use);
        removed
    }

    /// Returns the ids of all disks.
    pub(crate) fn disks(&self) -> io::Result<Vec<String>> {
        names_in(&self.settings.state_dir.join("instances"))
    }

    /// Copies the disk of a machine to a snapshot. `runs` tells whether the
    /// machine runs: then its file system is written to the disk first, and the
    /// copy is repaired as after a crash.
    pub(crate) async fn save_disk(&self, id: &str, snapshot: &str, runs: bool) -> io::Result<()> {
        if !is_disk_name(id) || !is_disk_name(snapshot) {
            return Err(io::Error::from(io::ErrorKind::InvalidFilename));
        }
        let in_use = self.disks.take(id);
        if in_use.is_none() && !runs {
            return Err(io::Error::from(io::ErrorKind::ResourceBusy));
        }
        let (disk, snapshot) = (self.disk(id), self.snapshot(snapshot));
        let save = move |bases: &Bases| {
            let mut builder = fs::DirBuilder::new();
            builder.mode(0o700).create(&snapshot)?;
            bases.follow(&snapshot, &disk)?;
            if runs {
                image::copy_in_use(&disk, &snapshot)
            } else {
                image::copy(&disk, &snapshot)
            }
        };
        let saved = in_background(&self.bases, save).await;
        drop(in_use);
        saved
    }

    /// Removes a snapshot. A missing one is not an error.
    pub(crate) async fn remove_snapshot(&self, id: &str) -> io::Result<()> {
        if !is_disk_name(id) {
            return Err(io::Error::from(io::ErrorKind::InvalidFilename));
        }
        let snapshot = self.snapshot(id);
        tokio::task::spawn_blocking(move || remove_directory(&snapshot)).await?
    }

    /// Returns the ids of all snapshots.
    pub(crate) fn snapshots(&self) -> io::Result<Vec<String>> {
        names_in(&self.settings.state_dir.join("snapshots"))
    }

    /// Returns the volumes of all machines.
    pub(crate) fn volumes(&self) -> &VolumeStore {
        &self.volumes
    }

    /// Ends all machines, then removes everything else that the runtime
    /// created.
    pub(crate) async fn shutdown(&self) {
        let machines = self.take_machines();
        machines.iter().for_each(Machine::kill);
        join_all(machines.iter().map(Machine::ended)).await;
        self.switch.stop().await;
        self.zygote.end();
    }

    fn take_machines(&self) -> Vec<Machine> {
        std::mem::take(&mut *self.machines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn disk(&self, id: &str) -> PathBuf {
        self.settings.state_dir.join("instances").join(id)
    }

    fn snapshot(&self, id: &str) -> PathBuf {
        self.settings.state_dir.join("snapshots").join(id)
    }
}

/// Returns why a machine has ended during its creation, if it says so.
async fn reason_of_end(channel: &Channel) -> Option<io::Error> {
    match timeout(SAYS_WITHIN, channel.receive::<FromInit>()).await {
        Ok(Ok(Some((FromInit::Failed { reason }, _)))) => Some(io::Error::other(reason)),
        _ => None,
    }
}

/// Attaches the volumes of a boot, which init waits for.
async fn attach(volumes: &Volumes, attached: &[DataVolume], channel: &Channel) -> io::Result<()> {
    if attached.is_empty() {
        return Ok(());
    }
    for volume in attached {
        volumes.attach(volume)?;
    }
    channel.send(&ToInit::Attached, &[]).await
}

/// Creates the directories of the state, and the empty file system that disks
/// are copied from.
fn prepare(state_dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    for name in [
        "instances",
        "mounts",
        "packages",
        "root",
        "snapshots",
        "volumes",
    ] {
        builder.create(state_dir.join(name))?;
    }
    image::make_blank(state_dir)
}

/// Runs blocking work. Checking a base layer takes a moment, building one takes
/// seconds.
async fn in_background<T: Send + 'static>(
    bases: &Bases,
    work: impl FnOnce(&Bases) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let bases = bases.clone();
    tokio::task::spawn_blocking(move || work(&bases)).await?
}

pub(super) fn names_in(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

pub(super) fn is_disk_name(id: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !id.is_empty() && id.len() <= 64 && id.chars().all(is_plain)
}

fn is_user_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let begins_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    begins_well && name.len() <= 32 && name.chars().all(is_plain)
}

fn open_console(disk: &Path) -> io::Result<File> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(disk)?;
    let mut options = fs::OpenOptions::new();
    options.create(true).read(true).append(true).mode(0o600);
    options.open(disk.join(CONSOLE))
}

pub(super) fn remove_directory(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_become_paths_are_checked() {
        assert!(is_disk_name("i-0123456789abcdef0"));
        assert!(!is_disk_name("../i-1") && !is_disk_name("") && !is_disk_name("a/b"));
        assert!(is_user_name("ec2-user"));
        assert!(!is_user_name("a:b") && !is_user_name("-x") && !is_user_name(""));
    }
}
