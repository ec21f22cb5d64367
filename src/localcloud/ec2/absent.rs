//! Kinds of resources that the account has none of, because the local cloud cannot
//! create them. As on AWS, their descriptions are empty, and an id is not found.

use super::actions::Action;
use super::call::Call;
use super::filters::{Filtered, Filters, page};
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::xml::Xml;

/// An action that describes resources.
struct Kind {
    action: &'static str,
    /// The element with the list.
    list: &'static str,
    /// The smallest size of a page.
    smallest: usize,
    /// The parameters that name resources, with the code and the message about a
    /// resource that does not exist.
    named: &'static [(&'static str, &'static str, &'static str)],
}

const fn kind(
    action: &'static str,
    list: &'static str,
    smallest: usize,
    named: &'static [(&'static str, &'static str, &'static str)],
) -> Kind {
    Kind {
        action,
        list,
        smallest,
        named,
    }
}

#[rustfmt::skip]
const KINDS: &[Kind] = &[
    kind("DescribeCapacityReservations", "capacityReservationSet", 1, &[
        ("CapacityReservationId", "InvalidCapacityReservationId.NotFound", "The capacity reservation ID '{}' was not found"),
    ]),
    kind("DescribeCarrierGateways", "carrierGatewaySet", 5, &[
        ("CarrierGatewayId", "InvalidCarrierGatewayID.NotFound", "The carrierGateway ID '{}' does not exist"),
    ]),
    kind("DescribeCustomerGateways", "customerGatewaySet", 1, &[
        ("CustomerGatewayId", "InvalidCustomerGatewayID.NotFound", "The customerGateway ID '{}' does not exist"),
    ]),
    kind("DescribeEgressOnlyInternetGateways", "egressOnlyInternetGatewaySet", 5, &[
        ("EgressOnlyInternetGatewayId", "InvalidGatewayID.NotFound", "The eigw ID '{}' does not exist"),
    ]),
    kind("DescribeFlowLogs", "flowLogSet", 1, &[
        ("FlowLogId", "InvalidFlowLogId.NotFound", "These flow log ids in the input list are not found: {}"),
    ]),
    kind("DescribeHosts", "hostSet", 5, &[
        ("HostId", "InvalidHostID.NotFound", "The specified host ID '{}' does not exist"),
    ]),
    kind("DescribeInstanceConnectEndpoints", "instanceConnectEndpointSet", 1, &[
        ("InstanceConnectEndpointId", "InvalidInstanceConnectEndpointId.NotFound", "The EC2 Instance Connect Endpoint '{}' does not exist"),
    ]),
    kind("DescribePlacementGroups", "placementGroupSet", 1, &[
        ("GroupId", "InvalidPlacementGroup.Unknown", "The Placement Group '{}' is unknown."),
        ("GroupName", "InvalidPlacementGroup.Unknown", "The Placement Group '{}' is unknown."),
    ]),
    kind("DescribeReservedInstances", "reservedInstancesSet", 1, &[
        ("ReservedInstancesId", "InvalidReservedInstancesId", "The reserved instances ID '{}' does not exist"),
    ]),
    kind("DescribeSecurityGroupVpcAssociations", "securityGroupVpcAssociationSet", 5, &[]),
    kind("DescribeTransitGatewayAttachments", "transitGatewayAttachments", 5, &[
        ("TransitGatewayAttachmentIds", "InvalidTransitGatewayAttachmentID.NotFound", "Transit Gateway Attachment {} was deleted or does not exist."),
    ]),
    kind("DescribeTransitGatewayVpcAttachments", "transitGatewayVpcAttachments", 5, &[
        ("TransitGatewayAttachmentIds", "InvalidTransitGatewayAttachmentID.NotFound", "Transit Gateway Attachment {} was deleted or does not exist."),
    ]),
    kind("DescribeTransitGateways", "transitGatewaySet", 5, &[
        ("TransitGatewayIds", "InvalidTransitGatewayID.NotFound", "Transit Gateway {} was deleted or does not exist."),
    ]),
    kind("DescribeVpcEndpoints", "vpcEndpointSet", 5, &[
        ("VpcEndpointId", "InvalidVpcEndpointId.NotFound", "The Vpc Endpoint Id '{}' does not exist"),
    ]),
    kind("DescribeVpcPeeringConnections", "vpcPeeringConnectionSet", 5, &[
        ("VpcPeeringConnectionId", "InvalidVpcPeeringConnectionID.NotFound", "The vpcPeeringConnection ID '{}' does not exist"),
    ]),
    kind("DescribeVpnConnections", "vpnConnectionSet", 1, &[
        ("VpnConnectionId", "InvalidVpnConnectionID.NotFound", "The vpnConnection ID '{}' does not exist"),
    ]),
    kind("DescribeVpnGateways", "vpnGatewaySet", 1, &[
        ("VpnGatewayId", "InvalidVpnGatewayID.NotFound", "The vpnGateway ID '{}' does not exist"),
    ]),
];

/// Returns AWS's names of the actions.
pub(super) fn actions() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| kind.action)
}

/// Returns the action with this name.
pub(super) fn find(name: &str) -> Option<Action> {
    actions().any(|known| known == name).then_some(describe)
}

/// A resource that does not exist.
struct Never;

impl Filtered for Never {
    fn values(&self, _: &str) -> Option<Vec<String>> {
        None
    }
}

fn describe(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let action = request.action();
    let mut xml = Xml::default();
    let Some(kind) = KINDS.iter().find(|kind| kind.action == action) else {
        return Ok(xml);
    };
    for (parameter, code, message) in kind.named {
        if let Some(given) = request.list(parameter).first() {
            return Err(Refusal::new(*code, message.replace("{}", given)));
        }
    }
    let none: Vec<Never> = Filters::of(request)?.keep(Vec::new())?;
    page(request, none, kind.smallest)?;
    // These parameters choose among resources, too.
    request.flag("IncludeManagedResources")?;
    request.text("OfferingClass");
    request.text("OfferingType");
    call.read_all()?;
    xml.texts(kind.list, [] as [&str; 0]);
    Ok(xml)
}
