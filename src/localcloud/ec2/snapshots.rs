//! Snapshots of volumes: copies of an instance's disk, or of another volume's data.

use std::collections::BTreeSet;

use super::call::{Call, Effect};
use super::filters::{Filtered, Filters, page_after};
use super::ids::{SNAPSHOT, new_id};
use super::images::images;
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::regions::has_region;
use super::sharing::{self, Change};
use super::state::{Instance, Millis, Phase, Saving, Snapshot, State, Tags, Volume};
use super::tags;
use super::volume_spec::kms_key;
use super::xml::Xml;
use crate::clock::iso;

/// The volume that AWS names in the copy of a snapshot.
const VOLUME_OF_COPIES: &str = "vol-ffffffff";

/// A snapshot with its owner, the account.
struct Owned {
    own: Snapshot,
    owner: String,
}

impl Owned {
    fn progress(&self) -> &'static str {
        match self.own.saving {
            Saving::Done => "100%",
            Saving::Pending | Saving::Failed => "0%",
        }
    }

    fn state(&self) -> &'static str {
        match self.own.saving {
            Saving::Pending => "pending",
            Saving::Done => "completed",
            Saving::Failed => "error",
        }
    }

    fn write(&self, xml: &mut Xml) {
        let own = &self.own;
        xml.text("snapshotId", &own.id);
        xml.text("volumeId", &own.volume);
        xml.text("status", self.state());
        xml.text("startTime", iso(own.started));
        if own.saving == Saving::Done {
            xml.text("completionTime", iso(own.started));
        }
        xml.text("progress", self.progress());
        self.write_rest(xml);
        xml.text("storageTier", "standard");
        tags::write(xml, &own.tags);
    }

    fn write_rest(&self, xml: &mut Xml) {
        let own = &self.own;
        xml.text("ownerId", &self.owner);
        xml.text("volumeSize", own.size);
        xml.text("description", &own.description);
        xml.text("encrypted", own.kms_key.is_some());
        xml.option("kmsKeyId", own.kms_key.as_ref());
    }

    /// Writes a new snapshot. As on AWS, the answer has no progress, and an empty
    /// list of tags. `state` is the name of the state's element.
    fn write_new(&self, xml: &mut Xml, state: &str) {
        let own = &self.own;
        xml.text("snapshotId", &own.id);
        xml.text("volumeId", &own.volume);
        xml.text(state, "pending");
        xml.text("startTime", iso(own.started));
        xml.text("progress", "");
        self.write_rest(xml);
        tags::write_list(xml, &own.tags);
    }
}

impl Filtered for Owned {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let one = match name {
            "snapshot-id" => self.own.id.clone(),
            "volume-id" => self.own.volume.clone(),
            "volume-size" => self.own.size.to_string(),
            "status" => self.state().to_owned(),
            "progress" => self.progress().to_owned(),
            "start-time" => iso(self.own.started),
            "description" => self.own.description.clone(),
            "encrypted" => self.own.kms_key.is_some().to_string(),
            "owner-id" => self.owner.clone(),
            "owner-alias" => return Some(Vec::new()),
            "storage-tier" => "standard".to_owned(),
            _ => return None,
        };
        Some(vec![one])
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.own.tags)
    }
}

/// Returns the snapshot with this id.
pub(super) fn find(call: &mut Call<'_>, id: &str) -> Result<Snapshot> {
    SNAPSHOT.check(id)?;
    let found = call.region().snapshots.get(id).cloned();
    found.ok_or_else(|| SNAPSHOT.not_found(&[id]))
}

pub(super) fn describe_snapshots(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let owner = call.facts.account.clone();
    let ids = request.list("SnapshotId");
    let mut snapshots: Vec<Snapshot> = if ids.is_empty() {
        call.region().snapshots.values().cloned().collect()
    } else {
        SNAPSHOT.check_all(&ids)?;
        ids.iter().map(|id| find(call, id)).collect::<Result<_>>()?
    };
    // The snapshots of the account are the only ones.
    let owners = request.list("Owner");
    snapshots.retain(|_| owners.is_empty() || owners.iter().any(|o| *o == "self" || *o == owner));
    let users = request.list("RestorableBy");
    snapshots.retain(|snapshot| {
        let restores =
            |user: &&str| *user == "self" || *user == owner || snapshot.permissions.contains(*user);
        users.is_empty() || users.iter().any(restores)
    });
    snapshots.sort_by(|a, b| (a.started, &a.id).cmp(&(b.started, &b.id)));
    let with_owner = |own| Owned {
        own,
        owner: owner.clone(),
    };
    let found = snapshots.into_iter().map(with_owner).collect();
    let found = Filters::of(request)?.keep(found)?;
    let place = |one: &Owned| format!("{:020} {}", one.own.started, one.own.id);
    let (found, next) = page_after(request, found, 5, place)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("snapshotSet", found, |xml, snapshot| snapshot.write(xml));
    xml.option("nextToken", next);
    Ok(xml)
}

