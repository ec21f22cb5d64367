//! Volumes in answers, and the values that filters compare.

use super::call::Call;
use super::filters::{Filtered, Filters, page_after};
use super::ids::VOLUME;
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::regions::zone_id;
use super::state::{Attachment, Saving, Tags, Volume};
use super::tags;
use super::volumes::find;
use super::xml::Xml;
use crate::clock::iso;

/// A volume and its attachment.
struct Described {
    volume: Volume,
    attachment: Option<Attachment>,
}

impl Described {
    fn state(&self) -> &'static str {
        match self.volume.filling {
            _ if self.attachment.is_some() => "in-use",
            Saving::Pending => "creating",
            Saving::Done => "available",
            Saving::Failed => "error",
        }
    }
}

impl Filtered for Described {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let (volume, spec) = (&self.volume, &self.volume.spec);
        let attached = |value: &dyn Fn(&Attachment) -> String| {
            Some(self.attachment.iter().map(value).collect())
        };
        let one = match name {
            "attachment.attach-time" => return attached(&|a| iso(a.since)),
            "attachment.delete-on-termination" => {
                return attached(&|a| a.delete_on_termination.to_string());
            }
            "attachment.device" => return attached(&|a| a.device.clone()),
            "attachment.instance-id" => return Some(volume.instance.iter().cloned().collect()),
            "attachment.status" => return attached(&|a| status(a).to_owned()),
            "availability-zone" => volume.zone.clone(),
            "availability-zone-id" => zone_id(&volume.zone),
            "create-time" => iso(volume.created),
            "encrypted" => spec.kms_key.is_some().to_string(),
            "fast-restored" | "operator.managed" => "false".to_owned(),
            "multi-attach-enabled" => spec.multi_attach.to_string(),
            "operator.principal" => return Some(Vec::new()),
            "size" => spec.size.to_string(),
            "snapshot-id" => return Some(spec.snapshot.iter().cloned().collect()),
            "status" => self.state().to_owned(),
            "volume-id" => volume.id.clone(),
            "volume-type" => spec.kind.clone(),
            _ => return None,
        };
        Some(vec![one])
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.volume.tags)
    }
}

/// Returns the state of an attachment. A detachment is complete at once, unless the
/// volume is mounted.
fn status(attachment: &Attachment) -> &'static str {
    if attachment.detaching {
        "busy"
    } else {
        "attached"
    }
}

/// Returns the volumes that a request names, or all.
fn asked(call: &mut Call<'_>, request: &Part<'_>) -> Result<Vec<Volume>> {
    let ids = request.list("VolumeId");
    // The local cloud has no volumes that an AWS service manages.
    request.flag("IncludeManagedResources")?;
    if !ids.is_empty() {
        VOLUME.check_all(&ids)?;
        return ids.into_iter().map(|id| find(call, id)).collect();
    }
    Ok(call.region().volumes.values().cloned().collect())
}

/// Writes everything but tags and attachments.
pub(super) fn write_volume(xml: &mut Xml, volume: &Volume, state: &str) {
    let spec = &volume.spec;
    xml.text("volumeId", &volume.id);
    xml.text("size", spec.size);
    xml.text("snapshotId", spec.snapshot.as_deref().unwrap_or_default());
    xml.text("availabilityZone", &volume.zone);
    xml.text("availabilityZoneId", zone_id(&volume.zone));
    xml.text("status", state);
    xml.text("createTime", iso(volume.created));
    xml.text("volumeType", &spec.kind);
    xml.option("iops", spec.iops);
    xml.option("throughput", spec.throughput);
    xml.text("encrypted", spec.kms_key.is_some());
    xml.option("kmsKeyId", spec.kms_key.as_ref());
    xml.text("multiAttachEnabled", spec.multi_attach);
    write_operator(xml);
}

/// Writes that no AWS service manages a resource.
pub(super) fn write_operator(xml: &mut Xml) {
    xml.node("operator", |xml| xml.text("managed", false));
}

pub(super) fn write_attachment(
    xml: &mut Xml,
    instance: &str,
    attachment: &Attachment,
    state: &str,
) {
    xml.text("volumeId", &attachment.volume);
    xml.text("instanceId", instance);
    xml.text("device", &attachment.device);
    xml.text("status", state);
    xml.text("attachTime", iso(attachment.since));
    xml.text("deleteOnTermination", attachment.delete_on_termination);
}

pub(super) fn describe_volumes(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let volumes = asked(call, request)?;
    let region = call.region();
    let described = volumes.into_iter().map(|volume| {
        let instance = volume.instance.as_ref();
        let attachment = instance
            .and_then(|id| region.instances.get(id))
            .and_then(|instance| instance.attachments.iter().find(|a| a.volume == volume.id))
            .cloned();
        Described { volume, attachment }
    });
    let found = Filters::of(request)?.keep(described.collect())?;
    let (volumes, next) = page_after(request, found, 5, |one| one.volume.id.clone())?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("volumeSet", volumes, |xml, described| {
        let (volume, attachment) = (&described.volume, &described.attachment);
        write_volume(xml, volume, described.state());
        xml.list("attachmentSet", attachment, |xml, attachment| {
            let instance = volume.instance.as_deref().unwrap_or_default();
            write_attachment(xml, instance, attachment, status(attachment));
        });
        tags::write(xml, &volume.tags);
    });
    xml.option("nextToken", next);
    Ok(xml)
}

