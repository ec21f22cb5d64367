//! Instances in answers, and the values that filters compare.

use std::net::Ipv4Addr;

use super::call::Call;
use super::filters::Filtered;
use super::images::{BOOT_MODE, images};
use super::instance_profiles::write_profile;
use super::instance_types::instance_type;
use super::monitoring::write_monitoring;
use super::regions::zone_id;
use super::state::{Attachment, Instance, InstanceProfile, Phase, Tags};
use super::volume_answer::write_operator;
use super::xml::Xml;
use super::{spot, tags};
use crate::clock::iso;

impl Filtered for Instance {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let (code, state) = self.phase.code_and_name();
        let address = self.address.to_string();
        let gone = self.phase == Phase::Terminated;
        let one = match name {
            "instance-id" => self.id.clone(),
            "client-token" => return Some(self.token.iter().cloned().collect()),
            "reservation-id" => self.reservation.clone(),
            "instance-state-name" => state.to_owned(),
            "instance-state-code" => code.to_string(),
            "instance-type" => self.instance_type.clone(),
            "image-id" => self.image.clone(),
            "architecture" => self.architecture.clone(),
            "availability-zone" => self.zone.clone(),
            "key-name" => return Some(self.key_name.iter().cloned().collect()),
            "ip-address" | "network-interface.association.public-ip" => {
                let public = self.public_address().map(|address| address.to_string());
                return Some(public.into_iter().collect());
            }
            "private-ip-address" | "network-interface.addresses.private-ip-address" => {
                return Some((!gone).then_some(address).into_iter().collect());
            }
            "instance.group-id" | "group-id" | "network-interface.group-id" => {
                return Some(self.groups.clone());
            }
            "launch-time" => iso(self.launched),
            "launch-index" => self.launch_index.to_string(),
            "root-device-name" => self.root_device.clone(),
            "root-device-type" => "ebs".to_owned(),
            "virtualization-type" => "hvm".to_owned(),
            "tenancy" => "default".to_owned(),
            "iam-instance-profile.arn" => return Some(self.profile(|profile| &profile.arn)),
            "iam-instance-profile.id" => return Some(self.profile(|profile| &profile.id)),
            "vpc-id" => self.vpc.clone(),
            "subnet-id" => self.subnet.clone(),
            "metadata-options.http-tokens" => self.tokens_word().to_owned(),
            "block-device-mapping.attach-time" => return self.attached(|a| iso(a.since)),
            "block-device-mapping.delete-on-termination" => {
                return self.attached(|a| a.delete_on_termination.to_string());
            }
            "block-device-mapping.device-name" => return self.attached(|a| a.device.clone()),
            "block-device-mapping.status" => return self.attached(|_| "attached".to_owned()),
            "block-device-mapping.volume-id" => return self.attached(|a| a.volume.clone()),
            "instance-status.reachability" | "system-status.reachability" => {
                let word = (self.phase == Phase::Running).then(|| "passed".to_owned());
                return Some(word.into_iter().collect());
            }
            _ => return None,
        };
        Some(vec![one])
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

impl Instance {
    /// Returns the region, which is the zone without its letter.
    pub(super) fn region(&self) -> String {
        self.zone[..self.zone.len() - 1].to_owned()
    }

    /// Returns the public address: the Elastic IP address, which a stopped
    /// instance keeps, or the address that every running instance has.
    pub(super) fn public_address(&self) -> Option<Ipv4Addr> {
        let elastic = self.elastic_ip.as_ref().map(|own| own.address);
        let running = self.public && self.phase == Phase::Running;
        elastic.or_else(|| running.then(|| self.outside.unwrap_or(self.address)))
    }

    /// Whether the instance starts for the first time. As on AWS, this start
    /// attaches its volumes and its interface.
    pub(super) fn is_fresh(&self) -> bool {
        self.phase == Phase::Pending && self.launched == self.created
    }

    /// Returns a value of each attachment of a volume.
    #[expect(clippy::unnecessary_wraps, reason = "the values of a filter")]
    fn attached(&self, value: impl Fn(&Attachment) -> String) -> Option<Vec<String>> {
        Some(self.attachments.iter().map(value).collect())
    }

    /// Returns a property of its instance profile.
    fn profile(&self, property: impl Fn(&InstanceProfile) -> &String) -> Vec<String> {
        self.iam_profile
            .iter()
            .map(|profile| property(profile).clone())
            .collect()
    }

    fn tokens_word(&self) -> &'static str {
        if self.metadata.tokens_required {
            "required"
        } else {
            "optional"
        }
    }

