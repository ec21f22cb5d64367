//! Instances without machines: in a rehearsal on a host that cannot boot them,
//! they exist as records, which change as if a machine had obeyed.

use super::call::Effect;
use super::state::{Phase, Region, Saving};
use super::store::Store;
use crate::clock;

/// Records that the effects of a change have happened.
pub(super) fn follow(store: &Store, region: &str, effects: Vec<Effect>) {
    if effects.iter().all(|effect| *effect == Effect::Groups) {
        return;
    }
    store.change(|state| {
        let Some(region) = state.regions.get_mut(region) else {
            return;
        };
        for effect in effects {
            apply(region, effect);
        }
    });
}

fn apply(region: &mut Region, effect: Effect) {
    let now = clock::millis();
    match effect {
        Effect::Boot(id) | Effect::Reboot(id) => {
            region.set_phase(&id, Phase::Running, None, now);
        }
        Effect::Stop { id, .. } => settle(region, &id, Phase::Stopped),
        Effect::Terminate(id) => settle(region, &id, Phase::Terminated),
        Effect::Save { snapshot, .. } => {
            let images = region.images.find(&snapshot);
            let images: Vec<String> = images.map(|image| image.id.clone()).collect();
            for id in images {
                if let Some(image) = region.images.get_mut(&id) {
                    image.saving = Saving::Done;
                }
            }
            if let Some(own) = region.snapshots.get_mut(&snapshot) {
                own.saving = Saving::Done;
            }
        }
        Effect::RemoveSnapshot(_) | Effect::Groups => {}
    }
}

/// Ends an instance for the reason that the request has recorded.
fn settle(region: &mut Region, id: &str, phase: Phase) {
    let reason = region.instances.get(id).and_then(|i| i.reason.clone());
    let reason = reason.as_ref().map(|(code, message)| (&**code, &**message));
    region.set_phase(id, phase, reason, clock::millis());
}
