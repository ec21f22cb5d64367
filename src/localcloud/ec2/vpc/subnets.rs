//! Subnets: create, delete, describe, and their attributes.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::super::call::Call;
use super::super::filters::{Filtered, Filters, page_after};
use super::super::ids::{SUBNET, new_id};
use super::super::network::{first_zone, shows};
use super::super::params::Part;
use super::super::refusal::{Refusal, Result};
use super::super::regions::{zone_id, zones};
use super::super::state::{Instance, Phase, State, Tags};
use super::super::tags;
use super::super::xml::Xml;
use super::state::{RouteTable, Subnet};
use super::vpcs::write_public_access;
use super::{MAX_SUBNETS, cidr, find_subnet, find_vpc, has_valid_size, in_use, refuse};

/// The number of addresses in each subnet that AWS reserves: the first four and
/// the last.
const RESERVED: usize = 5;

/// A subnet with what its answer needs.
struct View {
    subnet: Subnet,
    owner: String,
    region: String,
    free: usize,
}

impl View {
    fn of(call: &Call<'_>, subnet: Subnet) -> Self {
        Self {
            free: free_count(call.state, call.facts.subnet, &subnet),
            owner: call.facts.account.clone(),
            region: call.region_name.to_owned(),
            subnet,
        }
    }

    fn arn(&self) -> String {
        let (region, owner) = (&self.region, &self.owner);
        format!("arn:aws:ec2:{region}:{owner}:subnet/{}", self.subnet.id)
    }
}

impl Filtered for View {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let subnet = &self.subnet;
        let one = match name {
            "subnet-id" => subnet.id.clone(),
            "subnet-arn" => self.arn(),
            "vpc-id" => subnet.vpc.clone(),
            "cidr-block" | "cidr" | "cidrBlock" => subnet.cidr.to_string(),
            "availability-zone" | "availabilityZone" => subnet.zone.clone(),
            "availability-zone-id" | "availabilityZoneId" => zone_id(&subnet.zone),
            "available-ip-address-count" | "availableIpAddressCount" => self.free.to_string(),
            "default-for-az" | "defaultForAz" => subnet.is_default.to_string(),
            "map-public-ip-on-launch" => subnet.map_public_ip.to_string(),
            "map-customer-owned-ip-on-launch"
            | "enable-dns64"
            | "ipv6-native"
            | "private-dns-name-options-on-launch.enable-resource-name-dns-a-record"
            | "private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record" => {
                "false".to_owned()
            }
            "private-dns-name-options-on-launch.hostname-type" => "ip-name".to_owned(),
            "owner-id" => self.owner.clone(),
            "state" => "available".to_owned(),
            "customer-owned-ipv4-pool" | "enable-lni-at-device-index" | "outpost-arn" => {
                return Some(Vec::new());
            }
            _ if name.starts_with("ipv6-cidr-block-association.") => return Some(Vec::new()),
            _ => return None,
        };
        Some(vec![one])
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.subnet.tags)
    }
}

/// Returns the addresses in a subnet that instances may have.
pub(in super::super) fn assignable(cidr: Ipv4Net) -> impl Iterator<Item = Ipv4Addr> + Clone {
    let last = cidr.broadcast();
    let all = u32::from(cidr.network()) + 4..u32::from(last);
    all.map(Ipv4Addr::from)
}

/// Returns the number of addresses that a subnet still has. Instances of all
/// regions share the addresses of the default VPCs.
pub(in super::super) fn free_count(state: &State, shared: Ipv4Net, subnet: &Subnet) -> usize {
    let size = 1_usize << (32 - subnet.cidr.prefix_len());
    let instances = state.regions.values().flat_map(|r| r.instances.values());
    let is_inside = |instance: &Instance| {
        if shared.contains(&subnet.cidr) {
            subnet.cidr.contains(&instance.address)
        } else {
            instance.subnet == subnet.id
        }
    };
    let taken = instances.filter(|i| !i.phase.is_ending() && is_inside(i));
    let networks = state.regions.values().map(|region| &region.networks);
    let nats = networks.flat_map(|networks| networks.nat_gateways.values());
    let nats = nats.filter(|nat| {
        let is_up = nat.deleted.is_none() && nat.failure.is_none();
        let is_inside = if shared.contains(&subnet.cidr) {
            subnet.cidr.contains(&nat.address)
        } else {
            nat.subnet == subnet.id
        };
        is_up && is_inside
    });
    size.saturating_sub(RESERVED + taken.count() + nats.count())
}

