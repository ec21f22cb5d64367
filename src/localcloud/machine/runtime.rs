//! The daemon's side of all machines: boots them, lets them in, keeps their disks.

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
use super::disk::in_use::{DiskInUse, DisksInUse};
use super::error::Error;
use super::instance::{Held, Machine, console_of, until_gone};
use super::message::{Channel, FromInit, ToInit};
use super::network::firewall::{self, Gateway, Port};
use super::network::inside;
use super::network::namespace::NetworkNamespace;
use super::network::subnet::{self, Claim};
use super::network::switch::{self, Switch};
use super::nursery::Nursery;
use super::system::System;

/// The console's file on a machine's disk.
const CONSOLE: &str = "console.log";

/// How long a machine may take to boot. Its disk is its root's, and may hold
/// anything.
const BOOT: Duration = Duration::from_secs(60);

/// What a runtime is started with.
#[derive(Clone, Debug)]
pub struct RuntimeSettings {
    /// Where everything is kept; root's, 0700, locked by the caller.
    pub state_dir: PathBuf,
    /// The program that answers to the names of `multicall`: a copy that stays.
    pub binary: PathBuf,
    /// The only port of the host that machines can reach, where groups are enforced.
    pub endpoint_port: u16,
    /// The network used before; used again if it is still free.
    pub subnet: Option<Ipv4Net>,
    /// Files that list further paths of the host that machines must not see.
    pub mask_files: Vec<PathBuf>,
}

/// Boots machines.
#[derive(Debug)]
pub struct Runtime {
    settings: RuntimeSettings,
    claim: Claim,
    nursery: Nursery,
    switch: Arc<Switch>,
    enforces_groups: bool,
    machines: Mutex<Vec<Machine>>,
    disks: DisksInUse,
    /// Counts the cables that were ever plugged in.
    cables: AtomicU32,
}

impl Runtime {
    /// Makes the namespaces and the host's interface. The rest, hiding what is
    /// private and asking about packages, goes on in the background; the first
    /// boot waits for it.
    pub async fn start(settings: RuntimeSettings) -> Result<Self, Error> {
        if !nix::unistd::geteuid().is_root() {
            let said = "instances need root: start the local cloud with sudo";
            return Err(Error::new(said));
        }
        let (host, connection) = switch::connect()
            .map_err(|error| Error::io("ask the kernel about the network", error))?;
        let taken = subnet::taken(&host).await;
        let taken = taken.map_err(|error| Error::io("read the host's routes", error))?;
        let claim = Claim::of_free(&taken, settings.subnet).ok_or_else(|| {
            Error::new("no network is free: the host has routes to all of 10/8 and 100.64/10")
        })?;
        let nursery = Nursery::start(&settings, claim.subnet).await?;
        let switch = Switch::start(host, connection, nursery.pid(), claim.subnet).await;
        let switch = switch.map_err(|error| Error::io("make the network of instances", error))?;
        let mut runtime = Self {
            settings,
            claim,
            nursery,
            switch: Arc::new(switch),
            enforces_groups: true,
            machines: Mutex::default(),
            disks: DisksInUse::default(),
            cables: AtomicU32::new(0),
        };
        // All ports are closed until somebody opens them.
        if let Err(error) = runtime.set_firewall(Vec::new()).await {
            log::warn!("security groups are not enforced: {error}");
            runtime.enforces_groups = false;
        }
        Ok(runtime)
    }

    /// The machines' network.
    #[must_use]
    pub fn subnet(&self) -> Ipv4Net {
        self.claim.subnet
    }