/// The status of a volume, which is always good.
struct Status(Volume);

impl Filtered for Status {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let words = |words: &[&str]| Some(words.iter().map(ToString::to_string).collect());
        match name {
            "attachment-status.instance-id" => Some(self.0.instance.iter().cloned().collect()),
            "availability-zone" => words(&[&self.0.zone]),
            "volume-status.details-name" => words(&["io-enabled", "io-performance"]),
            "volume-status.details-status" => words(&["passed", "not-applicable"]),
            "volume-status.status" => words(&["ok"]),
            "action.code"
            | "action.description"
            | "action.event-id"
            | "attachment-status.io-performance"
            | "event.description"
            | "event.event-id"
            | "event.event-type"
            | "event.not-after"
            | "event.not-before" => words(&[]),
            _ => None,
        }
    }
}

pub(super) fn describe_volume_status(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let all = asked(call, request)?.into_iter().map(Status).collect();
    let found = Filters::of(request)?.keep(all)?;
    let (volumes, next) = page_after(request, found, 5, |one| one.0.id.clone())?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("volumeStatusSet", volumes, |xml, Status(volume)| {
        xml.text("volumeId", &volume.id);
        xml.text("availabilityZone", &volume.zone);
        xml.text("availabilityZoneId", zone_id(&volume.zone));
        xml.node("volumeStatus", |xml| {
            xml.text("status", "ok");
            let details = [
                ("io-enabled", "passed"),
                ("io-performance", "not-applicable"),
            ];
            xml.list("details", details, |xml, (name, status)| {
                xml.text("name", name);
                xml.text("status", status);
            });
        });
        if volume.spec.snapshot.is_some() {
            xml.node("initializationStatusDetails", |xml| {
                xml.text("initializationType", "default");
                xml.text("progress", 100);
            });
        }
        write_operator(xml);
        xml.texts("actionsSet", [] as [&str; 0]);
        xml.texts("eventsSet", [] as [&str; 0]);
    });
    xml.option("nextToken", next);
    Ok(xml)
}

/// The last modification of a volume.
struct Modified(Volume);

impl Filtered for Modified {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let target = &self.0.spec;
        let (original, start) = self.0.modified.as_ref()?;
        let one = match name {
            "modification-state" => "completed".to_owned(),
            "original-iops" => return Some(original.iops.iter().map(u32::to_string).collect()),
            "original-size" => original.size.to_string(),
            "original-volume-type" => original.kind.clone(),
            "originalMultiAttachEnabled" => original.multi_attach.to_string(),
            "start-time" => iso(*start),
            "target-iops" => return Some(target.iops.iter().map(u32::to_string).collect()),
            "target-size" => target.size.to_string(),
            "target-volume-type" => target.kind.clone(),
            "targetMultiAttachEnabled" => target.multi_attach.to_string(),
            "volume-id" => self.0.id.clone(),
            _ => return None,
        };
        Some(vec![one])
    }
}

pub(super) fn describe_volumes_modifications(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let asked_for = asked(call, request)?;
    let unchanged = asked_for.iter().find(|volume| volume.modified.is_none());
    if let Some(volume) = unchanged
        && request.has("VolumeId")
    {
        return Err(Refusal::new(
            "InvalidVolumeModification.NotFound",
            format!("Modification for volume '{}' does not exist.", volume.id),
        ));
    }
    let modified = asked_for
        .into_iter()
        .filter(|volume| volume.modified.is_some())
        .map(Modified);
    let found = Filters::of(request)?.keep(modified.collect())?;
    let (volumes, next) = page_after(request, found, 1, |one| one.0.id.clone())?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("volumeModificationSet", volumes, |xml, Modified(volume)| {
        write_modification(xml, &volume, "completed");
    });
    xml.option("nextToken", next);
    Ok(xml)
}

/// Writes the last modification of a volume.
pub(super) fn write_modification(xml: &mut Xml, volume: &Volume, state: &str) {
    let Some((original, start)) = &volume.modified else {
        return;
    };
    let target = &volume.spec;
    xml.text("volumeId", &volume.id);
    xml.text("modificationState", state);
    xml.text("targetSize", target.size);
    xml.option("targetIops", target.iops);
    xml.text("targetVolumeType", &target.kind);
    xml.option("targetThroughput", target.throughput);
    xml.text("targetMultiAttachEnabled", target.multi_attach);
    xml.text("originalSize", original.size);
    xml.option("originalIops", original.iops);
    xml.text("originalVolumeType", &original.kind);
    xml.option("originalThroughput", original.throughput);
    xml.text("originalMultiAttachEnabled", original.multi_attach);
    xml.text("progress", if state == "completed" { 100 } else { 0 });
    xml.text("startTime", iso(*start));
    if state == "completed" {
        xml.text("endTime", iso(*start));
    }
}
