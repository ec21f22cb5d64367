//! VPCs and their parts: subnets, internet gateways, route tables and network
//! ACLs.
//!
//! Each region has a default VPC, which the first request to the region creates.
//! An account may lack it (`no_default_vpc` of `--faults`); its parts are then
//! hidden from the run.

pub(super) mod acls;
pub(super) mod dhcp_options;
pub(super) mod gateways;
pub(super) mod nat;
pub(super) mod route_tables;
pub(super) mod routes;
pub(super) mod state;
pub(super) mod subnets;
pub(super) mod vpcs;

use std::collections::BTreeMap;

use ipnet::Ipv4Net;

use super::call::Call;
use super::ids::{INTERNET_GATEWAY, ROUTE_TABLE, SUBNET, VPC, stable_id};
use super::network::{has_default_subnet, has_default_vpc, subnet_id, vpc_id, zone};
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::state::{Region, Tags};
use state::{InternetGateway, Route, RouteTable, Subnet, Vpc};

/// The limit of VPCs in a region. AWS's default quota is 5, which an account can
/// raise.
const MAX_VPCS: usize = 100;

/// The limit of subnets in a VPC, AWS's default quota.
const MAX_SUBNETS: usize = 200;

/// The limit of route tables in a VPC, AWS's default quota.
const MAX_ROUTE_TABLES: usize = 200;

/// The limit of routes in a table, AWS's default quota.
const MAX_ROUTES: usize = 50;

/// Creates the region's default VPC with its parts, if the region does not have
/// it. The addresses are those of the local cloud.
pub(super) fn ensure_default(known: &mut Region, region: &str, cidr: Ipv4Net) {
    let vpc = vpc_id(region);
    let networks = &mut known.networks;
    if networks.vpcs.contains_key(&vpc) {
        return;
    }
    let gateway = stable_id("igw", &[region]);
    let table = stable_id("rtb", &[region]);
    let subnet = subnet_id(region);
    networks.internet_gateways.insert(
        gateway.clone(),
        InternetGateway {
            id: gateway.clone(),
            vpc: Some(vpc.clone()),
            tags: Tags::new(),
        },
    );
    let internet = Route {
        destination: Ipv4Net::default(),
        gateway,
    };
    networks.route_tables.insert(
        table.clone(),
        RouteTable {
            id: table,
            vpc: vpc.clone(),
            main: Some(stable_id("rtbassoc", &[region])),
            associations: BTreeMap::new(),
            routes: vec![internet],
            tags: Tags::new(),
        },
    );
    networks.subnets.insert(
        subnet.clone(),
        Subnet {
            id: subnet,
            vpc: vpc.clone(),
            cidr,
            zone: zone(region),
            is_default: true,
            map_public_ip: true,
            tags: Tags::new(),
        },
    );
    networks.vpcs.insert(
        vpc.clone(),
        Vpc {
            id: vpc,
            cidr,
            is_default: true,
            tenancy: "default".to_owned(),
            dns_support: true,
            dns_hostnames: true,
            address_metrics: false,
            tags: Tags::new(),
        },
    );
}

/// Whether a part of this VPC is hidden from the run, because its account has no
/// default VPC.
fn is_hidden(call: &Call<'_>, vpc: &str) -> bool {
    vpc == vpc_id(call.region_name) && !has_default_vpc(call)
}

/// Returns the VPC with this id.
pub(super) fn find_vpc(call: &mut Call<'_>, id: &str) -> Result<Vpc> {
    let found = call.region().networks.vpcs.get(id).cloned();
    found
        .filter(|vpc| !is_hidden(call, &vpc.id))
        .ok_or_else(|| VPC.not_found(&[id]))
}

/// Returns the subnet with this id.
pub(super) fn find_subnet(call: &mut Call<'_>, id: &str) -> Result<Subnet> {
    let found = call.region().networks.subnets.get(id).cloned();
    found
        .filter(|subnet| !subnet.is_default || has_default_subnet(call))
        .ok_or_else(|| SUBNET.not_found(&[id]))
}

/// Returns the internet gateway with this id.
fn find_gateway(call: &mut Call<'_>, id: &str) -> Result<InternetGateway> {
    INTERNET_GATEWAY.check(id)?;
    let found = call.region().networks.internet_gateways.get(id).cloned();
    found
        .filter(|gateway| gateway.vpc.iter().all(|vpc| !is_hidden(call, vpc)))
        .ok_or_else(|| INTERNET_GATEWAY.not_found(&[id]))
}

/// Returns the route table with this id.
fn find_table(call: &mut Call<'_>, id: &str) -> Result<RouteTable> {
    ROUTE_TABLE.check(id)?;
    let found = call.region().networks.route_tables.get(id).cloned();
    found
        .filter(|table| !is_hidden(call, &table.vpc))
        .ok_or_else(|| ROUTE_TABLE.not_found(&[id]))
}

/// Returns the refusal to delete a resource that others use.
fn in_use(what: &str, id: &str) -> Refusal {
    Refusal::new(
        "DependencyViolation",
        format!("The {what} '{id}' has dependencies and cannot be deleted."),
    )
}

/// Refuses parameters of features that the local cloud does not have.
fn refuse(request: &Part<'_>, names: &[&str]) -> Result<()> {
    match names.iter().find(|name| request.text(name).is_some()) {
        None => Ok(()),
        Some(name) => Err(unsupported(name)),
    }
}

fn unsupported(parameter: &str) -> Refusal {
    Refusal::new(
        "UnsupportedOperation",
        format!("The local cloud does not support the parameter {parameter}."),
    )
}

/// Parses a CIDR block. As AWS does, clears the bits after the prefix.
fn cidr(parameter: &str, text: &str) -> Result<Ipv4Net> {
    let parsed = text.contains('/').then(|| text.parse::<Ipv4Net>().ok());
    parsed
        .flatten()
        .map(|net| net.trunc())
        .ok_or_else(|| Refusal::value(parameter, text, "This is not a valid CIDR block."))
}

/// Whether a VPC may have addresses of this network. AWS excludes those of
/// loopback, link-local and multicast.
fn may_be_used(net: Ipv4Net) -> bool {
    let first = net.network();
    !(first.octets()[0] == 0
        || first.is_loopback()
        || first.is_link_local()
        || first.is_multicast()
        || first.octets()[0] >= 240)
}

/// Whether AWS accepts networks of this size: from /16 to /28.
fn has_valid_size(net: Ipv4Net) -> bool {
    (16..=28).contains(&net.prefix_len())
}
