//! Applies changes of volumes to the machines behind the instances.

use std::io;
use std::sync::Arc;

use super::boot::data_volumes;
use super::machines::Machines;
use super::state::{Phase, Region, Saving};

impl Machines {
    /// Attaches a volume. An instance that is not up gets it at its next boot.
    pub(super) fn attach(&self, region: &str, instance: &str, volume: &str) {
        let Some(machine) = self.machine(instance) else {
            return;
        };
        let wanted = {
            let state = self.0.store.state();
            let region = state.regions.get(region);
            let found = region.and_then(|region| Some((region, region.instances.get(instance)?)));
            let all = found.map(|(region, instance)| data_volumes(region, instance));
            all.into_iter().flatten().find(|one| one.id == volume)
        };
        let attached = wanted.map(|wanted| machine.attach(&wanted));
        if let Some(Err(error)) = attached {
            log::error!("cannot attach {volume} to {instance}: {error}");
            self.0.detached(region, volume);
        }
    }

    /// Detaches a volume. One that the machine has mounted is detached later.
    pub(super) fn detach(&self, region: &str, instance: &str, volume: &str, force: bool) {
        let Some(machine) = self.machine(instance) else {
            // The task of a booting instance detaches it.
            if self.phase(region, instance) != Some(Phase::Pending) {
                self.0.detached(region, volume);
            }
            return;
        };
        match machine.detach(volume, force) {
            Ok(true) => self.0.detached(region, volume),
            Ok(false) => log::debug!("{volume} is detached when {instance} has unmounted it"),
            Err(error) => log::error!("cannot detach {volume} from {instance}: {error}"),
        }
    }

    fn phase(&self, region: &str, instance: &str) -> Option<Phase> {
        let state = self.0.store.state();
        let instance = state.regions.get(region)?.instances.get(instance)?;
        Some(instance.phase)
    }

    /// Fills a new volume with the data of a snapshot, in the background.
    pub(super) fn fill(&self, region: &str, volume: String, snapshot: String) {
        let (fleet, region) = (Arc::clone(&self.0), region.to_owned());
        self.0.tracker.spawn_blocking(move || {
            let filled = fleet.runtime.volumes().fill(&volume, &snapshot);
            let filling = outcome(&volume, &filled);
            fleet.store.change(|state| {
                let region = state.regions.get_mut(&region);
                if let Some(own) = region.and_then(|region| region.volumes.get_mut(&volume)) {
                    own.filling = filling;
                }
            });
        });
    }

    /// Copies the data of a volume to a snapshot, in the background.
    pub(super) fn save_volume(&self, region: &str, volume: String, snapshot: String) {
        let (fleet, region) = (Arc::clone(&self.0), region.to_owned());
        self.0.tracker.spawn(async move {
            let is_attached = |region: &Region| region.volumes.get(&volume)?.instance.clone();
            let is_attached = {
                let state = fleet.store.state();
                state.regions.get(&region).and_then(is_attached).is_some()
            };
            let (store, from, to) = (Arc::clone(&fleet), volume.clone(), snapshot.clone());
            let save = move || store.runtime.volumes().save(&from, &to, is_attached);
            let saved = tokio::task::spawn_blocking(save).await;
            let saving = outcome(&volume, &saved.map_err(io::Error::other).flatten());
            let mut wanted = false;
            fleet.store.change(|state| {
                let region = state.regions.get_mut(&region);
                if let Some(own) = region.and_then(|region| region.snapshots.get_mut(&snapshot)) {
                    own.saving = saving;
                    wanted = true;
                }
            });
            // It was deleted meanwhile, or there is nothing in it.
            if !wanted || saving == Saving::Failed {
                fleet.remove_snapshot(&snapshot).await;
            }
        });
    }
}

/// Returns how a copy of the data of a volume has ended.
fn outcome(volume: &str, copied: &io::Result<()>) -> Saving {
    match copied {
        Ok(()) => Saving::Done,
        Err(error) => {
            log::error!("cannot copy the data of {volume}: {error}");
            Saving::Failed
        }
    }
}