/// Writes a subnet as the create actions and `DescribeSubnets` return it.
pub(in super::super) fn write(xml: &mut Xml, call: &Call<'_>, subnet: &Subnet) {
    let view = View::of(call, subnet.clone());
    write_view(xml, &view);
}

fn write_view(xml: &mut Xml, view: &View) {
    let subnet = &view.subnet;
    xml.text("subnetId", &subnet.id);
    xml.text("subnetArn", view.arn());
    xml.text("state", "available");
    xml.text("ownerId", &view.owner);
    xml.text("vpcId", &subnet.vpc);
    xml.text("cidrBlock", subnet.cidr);
    xml.texts("ipv6CidrBlockAssociationSet", [] as [&str; 0]);
    xml.text("availableIpAddressCount", view.free);
    xml.text("availabilityZone", &subnet.zone);
    xml.text("availabilityZoneId", zone_id(&subnet.zone));
    xml.text("defaultForAz", subnet.is_default);
    xml.text("mapPublicIpOnLaunch", subnet.map_public_ip);
    xml.text("mapCustomerOwnedIpOnLaunch", false);
    xml.text("assignIpv6AddressOnCreation", false);
    xml.text("enableDns64", false);
    xml.text("ipv6Native", false);
    xml.node("privateDnsNameOptionsOnLaunch", |xml| {
        xml.text("hostnameType", "ip-name");
        xml.text("enableResourceNameDnsARecord", false);
        xml.text("enableResourceNameDnsAAAARecord", false);
    });
    write_public_access(xml);
    tags::write(xml, &subnet.tags);
}

pub(in super::super) fn create_subnet(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    refuse(
        request,
        &[
            "Ipv4IpamPoolId",
            "Ipv4NetmaskLength",
            "Ipv6CidrBlock",
            "Ipv6IpamPoolId",
            "Ipv6NetmaskLength",
            "OutpostArn",
        ],
    )?;
    if request.flag("Ipv6Native")? == Some(true) {
        refuse(request, &["Ipv6Native"])?;
    }
    let vpc = request.required("VpcId")?;
    let block = cidr("cidrBlock", request.required("CidrBlock")?)?;
    let zone = zone_of(call.region_name, request)?;
    let zone = zone.unwrap_or_else(|| first_zone(call.region_name));
    let tags = tags::specified(request, &["subnet"], "subnet")?;
    call.read_all()?;
    let vpc = find_vpc(call, vpc)?;
    if !has_valid_size(block) || !vpc.cidr.contains(&block) {
        return Err(Refusal::new(
            "InvalidSubnet.Range",
            format!("The CIDR '{block}' is invalid."),
        ));
    }
    let siblings = call.region().networks.subnets.values();
    let siblings: Vec<Ipv4Net> = siblings
        .filter(|subnet| subnet.vpc == vpc.id)
        .map(|subnet| subnet.cidr)
        .collect();
    let overlaps = |other: &Ipv4Net| other.contains(&block) || block.contains(other);
    if siblings.iter().any(overlaps) {
        return Err(Refusal::new(
            "InvalidSubnet.Conflict",
            format!("The CIDR '{block}' conflicts with another subnet"),
        ));
    }
    if siblings.len() >= MAX_SUBNETS {
        return Err(Refusal::new(
            "SubnetLimitExceeded",
            "The maximum number of subnets has been reached.",
        ));
    }
    let subnet = Subnet {
        id: new_id("subnet"),
        vpc: vpc.id,
        cidr: block,
        zone,
        is_default: false,
        map_public_ip: false,
        tags,
    };
    let mut xml = Xml::default();
    xml.node("subnet", |xml| write(xml, call, &subnet));
    let subnets = &mut call.region().networks.subnets;
    subnets.insert(subnet.id.clone(), subnet);
    Ok(xml)
}

