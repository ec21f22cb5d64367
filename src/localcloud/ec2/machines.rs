//! The machines behind the instances: what EC2 decides happens to them, and
//! what they ask is answered.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::admission::ports;
use super::call::{Consoles, Effect};
use super::fleet::{Command, Fleet};
use super::instance_task::InstanceTask;
use super::metadata::metadata_of;
use super::state::Phase;
use super::store::Store;
use crate::faults::{BOOT, Plans};
use crate::machine::Runtime;
use crate::metadata::{self, Metadata};
use crate::proxy::Proxy;

/// All machines.
#[derive(Clone)]
pub(crate) struct Machines(Arc<Fleet>);

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
    /// Begins to follow what EC2 decides; disks of unknown instances go.
    pub(crate) fn begin(runtime: Runtime, proxy: Proxy, store: Arc<Store>) -> Self {
        let this = Self(Arc::new(Fleet::new(runtime, proxy, store)));
        let asked = this.clone();
        tokio::spawn(async move {
            let listener = asked.0.runtime.listen_for_metadata().await;
            let listener = listener
                .map_err(std::io::Error::other)
                .and_then(TcpListener::from_std);
            let look_up: metadata::LookUp = Arc::new(move |address| asked.metadata(address));
            match listener {
                Ok(listener) => drop(metadata::serve(listener, look_up).await),
                Err(e) => log::error!("there is no metadata service: {e}"),
            }
        });
        let (kept, fleet) = (this.known(), Arc::clone(&this.0));
        tokio::spawn(async move {
            for id in fleet.runtime.disks().unwrap_or_default() {
                if !kept.contains(&id) {
                    fleet.remove_disk(&id).await;
                }
            }
            loop {
                fleet.groups_changed.notified().await;
                enforce_groups(&fleet).await;
            }
        });
        this.0.groups_changed.notify_one();
        this
    }

    /// The ids of all instances that are not terminated.
    fn known(&self) -> Vec<String> {
        let state = self.0.store.state();
        let all = state.regions.values().flat_map(|r| r.instances.values());
        all.filter(|instance| instance.phase != Phase::Terminated)
            .map(|instance| instance.id.clone())
            .collect()
    }

    /// What the instance of an address can learn about itself.
    fn metadata(&self, address: IpAddr) -> Option<Arc<Metadata>> {
        let store = &self.0.store;
        let state = store.state();
        state.regions.iter().find_map(|(region, known)| {
            let mut up = known.instances.values().filter(|i| i.phase.is_up());
            let instance = up.find(|i| IpAddr::V4(i.address) == address)?;
            let metadata = metadata_of(instance, known, region, &store.facts);
            Some(Arc::new(metadata))
        })
    }

    /// Has done what a change demands.
    pub(super) fn follow(
        &self,
        region: &str,
        effects: Vec<Effect>,
        plans: &Plans,
        run: Option<&str>,
    ) {
        for effect in effects {
            match effect {
                // Counted here, in the order of the launches.
                Effect::Boot(id) => self.send(region, id, Command::Boot(plans.hit(run, BOOT))),
                Effect::Stop { id, force } => self.send(region, id, Command::Stop { force }),
                Effect::Reboot(id) => self.send(region, id, Command::Reboot),
                Effect::Terminate(id) => self.send(region, id, Command::Terminate),
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
        // The task ends only after it has left the map.
        drop(sender.send(command));
    }

    /// Ends every machine; disks stay.
    pub(super) async fn shut_down(&self) {
        let all: Vec<_> = self.0.tasks().values().cloned().collect();
        for task in all {
            drop(task.send(Command::Leave));
        }
        self.0.tracker.close();
        self.0.tracker.wait().await;
        self.0.runtime.shutdown().await;
    }
}

async fn enforce_groups(fleet: &Fleet) {
    let ports = ports(&fleet.store.state());
    if let Err(e) = fleet.runtime.set_firewall(ports).await {
        log::error!("cannot enforce the security groups: {e}");
    }
}
