//! The default VPC of a region, with a default subnet in each zone.
//!
//! The first request to a region creates them. As on AWS, they can be deleted and
//! created again. An account may lack them (`no_default_vpc` and
//! `no_default_subnet` of `--faults`); they are then hidden from the run until it
//! creates them.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;

use super::addresses::default_block;
use super::call::Call;
use super::capacity::{self, Pool};
use super::elastic_ips;
use super::groups;
use super::ids::{new_id, stable_id};
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::regions::{Zone, zone_named, zones};
use super::state::{Millis, Region, Tags};
use super::vpc;
use super::vpc::state::{InternetGateway, Route, RouteTable, Subnet, Vpc};
use super::vpc::subnets::free_count;
use super::xml::Xml;

/// The size of a default subnet.
const PREFIX: u8 = 24;

/// Creates the default VPC of a region that has never had one. Its ids are the
/// same in every local cloud.
pub(super) fn ensure_default(known: &mut Region, region: &str, shared: Ipv4Net, now: Millis) {
    if *known.has_begun {
        return;
    }
    *known.has_begun.get_mut() = true;
    create(known, region, shared, now, &|prefix, words| {
        stable_id(prefix, &[&[region][..], words].concat())
    });
}

/// Creates the default VPC with its parts.
fn create(
    known: &mut Region,
    region: &str,
    shared: Ipv4Net,
    now: Millis,
    id: &dyn Fn(&str, &[&str]) -> String,
) {
    let vpc = Vpc {
        id: id("vpc", &[]),
        cidr: default_block(shared),
        is_default: true,
        tenancy: "default".to_owned(),
        dns_support: true,
        dns_hostnames: true,
        address_metrics: false,
        tags: Tags::new(),
    };
    let gateway = InternetGateway {
        id: id("igw", &[]),
        vpc: Some(vpc.id.clone()),
        tags: Tags::new(),
    };
    let table = RouteTable {
        id: id("rtb", &[]),
        vpc: vpc.id.clone(),
        main: Some(id("rtbassoc", &[])),
        associations: BTreeMap::new(),
        routes: vec![Route {
            destination: Ipv4Net::default(),
            gateway: gateway.id.clone(),
        }],
        tags: Tags::new(),
    };
    groups::add_default(known, id("sg", &["default"]), &vpc.id, now);
    let networks = &mut known.networks;
    for (zone, cidr) in zones(region).into_iter().zip(blocks(vpc.cidr)) {
        // The first zone's subnet is that of the region.
        let words: &[&str] = match zone.name.strip_prefix(region) {
            Some("a") | None => &[],
            Some(letter) => &[letter],
        };
        let subnet = default_subnet(id("subnet", words), &vpc.id, cidr, zone.name.clone());
        networks.subnets.insert(subnet.id.clone(), subnet);
    }
    networks
        .internet_gateways
        .insert(gateway.id.clone(), gateway);
    networks.route_tables.insert(table.id.clone(), table);
    networks.vpcs.insert(vpc.id.clone(), vpc);
}

/// Returns the CIDR blocks for default subnets in the block of a default VPC.
fn blocks(vpc: Ipv4Net) -> impl Iterator<Item = Ipv4Net> {
    vpc.subnets(PREFIX).into_iter().flatten()
}

fn default_subnet(id: String, vpc: &str, cidr: Ipv4Net, zone: String) -> Subnet {
    Subnet {
        id,
        vpc: vpc.to_owned(),
        cidr,
        zone,
        is_default: true,
        map_public_ip: true,
        tags: Tags::new(),
    }
}

/// Returns the default VPC, unless the account of the run lacks it.
pub(super) fn default_vpc<'a>(call: &'a Call<'_>) -> Option<&'a Vpc> {
    let vpc = call.known()?.networks.default_vpc()?;
    (!call.account.no_default_vpc || has_created(call, "")).then_some(vpc)
}

/// Whether the run sees this subnet.
pub(super) fn shows(call: &Call<'_>, subnet: &Subnet) -> bool {
    if !subnet.is_default {
        return true;
    }
    let created = || has_created(call, "") || has_created(call, &subnet.zone);
    default_vpc(call).is_some() && (!call.account.no_default_subnet || created())
}

