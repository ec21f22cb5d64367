//! The default VPC with its subnet and its internet gateway, one of each in every
//! region of the account.

use super::call::Call;
use super::filters::{Filtered, Filters, page};
use super::ids::{INTERNET_GATEWAY, stable_id};
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::regions::zone_id;
use super::state::Tags;
use super::tags;
use super::xml::Xml;

/// Returns the id of a region's default VPC.
pub(super) fn vpc_id(region: &str) -> String {
    stable_id("vpc", &[region])
}

/// Returns the id of a region's default subnet. The local cloud has one subnet,
/// in the first zone.
pub(super) fn subnet_id(region: &str) -> String {
    stable_id("subnet", &[region])
}

/// Returns the id of the default VPC's internet gateway.
fn internet_gateway_id(region: &str) -> String {
    stable_id("igw", &[region])
}

/// Returns the zone of a region's default subnet.
pub(super) fn zone(region: &str) -> String {
    format!("{region}a")
}

/// Whether the account of the run has a default VPC.
fn has_default_vpc(call: &Call<'_>) -> bool {
    !call.account.no_default_vpc || has_created(call)
}

/// Whether the default VPC exists and has its default subnet.
fn has_default_subnet(call: &Call<'_>) -> bool {
    has_default_vpc(call) && (!call.account.no_default_subnet || has_created(call))
}

/// Whether the run has created what its account lacked.
fn has_created(call: &Call<'_>) -> bool {
    let region = call.state.regions.get(call.region_name);
    let run = call.run.unwrap_or_default();
    region.is_some_and(|region| region.default_vpcs.contains(run))
}

/// Refuses a VPC that is not the default VPC. Without a VPC in the request, the
/// account must have a default VPC.
pub(super) fn check_vpc(call: &Call<'_>, vpc: Option<&str>) -> Result<()> {
    match vpc {
        None if !has_default_vpc(call) => Err(Refusal::new(
            "VPCIdNotSpecified",
            "No default VPC for this user",
        )),
        Some(vpc) if vpc != vpc_id(call.region_name) || !has_default_vpc(call) => {
            Err(Refusal::new(
                "InvalidVpcID.NotFound",
                format!("The vpc ID '{vpc}' does not exist"),
            ))
        }
        _ => Ok(()),
    }
}

/// Refuses a subnet that is not the default subnet. Without a subnet in the
/// request, the account must have a default VPC.
pub(super) fn check_subnet(call: &Call<'_>, subnet: Option<&str>) -> Result<()> {
    match subnet {
        None if !has_default_vpc(call) => Err(Refusal::new(
            "VPCIdNotSpecified",
            "No default VPC for this user. GroupName is only supported for EC2-Classic and \
             default VPC.",
        )),
        None if !has_default_subnet(call) => Err(Refusal::new(
            "MissingInput",
            format!(
                "No subnets found for the default VPC '{}'. Please specify a subnet.",
                vpc_id(call.region_name)
            ),
        )),
        Some(subnet) if subnet != subnet_id(call.region_name) || !has_default_subnet(call) => {
            Err(Refusal::new(
                "InvalidSubnetID.NotFound",
                format!("The subnet ID '{subnet}' does not exist"),
            ))
        }
        _ => Ok(()),
    }
}

/// Refuses an internet gateway that is not the default VPC's.
fn check_internet_gateway(call: &Call<'_>, gateway: &str) -> Result<()> {
    INTERNET_GATEWAY.find_all(&[gateway], |id| {
        id == internet_gateway_id(call.region_name) && has_default_vpc(call)
    })
}

struct Vpc {
    id: String,
    cidr: String,
    owner: String,
}

impl Filtered for Vpc {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let one = match name {
            "vpc-id" => self.id.clone(),
            "cidr" | "cidrBlock" | "cidr-block-association.cidr-block" => self.cidr.clone(),
            "dhcp-options-id" | "dhcpOptionsId" => "default".to_owned(),
            "is-default" | "isDefault" => "true".to_owned(),
            "owner-id" => self.owner.clone(),
            "state" => "available".to_owned(),
            _ if name.starts_with("tag") => return Some(Vec::new()),
            _ => return None,
        };
        Some(vec![one])
    }
}

