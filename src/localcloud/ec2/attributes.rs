//! Attributes of an instance and its metadata options.

use super::call::{Call, Effect};
use super::instance_answer::{write_mappings, write_metadata};
use super::instance_types::instance_type;
use super::instances::named;
use super::launch_request::{metadata, on_shutdown};
use super::network_interfaces::check_groups;
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::state::{Instance, Phase};
use super::xml::Xml;

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
        "disableApiStop" => Some(instance.options.stop_protected.to_string()),
        "ebsOptimized" => Some(instance.options.ebs_optimized.to_string()),
        "sourceDestCheck" | "enaSupport" => Some("true".to_owned()),
        // As on AWS, an attribute that the instance does not have has no value.
        "kernel" | "ramdisk" | "sriovNetSupport" => None,
        "enclaveOptions" => {
            xml.node("enclaveOptions", |xml| xml.text("enabled", false));
            return Ok(xml);
        }
        "productCodes" => {
            xml.texts("productCodes", [] as [&str; 0]);
            return Ok(xml);
        }
        "instanceInitiatedShutdownBehavior" => Some(instance.on_shutdown.as_str().to_owned()),
        "rootDeviceName" => Some(instance.root_device.clone()),
        "groupSet" => {
            xml.list("groupSet", &instance.groups, |xml, id| {
                xml.text("groupId", id);
            });
            return Ok(xml);
        }
        "blockDeviceMapping" => {
            write_mappings(&mut xml, &instance.attachments);
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
    modify_options(&mut instance, request, given)?;
    modify_mappings(&mut instance, request)?;
    let ids = request.list("GroupId");
    call.read_all()?;
    if !ids.is_empty() {
        check_groups(call, &ids, &instance.vpc)?;
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

/// Changes options. Refuses those that would change the machine.
fn modify_options<'a>(
    instance: &mut Instance,
    request: &'a Part<'_>,
    given: impl Fn(&str, &str) -> Option<&'a str>,
) -> Result<()> {
    request.unsupported(&["Kernel", "Ramdisk", "SriovNetSupport"])?;
    if let Some(text) = given("DisableApiStop", "disableApiStop") {
        instance.options.stop_protected = boolean("disableApiStop", text)?;
    }
    if let Some(text) = given("EbsOptimized", "ebsOptimized") {
        if instance.phase != Phase::Stopped {
            return Err(Refusal::new(
                "IncorrectInstanceState",
                format!(
                    "The instance '{}' is not in the 'stopped' state.",
                    instance.id
                ),
            ));
        }
        instance.options.ebs_optimized = boolean("ebsOptimized", text)?;
    }
    for (name, old_name, only) in [
        ("SourceDestCheck", "sourceDestCheck", "true"),
        ("EnaSupport", "enaSupport", "true"),
        ("EnclaveOptions", "enclaveOptions", "false"),
    ] {
        let enabled = request.part(name).text("Enabled");
        if let Some(text) = given(name, old_name).or(enabled).filter(|t| *t != only) {
            return Err(Refusal::new(
                "UnsupportedOperation",
                format!("The local cloud supports the value {only} of {name} only, not {text}"),
            ));
        }
    }
    Ok(())
}

/// Changes whether volumes are deleted with the instance.
fn modify_mappings(instance: &mut Instance, request: &Part<'_>) -> Result<()> {
    for mapping in request.parts("BlockDeviceMapping") {
        mapping.unsupported(&["NoDevice", "VirtualName"])?;
        let device = mapping.required("DeviceName")?;
        let ebs = mapping.part("Ebs");
        let volume = ebs.text("VolumeId");
        let mut attachments = instance.attachments.iter_mut();
        let attachment = attachments
            .find(|a| a.device == device && volume.is_none_or(|id| a.volume == id))
            .ok_or_else(|| {
                Refusal::new(
                    "InvalidInstanceAttributeValue",
                    format!("No device is currently mapped at {device}"),
                )
            })?;
        if let Some(delete) = ebs.flag("DeleteOnTermination")? {
            attachment.delete_on_termination = delete;
        }
    }
    Ok(())
}

pub(super) fn modify_instance_metadata_options(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let mut instance = one(call, request)?;
    instance.metadata = metadata(request, instance.metadata)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.text("instanceId", &instance.id);
    xml.node("instanceMetadataOptions", |xml| {
        write_metadata(xml, &instance, "pending");
    });
    call.region()
        .instances
        .insert(instance.id.clone(), instance);
    Ok(xml)
}

/// Resets an attribute to its default. Only the source and destination check can be
/// reset here, which is always on.
pub(super) fn reset_instance_attribute(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    one(call, request)?;
    let attribute = request.required("Attribute")?;
    call.read_all()?;
    match attribute {
        "sourceDestCheck" => Ok(Xml::done()),
        "kernel" | "ramdisk" => Err(Refusal::new(
            "UnsupportedOperation",
            format!("Instances of the local cloud do not have the attribute {attribute}"),
        )),
        other => Err(Refusal::value("attribute", other, "Unknown attribute.")),
    }
}

/// The reasons in a report about an instance, as AWS names them.
const REASONS: [&str; 9] = [
    "instance-stuck-in-state",
    "unresponsive",
    "not-accepting-credentials",
    "password-not-available",
    "performance-network",
    "performance-instance-store",
    "performance-ebs-volume",
    "performance-other",
    "other",
];

/// Takes a report about instances. As on AWS, it does not change their status.
pub(super) fn report_instance_status(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let instances = named(call, request)?;
    let status = request.required("Status")?;
    let reasons = request.list("ReasonCode");
    for name in ["StartTime", "EndTime", "Description"] {
        request.text(name);
    }
    call.read_all()?;
    if !["ok", "impaired"].contains(&status) {
        return Err(Refusal::value("status", status, "Expected ok or impaired."));
    }
    if reasons.is_empty() {
        request.required("ReasonCode")?;
    }
    if let Some(reason) = reasons.iter().find(|reason| !REASONS.contains(reason)) {
        return Err(Refusal::value("reasonCode", reason, "Unknown reason."));
    }
    if let Some(other) = instances.iter().find(|i| i.phase != Phase::Running) {
        return Err(Refusal::new(
            "IncorrectInstanceState",
            format!("The instance '{}' is not in the 'running' state.", other.id),
        ));
    }
    Ok(Xml::done())
}