    /// The host's address in it.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        switch::gateway(self.subnet())
    }

    /// What the machines run.
    #[must_use]
    pub fn system(&self) -> System {
        System::of_host()
    }

    /// Whether security groups are more than records here.
    #[must_use]
    pub fn enforces_groups(&self) -> bool {
        self.enforces_groups
    }

    /// How many packages are held because the host is behind on them; `None`
    /// as long as that is not known.
    #[must_use]
    pub fn held_packages(&self) -> Option<usize> {
        self.nursery.held_packages()
    }

    /// Waits until boots can follow.
    pub async fn until_ready(&self) -> Result<(), Error> {
        self.nursery.until_ready().await
    }

    /// Where machines look for their metadata, 169.254.169.254:80; not blocking.
    /// A connection's other address is that of the machine that asks.
    pub async fn listen_for_metadata(&self) -> Result<TcpListener, Error> {
        let listener = self.switch.listen_for_metadata().await;
        listener.map_err(|error| Error::io("listen for the metadata service", error))
    }

    /// Boots a machine; gives it back when it is up and ssh listens.
    pub async fn boot(&self, boot: Boot) -> Result<Machine, Error> {
        self.check(&boot)?;
        let Some(disk) = self.disks.take(&boot.id) else {
            let said = format!("the disk of {} is in use", boot.id);
            return Err(Error::new(said));
        };
        self.nursery.until_ready().await?;
        let machine = self.bring_up(boot, disk).await?;
        let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        machines.retain(|machine| !machine.has_ended());
        machines.push(machine.clone());
        Ok(machine)
    }

    fn check(&self, boot: &Boot) -> Result<(), Error> {
        let Boot {
            id, address, user, ..
        } = boot;
        if !is_disk_name(id) {
            return Err(Error::new(format!("`{id}` cannot be the name of a disk")));
        }
        let subnet = self.subnet();
        let reserved = [subnet.network(), self.gateway(), subnet.broadcast()];
        if !subnet.contains(address) || reserved.contains(address) {
            let said = format!("{address} is no address of an instance in {subnet}");
            return Err(Error::new(said));
        }
        match is_user_name(user) {
            true => Ok(()),
            false => Err(Error::new(format!("`{user}` cannot be the name of a user"))),
        }
    }

    async fn bring_up(&self, boot: Boot, disk: DiskInUse) -> Result<Machine, Error> {
        let failed = |error: io::Error| Error::io("boot an instance", error);
        let address = boot.address;
        let console = open_console(&self.disk(&boot.id)).map_err(failed)?;
        let (channel, pid, pidfd) = self.nursery.order(boot, &console).await.map_err(failed)?;
        let number = self.cables.fetch_add(1, Ordering::Relaxed);
        let name = format!("machine{number}");
        let cable = self.switch.plug(&name, pid, address);
        let held = Held {
            cable: cable.await.map_err(failed)?,
            switch: Arc::clone(&self.switch),
            _disk: disk,
        };
        let finish = self.finish(&channel, pid, address, held.cable);
        let late = |_| Err(io::Error::from(io::ErrorKind::TimedOut));
        match timeout(BOOT, finish).await.unwrap_or_else(late) {
            Ok(proxy) => Ok(Machine::new(pid, pidfd, console, proxy, channel, held)),
            Err(error) => {
                // Without its socket it goes, unless it hangs.
                drop(channel);
                let _ = pidfd_send_signal(&pidfd, Signal::KILL);
                until_gone(&pidfd).await;
                self.switch.unplug(held.cable).await;
                Err(failed(error))
            }
        }
    }

    /// Sets its network up from inside, and waits until it is up.
    async fn finish(
        &self,
        channel: &Channel,
        pid: i32,
        address: Ipv4Addr,
        cable: u32,
    ) -> io::Result<TcpListener> {
        let subnet = self.subnet();
        let namespace = NetworkNamespace::of_process(pid)?;
        let settle = namespace.run(move || inside::settle(address, subnet));
        let proxy = settle.await?;
        self.switch.open(address, cable).await?;
        channel.send(&ToInit::Linked, &[]).await?;
        match channel.receive::<FromInit>().await? {
            Some((FromInit::Ready, _)) => Ok(proxy),
            Some((FromInit::Failed { reason }, _)) => Err(io::Error::other(reason)),
            _ => Err(io::Error::other("it ended")),
        }
    }

    /// Replaces what is let in to the machines, all of it at once.
    pub async fn set_firewall(&self, ports: Vec<Port>) -> Result<(), Error> {
        if !self.enforces_groups {
            return Ok(());
        }
        let Some(nft) = firewall::program() else {
            return Err(Error::new("there is no `nft` program; install nftables"));
        };
        let gateway = Gateway {
            address: self.gateway(),
            port: self.settings.endpoint_port,
        };
        let rules = firewall::ruleset(gateway, &ports);
        let namespace = self.switch.namespace();
        let applied = namespace.run(move || firewall::apply(&nft, &rules)).await;
        applied.map_err(|error| Error::io("apply the security groups", error))
    }

    /// The console output of a machine, whether it runs or not.
    pub fn console(&self, id: &str) -> io::Result<Vec<u8>> {
        match is_disk_name(id) {
            true => console_of(&self.disk(id).join(CONSOLE)),
            false => Err(io::Error::from(io::ErrorKind::InvalidFilename)),
        }
    }

    /// Removes the disk of a machine that has ended. None is no error.
    pub async fn remove_disk(&self, id: &str) -> io::Result<()> {
        if !is_disk_name(id) {
            return Err(io::Error::from(io::ErrorKind::InvalidFilename));
        }
        let Some(in_use) = self.disks.take(id) else {
            return Err(io::Error::from(io::ErrorKind::ResourceBusy));
        };
        let disk = self.disk(id);
        let seen_by_zygote = self.nursery.view(&disk);
        let removed = tokio::task::spawn_blocking(move || {
            remove_directory(&seen_by_zygote)?;
            remove_directory(&disk)
        });
        let removed = removed.await?;
        drop(in_use);
        removed
    }

    /// The disks there are.
    pub fn disks(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(self.settings.state_dir.join("instances"))?;
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    /// Ends all machines, then everything else that was made.
    pub async fn shutdown(&self) {
        let machines = self.take_machines();
        machines.iter().for_each(Machine::kill);
        join_all(machines.iter().map(Machine::ended)).await;
        self.switch.stop().await;
        self.nursery.end();
    }

    fn take_machines(&self) -> Vec<Machine> {
        std::mem::take(&mut *self.machines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn disk(&self, id: &str) -> PathBuf {
        self.settings.state_dir.join("instances").join(id)
    }
}

fn is_disk_name(id: &str) -> bool {
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

fn remove_directory(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_before_they_become_paths() {
        assert!(is_disk_name("i-0123456789abcdef0"));
        assert!(!is_disk_name("../i-1") && !is_disk_name("") && !is_disk_name("a/b"));
        assert!(is_user_name("ec2-user"));
        assert!(!is_user_name("a:b") && !is_user_name("-x") && !is_user_name(""));
    }
}
