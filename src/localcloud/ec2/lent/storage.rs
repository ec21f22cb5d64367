//! Volumes and snapshots that the account lends. They have no disk.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::super::state::{Attachment, Millis, Region, Saving, Snapshot, Tags, Volume};
use super::super::volume_spec::Spec;
use super::{long_ago, millis};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LentVolume {
    id: String,
    /// In GiB.
    size: u32,
    #[serde(rename = "type")]
    kind: String,
    iops: Option<u32>,
    throughput: Option<u32>,
    /// The ARN of the key of an encrypted volume.
    kms_key: Option<String>,
    snapshot: Option<String>,
    /// Without it, the first zone of the region.
    zone: Option<String>,
    /// The instance that has it, and the device name there.
    instance: Option<String>,
    device: Option<String>,
    #[serde(default)]
    delete_on_termination: bool,
    created: Option<String>,
    #[serde(default)]
    tags: Tags,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LentSnapshot {
    id: String,
    /// The volume of which it is a copy.
    #[serde(default)]
    volume: String,
    /// In GiB.
    size: u32,
    #[serde(default)]
    description: String,
    /// The ARN of the key of an encrypted snapshot.
    kms_key: Option<String>,
    started: Option<String>,
    #[serde(default)]
    tags: Tags,
}

/// Adds a volume. It is attached if its instance is lent too.
pub(super) fn add_volume(region: &mut Region, lent: LentVolume, name: &str, now: Millis) {
    if region.volumes.contains_key(&lent.id) {
        return;
    }
    let holder = lent.instance.as_deref();
    let mut instance = holder.and_then(|id| region.instances.get_mut(id));
    if let Some(instance) = &mut instance {
        instance.attachments.push(Attachment {
            volume: lent.id.clone(),
            device: lent.device.unwrap_or_default(),
            delete_on_termination: lent.delete_on_termination,
            since: long_ago(now),
            detaching: false,
        });
    }
    let volume = Volume {
        id: lent.id,
        spec: Spec {
            size: lent.size,
            kind: lent.kind,
            iops: lent.iops,
            throughput: lent.throughput,
            multi_attach: false,
            kms_key: lent.kms_key,
            snapshot: lent.snapshot,
        },
        zone: lent.zone.unwrap_or_else(|| format!("{name}a")),
        tags: lent.tags,
        created: millis(lent.created).unwrap_or_else(|| long_ago(now)),
        instance: instance.map(|instance| instance.id.clone()),
        token: None,
        modified: None,
        auto_enable_io: false,
        filling: Saving::Done,
    };
    region.volumes.insert(volume.id.clone(), volume);
}

/// Adds a snapshot. One that is not complete yet will be, so it is complete here.
pub(super) fn add_snapshot(region: &mut Region, lent: LentSnapshot, now: Millis) {
    if region.snapshots.contains_key(&lent.id) {
        return;
    }
    let snapshot = Snapshot {
        id: lent.id,
        volume: lent.volume,
        size: lent.size,
        description: lent.description,
        kms_key: lent.kms_key,
        started: millis(lent.started).unwrap_or_else(|| long_ago(now)),
        saving: Saving::Done,
        disk: None,
        data: None,
        origin: None,
        permissions: BTreeSet::new(),
        tags: lent.tags,
    };
    region.snapshots.insert(snapshot.id.clone(), snapshot);
}
