//! Network interfaces: describe them, and change their attributes. Each instance
//! has one, which its launch creates and its termination deletes.

use std::net::Ipv4Addr;

use super::call::{Call, Effect};
use super::filters::{Filtered, Filters, page};
use super::groups;
use super::ids::NETWORK_INTERFACE;
use super::instance_answer::{attachment_id, mac};
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::regions::zone_id;
use super::state::{Instance, Millis, Phase, Tags};
use super::tags;
use super::volume_answer::write_operator;
use super::vpc::state::NatGateway;
use super::xml::Xml;
use crate::clock::iso;

/// AWS's limit of the security groups of an interface.
pub(super) const MAX_GROUPS: usize = 5;

/// The kind of the interfaces of NAT gateways.
const NAT_GATEWAY: &str = "nat_gateway";

/// The owner of what AWS manages.
const MANAGER: &str = "amazon-aws";

/// A network interface, as answers describe it.
pub(super) struct Interface {
    pub(super) id: String,
    pub(super) description: String,
    /// `interface`, or the kind of the resource that has it.
    pub(super) kind: &'static str,
    pub(super) account: String,
    pub(super) vpc: String,
    pub(super) subnet: String,
    pub(super) zone: String,
    pub(super) mac: String,
    pub(super) address: Ipv4Addr,
    /// The name of the private address, if the VPC gives names.
    pub(super) name: Option<String>,
    pub(super) public: Option<Public>,
    /// Ids and names of security groups.
    pub(super) groups: Vec<(String, String)>,
    pub(super) attachment: Option<Attached>,
    /// The service of AWS that manages the interface.
    pub(super) requester: Option<String>,
    pub(super) tags: Tags,
}

/// The public address of an interface.
pub(super) struct Public {
    pub(super) address: Ipv4Addr,
    /// The ids of the allocation and of the association of an Elastic IP address.
    pub(super) elastic: Option<(String, String)>,
}

/// The attachment of an interface.
pub(super) struct Attached {
    pub(super) id: String,
    /// The instance, unless AWS has attached the interface.
    pub(super) instance: Option<String>,
    pub(super) since: Millis,
    pub(super) status: &'static str,
}

impl Interface {
    /// Returns the interface of an instance, which a terminated instance no longer
    /// has.
    fn of_instance(call: &mut Call<'_>, instance: &Instance) -> Self {
        let account = call.facts.account.clone();
        let region = call.region();
        let named = region.networks.vpcs.get(&instance.vpc);
        let named = named.is_some_and(|vpc| vpc.dns_support && vpc.dns_hostnames);
        let groups = instance.groups.iter().filter_map(|id| {
            let group = region.groups.get(id)?;
            Some((id.clone(), group.name.clone()))
        });
        let elastic = instance.elastic_ip.as_ref();
        Self {
            id: instance.interface.clone(),
            description: instance.options.interface.clone(),
            kind: "interface",
            account,
            vpc: instance.vpc.clone(),
            subnet: instance.subnet.clone(),
            zone: instance.zone.clone(),
            mac: mac(instance),
            address: instance.address,
            name: named.then(|| instance.private_name()),
            public: instance.public_address().map(|address| Public {
                address,
                elastic: elastic.map(|own| (own.allocation.clone(), own.id.clone())),
            }),
            groups: groups.collect(),
            attachment: Some(Attached {
                id: attachment_id(&instance.interface),
                instance: Some(instance.id.clone()),
                since: instance.created,
                status: if instance.is_fresh() {
                    "attaching"
                } else {
                    "attached"
                },
            }),
            requester: None,
            tags: instance.options.interface_tags.clone(),
        }
    }

