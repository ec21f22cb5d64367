//! Images of the account that are not made of an instance: copies of other images,
//! and images of a snapshot.

use std::collections::BTreeSet;

use super::block_devices::{Mapping, additional, check_device, invalid};
use super::call::Call;
use super::ids::new_id;
use super::images::{self, Image};
use super::own_images::{check_available, name};
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::snapshots::{check_region, copied, description, origin_of};
use super::state::{OwnImage, Protection, Registered, Saving, Snapshot, Tags};
use super::tags;
use super::volume_spec::kms_key;
use super::xml::Xml;

fn answer(id: &str) -> Xml {
    let mut xml = Xml::default();
    xml.text("imageId", id);
    xml
}

/// Returns the image with this id in a region, or in this one.
fn in_region(call: &mut Call<'_>, region: &str, id: &str) -> Result<Image> {
    check_region(region)?;
    let mut there = Call {
        region_name: region,
        state: &mut *call.state,
        params: call.params,
        facts: call.facts,
        account: call.account,
        consoles: None,
        run: call.run,
        now: call.now,
        effects: Vec::new(),
    };
    images::resolve_image(&mut there, id)
}

pub(super) fn copy_image(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let token = request.text("ClientToken").map(str::to_owned);
    let same = call.params.canonical_without("ClientToken");
    let mut known = call.region().images.values();
    let before = known.find_map(|own| {
        own.token
            .clone()
            .filter(|(t, _)| Some(t) == token.as_ref())
            .map(|(_, r)| (own.id.clone(), r))
    });
    if let Some((id, request)) = before {
        if request == same {
            return Ok(answer(&id));
        }
        return Err(Refusal::new(
            "IdempotentParameterMismatch",
            "The parameters of this request do not match those of the first request with this \
             client token",
        ));
    }
    let region = request.required("SourceRegion")?;
    let source_id = request.required("SourceImageId")?;
    let name = name(call, request)?;
    let description = description(request)?.to_owned();
    let source = in_region(call, region, source_id)?;
    check_available(&source)?;
    let kinds = ["image", "snapshot"];
    let mut image_tags = Tags::new();
    if request.flag("CopyImageTags")?.unwrap_or(false) {
        image_tags.extend(
            source
                .of_account()
                .map(|own| own.tags.clone())
                .unwrap_or_default(),
        );
    }
    image_tags.extend(tags::specified(request, &kinds, "image")?);
    let snapshot_tags = tags::specified(request, &kinds, "snapshot")?;
    request.unsupported(&[
        "DestinationOutpostArn",
        "DestinationAvailabilityZone",
        "DestinationAvailabilityZoneId",
        "SnapshotCopyCompletionDurationMinutes",
    ])?;
    let encrypts = request.flag("Encrypted")?.unwrap_or(false);
    // This refuses a key without encryption.
    kms_key(call, request, encrypts)?;
    let key = kms_key(call, request, true)?;
    call.read_all()?;
    let catalogue = images::images(call.region_name, &call.facts.system);
    let origin = origin(&source, region, call, &catalogue);
    let id = new_id("ami");
    let mut copy = Copy {
        key,
        encrypts,
        tags: snapshot_tags,
        image: &id,
        source: &source.id,
        region,
        origin: &origin,
    };
    let root = copy.snapshot(call, &source.snapshot(), source.size());
    let mut others = source.others().to_vec();
    for other in &mut others {
        if let Some(snapshot) = other.spec.snapshot.take() {
            let snapshot = copy.snapshot(call, &snapshot, other.spec.size);
            other.spec.kms_key = snapshot.kms_key.clone().or(other.spec.kms_key.take());
            other.spec.snapshot = Some(snapshot.id);
        }
    }
    let own = OwnImage {
        id: id.clone(),
        name,
        description,
        origin: origin.clone(),
        instance: None,
        source: Some(source.id.clone()),
        source_region: Some(region.to_owned()),
        registered: source.registered().cloned(),
        architecture: source.architecture.to_owned(),
        encrypted: root.kms_key.is_some(),
        snapshot: root.id,
        size: source.size(),
        kind: source.volume_type().to_owned(),
        others,
        created: call.now,
        saving: Saving::Done,
        tags: image_tags,
        tokens_required: source.imds().is_some(),
        permissions: BTreeSet::new(),
        deprecated: None,
        disabled: false,
        protection: Protection::Disabled,
        token: token.map(|token| (token, same)),
    };
    call.region().images.insert(id.clone(), own);
    Ok(answer(&id))
}

/// Returns the image of this region's catalogue from which the source descends.
fn origin(source: &Image, region: &str, call: &Call<'_>, catalogue: &[Image]) -> String {
    let there = images::images(region, &call.facts.system);
    let id = source.of_account().map_or(&source.id, |own| &own.origin);
    let place = there.iter().position(|image| image.id == *id);
    // The catalogues of all regions have the same images in the same order.
    place
        .and_then(|place| catalogue.get(place))
        .map(|image| image.id.clone())
        .unwrap_or_default()
}

/// The copy of an image's snapshots.
struct Copy<'a> {
    key: Option<String>,
    encrypts: bool,
    tags: Tags,
    image: &'a str,
    source: &'a str,
    region: &'a str,
    origin: &'a str,
}