impl Vpc {
    /// The default VPC of the region.
    fn of(call: &Call<'_>) -> Self {
        Self {
            id: vpc_id(call.region_name),
            cidr: call.facts.subnet.to_string(),
            owner: call.facts.account.clone(),
        }
    }

    /// Writes everything but the id.
    fn write_details(&self, xml: &mut Xml) {
        xml.text("ownerId", &self.owner);
        xml.text("state", "available");
        xml.text("cidrBlock", &self.cidr);
        xml.text("dhcpOptionsId", "default");
        xml.text("instanceTenancy", "default");
        xml.text("isDefault", true);
    }
}

pub(super) fn create_default_vpc(call: &mut Call<'_>, _request: &Part<'_>) -> Result<Xml> {
    call.read_all()?;
    if has_default_vpc(call) {
        return Err(Refusal::new(
            "DefaultVpcAlreadyExists",
            "A Default VPC already exists for this account in this region.",
        ));
    }
    create_missing(call);
    let mut xml = Xml::default();
    xml.node("vpc", |xml| {
        let vpc = Vpc::of(call);
        xml.text("vpcId", &vpc.id);
        vpc.write_details(xml);
    });
    Ok(xml)
}

/// Creates the default VPC, with its subnet, in the account of the run.
fn create_missing(call: &mut Call<'_>) {
    let run = call.run.unwrap_or_default().to_owned();
    call.region().default_vpcs.insert(run);
}

pub(super) fn create_default_subnet(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let given = request.required("AvailabilityZone")?;
    request.flag("Ipv6Native")?;
    call.read_all()?;
    let zone = zone(call.region_name);
    if given != zone {
        return Err(Refusal::value(
            "availabilityZone",
            given,
            &format!("The local cloud has a subnet in {zone} only."),
        ));
    }
    if !has_default_vpc(call) {
        return Err(Refusal::new(
            "DefaultVpcDoesNotExist",
            "No default VPC exists for this account in this region.",
        ));
    }
    if has_default_subnet(call) {
        let subnet = subnet_id(call.region_name);
        return Err(Refusal::new(
            "DefaultSubnetAlreadyExistsInAvailabilityZone",
            format!("'{subnet}' is already the default subnet in {zone}."),
        ));
    }
    create_missing(call);
    let mut xml = Xml::default();
    xml.node("subnet", |xml| Subnet::of(call).write(xml));
    Ok(xml)
}

pub(super) fn describe_vpcs(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let ids = request.list("VpcId");
    for id in &ids {
        check_vpc(call, Some(id))?;
    }
    let mut all = Vec::new();
    if has_default_vpc(call) {
        all.push(Vpc::of(call));
    }
    let (vpcs, next) = page(request, Filters::of(request)?.keep(all)?, 5)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("vpcSet", vpcs, |xml, vpc| {
        xml.text("vpcId", &vpc.id);
        vpc.write_details(xml);
    });
    xml.option("nextToken", next);
    Ok(xml)
}

struct Subnet {
    id: String,
    vpc: String,
    cidr: String,
    zone: String,
    owner: String,
    free: usize,
}

impl Filtered for Subnet {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let one = match name {
            "subnet-id" => self.id.clone(),
            "vpc-id" => self.vpc.clone(),
            "cidr-block" | "cidr" | "cidrBlock" => self.cidr.clone(),
            "availability-zone" | "availabilityZone" => self.zone.clone(),
            "availability-zone-id" | "availabilityZoneId" => zone_id(&self.zone),
            "available-ip-address-count" | "availableIpAddressCount" => self.free.to_string(),
            "default-for-az" | "defaultForAz" | "map-public-ip-on-launch" => "true".to_owned(),
            "owner-id" => self.owner.clone(),
            "state" => "available".to_owned(),
            _ if name.starts_with("tag") => return Some(Vec::new()),
            _ => return None,
        };
        Some(vec![one])
    }
}