    /// Returns the interface of a NAT gateway, which AWS manages.
    fn of_nat_gateway(call: &mut Call<'_>, nat: &NatGateway) -> Self {
        let account = call.facts.account.clone();
        let subnet = call.region().networks.subnets.get(&nat.subnet);
        let [a, b, c, d] = nat.address.octets();
        Self {
            id: nat.interface.clone(),
            description: format!("Interface for NAT Gateway {}", nat.id),
            kind: NAT_GATEWAY,
            account,
            vpc: nat.vpc.clone(),
            subnet: nat.subnet.clone(),
            zone: subnet.map(|subnet| subnet.zone.clone()).unwrap_or_default(),
            mac: format!("06:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}"),
            address: nat.address,
            name: None,
            public: nat.public.as_ref().map(|own| Public {
                address: own.address,
                elastic: Some((own.allocation.clone(), own.id.clone())),
            }),
            groups: Vec::new(),
            attachment: Some(Attached {
                id: nat.interface.replace("eni-", "ela-attach-"),
                instance: None,
                since: nat.created,
                status: "attached",
            }),
            requester: Some(MANAGER.to_owned()),
            tags: Tags::new(),
        }
    }

    /// Writes the interface as `DescribeNetworkInterfaces` returns it.
    fn write(&self, xml: &mut Xml) {
        xml.text("networkInterfaceId", &self.id);
        xml.text("subnetId", &self.subnet);
        xml.text("vpcId", &self.vpc);
        xml.text("availabilityZone", &self.zone);
        xml.text("availabilityZoneId", zone_id(&self.zone));
        xml.text("description", &self.description);
        xml.text("ownerId", &self.account);
        xml.option("requesterId", self.requester.as_ref());
        xml.text("requesterManaged", self.requester.is_some());
        let is_used = self.attachment.is_some();
        xml.text("status", if is_used { "in-use" } else { "available" });
        xml.text("macAddress", &self.mac);
        xml.text("privateIpAddress", self.address);
        xml.option("privateDnsName", self.name.as_ref());
        xml.text("sourceDestCheck", self.kind != NAT_GATEWAY);
        write_groups(xml, &self.groups);
        if let Some(attached) = &self.attachment {
            attached.write(xml, &self.account);
        }
        self.write_association(xml);
        tags::write_list(xml, &self.tags);
        xml.list("privateIpAddressesSet", [()], |xml, ()| {
            xml.text("privateIpAddress", self.address);
            xml.option("privateDnsName", self.name.as_ref());
            xml.text("primary", true);
            self.write_association(xml);
        });
        xml.texts("ipv6AddressesSet", [] as [&str; 0]);
        xml.text("interfaceType", self.kind);
        xml.text("denyAllIgwTraffic", false);
        write_operator(xml);
    }

    fn write_association(&self, xml: &mut Xml) {
        let Some(public) = &self.public else {
            return;
        };
        xml.node("association", |xml| {
            xml.text("publicIp", public.address);
            xml.text("publicDnsName", "");
            match &public.elastic {
                Some((allocation, association)) => {
                    xml.text("ipOwnerId", &self.account);
                    xml.text("allocationId", allocation);
                    xml.text("associationId", association);
                }
                None => xml.text("ipOwnerId", "amazon"),
            }
        });
    }

    fn public_owner(&self) -> Option<String> {
        self.public.as_ref().map(|public| match public.elastic {
            Some(_) => self.account.clone(),
            None => "amazon".to_owned(),
        })
    }
}

impl Attached {
    fn write(&self, xml: &mut Xml, account: &str) {
        xml.node("attachment", |xml| {
            xml.text("attachmentId", &self.id);
            xml.option("instanceId", self.instance.as_ref());
            let is_managed = self.instance.is_none();
            xml.text(
                "instanceOwnerId",
                if is_managed { MANAGER } else { account },
            );
            xml.text("deviceIndex", u8::from(is_managed));
            xml.text("networkCardIndex", 0);
            xml.text("status", self.status);
            xml.text("attachTime", iso(self.since));
            xml.text("deleteOnTermination", !is_managed);
        });
    }
}