impl Copy<'_> {
    /// Copies one snapshot of the source. That of an image of the catalogue has no
    /// disk.
    fn snapshot(&mut self, call: &mut Call<'_>, id: &str, size: u32) -> Snapshot {
        let there = call.state.regions.get(self.region);
        let own = there.and_then(|region| region.snapshots.get(id)).cloned();
        let own = own.unwrap_or_else(|| Snapshot {
            id: id.to_owned(),
            volume: String::new(),
            size,
            description: String::new(),
            kms_key: None,
            started: call.now,
            saving: Saving::Done,
            disk: None,
            data: None,
            origin: Some(self.origin.to_owned()),
            permissions: BTreeSet::new(),
            tags: Tags::new(),
        });
        let encrypted = self.encrypts || own.kms_key.is_some();
        let description = format!(
            "Copied for DestinationAmi {} from SourceAmi {} for SourceSnapshot {id}. Task \
             created on {}.",
            self.image, self.source, call.now
        );
        let key = self.key.clone().filter(|_| encrypted);
        let mut snapshot = copied(&own, call.now, description, key, self.tags.clone());
        snapshot.origin = own.origin.map(|_| self.origin.to_owned());
        let snapshots = &mut call.region().snapshots;
        snapshots.insert(snapshot.id.clone(), snapshot.clone());
        snapshot
    }
}

pub(super) fn register_image(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let name = name(call, request)?;
    let description = description(request)?.to_owned();
    request.unsupported(&[
        "ImageLocation",
        "BillingProduct",
        "KernelId",
        "RamdiskId",
        "TpmSupport",
        "UefiData",
    ])?;
    let image_tags = tags::specified(request, &["image", "snapshot"], "image")?;
    let architecture = one_of(request, "Architecture", &["i386", "x86_64", "arm64"])?;
    let virtualization = one_of(request, "VirtualizationType", &["paravirtual", "hvm"])?;
    let boot_mode = request.text("BootMode");
    if boot_mode.is_some() {
        one_of(
            request,
            "BootMode",
            &["legacy-bios", "uefi", "uefi-preferred"],
        )?;
    }
    let sriov = request.text("SriovNetSupport");
    if sriov.is_some() {
        one_of(request, "SriovNetSupport", &["simple"])?;
    }
    let imds = request.text("ImdsSupport");
    if imds.is_some() {
        one_of(request, "ImdsSupport", &["v2.0"])?;
    }
    let ena = request.flag("EnaSupport")?.unwrap_or(false);
    let root_device = request
        .text("RootDeviceName")
        .unwrap_or("/dev/sda1")
        .to_owned();
    let (root, others) = register_mappings(call, request, &root_device)?;
    call.read_all()?;
    let snapshot = root.spec.snapshot.clone().unwrap_or_default();
    let catalogue = images::images(call.region_name, &call.facts.system);
    let origin = origin_of(call, &snapshot).or_else(|| {
        let same = catalogue
            .iter()
            .find(|image| image.architecture == architecture);
        same.or(catalogue.first()).map(|image| image.id.clone())
    });
    let id = new_id("ami");
    let own = OwnImage {
        id: id.clone(),
        name,
        description,
        origin: origin.unwrap_or_default(),
        instance: None,
        source: None,
        source_region: None,
        registered: Some(Registered {
            root_device,
            keeps_root: !root.delete_on_termination,
            virtualization: virtualization.to_owned(),
            ena,
            sriov: sriov.is_some(),
            boot_mode: boot_mode.map(str::to_owned),
        }),
        architecture: architecture.to_owned(),
        encrypted: root.spec.kms_key.is_some(),
        snapshot,
        size: root.spec.size,
        kind: root.spec.kind,
        others,
        created: call.now,
        saving: Saving::Done,
        tags: image_tags,
        tokens_required: imds.is_some(),
        permissions: BTreeSet::new(),
        deprecated: None,
        disabled: false,
        protection: Protection::Disabled,
        token: None,
    };
    call.region().images.insert(id.clone(), own);
    Ok(answer(&id))
}

/// Returns a parameter that has one of these values. The first one is AWS's default.
fn one_of(request: &Part<'_>, name: &str, values: &[&'static str]) -> Result<&'static str> {
    let given = request.text(name).unwrap_or(values[0]);
    let found = values.iter().find(|value| **value == given);
    found.copied().ok_or_else(|| {
        let why = format!("Expected one of {}.", values.join(", "));
        Refusal::value(name, given, &why)
    })
}

/// Returns the root volume of a new image, which has a snapshot, and the other
/// volumes.
fn register_mappings(
    call: &Call<'_>,
    request: &Part<'_>,
    root_device: &str,
) -> Result<(Mapping, Vec<Mapping>)> {
    let mut root = None;
    let mut others: Vec<Mapping> = Vec::new();
    let mut devices: Vec<&str> = Vec::new();
    for part in request.parts("BlockDeviceMapping") {
        let device = part.required("DeviceName")?;
        check_device(device)?;
        if devices.contains(&device) {
            return Err(invalid(format!(
                "The device '{device}' is used in more than one block-device mapping"
            )));
        }
        devices.push(device);
        let Some(mapping) = additional(call, &part, device)? else {
            continue;
        };
        if device == root_device {
            root = Some(mapping);
        } else {
            others.push(mapping);
        }
    }
    let root = root.ok_or_else(|| {
        invalid(format!(
            "The root device '{root_device}' is not in the block device mappings"
        ))
    })?;
    if root.spec.snapshot.is_none() {
        return Err(invalid(format!(
            "The root device '{root_device}' needs a snapshot"
        )));
    }
    Ok((root, others))
}
