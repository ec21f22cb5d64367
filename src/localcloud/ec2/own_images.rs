//! Images of the account itself, which `CreateImage` makes of an instance.

use super::block_devices::{Mapping, mappings};
use super::call::{Call, Effect};
use super::ids::new_id;
use super::images::{self, Image};
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::state::{Attachment, Instance, OwnImage, Phase, Saving, Snapshot, Volume};
use super::tags;
use super::volume_spec::Spec;
use super::xml::Xml;

/// The kinds of resources that `CreateImage` creates.
const KINDS: [&str; 2] = ["image", "snapshot"];

pub(super) fn create_image(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let instance = request.required("InstanceId")?;
    let instance = call.instances(&[instance])?.swap_remove(0);
    let name = name(call, request)?;
    let description = request.text("Description").unwrap_or_default().to_owned();
    if description.chars().count() > 255 {
        return Err(Refusal::value(
            "description",
            &description,
            "It has more than 255 characters.",
        ));
    }
    let reboots = !request.flag("NoReboot")?.unwrap_or(false);
    let image_tags = tags::specified(request, &KINDS, "image")?;
    let snapshot_tags = tags::specified(request, &KINDS, "snapshot")?;
    check_choices(request)?;
    let origin = origin(call, &instance);
    let root = root(call, &instance)?;
    let mut image = OwnImage {
        id: new_id("ami"),
        name,
        description,
        origin,
        instance: instance.id.clone(),
        source: instance.image.clone(),
        architecture: instance.architecture.clone(),
        snapshot: new_id("snap"),
        size: root.spec.size,
        kind: root.spec.kind.clone(),
        encrypted: root.spec.kms_key.is_some(),
        others: others(call, &instance),
        created: call.now,
        saving: Saving::Pending,
        tags: image_tags,
    };
    let catalogue = images::images(call.region_name, &call.facts.system);
    let described = Image::of_own(image.clone(), &call.facts.account, &catalogue);
    let mut mappings = mappings(call, request, &described)?.into_iter();
    if let Some(root) = mappings.next() {
        image.size = root.spec.size;
        image.kind = root.spec.kind;
    }
    image.others = mappings.collect();
    call.read_all()?;
    if !matches!(
        instance.phase,
        Phase::Running | Phase::Stopping | Phase::Stopped
    ) {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!(
                "Invalid value '{}' for instanceId. Instance is not in state 'running' or \
                 'stopping' or 'stopped'",
                instance.id
            ),
        ));
    }
    let snapshot = Snapshot {
        id: image.snapshot.clone(),
        volume: root.id,
        size: root.spec.size,
        description: format!("Created by CreateImage({}) for {}", instance.id, image.id),
        encrypted: root.spec.kms_key.is_some(),
        started: call.now,
        saving: Saving::Pending,
        tags: snapshot_tags,
    };
    call.effects.push(Effect::Save {
        instance: instance.id,
        image: image.id.clone(),
        snapshot: snapshot.id.clone(),
        reboots: reboots && instance.phase == Phase::Running,
    });
    let mut xml = Xml::default();
    xml.text("imageId", &image.id);
    let region = call.region();
    region.snapshots.insert(snapshot.id.clone(), snapshot);
    region.images.insert(image.id.clone(), image);
    Ok(xml)
}

/// Returns the name, which no other image of the account has.
fn name(call: &mut Call<'_>, request: &Part<'_>) -> Result<String> {
    let name = request.required("Name")?;
    let valid = |c: char| c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c);
    if !(3..=128).contains(&name.len()) || !name.chars().all(valid) {
        return Err(Refusal::new(
            "InvalidAMIName.Malformed",
            "AMI names must be between 3 and 128 characters long, and may contain letters, \
             numbers, '(', ')', '.', '-', '/' and '_'",
        ));
    }
    let other = call.region().images.find(name).next();
    if let Some(other) = other {
        return Err(Refusal::new(
            "InvalidAMIName.Duplicate",
            format!("AMI name {name} is already in use by AMI {}", other.id),
        ));
    }
    Ok(name.to_owned())
}