pub(super) fn delete_snapshot(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let snapshot = find(call, request.required("SnapshotId")?)?;
    call.read_all()?;
    let image = call.region().images.find(&snapshot.id).next().cloned();
    if let Some(image) = image {
        return Err(Refusal::new(
            "InvalidSnapshot.InUse",
            format!(
                "The snapshot {} is currently in use by {}",
                snapshot.id, image.id
            ),
        ));
    }
    remove(call, &snapshot.id);
    Ok(Xml::done())
}

/// Removes a snapshot, and its disk unless a copy has it too.
pub(super) fn remove(call: &mut Call<'_>, id: &str) {
    let Some(own) = call.region().snapshots.remove(id) else {
        return;
    };
    for copy in [own.disk, own.data].into_iter().flatten() {
        if !disks(call.state).contains(&copy) {
            call.effects.push(Effect::RemoveSnapshot(copy));
        }
    }
}

/// Returns the copies of disks and of data that all snapshots have.
pub(super) fn disks(state: &State) -> BTreeSet<String> {
    let all = state.regions.values().flat_map(|r| r.snapshots.values());
    all.flat_map(|own| [own.disk.clone(), own.data.clone()])
        .flatten()
        .collect()
}

/// Returns the image of the catalogue from which the disk of a snapshot descends.
/// The snapshots of such images are not in the state.
pub(super) fn origin_of(call: &mut Call<'_>, id: &str) -> Option<String> {
    if let Some(own) = call.region().snapshots.get(id) {
        return own.origin.clone();
    }
    let catalogue = images(call.region_name, &call.facts.system);
    let image = catalogue.into_iter().find(|image| image.snapshot() == id);
    image.map(|image| image.id)
}

/// Returns the new snapshot of a volume. That of the root volume of an instance is a
/// copy of its disk.
fn of_volume(
    call: &mut Call<'_>,
    volume: &Volume,
    description: &str,
    tags: Tags,
) -> Result<Snapshot> {
    let source = volume.spec.snapshot.clone();
    let mut snapshot = Snapshot {
        id: new_id("snap"),
        volume: volume.id.clone(),
        size: volume.spec.size,
        description: description.to_owned(),
        kms_key: volume.spec.kms_key.clone(),
        started: call.now,
        saving: Saving::Done,
        disk: source
            .as_ref()
            .and_then(|id| call.region().snapshots.get(id)?.disk.clone()),
        data: None,
        origin: source.and_then(|id| origin_of(call, &id)),
        permissions: BTreeSet::new(),
        tags,
    };
    let root_of = |instance: &Instance| instance.root_volume() == Some(&*volume.id);
    let instance = volume.instance.as_ref();
    let instance = instance.and_then(|id| call.region().instances.get(id));
    if let Some(instance) = instance.filter(|i| root_of(i)).cloned() {
        if instance.phase == Phase::Pending {
            return Err(Refusal::new(
                "IncorrectState",
                format!("Instance '{}' is not 'running'.", instance.id),
            ));
        }
        if instance.phase.is_ending() {
            return Ok(snapshot);
        }
        snapshot.saving = Saving::Pending;
        snapshot.disk = Some(snapshot.id.clone());
        call.effects.push(Effect::Save {
            instance: instance.id,
            snapshot: snapshot.id.clone(),
            reboots: false,
        });
    } else {
        save_data(call, volume, &mut snapshot);
    }
    Ok(snapshot)
}

/// Lets the data of a volume be copied to its new snapshot. Without machines there is
/// none.
pub(super) fn save_data(call: &mut Call<'_>, volume: &Volume, snapshot: &mut Snapshot) {
    snapshot.saving = Saving::Done;
    if call.consoles.is_none() {
        return;
    }
    snapshot.saving = Saving::Pending;
    snapshot.data = Some(snapshot.id.clone());
    call.effects.push(Effect::SaveVolume {
        volume: volume.id.clone(),
        snapshot: snapshot.id.clone(),
    });
}

