//! VPCs and their parts: subnets, internet gateways, route tables and network
//! ACLs.
//!
//! `network` has the default VPC.

pub(super) mod acls;
pub(super) mod dhcp_options;
pub(super) mod gateways;
pub(super) mod nat;
pub(super) mod route_tables;
pub(super) mod routes;
pub(super) mod state;
pub(super) mod subnets;
pub(super) mod vpcs;

use ipnet::Ipv4Net;

use super::call::Call;
use super::ids::{INTERNET_GATEWAY, ROUTE_TABLE, SUBNET, VPC};
use super::network::{default_vpc, shows};
use super::params::Part;
use super::refusal::{Refusal, Result};
use state::{InternetGateway, RouteTable, Subnet, Vpc};

/// The limit of VPCs in a region. AWS's default quota is 5, which an account can
/// raise.
const MAX_VPCS: usize = 100;

/// The limit of subnets in a VPC, AWS's default quota.
const MAX_SUBNETS: usize = 200;

/// The limit of route tables in a VPC, AWS's default quota.
const MAX_ROUTE_TABLES: usize = 200;

/// The limit of routes in a table, AWS's default quota.
const MAX_ROUTES: usize = 50;

/// Whether a part of this VPC is hidden from the run, because its account has no
/// default VPC.
fn is_hidden(call: &Call<'_>, vpc: &str) -> bool {
    let default = call.known().and_then(|known| known.networks.default_vpc());
    default.is_some_and(|default| default.id == vpc) && default_vpc(call).is_none()
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
        .filter(|subnet| shows(call, subnet))
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
