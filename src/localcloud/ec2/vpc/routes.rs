//! Routes to internet gateways and NAT gateways: create, replace and delete.

use ipnet::Ipv4Net;

use super::super::call::Call;
use super::super::ids::{NAT_GATEWAY, is_id};
use super::super::params::Part;
use super::super::refusal::{Refusal, Result};
use super::super::xml::Xml;
use super::route_tables::put;
use super::state::{NatState, Route, RouteTable};
use super::{MAX_ROUTES, cidr, find_table, find_vpc, refuse};

/// Targets and destinations of routes that the local cloud does not have.
const UNSUPPORTED: &[&str] = &[
    "CarrierGatewayId",
    "CoreNetworkArn",
    "DestinationIpv6CidrBlock",
    "DestinationPrefixListId",
    "EgressOnlyInternetGatewayId",
    "InstanceId",
    "LocalGatewayId",
    "LocalTarget",
    "NetworkInterfaceId",
    "OdbNetworkArn",
    "TransitGatewayId",
    "VpcEndpointId",
    "VpcPeeringConnectionId",
];

/// A request that names a table, a destination and a target.
struct Wanted {
    table: RouteTable,
    route: Route,
}

fn wanted(call: &mut Call<'_>, request: &Part<'_>) -> Result<Wanted> {
    refuse(request, UNSUPPORTED)?;
    let id = request.required("RouteTableId")?;
    let destination = destination(request)?;
    let gateway = request.text("GatewayId");
    let nat = request.text("NatGatewayId");
    call.read_all()?;
    let table = find_table(call, id)?;
    let (target, vpc) = match (gateway, nat) {
        (Some(gateway), None) => (gateway, vpc_of_gateway(call, gateway)?),
        (None, Some(nat)) => (nat, Some(vpc_of_nat(call, nat)?)),
        (None, None) => {
            return Err(Refusal::new(
                "MissingParameter",
                "The request must contain exactly one of: gatewayId, natGatewayId, \
                 networkInterfaceId, vpcPeeringConnectionId, egressOnlyInternetGatewayId, \
                 transitGatewayId, localGatewayId, carrierGatewayId, vpcEndpointId",
            ));
        }
        (Some(_), Some(_)) => {
            return Err(Refusal::new(
                "InvalidParameterCombination",
                "The parameters gatewayId and natGatewayId cannot be used together",
            ));
        }
    };
    if vpc.as_ref() != Some(&table.vpc) {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!("route table {id} and network gateway {target} belong to different networks"),
        ));
    }
    let route = Route {
        destination,
        gateway: target.to_owned(),
    };
    Ok(Wanted { table, route })
}

/// Returns the VPC to which an internet gateway is attached.
fn vpc_of_gateway(call: &mut Call<'_>, id: &str) -> Result<Option<String>> {
    let gateways = &call.region().networks.internet_gateways;
    match gateways.get(id).filter(|_| is_id("igw", id)) {
        Some(known) => Ok(known.vpc.clone()),
        None => Err(Refusal::new(
            "InvalidGatewayID.NotFound",
            format!("The gateway ID '{id}' does not exist"),
        )),
    }
}

/// Returns the VPC of a NAT gateway to which a route can lead.
fn vpc_of_nat(call: &mut Call<'_>, id: &str) -> Result<String> {
    let now = call.now;
    let gateways = &call.region().networks.nat_gateways;
    let known = gateways.get(id).filter(|_| NAT_GATEWAY.check(id).is_ok());
    let usable =
        known.filter(|nat| matches!(nat.state(now), NatState::Pending | NatState::Available));
    match usable {
        Some(known) => Ok(known.vpc.clone()),
        None => Err(Refusal::new(
            "InvalidNatGatewayID.NotFound",
            format!("The natGateway ID '{id}' does not exist"),
        )),
    }
}

fn destination(request: &Part<'_>) -> Result<Ipv4Net> {
    cidr(
        "destinationCidrBlock",
        request.required("DestinationCidrBlock")?,
    )
}

fn already_exists(destination: Ipv4Net) -> Refusal {
    Refusal::new(
        "RouteAlreadyExists",
        format!("The route identified by {destination} already exists."),
    )
}

fn not_found(table: &str, destination: Ipv4Net) -> Refusal {
    Refusal::new(
        "InvalidRoute.NotFound",
        format!("no route with destination-cidr-block {destination} in route table {table}"),
    )
}

pub(in super::super) fn create_route(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let Wanted { mut table, route } = wanted(call, request)?;
    let local = find_vpc(call, &table.vpc)?.cidr;
    if local == route.destination {
        return Err(already_exists(local));
    }
    if local.contains(&route.destination) {
        return Err(Refusal::new(
            "InvalidParameterValue",
            "Route destination doesn't match any subnet CIDR blocks.",
        ));
    }
    let known = table
        .routes
        .iter()
        .find(|known| known.destination == route.destination);
    match known {
        // The same route again is not an error on AWS.
        Some(known) if *known == route => return Ok(Xml::done()),
        Some(known) => return Err(already_exists(known.destination)),
        None => {}
    }
    if table.routes.len() >= MAX_ROUTES {
        return Err(Refusal::new(
            "RouteLimitExceeded",
            "The maximum number of routes in the route table has been reached.",
        ));
    }
    table.routes.push(route);
    put(call, table);
    Ok(Xml::done())
}

pub(in super::super) fn replace_route(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let Wanted { mut table, route } = wanted(call, request)?;
    let known = table
        .routes
        .iter_mut()
        .find(|known| known.destination == route.destination);
    match known {
        None => return Err(not_found(&table.id, route.destination)),
        Some(known) => *known = route,
    }
    put(call, table);
    Ok(Xml::done())
}

pub(in super::super) fn delete_route(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    refuse(
        request,
        &["DestinationIpv6CidrBlock", "DestinationPrefixListId"],
    )?;
    let id = request.required("RouteTableId")?;
    let destination = destination(request)?;
    call.read_all()?;
    let mut table = find_table(call, id)?;
    if find_vpc(call, &table.vpc)?.cidr == destination {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!("cannot remove local route {destination} in route table {id}"),
        ));
    }
    let before = table.routes.len();
    table
        .routes
        .retain(|route| route.destination != destination);
    if table.routes.len() == before {
        return Err(not_found(id, destination));
    }
    put(call, table);
    Ok(Xml::done())
}