/// Refuses a description that is too long.
pub(super) fn description<'a>(request: &Part<'a>) -> Result<&'a str> {
    let description = request.text("Description").unwrap_or_default();
    if description.chars().count() > 255 {
        return Err(Refusal::value(
            "description",
            description,
            "It has more than 255 characters.",
        ));
    }
    Ok(description)
}

/// Refuses a place for a snapshot that is not the region.
fn check_location(request: &Part<'_>) -> Result<()> {
    request.unsupported(&["OutpostArn"])?;
    match request.text("Location") {
        None | Some("regional") => Ok(()),
        Some(given) => Err(Refusal::value(
            "location",
            given,
            "The local cloud has regional snapshots only.",
        )),
    }
}

fn store(call: &mut Call<'_>, snapshot: &Snapshot) {
    let snapshots = &mut call.region().snapshots;
    snapshots.insert(snapshot.id.clone(), snapshot.clone());
}

pub(super) fn create_snapshot(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let volume = super::volumes::find(call, request.required("VolumeId")?)?;
    let description = description(request)?;
    let given = tags::specified(request, &["snapshot"], "snapshot")?;
    check_location(request)?;
    call.read_all()?;
    let own = of_volume(call, &volume, description, given)?;
    store(call, &own);
    let owner = call.facts.account.clone();
    let mut xml = Xml::default();
    Owned { own, owner }.write_new(&mut xml, "status");
    Ok(xml)
}

pub(super) fn create_snapshots(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let specification = request.part("InstanceSpecification");
    let instance = specification.required("InstanceId")?;
    let instance = call.instances(&[instance])?.swap_remove(0);
    let without_root = specification.flag("ExcludeBootVolume")?.unwrap_or(false);
    let excluded = specification.list("ExcludeDataVolumeId");
    let description = description(request)?;
    let given = tags::specified(request, &["snapshot"], "snapshot")?;
    let copies_tags = match request.text("CopyTagsFromSource") {
        None => false,
        Some("volume") => true,
        Some(other) => {
            return Err(Refusal::value(
                "copyTagsFromSource",
                other,
                "Expected 'volume'.",
            ));
        }
    };
    check_location(request)?;
    call.read_all()?;
    let attached = |id: &&&str| instance.attachments.iter().any(|a| a.volume == **id);
    if let Some(other) = excluded.iter().find(|id| !attached(id)) {
        return Err(Refusal::value(
            "excludeDataVolumeIds",
            other,
            "The volume is not attached to the instance.",
        ));
    }
    let wanted = instance.attachments.iter().filter(|attached| {
        let root = instance.root_volume() == Some(&*attached.volume);
        let is_left_out = (root && without_root) || excluded.contains(&&*attached.volume);
        !is_left_out
    });
    let mut made = Vec::new();
    for attached in wanted {
        let volume = super::volumes::find(call, &attached.volume)?;
        let mut all = Tags::new();
        if copies_tags {
            all.extend(volume.tags.clone());
        }
        all.extend(given.clone());
        let own = of_volume(call, &volume, description, all)?;
        store(call, &own);
        let owner = call.facts.account.clone();
        made.push(Owned { own, owner });
    }
    let mut xml = Xml::default();
    xml.list("snapshotSet", made, |xml, snapshot| {
        snapshot.write_new(xml, "state");
    });
    Ok(xml)
}

pub(super) fn copy_snapshot(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let source_region = request.required("SourceRegion")?;
    let id = request.required("SourceSnapshotId")?;
    SNAPSHOT.check(id)?;
    let description = description(request)?.to_owned();
    let given = tags::specified(request, &["snapshot"], "snapshot")?;
    // SDKs add the signed request to the source region and the destination.
    request.text("PresignedUrl");
    if let Some(other) = request.text("DestinationRegion")
        && other != call.region_name
    {
        return Err(Refusal::value(
            "destinationRegion",
            other,
            "The request must be sent to the destination region.",
        ));
    }
    request.unsupported(&[
        "DestinationOutpostArn",
        "DestinationAvailabilityZone",
        "CompletionDurationMinutes",
    ])?;
    let source = in_region(call, source_region, id)?;
    let encrypted = request.flag("Encrypted")?.unwrap_or(false) || source.kms_key.is_some();
    let kms_key = kms_key(call, request, encrypted)?;
    call.read_all()?;
    let copy = copied(&source, call.now, description, kms_key, given);
    store(call, &copy);
    let mut xml = Xml::default();
    xml.text("snapshotId", &copy.id);
    tags::write(&mut xml, &copy.tags);
    Ok(xml)
}

