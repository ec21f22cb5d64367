//! Instances: described, started, stopped, rebooted, terminated.

use super::call::{Call, Effect, done, iso};
use super::catalog::{self, ROOT_DEVICE};
use super::filters::{Filtered, Filters, page};
use super::network::{subnet_id, vpc_id};
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::state::{Instance, Phase, Tags};
use super::tags;
use super::xml::Xml;

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
            "root-device-name" => ROOT_DEVICE.to_owned(),
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
    /// The region, which is the zone without its letter.
    fn region(&self) -> String {
        self.zone[..self.zone.len() - 1].to_owned()
    }

    /// A public address belongs to an instance that is up.
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

    /// The name that AWS's DNS gives a private address.
    pub(super) fn private_name(&self) -> String {
        let dashed = self.address.to_string().replace('.', "-");
        match self.region().as_str() {
            "us-east-1" => format!("ip-{dashed}.ec2.internal"),
            region => format!("ip-{dashed}.{region}.compute.internal"),
        }
    }
}

fn write_state(xml: &mut Xml, name: &str, phase: Phase) {
    let (code, word) = phase.code_and_name();
    xml.node(name, |xml| {
        xml.text("code", code);
        xml.text("name", word);
    });
}

/// An instance as `RunInstances` and `DescribeInstances` show it.
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
    xml.text("reason", reason.map_or("", |(_, words)| words));
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
    if let Some((code, words)) = reason {
        xml.node("stateReason", |xml| {
            xml.text("code", code);
            xml.text("message", words);
        });
    }
    xml.text("architecture", &instance.architecture);
    xml.text("rootDeviceType", "ebs");
    xml.text("rootDeviceName", ROOT_DEVICE);
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
            let arn = match profile.starts_with("arn:") {
                true => profile.clone(),
                false => format!("arn:aws:iam::{owner}:instance-profile/{profile}"),
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
    if let Some(known) = catalog::instance_type(&instance.instance_type) {
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

/// An instance's options of the metadata service.
pub(super) fn write_metadata(xml: &mut Xml, instance: &Instance) {
    let word = |on: bool| if on { "enabled" } else { "disabled" };
    xml.text("state", "applied");
    xml.text("httpTokens", instance.tokens_word());
    xml.text("httpPutResponseHopLimit", instance.metadata.hop_limit);
    xml.text("httpEndpoint", word(instance.metadata.enabled));
    xml.text("instanceMetadataTags", word(instance.metadata.tags));
}

/// A hardware address out of the network address, as AWS's look.
pub(super) fn mac(instance: &Instance) -> String {
    let [a, b, c, d] = instance.address.octets();
    format!("06:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

pub(super) fn describe_instances(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let ids = request.list("InstanceId");
    let asked = if ids.is_empty() {
        let mut all: Vec<Instance> = call.region().instances.values().cloned().collect();
        all.retain(|instance| call.visible(instance.launched));
        all
    } else {
        call.instances(&ids)?
    };
    let mut found = Filters::of(request)?.keep(asked)?;
    // The instances of a launch stand together, the oldest launch first.
    found.sort_by(|a, b| {
        let key = |i: &Instance| (i.launched, i.reservation.clone(), i.launch_index);
        key(a).cmp(&key(b))
    });
    let (found, next) = page(request, found, 5)?;
    call.read_all()?;
    let owner = call.facts.account.clone();
    let mut xml = Xml::default();
    let reservations = found.chunk_by(|a, b| a.reservation == b.reservation);
    xml.list("reservationSet", reservations, |xml, together| {
        xml.text("reservationId", &together[0].reservation);
        xml.text("ownerId", &owner);
        xml.texts("groupSet", [] as [&str; 0]);
        xml.list("instancesSet", together, |xml, instance| {
            write_instance(xml, call, instance);
        });
    });
    xml.option("nextToken", next);
    Ok(xml)
}

pub(super) fn describe_instance_status(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let ids = request.list("InstanceId");
    let all = request.flag("IncludeAllInstances")?.unwrap_or(false);
    let asked = if ids.is_empty() {
        call.region().instances.values().cloned().collect()
    } else {
        call.instances(&ids)?
    };
    let mut found = Filters::of(request)?.keep(asked)?;
    found.retain(|instance| all || instance.phase == Phase::Running);
    let (found, next) = page(request, found, 5)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("instanceStatusSet", found, |xml, instance| {
        xml.text("instanceId", &instance.id);
        xml.text("availabilityZone", &instance.zone);
        write_state(xml, "instanceState", instance.phase);
        let word = match instance.phase {
            Phase::Running => "ok",
            Phase::Pending => "initializing",
            _ => "not-applicable",
        };
        for name in ["systemStatus", "instanceStatus"] {
            xml.node(name, |xml| {
                xml.text("status", word);
                if instance.phase == Phase::Running {
                    xml.list("details", [()], |xml, ()| {
                        xml.text("name", "reachability");
                        xml.text("status", "passed");
                    });
                }
            });
        }
    });
    xml.option("nextToken", next);
    Ok(xml)
}

/// The instances an action is about, in the order asked.
fn named(call: &mut Call<'_>, request: &Part<'_>) -> Result<Vec<Instance>> {
    let ids = request.list("InstanceId");
    if ids.is_empty() {
        request.required("InstanceId.1")?;
    }
    call.instances(&ids)
}

fn changes(xml: &mut Xml, changes: Vec<(Instance, Phase)>) {
    xml.list("instancesSet", changes, |xml, (before, now)| {
        xml.text("instanceId", &before.id);
        write_state(xml, "currentState", now);
        write_state(xml, "previousState", before.phase);
    });
}

fn wrong_state(instance: &Instance, what: &str) -> Refusal {
    Refusal::new(
        "IncorrectInstanceState",
        format!(
            "The instance '{}' is not in a state from which it can be {what}: it is {}.",
            instance.id,
            instance.phase.code_and_name().1
        ),
    )
}

pub(super) fn terminate_instances(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let instances = named(call, request)?;
    request.flag("Force")?;
    request.flag("SkipOsShutdown")?;
    call.read_all()?;
    if let Some(protected) = instances.iter().find(|instance| instance.protected) {
        return Err(Refusal::new(
            "OperationNotPermitted",
            format!(
                "The instance '{}' may not be terminated. Modify its 'disableApiTermination' \
                 instance attribute and try again.",
                protected.id
            ),
        ));
    }
    let now = call.now;
    let mut done = Vec::new();
    for instance in instances {
        if instance.phase.is_ending() {
            let phase = instance.phase;
            done.push((instance, phase));
            continue;
        }
        let reason = (
            "Client.UserInitiatedShutdown",
            "Client.UserInitiatedShutdown: User initiated shutdown",
        );
        call.region()
            .set_phase(&instance.id, Phase::ShuttingDown, Some(reason), now);
        call.effects.push(Effect::Terminate(instance.id.clone()));
        done.push((instance, Phase::ShuttingDown));
    }
    let mut xml = Xml::default();
    changes(&mut xml, done);
    Ok(xml)
}

pub(super) fn stop_instances(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let instances = named(call, request)?;
    let force = request.flag("Force")?.unwrap_or(false);
    request.flag("SkipOsShutdown")?;
    if request.flag("Hibernate")?.unwrap_or(false) {
        return Err(Refusal::new(
            "UnsupportedHibernationConfiguration",
            "Instances of the local cloud cannot hibernate",
        ));
    }
    call.read_all()?;
    let now = call.now;
    let mut done = Vec::new();
    for instance in instances {
        match instance.phase {
            Phase::Pending | Phase::Running => {
                let reason = (
                    "Client.UserInitiatedShutdown",
                    "Client.UserInitiatedShutdown: User initiated shutdown",
                );
                call.region()
                    .set_phase(&instance.id, Phase::Stopping, Some(reason), now);
                let id = instance.id.clone();
                call.effects.push(Effect::Stop { id, force });
                done.push((instance, Phase::Stopping));
            }
            Phase::Stopping | Phase::Stopped => {
                let phase = instance.phase;
                done.push((instance, phase));
            }
            _ => return Err(wrong_state(&instance, "stopped")),
        }
    }
    let mut xml = Xml::default();
    changes(&mut xml, done);
    Ok(xml)
}

pub(super) fn start_instances(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let instances = named(call, request)?;
    call.read_all()?;
    let now = call.now;
    let mut done = Vec::new();
    for instance in instances {
        match instance.phase {
            Phase::Stopped => {
                call.region()
                    .set_phase(&instance.id, Phase::Pending, None, now);
                call.effects.push(Effect::Boot(instance.id.clone()));
                done.push((instance, Phase::Pending));
            }
            phase @ (Phase::Pending | Phase::Running) => done.push((instance, phase)),
            _ => return Err(wrong_state(&instance, "started")),
        }
    }
    let mut xml = Xml::default();
    changes(&mut xml, done);
    Ok(xml)
}

pub(super) fn reboot_instances(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let instances = named(call, request)?;
    call.read_all()?;
    for instance in instances {
        if instance.phase != Phase::Running {
            return Err(wrong_state(&instance, "rebooted"));
        }
        call.effects.push(Effect::Reboot(instance.id));
    }
    Ok(done())
}
