//! Attributes of an instance, its volume and its metadata options.

use super::call::{Call, Effect};
use super::filters::{Filtered, Filters, page};
use super::groups;
use super::ids::VOLUME;
use super::instance_answer::write_metadata;
use super::instance_types::instance_type;
use super::launch_request::{metadata, on_shutdown};
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::state::{Instance, Phase, Tags, Volume};
use super::tags;
use super::xml::Xml;
use crate::clock::iso;

fn one(call: &mut Call<'_>, request: &Part<'_>) -> Result<Instance> {
    let id = request.required("InstanceId")?;
    let mut found = call.instances(&[id])?;
    Ok(found.swap_remove(0))
}

pub(super) fn describe_instance_attribute(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let instance = one(call, request)?;
    let attribute = request.required("Attribute")?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.text("instanceId", &instance.id);
    let value = match attribute {
        "userData" => instance.user_data.clone(),
        "instanceType" => Some(instance.instance_type.clone()),
        "disableApiTermination" => Some(instance.protected.to_string()),
        "disableApiStop" | "ebsOptimized" => Some("false".to_owned()),
        "sourceDestCheck" | "enaSupport" => Some("true".to_owned()),
        "instanceInitiatedShutdownBehavior" => Some(instance.on_shutdown.as_str().to_owned()),
        "rootDeviceName" => Some(instance.volume.device.clone()),
        "groupSet" => {
            xml.list("groupSet", &instance.groups, |xml, id| {
                xml.text("groupId", id);
            });
            return Ok(xml);
        }
        "blockDeviceMapping" => {
            xml.list("blockDeviceMapping", [()], |xml, ()| {
                xml.text("deviceName", &instance.volume.device);
                xml.node("ebs", |xml| {
                    xml.text("volumeId", &instance.volume.id);
                    xml.text("status", "attached");
                    xml.text("deleteOnTermination", instance.volume.delete_on_termination);
                });
            });
            return Ok(xml);
        }
        other => {
            return Err(Refusal::value("attribute", other, "Unknown attribute."));
        }
    };
    xml.node(attribute, |xml| xml.option("value", value));
    Ok(xml)
}

pub(super) fn modify_instance_attribute(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let mut instance = one(call, request)?;
    let stopped = instance.phase == Phase::Stopped;
    let not_stopped = Refusal::new(
        "IncorrectInstanceState",
        format!(
            "The instance '{}' is not in the 'stopped' state.",
            instance.id
        ),
    );
    // AWS accepts the current form `NAME.Value=..` and the old form
    // `Attribute=NAME&Value=..`.
    let old = request.text("Attribute");
    let given = |name: &str, old_name: &str| {
        let new = request.part(name).text("Value");
        new.or_else(|| {
            (old == Some(old_name))
                .then(|| request.text("Value"))
                .flatten()
        })
    };
    if let Some(text) = given("DisableApiTermination", "disableApiTermination") {
        instance.protected = boolean("disableApiTermination", text)?;
    }
    if let Some(text) = given(
        "InstanceInitiatedShutdownBehavior",
        "instanceInitiatedShutdownBehavior",
    ) {
        instance.on_shutdown = on_shutdown(Some(text))?;
    }
    if let Some(name) = given("InstanceType", "instanceType") {
        if !stopped {
            return Err(not_stopped);
        }
        let known = instance_type(name)
            .filter(|known| known.architecture == instance.architecture)
            .ok_or_else(|| {
                Refusal::value(
                    "instanceType",
                    name,
                    "The local cloud does not have this type for the instance's architecture.",
                )
            })?;
        known.name.clone_into(&mut instance.instance_type);
    }
    if let Some(text) = given("UserData", "userData") {
        if !stopped {
            return Err(not_stopped);
        }
        instance.user_data = Some(text.to_owned());
    }
    let ids = request.list("GroupId");
    call.read_all()?;
    if !ids.is_empty() {
        for id in &ids {
            groups::find(call, id)?;
        }
        instance.groups = ids.into_iter().map(str::to_owned).collect();
        call.effects.push(Effect::Groups);
    }
    call.region()
        .instances
        .insert(instance.id.clone(), instance);
    Ok(Xml::done())
}

fn boolean(name: &str, text: &str) -> Result<bool> {
    text.parse()
        .map_err(|_| Refusal::value(name, text, "Expected a boolean."))
}

pub(super) fn modify_instance_metadata_options(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let mut instance = one(call, request)?;
    instance.metadata = metadata(request, Some(instance.metadata))?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.text("instanceId", &instance.id);
    xml.node("instanceMetadataOptions", |xml| {
        write_metadata(xml, &instance);
    });
    call.region()
        .instances
        .insert(instance.id.clone(), instance);
    Ok(xml)
}

/// A volume and the instance to which it is attached.
struct Attached {
    volume: Volume,
    instance: Instance,
}

impl Filtered for Attached {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let one = match name {
            "volume-id" => self.volume.id.clone(),
            "attachment.instance-id" => self.instance.id.clone(),
            "attachment.device" => self.volume.device.clone(),
            "status" => "in-use".to_owned(),
            "attachment.status" => "attached".to_owned(),
            "encrypted" => self.volume.encrypted.to_string(),
            "size" => self.volume.size.to_string(),
            "volume-type" => self.volume.kind.clone(),
            "availability-zone" => self.instance.zone.clone(),
            _ => return None,
        };
        Some(vec![one])
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.volume.tags)
    }
}

pub(super) fn describe_volumes(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let ids = request.list("VolumeId");
    let attached: Vec<Attached> = call
        .region()
        .instances
        .values()
        .filter(|instance| instance.phase != Phase::Terminated)
        .map(|instance| Attached {
            volume: instance.volume.clone(),
            instance: instance.clone(),
        })
        .collect();
    VOLUME.find_all(&ids, |id| attached.iter().any(|a| a.volume.id == id))?;
    let all = attached
        .into_iter()
        .filter(|attached| ids.is_empty() || ids.contains(&attached.volume.id.as_str()))
        .collect();
    let (volumes, next) = page(request, Filters::of(request)?.keep(all)?, 5)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list(
        "volumeSet",
        volumes,
        |xml, Attached { volume, instance }| {
            xml.text("volumeId", &volume.id);
            xml.text("size", volume.size);
            xml.text("availabilityZone", &instance.zone);
            xml.text("status", "in-use");
            xml.text("createTime", iso(instance.launched));
            xml.text("volumeType", &volume.kind);
            xml.text("encrypted", volume.encrypted);
            xml.list("attachmentSet", [()], |xml, ()| {
                xml.text("volumeId", &volume.id);
                xml.text("instanceId", &instance.id);
                xml.text("device", &volume.device);
                xml.text("status", "attached");
                xml.text("attachTime", iso(instance.launched));
                xml.text("deleteOnTermination", volume.delete_on_termination);
            });
            tags::write(xml, &volume.tags);
        },
    );
    xml.option("nextToken", next);
    Ok(xml)
}