    /// Returns the name of the private address in AWS's DNS. `us-east-1`, the
    /// oldest region, has names of its own.
    pub(super) fn private_name(&self) -> String {
        let host = if self.options.named_by_id {
            self.id.clone()
        } else {
            format!("ip-{}", self.address.to_string().replace('.', "-"))
        };
        match self.region().as_str() {
            "us-east-1" => format!("{host}.ec2.internal"),
            region => format!("{host}.{region}.compute.internal"),
        }
    }
}

pub(super) fn write_state(xml: &mut Xml, name: &str, phase: Phase) {
    let (code, word) = phase.code_and_name();
    xml.node(name, |xml| {
        xml.text("code", code);
        xml.text("name", word);
    });
}

/// Writes an instance as `RunInstances` and `DescribeInstances` return it.
pub(super) fn write_instance(xml: &mut Xml, call: &mut Call<'_>, instance: &Instance) {
    let gone = instance.phase == Phase::Terminated;
    let fresh = instance.is_fresh();
    let names: Vec<(String, String)> = instance
        .groups
        .iter()
        .map(|id| {
            let name = call.region().groups.get(id).map(|g| g.name.clone());
            (id.clone(), name.unwrap_or_default())
        })
        .collect();
    let public = instance.public_address();
    let private = (!gone).then_some(instance.address);
    xml.text("instanceId", &instance.id);
    xml.text("imageId", &instance.image);
    write_state(xml, "instanceState", instance.phase);
    xml.text(
        "privateDnsName",
        private.map_or_else(String::new, |_| instance.private_name()),
    );
    xml.text("dnsName", "");
    let pending = ("pending".to_owned(), "pending".to_owned());
    let pending = (instance.phase == Phase::Pending).then_some(&pending);
    let reason = instance.reason.as_ref().or(pending);
    xml.text("reason", &instance.transition);
    xml.option("keyName", instance.key_name.as_ref());
    xml.text("amiLaunchIndex", instance.launch_index);
    xml.text("instanceType", &instance.instance_type);
    xml.text("launchTime", iso(instance.launched));
    xml.node("placement", |xml| {
        xml.text("availabilityZone", &instance.zone);
        xml.text("availabilityZoneId", zone_id(&instance.zone));
        xml.text("groupName", "");
        xml.text("tenancy", "default");
    });
    xml.texts("productCodes", [] as [&str; 0]);
    let on = instance.options.monitoring;
    write_monitoring(xml, if on { "enabled" } else { "disabled" });
    if !gone {
        xml.text("subnetId", &instance.subnet);
        xml.text("vpcId", &instance.vpc);
    }
    xml.option("privateIpAddress", private);
    xml.option("ipAddress", public);
    xml.text("sourceDestCheck", true);
    write_groups(xml, names.iter().filter(|_| !gone));
    if let Some((code, message)) = reason {
        xml.node("stateReason", |xml| {
            xml.text("code", code);
            xml.text("message", message);
        });
    }
    xml.text("architecture", &instance.architecture);
    xml.text("rootDeviceType", "ebs");
    xml.text("rootDeviceName", &instance.root_device);
    write_mappings(xml, instance.attachments.iter().filter(|_| !fresh));
    xml.text("virtualizationType", "hvm");
    xml.text("clientToken", instance.token.as_deref().unwrap_or(""));
    tags::write(xml, &instance.tags);
    xml.text("hypervisor", "xen");
    xml.list("networkInterfaceSet", (!gone).then_some(()), |xml, ()| {
        write_interface(xml, call, instance, &names, fresh);
    });
    if let Some(profile) = instance.iam_profile.as_ref().filter(|_| !gone) {
        write_profile(xml, profile);
    }
    xml.text("ebsOptimized", instance.options.ebs_optimized);
    xml.text("enaSupport", true);
    spot::write(xml, instance);
    write_image(xml, call, instance);
    xml.text("usageOperationUpdateTime", iso(instance.created));
    xml.node("metadataOptions", |xml| {
        write_metadata(xml, instance, if fresh { "pending" } else { "applied" });
    });
    if let Some(known) = instance_type(&instance.instance_type) {
        xml.node("cpuOptions", |xml| {
            xml.text("coreCount", known.cores());
            xml.text("threadsPerCore", known.threads());
        });
    }
    instance.options.write(xml);
    write_operator(xml);
}

