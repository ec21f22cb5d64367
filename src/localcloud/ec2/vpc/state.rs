//! The VPCs of a region, with their subnets, internet gateways and route tables.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::super::journaled::{Row, Table, record};
use super::super::state::Tags;
use crate::as_text;

record! {
/// The VPCs of one region and their parts, by id.
pub(in super::super) struct Networks {
    pub(in super::super) vpcs: Table<Vpc>,
    pub(in super::super) subnets: Table<Subnet>,
    pub(in super::super) internet_gateways: Table<InternetGateway>,
    pub(in super::super) route_tables: Table<RouteTable>,
}
}

impl Row for Vpc {}
impl Row for Subnet {}
impl Row for InternetGateway {}
impl Row for RouteTable {}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "AWS's attributes")]
pub(in super::super) struct Vpc {
    pub(in super::super) id: String,
    #[serde(with = "as_text")]
    pub(in super::super) cidr: Ipv4Net,
    pub(in super::super) is_default: bool,
    /// `default` or `dedicated`.
    pub(in super::super) tenancy: String,
    pub(in super::super) dns_support: bool,
    pub(in super::super) dns_hostnames: bool,
    pub(in super::super) address_metrics: bool,
    pub(in super::super) tags: Tags,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Subnet {
    pub(in super::super) id: String,
    pub(in super::super) vpc: String,
    #[serde(with = "as_text")]
    pub(in super::super) cidr: Ipv4Net,
    pub(in super::super) zone: String,
    pub(in super::super) is_default: bool,
    /// Whether an instance gets a public address if its launch does not say.
    pub(in super::super) map_public_ip: bool,
    pub(in super::super) tags: Tags,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct InternetGateway {
    pub(in super::super) id: String,
    /// The VPC that it is attached to.
    pub(in super::super) vpc: Option<String>,
    pub(in super::super) tags: Tags,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct RouteTable {
    pub(in super::super) id: String,
    pub(in super::super) vpc: String,
    /// The association as the VPC's main table, which subnets without an
    /// association use.
    pub(in super::super) main: Option<String>,
    /// The ids of subnets, by the ids of their associations.
    pub(in super::super) associations: BTreeMap<String, String>,
    /// All routes but the local one.
    pub(in super::super) routes: Vec<Route>,
    pub(in super::super) tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Route {
    #[serde(with = "as_text")]
    pub(in super::super) destination: Ipv4Net,
    /// The id of an internet gateway.
    pub(in super::super) gateway: String,
}

impl Networks {
    /// Returns the default VPC.
    pub(in super::super) fn default_vpc(&self) -> Option<&Vpc> {
        self.vpcs.values().find(|vpc| vpc.is_default)
    }

    /// Whether a VPC is the default one.
    pub(in super::super) fn is_default(&self, vpc: &str) -> bool {
        self.vpcs.get(vpc).is_some_and(|vpc| vpc.is_default)
    }

    /// Returns the table that routes a subnet's packets.
    fn table_of(&self, subnet: &Subnet) -> Option<&RouteTable> {
        let tables = || self.route_tables.values().filter(|t| t.vpc == subnet.vpc);
        let own = tables().find(|t| t.associations.values().any(|id| *id == subnet.id));
        own.or_else(|| tables().find(|table| table.main.is_some()))
    }

    /// Whether packets from a subnet reach the internet through a gateway that is
    /// attached to the VPC.
    pub(in super::super) fn reaches_internet(&self, subnet: &str) -> bool {
        let Some(subnet) = self.subnets.get(subnet) else {
            return false;
        };
        let routes = self.table_of(subnet).map(|table| table.routes.iter());
        routes
            .into_iter()
            .flatten()
            .any(|route| route.destination.prefix_len() == 0 && self.is_active(route, &subnet.vpc))
    }

    /// Whether the target of a route in this VPC exists and is attached to it.
    pub(super) fn is_active(&self, route: &Route, vpc: &str) -> bool {
        let gateway = self.internet_gateways.get(&route.gateway);
        gateway.is_some_and(|gateway| gateway.vpc.as_deref() == Some(vpc))
    }
}