/// Refuses where AWS could store snapshots and how instances could boot, if the
/// local cloud cannot do it.
fn check_choices(request: &Part<'_>) -> Result<()> {
    for (parameter, only) in [
        ("SnapshotLocation", "regional"),
        ("BootModeOverride", "uefi-preferred"),
    ] {
        if let Some(given) = request.text(parameter)
            && given != only
        {
            let why = format!("The local cloud has {only} only.");
            return Err(Refusal::value(parameter, given, &why));
        }
    }
    Ok(())
}

/// Returns the root volume of an instance.
fn root(call: &mut Call<'_>, instance: &Instance) -> Result<Volume> {
    let mut attached = instance.attachments.iter();
    let root = attached.find(|attached| attached.device == instance.root_device);
    let volume = root.and_then(|root| call.region().volumes.get(&root.volume).cloned());
    volume.ok_or_else(|| {
        Refusal::new(
            "InvalidParameterValue",
            format!(
                "The instance '{}' does not have a volume attached at root ({})",
                instance.id, instance.root_device
            ),
        )
    })
}

/// Returns the other volumes of an instance. They have no disks, so those of
/// instances of the image are empty too.
fn others(call: &mut Call<'_>, instance: &Instance) -> Vec<Mapping> {
    let attached = instance.attachments.iter();
    let others = attached.filter(|attached| attached.device != instance.root_device);
    let mapping = |attached: &Attachment| {
        let volume = call.region().volumes.get(&attached.volume)?;
        Some(Mapping {
            device: attached.device.clone(),
            spec: Spec {
                snapshot: None,
                ..volume.spec.clone()
            },
            delete_on_termination: attached.delete_on_termination,
        })
    };
    others.filter_map(mapping).collect()
}

/// Returns the image of the catalogue from which the instance descends.
fn origin(call: &mut Call<'_>, instance: &Instance) -> String {
    let own = call.region().images.get(&instance.image);
    own.map_or_else(|| instance.image.clone(), |own| own.origin.clone())
}

/// Returns the images of the account in a region.
pub(super) fn own_images(call: &mut Call<'_>) -> Vec<Image> {
    let owner = call.facts.account.clone();
    let catalogue = images::images(call.region_name, &call.facts.system);
    let own: Vec<OwnImage> = call.region().images.values().cloned().collect();
    let image = |own: OwnImage| Image::of_own(own, &owner, &catalogue);
    own.into_iter().map(image).collect()
}

pub(super) fn deregister_image(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let id = request.required("ImageId")?;
    let deletes = request.flag("DeleteAssociatedSnapshots")?.unwrap_or(false);
    call.read_all()?;
    let image = images::resolve_image(call, id)?;
    let now = call.now;
    let Some(own) = call.region().images.remove(&image.id) else {
        return Err(
            Refusal::new("AuthFailure", format!("Not authorized for image:{id}")).status(401),
        );
    };
    call.region().deregistered.insert(own.id, now);
    let mut xml = Xml::done();
    if deletes {
        call.region().snapshots.remove(&own.snapshot);
        call.effects
            .push(Effect::RemoveSnapshot(own.snapshot.clone()));
        xml.list("deleteSnapshotResultSet", [own.snapshot], |xml, id| {
            xml.text("snapshotId", id);
            xml.text("returnCode", "success");
        });
    }
    Ok(xml)
}

/// Refuses an image that `RunInstances` cannot use yet.
pub(super) fn check_available(image: &Image) -> Result<()> {
    match image.saving() {
        Saving::Done => Ok(()),
        Saving::Pending | Saving::Failed => Err(Refusal::new(
            "InvalidAMIID.Unavailable",
            format!("The image ID '{}' is not available", image.id),
        )),
    }
}