/// Refuses a region that does not exist.
pub(super) fn check_region(name: &str) -> Result<()> {
    if has_region(name) {
        return Ok(());
    }
    Err(Refusal::value(
        "sourceRegion",
        name,
        "There is no region of this name.",
    ))
}

/// Returns the complete snapshot with this id in another region, or in this one.
pub(super) fn in_region(call: &Call<'_>, region: &str, id: &str) -> Result<Snapshot> {
    check_region(region)?;
    let found = call.state.regions.get(region);
    let found = found.and_then(|region| region.snapshots.get(id));
    let found = found.ok_or_else(|| SNAPSHOT.not_found(&[id]))?;
    check_complete(found)?;
    Ok(found.clone())
}

/// Refuses a snapshot that is not complete.
pub(super) fn check_complete(snapshot: &Snapshot) -> Result<()> {
    let state = match snapshot.saving {
        Saving::Done => return Ok(()),
        Saving::Pending => "pending",
        Saving::Failed => "error",
    };
    Err(Refusal::new(
        "IncorrectState",
        format!("Snapshot is in invalid state - {state}"),
    ))
}

/// Returns the copy of a snapshot, which shares its disk.
pub(super) fn copied(
    source: &Snapshot,
    now: Millis,
    description: String,
    kms_key: Option<String>,
    tags: Tags,
) -> Snapshot {
    Snapshot {
        id: new_id("snap"),
        volume: VOLUME_OF_COPIES.to_owned(),
        description,
        kms_key,
        started: now,
        permissions: BTreeSet::new(),
        tags,
        ..source.clone()
    }
}

pub(super) fn describe_snapshot_attribute(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let snapshot = find(call, request.required("SnapshotId")?)?;
    let attribute = request.required("Attribute")?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.text("snapshotId", &snapshot.id);
    match attribute {
        "createVolumePermission" => {
            sharing::write(&mut xml, attribute, &snapshot.permissions);
        }
        "productCodes" => xml.texts(attribute, [] as [&str; 0]),
        other => return Err(unknown_attribute(other)),
    }
    Ok(xml)
}

/// Refuses the name of an attribute.
pub(super) fn unknown_attribute(name: &str) -> Refusal {
    Refusal::value("attribute", name, "Unknown attribute.")
}

pub(super) fn modify_snapshot_attribute(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let mut snapshot = find(call, request.required("SnapshotId")?)?;
    match request.text("Attribute") {
        None | Some("createVolumePermission") => {}
        Some("productCodes") => {
            return Err(Refusal::new(
                "UnsupportedOperation",
                "The local cloud has no product codes",
            ));
        }
        Some(other) => return Err(unknown_attribute(other)),
    }
    let change = Change::read(request, "CreateVolumePermission", |kind, value| {
        Refusal::value(kind, value, "Expected an account id or the group all.")
    })?;
    call.read_all()?;
    if change.is_empty() {
        return Err(Refusal::new(
            "MissingParameter",
            "The request must contain the parameter createVolumePermission",
        ));
    }
    if change.shares() && snapshot.kms_key.is_some() {
        return Err(Refusal::new(
            "OperationNotPermitted",
            "Encrypted snapshots with EBS default key cannot be shared",
        ));
    }
    change.apply(&mut snapshot.permissions);
    store(call, &snapshot);
    Ok(Xml::done())
}

pub(super) fn reset_snapshot_attribute(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let mut snapshot = find(call, request.required("SnapshotId")?)?;
    match request.required("Attribute")? {
        "createVolumePermission" => {}
        other => return Err(unknown_attribute(other)),
    }
    call.read_all()?;
    snapshot.permissions.clear();
    store(call, &snapshot);
    Ok(Xml::done())
}

impl Instance {
    /// Returns the id of the root volume.
    pub(super) fn root_volume(&self) -> Option<&str> {
        let mut attached = self.attachments.iter();
        let root = attached.find(|attached| attached.device == self.root_device)?;
        Some(&root.volume)
    }
}
