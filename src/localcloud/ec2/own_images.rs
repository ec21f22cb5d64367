//! Images of the account itself: `CreateImage` makes one of an instance.

use std::collections::BTreeSet;

use super::block_devices::{Mapping, mappings};
use super::call::{Call, Effect};
use super::ids::new_id;
use super::images::{self, Image};
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::snapshots::{description, remove, save_data};
use super::state::{Attachment, Instance, OwnImage, Phase, Protection, Saving, Snapshot, Volume};
use super::tags;
use super::volume_spec::Spec;
use super::xml::Xml;

/// The kinds of resources that `CreateImage` creates.
const KINDS: [&str; 2] = ["image", "snapshot"];

pub(super) fn create_image(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let instance = request.required("InstanceId")?;
    let instance = call.instances(&[instance])?.swap_remove(0);
    let name = name(call, request)?;
    let description = description(request)?.to_owned();
    let reboots = !request.flag("NoReboot")?.unwrap_or(false);
    let image_tags = tags::specified(request, &KINDS, "image")?;
    let snapshot_tags = tags::specified(request, &KINDS, "snapshot")?;
    check_choices(request)?;
    let origin = origin(call, &instance);
    let root = root(call, &instance)?;
    let others = others(call, &instance);
    let mut image = OwnImage {
        id: new_id("ami"),
        name,
        description,
        origin,
        instance: Some(instance.id.clone()),
        source: Some(instance.image.clone()),
        source_region: Some(call.region_name.to_owned()),
        registered: None,
        architecture: instance.architecture.clone(),
        snapshot: new_id("snap"),
        size: root.spec.size,
        kind: root.spec.kind.clone(),
        encrypted: root.spec.kms_key.is_some(),
        others: others.iter().map(|(mapping, _)| mapping.clone()).collect(),
        created: call.now,
        saving: Saving::Pending,
        tags: image_tags,
        tokens_required: false,
        permissions: BTreeSet::new(),
        deprecated: None,
        disabled: false,
        protection: Protection::Disabled,
        token: None,
    };
    if let Ok(of_instance) = images::resolve_image(call, &instance.image) {
        image.registered = of_instance.registered().cloned();
        image.tokens_required = of_instance.imds().is_some();
    }
    let catalogue = images::images(call.region_name, &call.facts.system);
    let described = Image::of_own(image.clone(), &call.facts.account, &catalogue);
    let mut mappings = mappings(call, request, &described)?.into_iter();
    if let Some(root) = mappings.next() {
        image.size = root.spec.size;
        image.kind = root.spec.kind;
    }
    image.others = mappings.collect();
    call.read_all()?;
    check_phase(&instance)?;
    let snapshot = Snapshot {
        id: image.snapshot.clone(),
        volume: root.id,
        size: root.spec.size,
        description: format!("Created by CreateImage({}) for {}", instance.id, image.id),
        kms_key: root.spec.kms_key.clone(),
        started: call.now,
        saving: Saving::Pending,
        disk: Some(image.snapshot.clone()),
        data: None,
        origin: Some(image.origin.clone()),
        permissions: BTreeSet::new(),
        tags: snapshot_tags,
    };
    for (other, volume) in others_of(&image, &others) {
        let mut snapshot = Snapshot {
            id: other.to_owned(),
            volume: volume.id.clone(),
            size: volume.spec.size,
            kms_key: volume.spec.kms_key.clone(),
            disk: None,
            origin: None,
            ..snapshot.clone()
        };
        save_data(call, volume, &mut snapshot);
        call.region()
            .snapshots
            .insert(snapshot.id.clone(), snapshot);
    }
    call.effects.push(Effect::Save {
        instance: instance.id,
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

/// Refuses an instance whose disk cannot be copied now.
fn check_phase(instance: &Instance) -> Result<()> {
    let can_be_copied = [Phase::Running, Phase::Stopping, Phase::Stopped];
    if can_be_copied.contains(&instance.phase) {
        return Ok(());
    }
    Err(Refusal::new(
        "InvalidParameterValue",
        format!(
            "Invalid value '{}' for instanceId. Instance is not in state 'running' or \
             'stopping' or 'stopped'",
            instance.id
        ),
    ))
}

/// Returns the name, which no other image of the account has.
pub(super) fn name(call: &mut Call<'_>, request: &Part<'_>) -> Result<String> {
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

/// Returns the other volumes of an instance, each with the mapping that the image
/// has for it and the id of a new snapshot.
fn others(call: &mut Call<'_>, instance: &Instance) -> Vec<(Mapping, Volume)> {
    let attached = instance.attachments.iter();
    let others = attached.filter(|attached| attached.device != instance.root_device);
    let mapping = |attached: &Attachment| {
        let volume = call.region().volumes.get(&attached.volume)?;
        let mapping = Mapping {
            device: attached.device.clone(),
            spec: Spec {
                snapshot: Some(new_id("snap")),
                ..volume.spec.clone()
            },
            delete_on_termination: attached.delete_on_termination,
        };
        Some((mapping, volume.clone()))
    };
    others.filter_map(mapping).collect()
}

/// Returns the snapshots that the image really has of these volumes: the mappings of
/// the request may leave some out.
fn others_of<'a>(
    image: &'a OwnImage,
    others: &'a [(Mapping, Volume)],
) -> impl Iterator<Item = (&'a str, &'a Volume)> {
    let ids = others
        .iter()
        .filter_map(|(mapping, volume)| Some((mapping.spec.snapshot.as_deref()?, volume)));
    ids.filter(|(id, _)| image.uses(id))
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
    if own.protection != Protection::Disabled {
        return Err(Refusal::new(
            "OperationNotPermitted",
            format!("The image '{id}' is protected from deregistration"),
        ));
    }
    call.region().deregistered.insert(own.id.clone(), now);
    let mut xml = Xml::done();
    if deletes {
        xml.list("deleteSnapshotResultSet", own.snapshots(), |xml, id| {
            let used = call.region().images.find(id).next().is_some();
            if !used {
                remove(call, id);
            }
            xml.text("snapshotId", id);
            xml.text("returnCode", if used { "skipped" } else { "success" });
        });
    }
    Ok(xml)
}

/// Refuses an image that `RunInstances` cannot use yet.
pub(super) fn check_available(image: &Image) -> Result<()> {
    match image.saving() {
        Saving::Done if !image.is_disabled() => Ok(()),
        _ => Err(Refusal::new(
            "InvalidAMIID.Unavailable",
            format!("The image ID '{}' is not available", image.id),
        )),
    }
}