fn write_groups(xml: &mut Xml, groups: &[(String, String)]) {
    xml.list("groupSet", groups, |xml, (id, name)| {
        xml.text("groupId", id);
        xml.text("groupName", name);
    });
}

impl Filtered for Interface {
    /// Returns the values of filters that do not name a member of the answer.
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let public = self.public.as_ref();
        Some(match name {
            "addresses.association.owner-id" => self.public_owner().into_iter().collect(),
            "addresses.association.public-ip" => {
                let address = public.map(|public| public.address.to_string());
                address.into_iter().collect()
            }
            "addresses.primary" => vec!["true".to_owned()],
            "addresses.private-ip-address" => vec![self.address.to_string()],
            _ => return None,
        })
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

/// Returns all interfaces of the region, the oldest first.
fn all(call: &mut Call<'_>) -> Vec<Interface> {
    let instances = call.region().instances.values();
    let mut instances: Vec<Instance> = instances
        .filter(|instance| instance.phase != Phase::Terminated)
        .cloned()
        .collect();
    instances.retain(|instance| call.visible(instance.created));
    instances.sort_by(|a, b| (a.created, &a.interface).cmp(&(b.created, &b.interface)));
    let now = call.now;
    let gateways = call.region().networks.nat_gateways.values();
    let gateways: Vec<NatGateway> = gateways
        .filter(|nat| nat.has_addresses(now))
        .cloned()
        .collect();
    let of_instances = instances
        .iter()
        .map(|instance| (instance.created, Interface::of_instance(call, instance)));
    let mut all: Vec<(Millis, Interface)> = of_instances.collect();
    for nat in gateways {
        all.push((nat.created, Interface::of_nat_gateway(call, &nat)));
    }
    all.sort_by_key(|(created, _)| *created);
    all.into_iter().map(|(_, interface)| interface).collect()
}

/// Returns the instance that has an interface.
pub(super) fn holder(call: &mut Call<'_>, interface: &str) -> Result<Instance> {
    NETWORK_INTERFACE.check(interface)?;
    let found = {
        let mut owners = call.region().instances.find(interface);
        owners.find(|i| i.phase != Phase::Terminated).cloned()
    };
    found
        .filter(|instance| call.visible(instance.created))
        .ok_or_else(|| NETWORK_INTERFACE.not_found(&[interface]))
}

pub(super) fn describe_network_interfaces(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let ids = request.list("NetworkInterfaceId");
    // The local cloud has no interfaces that an AWS service manages.
    request.flag("IncludeManagedResources")?;
    let mut asked = all(call);
    NETWORK_INTERFACE.find_all(&ids, |id| asked.iter().any(|known| known.id == id))?;
    asked.retain(|known| ids.is_empty() || ids.contains(&known.id.as_str()));
    let found = Filters::of(request)?.keep_as(asked, |xml, known| known.write(xml))?;
    let (found, next) = page(request, found, 5)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("networkInterfaceSet", found, |xml, known| known.write(xml));
    xml.option("nextToken", next);
    Ok(xml)
}

pub(super) fn describe_network_interface_attribute(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let holder = holder(call, request.required("NetworkInterfaceId")?)?;
    let attribute = request.required("Attribute")?;
    call.read_all()?;
    let interface = Interface::of_instance(call, &holder);
    let mut xml = Xml::default();
    xml.text("networkInterfaceId", &interface.id);
    match attribute {
        "description" => xml.node(attribute, |xml| xml.text("value", &interface.description)),
        "groupSet" => write_groups(&mut xml, &interface.groups),
        "sourceDestCheck" => xml.node(attribute, |xml| xml.text("value", true)),
        "attachment" => {
            if let Some(attached) = &interface.attachment {
                attached.write(&mut xml, &interface.account);
            }
        }
        "associatePublicIpAddress" => xml.text(attribute, holder.public),
        other => return Err(Refusal::value("attribute", other, "Unknown attribute.")),
    }
    Ok(xml)
}

/// Changes one attribute of an interface. As on AWS, a request names one.
pub(super) fn modify_network_interface_attribute(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let mut holder = holder(call, request.required("NetworkInterfaceId")?)?;
    request.unsupported(&[
        "AssociatePublicIpAddress",
        "AssociatedSubnetId",
        "ConnectionTrackingSpecification",
        "EnablePrimaryIpv6",
        "EnaSrdSpecification",
    ])?;
    let description = request.part("Description").given("Value");
    let check = request.part("SourceDestCheck").flag("Value")?;
    let ids = request.list("SecurityGroupId");
    let attachment = request.part("Attachment");
    attachment.unsupported(&["DefaultEnaQueueCount", "EnaQueueCount"])?;
    let attached = attachment.text("AttachmentId");
    let delete = attachment.flag("DeleteOnTermination")?;
    call.read_all()?;
    let changes_attachment = attached.is_some() || delete.is_some();
    check_one(&[
        ("description", description.is_some()),
        ("sourceDestCheck", check.is_some()),
        ("groupSet", !ids.is_empty()),
        ("attachment", changes_attachment),
    ])?;
    if check == Some(false) {
        return Err(only("SourceDestCheck"));
    }
    if changes_attachment {
        check_attachment(&holder, attached, delete)?;
    }
    if let Some(description) = description {
        description.clone_into(&mut holder.options.interface);
    }
    if !ids.is_empty() {
        check_groups(call, &ids, &holder.vpc)?;
        holder.groups = ids.into_iter().map(str::to_owned).collect();
        call.effects.push(Effect::Groups);
    }
    call.region().instances.insert(holder.id.clone(), holder);
    Ok(Xml::done())
}

/// Refuses a request that does not change one attribute.
fn check_one(attributes: &[(&str, bool)]) -> Result<()> {
    let given = attributes.iter().filter(|(_, given)| *given);
    let given: Vec<&str> = given.map(|(name, _)| *name).collect();
    let why = match given.len() {
        1 => return Ok(()),
        0 => "No attributes specified.".to_owned(),
        _ => format!(
            "Fields for multiple attribute types specified: {}",
            given.join(", ")
        ),
    };
    Err(Refusal::new("InvalidParameterCombination", why))
}

/// Returns the refusal of `false`, which would change the switch or would leave an
/// interface without an instance.
fn only(parameter: &str) -> Refusal {
    Refusal::new(
        "UnsupportedOperation",
        format!("The local cloud supports the value true of {parameter} only, not false"),
    )
}

fn check_attachment(holder: &Instance, attached: Option<&str>, delete: Option<bool>) -> Result<()> {
    let Some(id) = attached else {
        return Err(Refusal::new(
            "MissingParameter",
            "The request must contain the parameter attachmentId",
        ));
    };
    if id != attachment_id(&holder.interface) {
        return Err(Refusal::new(
            "InvalidAttachmentID.NotFound",
            format!("The attachment '{id}' does not exist"),
        ));
    }
    if delete == Some(false) {
        return Err(only("Attachment.DeleteOnTermination"));
    }
    Ok(())
}

/// Refuses groups that an interface in this VPC cannot have.
pub(super) fn check_groups(call: &mut Call<'_>, ids: &[&str], vpc: &str) -> Result<()> {
    for id in ids {
        if groups::find(call, id)?.vpc != vpc {
            return Err(Refusal::new(
                "InvalidGroup.NotFound",
                "You have specified two resources that belong to different networks.",
            ));
        }
    }
    if ids.len() > MAX_GROUPS {
        return Err(Refusal::new(
            "SecurityGroupsPerInterfaceLimitExceeded",
            "The maximum number of security groups per interface has been reached.",
        ));
    }
    Ok(())
}

/// Resets an attribute to its default, which it always has here.
pub(super) fn reset_network_interface_attribute(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    holder(call, request.required("NetworkInterfaceId")?)?;
    request.text("SourceDestCheck");
    call.read_all()?;
    Ok(Xml::done())
}
