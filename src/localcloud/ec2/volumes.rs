//! Volumes: create, delete, attach, detach and modify.

use super::block_devices::{MAX_VOLUMES, check_device};
use super::call::{Call, Effect};
use super::ids::{VOLUME, new_id};
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::regions::zone_named;
use super::state::{Attachment, Instance, Phase, Saving, Volume};
use super::tags;
use super::volume_answer::{write_attachment, write_modification, write_volume};
use super::volume_spec::{Spec, snapshot_size};
use super::xml::Xml;

/// The default quota of storage for each volume type, in TiB.
const QUOTA: u64 = 50;

/// Returns the volume with this id.
pub(super) fn find(call: &mut Call<'_>, id: &str) -> Result<Volume> {
    VOLUME.check(id)?;
    let found = call.region().volumes.get(id).cloned();
    found.ok_or_else(|| VOLUME.not_found(&[id]))
}

/// Refuses volumes that would exceed the account's quota.
pub(super) fn check_quota<'a>(
    call: &mut Call<'_>,
    new: impl IntoIterator<Item = &'a Spec>,
) -> Result<()> {
    for spec in new {
        let volumes = call.region().volumes.values();
        let used: u64 = volumes
            .filter(|volume| volume.spec.kind == spec.kind)
            .map(|volume| u64::from(volume.spec.size))
            .sum();
        if used + u64::from(spec.size) > QUOTA * 1024 {
            return Err(Refusal::new(
                "VolumeLimitExceeded",
                format!(
                    "You have exceeded the maximum {} storage limit of {QUOTA} TiB in this \
                     region. Please contact AWS Support to request an Elastic Block Store \
                     service limit increase.",
                    spec.kind
                ),
            ));
        }
    }
    Ok(())
}

pub(super) fn create_volume(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let token = request.text("ClientToken").map(str::to_owned);
    let same = call.params.canonical_without("ClientToken");
    let volumes = &call.region().volumes;
    let before = token.as_ref().and_then(|token| volumes.find(token).next());
    if let Some(volume) = before.cloned() {
        if volume
            .token
            .as_ref()
            .is_some_and(|(_, request)| *request == same)
        {
            return Ok(created(&volume));
        }
        return Err(Refusal::new(
            "IdempotentParameterMismatch",
            "The parameters of this request do not match those of the first request with this \
             client token",
        ));
    }
    let mut volume = Volume {
        id: new_id("vol"),
        zone: zone_of(call, request)?,
        spec: new_spec(call, request)?,
        tags: tags::specified(request, &["volume"], "volume")?,
        created: call.now,
        instance: None,
        token: token.map(|token| (token, same)),
        modified: None,
        auto_enable_io: false,
        filling: Saving::Done,
    };
    call.read_all()?;
    check_quota(call, [&volume.spec])?;
    fill(call, &mut volume);
    call.region()
        .volumes
        .insert(volume.id.clone(), volume.clone());
    Ok(created(&volume))
}

/// Lets a new volume be filled with the data of its snapshot, if that has some.
pub(super) fn fill(call: &mut Call<'_>, volume: &mut Volume) {
    let snapshot = volume.spec.snapshot.clone();
    let snapshot = snapshot.and_then(|id| call.region().snapshots.get(&id).cloned());
    if let Some(data) = snapshot.and_then(|own| own.data)
        && call.consoles.is_some()
    {
        volume.filling = Saving::Pending;
        call.effects.push(Effect::Fill {
            volume: volume.id.clone(),
            snapshot: data,
        });
    }
}

/// Writes a new volume. As on AWS, the answer is the only one that shows it being
/// created, and that has an empty list of tags.
fn created(volume: &Volume) -> Xml {
    let mut xml = Xml::default();
    write_volume(&mut xml, volume, "creating");
    tags::write_list(&mut xml, &volume.tags);
    xml
}

fn zone_of(call: &Call<'_>, request: &Part<'_>) -> Result<String> {
    let (name, id) = (
        request.text("AvailabilityZone"),
        request.text("AvailabilityZoneId"),
    );
    match (name, id) {
        (Some(given), None) | (None, Some(given)) => zone_named(call, given),
        (Some(_), Some(_)) => Err(Refusal::new(
            "InvalidParameterCombination",
            "Either AvailabilityZone or AvailabilityZoneId must be specified, but not both",
        )),
        (None, None) => Err(Refusal::new(
            "MissingParameter",
            "The request must contain the parameter availabilityZone",
        )),
    }
}

fn new_spec(call: &Call<'_>, request: &Part<'_>) -> Result<Spec> {
    request.unsupported(&["OutpostArn", "VolumeInitializationRate", "Operator"])?;
    let snapshot = request.text("SnapshotId").map(str::to_owned);
    let smallest = snapshot
        .as_ref()
        .map(|id| snapshot_size(call, id))
        .transpose()?;
    let Some(size) = request.number("Size")?.or(smallest) else {
        return Err(Refusal::new(
            "MissingParameter",
            "The request must contain the parameter size/snapshot",
        ));
    };
    if smallest.is_some_and(|smallest| size < smallest) {
        return Err(Refusal::value(
            "size",
            &size.to_string(),
            "The volume cannot be smaller than the snapshot.",
        ));
    }
    Spec::read(call, request, size, "gp2", snapshot)
}

pub(super) fn delete_volume(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let volume = find(call, request.required("VolumeId")?)?;
    call.read_all()?;
    if let Some(instance) = &volume.instance {
        return Err(Refusal::new(
            "VolumeInUse",
            format!("Volume {} is currently attached to {instance}", volume.id),
        ));
    }
    call.region().volumes.remove(&volume.id);
    call.effects.push(Effect::ForgetVolumes);
    Ok(Xml::done())
}