/// Whether the run has created what its account lacked: the default VPC, or the
/// default subnet of a zone.
fn has_created(call: &Call<'_>, zone: &str) -> bool {
    let known = call.known();
    known.is_some_and(|known| known.default_vpcs.contains(&marker(call, zone)))
}

fn note_created(call: &mut Call<'_>, zone: &str) {
    let marker = marker(call, zone);
    call.region().default_vpcs.get_mut().insert(marker);
}

fn marker(call: &Call<'_>, zone: &str) -> String {
    format!("{} {zone}", call.run.unwrap_or_default())
}

/// Returns the default subnets that the run sees, in the order of their zones.
pub(super) fn default_subnets(call: &Call<'_>) -> Vec<Subnet> {
    let Some(known) = call.known() else {
        return Vec::new();
    };
    let all = known.networks.subnets.values();
    let mut all: Vec<Subnet> = all.filter(|s| s.is_default).cloned().collect();
    all.retain(|subnet| shows(call, subnet));
    all.sort_by(|a, b| a.zone.cmp(&b.zone));
    all
}

/// Returns the VPC of a request. Without a VPC in the request, the account must
/// have a default VPC.
pub(super) fn vpc_of(call: &mut Call<'_>, vpc: Option<&str>) -> Result<Vpc> {
    match vpc {
        None => default_vpc(call)
            .cloned()
            .ok_or_else(|| Refusal::new("VPCIdNotSpecified", "No default VPC for this user")),
        Some(id) => vpc::find_vpc(call, id),
    }
}

/// The instances of a launch, as far as the choice of their subnet depends on them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sought<'a> {
    pub(super) instance_type: &'a str,
    pub(super) count: u32,
    pub(super) spot: bool,
}

/// Returns the subnet of a launch: the named one, else the default subnet of the
/// zone, else the first default subnet with enough addresses in a zone that offers
/// the instance type and has the capacity.
pub(super) fn subnet_of(
    call: &mut Call<'_>,
    subnet: Option<&str>,
    zone: Option<&str>,
    sought: Sought<'_>,
) -> Result<Subnet> {
    if let Some(id) = subnet {
        return vpc::find_subnet(call, id);
    }
    let Some(vpc) = default_vpc(call) else {
        return Err(Refusal::new(
            "VPCIdNotSpecified",
            "No default VPC for this user. GroupName is only supported for EC2-Classic and \
             default VPC.",
        ));
    };
    let mut all = default_subnets(call);
    if let Some(zone) = zone {
        let found = all.into_iter().find(|subnet| subnet.zone == zone);
        return found.ok_or_else(|| {
            Refusal::new(
                "InvalidInput",
                format!("No default subnet for availability zone: '{zone}'."),
            )
        });
    }
    if all.is_empty() {
        return Err(Refusal::new(
            "MissingInput",
            format!(
                "No subnets found for the default VPC '{}'. Please specify a subnet.",
                vpc.id
            ),
        ));
    }
    let Sought {
        instance_type,
        count,
        spot,
    } = sought;
    let wanted = usize::try_from(count).unwrap_or(usize::MAX);
    let has_room = |s: &Subnet| free_count(call.state, call.facts.subnet, s) >= wanted;
    let has_capacity = |zone: &str| {
        let pool = Pool {
            instance_type,
            zone,
            spot,
        };
        capacity::left(call, pool) >= count
    };
    let fits = |s: &Subnet| {
        call.account.offers(instance_type, &s.zone) && has_capacity(&s.zone) && has_room(s)
    };
    let place = all.iter().position(fits).unwrap_or(0);
    Ok(all.swap_remove(place))
}

pub(super) fn create_default_vpc(call: &mut Call<'_>, _request: &Part<'_>) -> Result<Xml> {
    call.read_all()?;
    if default_vpc(call).is_some() {
        return Err(Refusal::new(
            "DefaultVpcAlreadyExists",
            "A Default VPC already exists for this account in this region.",
        ));
    }
    note_created(call, "");
    if call.region().networks.default_vpc().is_none() {
        let (region, shared, now) = (call.region_name, call.facts.subnet, call.now);
        create(call.region(), region, shared, now, &|prefix, _| {
            new_id(prefix)
        });
    }
    let vpc = vpc_of(call, None)?;
    let mut xml = Xml::default();
    xml.node("vpc", |xml| {
        vpc::vpcs::write(xml, &vpc, &call.facts.account, "pending");
    });
    Ok(xml)
}

