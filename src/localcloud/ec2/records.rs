//! Instances without machines. They exist as records, which change as if a machine
//! had obeyed: in a rehearsal, those of the user's account, and all instances on a
//! host that cannot boot them.

use std::net::Ipv4Addr;

use super::call::Effect;
use super::ids::new_id;
use super::options::Options;
use super::state::{
    Association, Instance, MetadataOptions, OnShutdown, Phase, Region, Saving, Tags,
};
use super::store::Store;
use crate::clock;

impl Instance {
    /// Returns an instance that exists as a record only.
    pub(super) fn record(id: String, instance_type: String, image: String) -> Self {
        Self {
            id,
            reservation: new_id("r"),
            launch_index: 0,
            phase: Phase::Running,
            since: 0,
            reason: None,
            transition: String::new(),
            instance_type,
            image,
            snapshot: None,
            user: None,
            architecture: String::new(),
            address: Ipv4Addr::UNSPECIFIED,
            public: false,
            elastic_ip: None,
            outside: None,
            vpc: String::new(),
            subnet: String::new(),
            zone: String::new(),
            key_name: None,
            authorized_keys: Vec::new(),
            groups: Vec::new(),
            user_data: None,
            tags: Tags::new(),
            created: 0,
            launched: 0,
            token: None,
            on_shutdown: OnShutdown::Stop,
            protected: false,
            metadata: MetadataOptions {
                tokens_required: true,
                enabled: true,
                tags: false,
                hop_limit: 2,
                ipv6: false,
            },
            options: Options::default(),
            root_device: "/dev/xvda".to_owned(),
            attachments: Vec::new(),
            interface: new_id("eni"),
            iam_profile: None,
            cpu_credits: None,
            spot: None,
            run: None,
            is_record: true,
        }
    }
}

/// Returns a public address outside of the local cloud, for a launched instance that
/// is a record. The block is reserved for documentation, so no host has it.
pub(super) fn address(number: usize) -> Association {
    let last = u8::try_from(number % 254 + 1).unwrap_or(1);
    Association {
        id: new_id("eipassoc"),
        allocation: new_id("eipalloc"),
        address: Ipv4Addr::new(203, 0, 113, last),
    }
}

/// Returns the effects on records, and those on machines.
pub(super) fn split(
    store: &Store,
    region: &str,
    effects: Vec<Effect>,
) -> (Vec<Effect>, Vec<Effect>) {
    let state = store.state();
    let region = state.regions.get(region);
    let is_record = |id: &String| {
        let instance = region.and_then(|region| region.instances.get(id));
        instance.is_some_and(|instance| instance.is_record)
    };
    effects.into_iter().partition(|effect| match effect {
        Effect::Boot(id) | Effect::Reboot(id) | Effect::Terminate(id) | Effect::Stop { id, .. } => {
            is_record(id)
        }
        Effect::Save { instance, .. }
        | Effect::Attach { instance, .. }
        | Effect::Detach { instance, .. } => is_record(instance),
        Effect::RemoveSnapshot(_)
        | Effect::Fill { .. }
        | Effect::SaveVolume { .. }
        | Effect::ForgetVolumes
        | Effect::Groups => false,
    })
}

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
        // Records have no machines, so their volumes have no data.
        Effect::RemoveSnapshot(_)
        | Effect::Attach { .. }
        | Effect::Detach { .. }
        | Effect::Fill { .. }
        | Effect::SaveVolume { .. }
        | Effect::ForgetVolumes
        | Effect::Groups => {}
    }
}

/// Ends an instance for the reason that the request has recorded.
fn settle(region: &mut Region, id: &str, phase: Phase) {
    let reason = region.instances.get(id).and_then(|i| i.reason.clone());
    let reason = reason.as_ref().map(|(code, message)| (&**code, &**message));
    region.set_phase(id, phase, reason, clock::millis());
}