fn incorrect_state(text: String) -> Refusal {
    Refusal::new("IncorrectState", text)
}

pub(super) fn attach_volume(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let device = request.required("Device")?;
    let instance = request.required("InstanceId")?;
    let instance = call.instances(&[instance])?.swap_remove(0);
    let volume = find(call, request.required("VolumeId")?)?;
    request.unsupported(&["EbsCardIndex"])?;
    call.read_all()?;
    check_device(device)?;
    check_attachable(&instance, &volume, device)?;
    let attachment = Attachment {
        volume: volume.id.clone(),
        device: device.to_owned(),
        delete_on_termination: false,
        since: call.now,
        detaching: false,
    };
    if has_machine(call, &instance) {
        call.effects.push(Effect::Attach {
            instance: instance.id.clone(),
            volume: volume.id.clone(),
        });
    }
    let region = call.region();
    if let Some(instance) = region.instances.get_mut(&instance.id) {
        instance.attachments.push(attachment.clone());
    }
    if let Some(volume) = region.volumes.get_mut(&volume.id) {
        volume.instance = Some(instance.id.clone());
    }
    let mut xml = Xml::default();
    write_attachment(&mut xml, &instance.id, &attachment, "attaching");
    Ok(xml)
}

/// Whether an instance has a machine that runs or boots.
fn has_machine(call: &Call<'_>, instance: &Instance) -> bool {
    call.consoles.is_some() && !instance.is_record && instance.phase.is_up()
}

fn check_attachable(instance: &Instance, volume: &Volume, device: &str) -> Result<()> {
    let id = &instance.id;
    if volume.instance.is_some() {
        return Err(Refusal::new(
            "VolumeInUse",
            format!("{} is already attached to an instance", volume.id),
        ));
    }
    if volume.filling != Saving::Done {
        return Err(incorrect_state(format!(
            "Volume '{}' is not in the 'available' state.",
            volume.id
        )));
    }
    if volume.zone != instance.zone {
        return Err(Refusal::new(
            "InvalidVolume.ZoneMismatch",
            format!(
                "The volume '{}' is not in the same availability zone as instance '{id}'",
                volume.id
            ),
        ));
    }
    if instance.attachments.iter().any(|a| a.device == device) {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!(
                "Invalid value '{device}' for unixDevice. Attachment point {device} is already \
                 in use"
            ),
        ));
    }
    if instance.attachments.len() >= MAX_VOLUMES {
        return Err(Refusal::new(
            "AttachmentLimitExceeded",
            format!("The instance '{id}' has {MAX_VOLUMES} volumes, which is the limit"),
        ));
    }
    match instance.phase {
        Phase::Running | Phase::Stopping | Phase::Stopped => Ok(()),
        _ => Err(incorrect_state(format!(
            "Instance '{id}' is not 'running'."
        ))),
    }
}

pub(super) fn detach_volume(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let volume = find(call, request.required("VolumeId")?)?;
    let (given, device) = (request.text("InstanceId"), request.text("Device"));
    let force = request.flag("Force")?.unwrap_or(false);
    if let Some(id) = given {
        call.instances(&[id])?;
    }
    call.read_all()?;
    let Some(id) = volume.instance else {
        return Err(incorrect_state(format!(
            "Volume '{}' is in the 'available' state.",
            volume.id
        )));
    };
    let not_attached = |text: String| Refusal::new("InvalidAttachment.NotFound", text);
    if let Some(given) = given.filter(|given| *given != id) {
        return Err(not_attached(format!(
            "The volume '{}' is not attached to instance '{given}'.",
            volume.id
        )));
    }
    let region = call.region();
    let instance = region.instances.get_mut(&id);
    let place = instance.as_ref().and_then(|instance| {
        let mut all = instance.attachments.iter();
        all.position(|attachment| attachment.volume == volume.id)
    });
    let (Some(instance), Some(place)) = (instance, place) else {
        return Err(not_attached(format!(
            "The volume '{}' is not attached to instance '{id}'.",
            volume.id
        )));
    };
    if let Some(device) = device.filter(|device| *device != instance.attachments[place].device) {
        return Err(not_attached(format!(
            "The volume '{}' is not attached to instance '{id}' as device '{device}'.",
            volume.id
        )));
    }
    // The root volume is the disk of the machine.
    if instance.attachments[place].device == instance.root_device {
        return Err(Refusal::new(
            "OperationNotPermitted",
            format!(
                "Unable to detach root volume '{}' from instance '{id}'",
                volume.id
            ),
        ));
    }
    // The machine may have the volume mounted.
    instance.attachments[place].detaching = true;
    let (instance, attachment) = (instance.clone(), instance.attachments[place].clone());
    if has_machine(call, &instance) {
        call.effects.push(Effect::Detach {
            instance: id.clone(),
            volume: volume.id,
            force,
        });
    } else {
        call.region().detach(&volume.id);
    }
    let mut xml = Xml::default();
    write_attachment(&mut xml, &id, &attachment, "detaching");
    Ok(xml)
}

pub(super) fn modify_volume(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let mut volume = find(call, request.required("VolumeId")?)?;
    let changed = volume.spec.modified(request)?;
    call.read_all()?;
    let before = std::mem::replace(&mut volume.spec, changed);
    volume.modified = Some((before, call.now));
    let mut xml = Xml::default();
    xml.node("volumeModification", |xml| {
        write_modification(xml, &volume, "modifying");
    });
    call.region().volumes.insert(volume.id.clone(), volume);
    Ok(xml)
}