pub(super) fn create_default_subnet(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let zone = vpc::subnets::zone_of(call.region_name, request)?;
    if request.flag("Ipv6Native")? == Some(true) {
        request.unsupported(&["Ipv6Native"])?;
    }
    call.read_all()?;
    let zone = zone.ok_or_else(|| {
        Refusal::new(
            "MissingParameter",
            "The request must contain the parameter AvailabilityZone",
        )
    })?;
    let Some(vpc) = default_vpc(call).cloned() else {
        return Err(Refusal::new(
            "DefaultVpcDoesNotExist",
            "No default VPC exists for this account in this region.",
        ));
    };
    let seen = default_subnets(call);
    if let Some(subnet) = seen.iter().find(|subnet| subnet.zone == zone) {
        return Err(Refusal::new(
            "DefaultSubnetAlreadyExistsInAvailabilityZone",
            format!("'{}' is already the default subnet in {zone}.", subnet.id),
        ));
    }
    note_created(call, &zone);
    let known = call.region().networks.subnets.values();
    let hidden = known.filter(|s| s.is_default).find(|s| s.zone == zone);
    let subnet = match hidden.cloned() {
        Some(hidden) => hidden,
        None => new_default_subnet(call, &vpc, zone)?,
    };
    let mut xml = Xml::default();
    xml.node("subnet", |xml| vpc::subnets::write(xml, call, &subnet));
    Ok(xml)
}

fn new_default_subnet(call: &mut Call<'_>, vpc: &Vpc, zone: String) -> Result<Subnet> {
    let subnets = &mut call.region().networks.subnets;
    let siblings = subnets.values().filter(|subnet| subnet.vpc == vpc.id);
    let taken: Vec<Ipv4Net> = siblings.map(|subnet| subnet.cidr).collect();
    let overlap = |a: &Ipv4Net, b: &Ipv4Net| a.contains(b) || b.contains(a);
    let free = blocks(vpc.cidr).find(|block| !taken.iter().any(|other| overlap(other, block)));
    let Some(cidr) = free else {
        return Err(Refusal::new(
            "InsufficientFreeAddressesInVpc",
            format!("The default VPC '{}' has no free /{PREFIX} block.", vpc.id),
        ));
    };
    let subnet = default_subnet(new_id("subnet"), &vpc.id, cidr, zone);
    subnets.insert(subnet.id.clone(), subnet.clone());
    Ok(subnet)
}

/// Returns the name of the zone that a launch names by its name or id.
pub(super) fn zone_of_launch(call: &Call<'_>, placement: &Part<'_>) -> Result<Option<String>> {
    let id = placement.text("AvailabilityZoneId");
    let Some(given) = placement.text("AvailabilityZone").or(id) else {
        return Ok(None);
    };
    let invalid = |_| {
        Refusal::new(
            "InvalidParameterValue",
            format!("Invalid availability zone: [{given}]"),
        )
    };
    zone_named(call, given).map(Some).map_err(invalid)
}

/// Returns the first zone of a region.
pub(super) fn first_zone(region: &str) -> String {
    let first = zones(region).into_iter().next();
    first.map(|zone: Zone| zone.name).unwrap_or_default()
}

pub(super) fn describe_account_attributes(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let names = request.list("AttributeName");
    call.read_all()?;
    let vpc = default_vpc(call)
        .map_or("none", |vpc| vpc.id.as_str())
        .to_owned();
    let addresses = default_block(call.facts.subnet).hosts().count();
    let elastic_ips = elastic_ips::quota(call.account);
    let all = [
        ("supported-platforms", "VPC".to_owned()),
        ("default-vpc", vpc),
        ("max-instances", addresses.to_string()),
        ("vpc-max-security-groups-per-interface", "5".to_owned()),
        ("max-elastic-ips", elastic_ips.to_string()),
        ("vpc-max-elastic-ips", elastic_ips.to_string()),
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