/// Returns the zone that a request names for a new subnet.
pub(in super::super) fn zone_of(region: &str, request: &Part<'_>) -> Result<Option<String>> {
    let by_id = request.text("AvailabilityZoneId");
    let by_name = request.text("AvailabilityZone");
    let (given, parameter) = match (by_name, by_id) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(Refusal::new(
                "InvalidParameterCombination",
                "The parameters AvailabilityZone and AvailabilityZoneId cannot be used together",
            ));
        }
        (Some(name), None) => (name, "availabilityZone"),
        (None, Some(id)) => (id, "availabilityZoneId"),
    };
    let known = zones(region);
    let found = known
        .iter()
        .find(|zone| by_name == Some(&*zone.name) || by_id == Some(&*zone.id));
    let found = found.map(|zone| Some(zone.name.clone()));
    found.ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|zone| zone.name.as_str()).collect();
        let why = format!(
            "Subnets can currently only be created in the following availability zones: {}.",
            names.join(", ")
        );
        Refusal::value(parameter, given, &why)
    })
}

pub(in super::super) fn delete_subnet(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let id = request.required("SubnetId")?;
    call.read_all()?;
    let subnet = find_subnet(call, id)?;
    let now = call.now;
    let region = call.region();
    let mut instances = region.instances.values();
    let mut nats = region.networks.nat_gateways.values();
    if instances.any(|i| i.phase != Phase::Terminated && i.subnet == id)
        || nats.any(|nat| nat.subnet == id && nat.has_addresses(now))
    {
        return Err(in_use("subnet", id));
    }
    let tables = &mut region.networks.route_tables;
    let own = |table: &&RouteTable| table.associations.values().any(|subnet| subnet == id);
    for table in tables
        .values()
        .filter(own)
        .map(|t| t.id.clone())
        .collect::<Vec<_>>()
    {
        if let Some(table) = tables.get_mut(&table) {
            table.associations.retain(|_, subnet| subnet != id);
        }
    }
    region.networks.subnets.remove(id);
    call.state.last_addresses.remove(&subnet.cidr.to_string());
    Ok(Xml::done())
}

pub(in super::super) fn describe_subnets(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let ids = request.list("SubnetId");
    let subnets = call.region().networks.subnets.values();
    let mut all: Vec<Subnet> = subnets.cloned().collect();
    all.retain(|subnet| shows(call, subnet));
    let asked = SUBNET.select(&ids, all, |subnet| &subnet.id)?;
    let asked = asked
        .into_iter()
        .map(|subnet| View::of(call, subnet))
        .collect();
    let found = Filters::of(request)?.keep(asked)?;
    let (subnets, next) = page_after(request, found, 5, |one| one.subnet.id.clone())?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("subnetSet", subnets, |xml, view| write_view(xml, &view));
    xml.option("nextToken", next);
    Ok(xml)
}

pub(in super::super) fn modify_subnet_attribute(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let id = request.required("SubnetId")?;
    let value = |name: &str| request.part(name).flag("Value");
    let map_public_ip = value("MapPublicIpOnLaunch")?;
    for unsupported in [
        "AssignIpv6AddressOnCreation",
        "DisableLniAtDeviceIndex",
        "EnableDns64",
        "EnableResourceNameDnsAAAARecordOnLaunch",
        "EnableResourceNameDnsARecordOnLaunch",
        "MapCustomerOwnedIpOnLaunch",
    ] {
        if value(unsupported)? == Some(true) {
            refuse(&request.part(unsupported), &["Value"])?;
        }
    }
    if request.text("PrivateDnsHostnameTypeOnLaunch") != Some("ip-name") {
        refuse(request, &["PrivateDnsHostnameTypeOnLaunch"])?;
    }
    refuse(
        request,
        &["CustomerOwnedIpv4Pool", "EnableLniAtDeviceIndex"],
    )?;
    call.read_all()?;
    let mut subnet = find_subnet(call, id)?;
    subnet.map_public_ip = map_public_ip.unwrap_or(subnet.map_public_ip);
    let subnets = &mut call.region().networks.subnets;
    subnets.insert(subnet.id.clone(), subnet);
    Ok(Xml::done())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aws_reserves_five_addresses_of_a_subnet() {
        let all: Vec<_> = assignable("10.0.1.0/28".parse().unwrap()).collect();
        assert_eq!(all.len(), 16 - RESERVED);
        assert_eq!(all.first(), Some(&Ipv4Addr::new(10, 0, 1, 4)));
        assert_eq!(all.last(), Some(&Ipv4Addr::new(10, 0, 1, 14)));
    }
}
