//! Instances in answers, and the values that filters compare.

use super::call::Call;
use super::filters::Filtered;
use super::instance_types::instance_type;
use super::network::{subnet_id, vpc_id};
use super::state::{Instance, Phase, Tags};
use super::tags;
use super::xml::Xml;
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
                return Some(
                    (self.has_public_address())
                        .then_some(address)
                        .into_iter()
                        .collect(),
                );
            }
            "private-ip-address" | "network-interface.addresses.private-ip-address" => {
                return Some((!gone).then_some(address).into_iter().collect());
            }
            "instance.group-id" | "group-id" | "network-interface.group-id" => {
                return Some(self.groups.clone());
            }
            "launch-time" => iso(self.launched),
            "launch-index" => self.launch_index.to_string(),
            "root-device-name" => self.volume.device.clone(),
            "root-device-type" => "ebs".to_owned(),
            "virtualization-type" => "hvm".to_owned(),
            "tenancy" => "default".to_owned(),
            "vpc-id" => vpc_id(&self.region()),
            "subnet-id" => subnet_id(&self.region()),
            "metadata-options.http-tokens" => self.tokens_word().to_owned(),
            "block-device-mapping.volume-id" => self.volume.id.clone(),
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

    /// Whether the instance has a public address. As on AWS, only a running
    /// instance has one.
    pub(super) fn has_public_address(&self) -> bool {
        self.public && self.phase == Phase::Running
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
        let dashed = self.address.to_string().replace('.', "-");
        match self.region().as_str() {
            "us-east-1" => format!("ip-{dashed}.ec2.internal"),
            region => format!("ip-{dashed}.{region}.compute.internal"),
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
    let names: Vec<(String, String)> = instance
        .groups
        .iter()
        .map(|id| {
            let name = call.region().groups.get(id).map(|g| g.name.clone());
            (id.clone(), name.unwrap_or_default())
        })
        .collect();
    let public = instance.has_public_address().then_some(instance.address);
    let private = (!gone).then_some(instance.address);
    xml.text("instanceId", &instance.id);
    xml.text("imageId", &instance.image);
    write_state(xml, "instanceState", instance.phase);
    xml.text(
        "privateDnsName",
        private.map_or_else(String::new, |_| instance.private_name()),
    );
    xml.text("dnsName", "");
    let reason = instance.reason.as_ref();
    xml.text("reason", reason.map_or("", |(_, message)| message));
    xml.option("keyName", instance.key_name.as_ref());
    xml.text("amiLaunchIndex", instance.launch_index);
    xml.text("instanceType", &instance.instance_type);
    xml.text("launchTime", iso(instance.launched));
    xml.node("placement", |xml| {
        xml.text("availabilityZone", &instance.zone);
        xml.text("groupName", "");
        xml.text("tenancy", "default");
    });
    xml.node("monitoring", |xml| xml.text("state", "disabled"));
    if !gone {
        xml.text("subnetId", subnet_id(call.region_name));
        xml.text("vpcId", vpc_id(call.region_name));
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
    xml.text("rootDeviceName", &instance.volume.device);
    xml.list("blockDeviceMapping", (!gone).then_some(()), |xml, ()| {
        xml.text("deviceName", &instance.volume.device);
        xml.node("ebs", |xml| {
            xml.text("volumeId", &instance.volume.id);
            xml.text("status", "attached");
            xml.text("attachTime", iso(instance.launched));
            xml.text("deleteOnTermination", instance.volume.delete_on_termination);
        });
    });
    xml.text("virtualizationType", "hvm");
    xml.text("clientToken", instance.token.as_deref().unwrap_or(""));
    tags::write(xml, &instance.tags);
    xml.text("hypervisor", "xen");
    xml.list("networkInterfaceSet", (!gone).then_some(()), |xml, ()| {
        write_interface(xml, call, instance, &names);
    });
    if let Some(profile) = &instance.iam_profile {
        let owner = &call.facts.account;
        xml.node("iamInstanceProfile", |xml| {
            let arn = if profile.starts_with("arn:") {
                profile.clone()
            } else {
                format!("arn:aws:iam::{owner}:instance-profile/{profile}")
            };
            xml.text("arn", arn);
            xml.text("id", "AIPALOCALCLOUD");
        });
    }
    xml.text("ebsOptimized", false);
    xml.text("enaSupport", true);
    xml.text("platformDetails", "Linux/UNIX");
    xml.text("usageOperation", "RunInstances");
    xml.node("metadataOptions", |xml| write_metadata(xml, instance));
    if let Some(known) = instance_type(&instance.instance_type) {
        xml.node("cpuOptions", |xml| {
            xml.text("coreCount", known.vcpus);
            xml.text("threadsPerCore", 1);
        });
    }
}

fn write_groups<'a>(xml: &mut Xml, groups: impl IntoIterator<Item = &'a (String, String)>) {
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
) {
    xml.text("networkInterfaceId", &instance.interface);
    xml.text("subnetId", subnet_id(call.region_name));
    xml.text("vpcId", vpc_id(call.region_name));
    xml.text("ownerId", &call.facts.account);
    xml.text("status", "in-use");
    xml.text("macAddress", mac(instance));
    xml.text("privateIpAddress", instance.address);
    xml.text("privateDnsName", instance.private_name());
    xml.text("sourceDestCheck", true);
    write_groups(xml, groups);
    xml.node("attachment", |xml| {
        xml.text("deviceIndex", 0);
        xml.text("status", "attached");
        xml.text("attachTime", iso(instance.launched));
        xml.text("deleteOnTermination", true);
    });
    if instance.has_public_address() {
        xml.node("association", |xml| {
            xml.text("publicIp", instance.address);
            xml.text("ipOwnerId", "amazon");
        });
    }
}

/// Writes an instance's options of the metadata service.
pub(super) fn write_metadata(xml: &mut Xml, instance: &Instance) {
    let word = |on: bool| if on { "enabled" } else { "disabled" };
    xml.text("state", "applied");
    xml.text("httpTokens", instance.tokens_word());
    xml.text("httpPutResponseHopLimit", instance.metadata.hop_limit);
    xml.text("httpEndpoint", word(instance.metadata.enabled));
    xml.text("instanceMetadataTags", word(instance.metadata.tags));
}

/// Returns a MAC address derived from the IP address. Its first byte, 06, marks
/// it as locally administered, as on AWS.
pub(super) fn mac(instance: &Instance) -> String {
    let [a, b, c, d] = instance.address.octets();
    format!("06:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}
