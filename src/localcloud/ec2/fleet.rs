//! The state that the tasks of all instances share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};
use tokio_util::task::TaskTracker;

use super::store::Store;
use crate::faults::Fault;
use crate::machine::Runtime;
use crate::proxy::Proxy;

/// A command to an instance's task.
pub(super) enum Command {
    Boot(Option<Fault>),
    Stop {
        force: bool,
    },
    Reboot,
    /// Copy the disk to a snapshot.
    Save {
        snapshot: String,
        reboots: bool,
    },
    Terminate,
    /// EC2 needs the capacity of a spot instance.
    Interrupt,
    /// The daemon ends. The task stops the machine and leaves the instance's
    /// record unchanged.
    Leave {
        /// Whether the machine is not shut down in order.
        force: bool,
    },
}

/// The resources that all machines share.
pub(super) struct Fleet {
    pub(super) runtime: Runtime,
    pub(super) proxy: Proxy,
    pub(super) store: Arc<Store>,
    /// The command channel of each instance's task, by instance id.
    tasks: Mutex<HashMap<String, mpsc::UnboundedSender<Command>>>,
    pub(super) tracker: TaskTracker,
    pub(super) groups_changed: Notify,
}

impl Fleet {
    pub(super) fn new(runtime: Runtime, proxy: Proxy, store: Arc<Store>) -> Self {
        Self {
            runtime,
            proxy,
            store,
            tasks: Mutex::default(),
            tracker: TaskTracker::new(),
            groups_changed: Notify::new(),
        }
    }

    pub(super) fn tasks(&self) -> MutexGuard<'_, HashMap<String, mpsc::UnboundedSender<Command>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn remove_disk(&self, id: &str) {
        if let Err(e) = self.runtime.remove_disk(id).await {
            log::warn!("cannot remove the disk of {id}: {e}");
        }
    }

    /// Records that a volume is detached.
    pub(super) fn detached(&self, region: &str, volume: &str) {
        self.store.change(|state| {
            if let Some(region) = state.regions.get_mut(region) {
                region.detach(volume);
            }
        });
    }

    /// Removes the files of the volumes that no longer exist.
    pub(super) async fn forget_volumes(self: &Arc<Self>) {
        let fleet = Arc::clone(self);
        let forget = move || {
            let known = {
                let state = fleet.store.state();
                let all = state.regions.values().flat_map(|r| r.volumes.keys());
                all.cloned().collect::<Vec<_>>()
            };
            fleet.runtime.volumes().keep(&known)
        };
        match tokio::task::spawn_blocking(forget).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => log::warn!("cannot remove a deleted volume: {e}"),
            Err(e) => log::warn!("cannot remove deleted volumes: {e}"),
        }
    }

    pub(super) async fn remove_snapshot(&self, id: &str) {
        if let Err(e) = self.runtime.remove_snapshot(id).await {
            log::warn!("cannot remove the snapshot {id}: {e}");
        }
    }
}