impl Subnet {
    /// The default subnet of the region.
    fn of(call: &Call<'_>) -> Self {
        let regions = call.state.regions.values();
        let instances = regions.flat_map(|region| region.instances.values());
        let taken = instances.filter(|i| !i.phase.is_ending()).count();
        Self {
            id: subnet_id(call.region_name),
            vpc: vpc_id(call.region_name),
            cidr: call.facts.subnet.to_string(),
            zone: zone(call.region_name),
            owner: call.facts.account.clone(),
            free: call.facts.subnet.hosts().count().saturating_sub(1 + taken),
        }
    }

    fn write(&self, xml: &mut Xml) {
        xml.text("subnetId", &self.id);
        xml.text("state", "available");
        xml.text("ownerId", &self.owner);
        xml.text("vpcId", &self.vpc);
        xml.text("cidrBlock", &self.cidr);
        xml.text("availableIpAddressCount", self.free);
        xml.text("availabilityZone", &self.zone);
        xml.text("availabilityZoneId", zone_id(&self.zone));
        xml.text("defaultForAz", true);
        xml.text("mapPublicIpOnLaunch", true);
    }
}

pub(super) fn describe_subnets(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let ids = request.list("SubnetId");
    for id in &ids {
        check_subnet(call, Some(id))?;
    }
    let mut all = Vec::new();
    if has_default_subnet(call) {
        all.push(Subnet::of(call));
    }
    let (subnets, next) = page(request, Filters::of(request)?.keep(all)?, 5)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("subnetSet", subnets, |xml, subnet| subnet.write(xml));
    xml.option("nextToken", next);
    Ok(xml)
}

struct InternetGateway {
    id: String,
    vpc: String,
    owner: String,
    tags: Tags,
}

impl Filtered for InternetGateway {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let one = match name {
            "attachment.state" => "available".to_owned(),
            "attachment.vpc-id" => self.vpc.clone(),
            "internet-gateway-id" => self.id.clone(),
            "owner-id" => self.owner.clone(),
            _ => return None,
        };
        Some(vec![one])
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

pub(super) fn describe_internet_gateways(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    for id in request.list("InternetGatewayId") {
        check_internet_gateway(call, id)?;
    }
    let mut all = Vec::new();
    if has_default_vpc(call) {
        all.push(InternetGateway {
            id: internet_gateway_id(call.region_name),
            vpc: vpc_id(call.region_name),
            owner: call.facts.account.clone(),
            tags: Tags::new(),
        });
    }
    let (gateways, next) = page(request, Filters::of(request)?.keep(all)?, 5)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("internetGatewaySet", gateways, |xml, gateway| {
        xml.list("attachmentSet", [&gateway.vpc], |xml, vpc| {
            xml.text("state", "available");
            xml.text("vpcId", vpc);
        });
        xml.text("internetGatewayId", &gateway.id);
        xml.text("ownerId", &gateway.owner);
        tags::write_list(xml, &gateway.tags);
    });
    xml.option("nextToken", next);
    Ok(xml)
}

pub(super) fn describe_account_attributes(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let names = request.list("AttributeName");
    call.read_all()?;
    let default_vpc = if has_default_vpc(call) {
        vpc_id(call.region_name)
    } else {
        "none".to_owned()
    };
    let all = [
        ("supported-platforms", "VPC".to_owned()),
        ("default-vpc", default_vpc),
        (
            "max-instances",
            call.facts.subnet.hosts().count().to_string(),
        ),
        ("vpc-max-security-groups-per-interface", "5".to_owned()),
    ];
    let wanted = all
        .into_iter()
        .filter(|(name, _)| names.is_empty() || names.contains(name));
    let mut xml = Xml::default();
    xml.list("accountAttributeSet", wanted, |xml, (name, value)| {
        xml.text("attributeName", name);
        xml.list("attributeValueSet", [value], |xml, value| {
            xml.text("attributeValue", value);
        });
    });
    Ok(xml)
}