/// Writes what an instance has from its image.
fn write_image(xml: &mut Xml, call: &Call<'_>, instance: &Instance) {
    let images = images(call.region_name, &call.facts.system);
    let region = call.state.regions.get(call.region_name);
    let own = region.and_then(|region| region.images.get(&instance.image));
    let id = own.map_or(&instance.image, |own| &own.origin);
    // An image of the account may be deregistered.
    if let Some(image) = images.into_iter().find(|image| image.id == *id) {
        xml.text("platformDetails", image.publisher.platform);
        xml.text("usageOperation", image.publisher.usage_operation);
        xml.text("bootMode", BOOT_MODE);
    }
    let nitro = instance_type(&instance.instance_type).is_some_and(|known| known.nitro);
    let mode = if nitro { "uefi" } else { "legacy-bios" };
    xml.text("currentInstanceBootMode", mode);
}

/// Writes the attached volumes.
pub(super) fn write_mappings<'a>(
    xml: &mut Xml,
    attachments: impl IntoIterator<Item = &'a Attachment>,
) {
    xml.list("blockDeviceMapping", attachments, |xml, attachment| {
        xml.text("deviceName", &attachment.device);
        xml.node("ebs", |xml| {
            xml.text("volumeId", &attachment.volume);
            xml.text("status", "attached");
            xml.text("attachTime", iso(attachment.since));
            xml.text("deleteOnTermination", attachment.delete_on_termination);
        });
    });
}

pub(super) fn write_groups<'a>(
    xml: &mut Xml,
    groups: impl IntoIterator<Item = &'a (String, String)>,
) {
    xml.list("groupSet", groups, |xml, (id, name)| {
        xml.text("groupId", id);
        xml.text("groupName", name);
    });
}

fn write_interface(
    xml: &mut Xml,
    call: &Call<'_>,
    instance: &Instance,
    groups: &[(String, String)],
    fresh: bool,
) {
    let public = instance.public_address();
    let owner = match instance.elastic_ip {
        Some(_) => &call.facts.account,
        None => "amazon",
    };
    let association = |xml: &mut Xml| {
        if let Some(public) = public {
            xml.node("association", |xml| {
                xml.text("publicIp", public);
                xml.text("publicDnsName", "");
                xml.text("ipOwnerId", owner);
            });
        }
    };
    xml.text("networkInterfaceId", &instance.interface);
    xml.text("subnetId", &instance.subnet);
    xml.text("vpcId", &instance.vpc);
    xml.text("ownerId", &call.facts.account);
    xml.text("description", &instance.options.interface);
    xml.text("status", "in-use");
    xml.text("interfaceType", "interface");
    xml.text("macAddress", mac(instance));
    xml.text("privateIpAddress", instance.address);
    xml.text("privateDnsName", instance.private_name());
    xml.text("sourceDestCheck", true);
    write_groups(xml, groups);
    xml.node("attachment", |xml| {
        xml.text("attachmentId", attachment_id(&instance.interface));
        xml.text("deviceIndex", 0);
        xml.text("networkCardIndex", 0);
        xml.text("status", if fresh { "attaching" } else { "attached" });
        xml.text("attachTime", iso(instance.created));
        xml.text("deleteOnTermination", true);
    });
    association(xml);
    xml.texts("ipv6AddressesSet", [] as [&str; 0]);
    xml.list("privateIpAddressesSet", [()], |xml, ()| {
        xml.text("privateIpAddress", instance.address);
        xml.text("privateDnsName", instance.private_name());
        xml.text("primary", true);
        association(xml);
    });
    write_operator(xml);
}

/// Writes an instance's options of the metadata service.
pub(super) fn write_metadata(xml: &mut Xml, instance: &Instance, state: &str) {
    let word = |on: bool| if on { "enabled" } else { "disabled" };
    xml.text("state", state);
    xml.text("httpTokens", instance.tokens_word());
    xml.text("httpPutResponseHopLimit", instance.metadata.hop_limit);
    xml.text("httpEndpoint", word(instance.metadata.enabled));
    xml.text("httpProtocolIpv6", word(instance.metadata.ipv6));
    xml.text("instanceMetadataTags", word(instance.metadata.tags));
}

/// Returns the id of the attachment of an interface.
pub(super) fn attachment_id(interface: &str) -> String {
    interface.replace("eni-", "eni-attach-")
}

/// Returns a MAC address derived from the IP address. Its first byte, 06, marks
/// it as locally administered, as on AWS.
pub(super) fn mac(instance: &Instance) -> String {
    let [a, b, c, d] = instance.address.octets();
    format!("06:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}
