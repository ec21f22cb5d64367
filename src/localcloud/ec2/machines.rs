//! The machines behind the instances: applies EC2's changes to them and answers
//! their requests for metadata.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::admission::ports;
use super::call::{Consoles, Effect};
use super::fleet::{Command, Fleet};
use super::instance_task::InstanceTask;
use super::metadata::metadata_of;
use super::snapshots::disks;
use super::state::Phase;
use super::store::Store;
use crate::clock;
use crate::faults::{BOOT, Plans};
use crate::machine::{Machine, Runtime};
use crate::metadata::{self, Metadata};
use crate::proxy::Proxy;

/// All machines.
#[derive(Clone)]
pub(crate) struct Machines(pub(super) Arc<Fleet>);

impl fmt::Debug for Machines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Machines")
    }
}

impl Consoles for Machines {
    fn console(&self, id: &str) -> Vec<u8> {
        self.0.runtime.console(id).unwrap_or_default()
    }
}

impl Machines {
    /// Starts the metadata service and the enforcement of security groups, and
    /// removes the disks of instances that the state does not contain.
    pub(crate) fn begin(runtime: Runtime, proxy: Proxy, store: Arc<Store>) -> Self {
        let this = Self(Arc::new(Fleet::new(runtime, proxy, store)));
        let machines = this.clone();
        tokio::spawn(async move {
            let listener = machines.0.runtime.listen_for_metadata().await;
            let listener = listener
                .map_err(std::io::Error::other)
                .and_then(TcpListener::from_std);
            let look_up: metadata::LookUp = Arc::new(move |address| machines.metadata(address));
            match listener {
                Ok(listener) => drop(metadata::serve(listener, look_up).await),
                Err(e) => log::error!("cannot start the metadata service: {e}"),
            }
        });
        let (kept, fleet) = (this.known(), Arc::clone(&this.0));
        let snapshots = this.snapshots();
        tokio::spawn(async move {
            for id in fleet.runtime.disks().unwrap_or_default() {
                if !kept.contains(&id) {
                    fleet.remove_disk(&id).await;
                }
            }
            for id in fleet.runtime.snapshots().unwrap_or_default() {
                if !snapshots.contains(&id) {
                    fleet.remove_snapshot(&id).await;
                }
            }
            fleet.forget_volumes().await;
            loop {
                let changed = fleet.groups_changed.notified();
                match next_change(&fleet) {
                    None => changed.await,
                    // A NAT gateway becomes available, or is deleted.
                    Some(wait) => drop(tokio::time::timeout(wait, changed).await),
                }
                enforce_groups(&fleet).await;
            }
        });
        this.0.groups_changed.notify_one();
        this
    }

    /// Returns the ids of all instances that are not terminated.
    fn known(&self) -> Vec<String> {
        let state = self.0.store.state();
        let all = state.regions.values().flat_map(|r| r.instances.values());
        all.filter(|instance| instance.phase != Phase::Terminated)
            .map(|instance| instance.id.clone())
            .collect()
    }

    /// Returns the ids of the disks of all snapshots.
    fn snapshots(&self) -> Vec<String> {
        disks(&self.0.store.state()).into_iter().collect()
    }

    /// Returns the metadata of the instance with this address.
    fn metadata(&self, address: IpAddr) -> Option<Arc<Metadata>> {
        let store = &self.0.store;
        let state = store.state();
        state.regions.iter().find_map(|(region, known)| {
            let mut up = known.instances.values().filter(|i| i.phase.is_up());
            let instance = up.find(|i| IpAddr::V4(i.address) == address)?;
            let profile = instance.iam_profile.as_ref();
            let role = profile.and_then(|profile| state.iam.role_of(&profile.name));
            let metadata = metadata_of(instance, known, region, role.as_ref(), &store.facts);
            Some(Arc::new(metadata))
        })
    }

    /// Returns the machine of an instance that is up.
    pub(super) fn machine(&self, id: &str) -> Option<Machine> {
        self.0.runtime.machine(id)
    }

    /// Sends the effects of a change to the tasks of the instances.
    pub(super) fn follow(
        &self,
        region: &str,
        effects: Vec<Effect>,
        plans: &Plans,
        run: Option<&str>,
    ) {
        for effect in effects {
            match effect {
                // The boot is counted here, not in the task, so that faults hit
                // boots in the order of the launches.
                Effect::Boot(id) => self.send(region, id, Command::Boot(plans.hit(run, BOOT))),
                Effect::Stop { id, force } => self.send(region, id, Command::Stop { force }),
                Effect::Reboot(id) => self.send(region, id, Command::Reboot),
                Effect::Terminate(id) => self.send(region, id, Command::Terminate),
                Effect::Save {
                    instance,
                    snapshot,
                    reboots,
                } => {
                    let command = Command::Save { snapshot, reboots };
                    self.send(region, instance, command);
                }
                Effect::RemoveSnapshot(id) => {
                    let fleet = Arc::clone(&self.0);
                    self.0.tracker.spawn(async move {
                        fleet.remove_snapshot(&id).await;
                    });
                }
                Effect::Attach { instance, volume } => self.attach(region, &instance, &volume),
                Effect::Detach {
                    instance,
                    volume,
                    force,
                } => self.detach(region, &instance, &volume, force),
                Effect::Fill { volume, snapshot } => self.fill(region, volume, snapshot),
                Effect::SaveVolume { volume, snapshot } => {
                    self.save_volume(region, volume, snapshot);
                }
                Effect::ForgetVolumes => {
                    let fleet = Arc::clone(&self.0);
                    self.0
                        .tracker
                        .spawn(async move { fleet.forget_volumes().await });
                }
                Effect::Groups => self.0.groups_changed.notify_one(),
            }
        }
    }

    fn send(&self, region: &str, id: String, command: Command) {
        let mut tasks = self.0.tasks();
        let sender = tasks.entry(id.clone()).or_insert_with(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            let task = InstanceTask::new(Arc::clone(&self.0), region, id, receiver);
            self.0.tracker.spawn(task.run());
            sender
        });
        // Sending cannot fail: a task removes itself from the map before it ends.
        drop(sender.send(command));
    }

    /// Stops every machine, or kills it with `force`. The disks stay.
    pub(super) async fn shut_down(&self, force: bool) {
        let all: Vec<_> = self.0.tasks().values().cloned().collect();
        for task in all {
            drop(task.send(Command::Leave { force }));
        }
        self.0.tracker.close();
        self.0.tracker.wait().await;
        self.0.runtime.shutdown().await;
    }
}

/// Returns the time until the network changes without a request.
fn next_change(fleet: &Fleet) -> Option<Duration> {
    let now = clock::millis();
    let state = fleet.store.state();
    let networks = state.regions.values().map(|region| &region.networks);
    let next = networks.filter_map(|networks| networks.next_change(now));
    next.min().map(|wait| Duration::from_millis(wait + 1))
}

async fn enforce_groups(fleet: &Fleet) {
    let shared = fleet.store.facts.subnet;
    let ports = ports(&fleet.store.state(), shared, clock::millis());
    if let Err(e) = fleet.runtime.set_firewall(ports).await {
        log::error!("cannot enforce the security groups: {e}");
    }
}
