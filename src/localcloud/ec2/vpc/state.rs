//! The VPCs of a region, with their subnets, gateways and route tables.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::super::journaled::{Row, Table, record};
use super::super::state::{Association, Millis, Tags};
use crate::as_text;

record! {
/// The VPCs of one region and their parts, by id.
pub(in super::super) struct Networks {
    pub(in super::super) vpcs: Table<Vpc>,
    pub(in super::super) subnets: Table<Subnet>,
    pub(in super::super) internet_gateways: Table<InternetGateway>,
    pub(in super::super) route_tables: Table<RouteTable>,
    pub(in super::super) nat_gateways: Table<NatGateway>,
}
}

impl Row for Vpc {}
impl Row for Subnet {}
impl Row for InternetGateway {}
impl Row for RouteTable {}
impl Row for NatGateway {}

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
    /// The id of an internet gateway or of a NAT gateway.
    pub(in super::super) gateway: String,
}

/// How long a NAT gateway is pending, and how long its deletion takes. On AWS,
/// each takes a minute or two.
pub(in super::super) const NAT_CHANGE: Millis = 500;

/// How long a NAT gateway that is deleted or has failed can be described.
const NAT_REMEMBERED: Millis = 3_600_000;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct NatGateway {
    pub(in super::super) id: String,
    pub(in super::super) vpc: String,
    pub(in super::super) subnet: String,
    /// The network interface and its private address.
    pub(in super::super) interface: String,
    pub(in super::super) address: Ipv4Addr,
    /// The Elastic IP address of a public NAT gateway.
    pub(in super::super) public: Option<Association>,
    /// Code and message, if it could not be created.
    pub(in super::super) failure: Option<(String, String)>,
    /// The client token of its creation, and the canonical request.
    pub(in super::super) token: Option<(String, String)>,
    pub(in super::super) created: Millis,
    /// When its deletion was requested.
    pub(in super::super) deleted: Option<Millis>,
    pub(in super::super) tags: Tags,
}

/// The state of a NAT gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum NatState {
    Pending,
    Failed,
    Available,
    Deleting,
    Deleted,
}

impl NatState {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Failed => "failed",
            Self::Available => "available",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
        }
    }
}

impl NatGateway {
    pub(in super::super) fn state(&self, now: Millis) -> NatState {
        let has_passed = |since: Millis| now.saturating_sub(since) >= NAT_CHANGE;
        match (self.deleted, &self.failure) {
            (Some(since), _) if has_passed(since) => NatState::Deleted,
            (Some(_), _) => NatState::Deleting,
            (None, _) if !has_passed(self.created) => NatState::Pending,
            (None, Some(_)) => NatState::Failed,
            (None, None) => NatState::Available,
        }
    }

    /// Whether it has its addresses: until it is deleted, unless it failed.
    pub(in super::super) fn has_addresses(&self, now: Millis) -> bool {
        self.failure.is_none() && self.state(now) != NatState::Deleted
    }

    /// When it is deleted or has failed.
    pub(super) fn ended(&self) -> Option<Millis> {
        let failed = self.failure.as_ref().map(|_| self.created);
        self.deleted.or(failed).map(|since| since + NAT_CHANGE)
    }
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
        routes.into_iter().flatten().any(|route| {
            route.destination.prefix_len() == 0
                && self.internet_gateways.contains_key(&route.gateway)
                && self.is_active(route, &subnet.vpc)
        })
    }

    /// Returns the NAT gateway through which packets from a subnet reach the
    /// internet. It is in a subnet that itself reaches the internet.
    pub(in super::super) fn nat_of(&self, subnet: &str, now: Millis) -> Option<&NatGateway> {
        let table = self.table_of(self.subnets.get(subnet)?)?;
        let mut routes = table.routes.iter();
        let route = routes.find(|route| route.destination.prefix_len() == 0)?;
        let nat = self.nat_gateways.get(&route.gateway)?;
        let works = nat.state(now) == NatState::Available
            && nat.public.is_some()
            && self.reaches_internet(&nat.subnet);
        works.then_some(nat)
    }

    /// Returns the time until the next NAT gateway becomes available or deleted.
    pub(in super::super) fn next_change(&self, now: Millis) -> Option<Millis> {
        let changes = self
            .nat_gateways
            .values()
            .map(|nat| nat.deleted.unwrap_or(nat.created) + NAT_CHANGE);
        changes.filter_map(|at| at.checked_sub(now)).min()
    }

    /// Removes NAT gateways that ended long ago.
    pub(in super::super) fn forget_old(&mut self, now: Millis) {
        self.nat_gateways.retain(|_, nat| {
            nat.ended()
                .is_none_or(|ended| now.saturating_sub(ended) <= NAT_REMEMBERED)
        });
    }

    /// Whether the target of a route in this VPC exists and is attached to it.
    pub(super) fn is_active(&self, route: &Route, vpc: &str) -> bool {
        if let Some(nat) = self.nat_gateways.get(&route.gateway) {
            return nat.deleted.is_none() && nat.failure.is_none();
        }
        let gateway = self.internet_gateways.get(&route.gateway);
        gateway.is_some_and(|gateway| gateway.vpc.as_deref() == Some(vpc))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Millis = 3_600_000;

    fn gateway(id: &str, deleted: Option<Millis>, failed: bool) -> NatGateway {
        let failure = ("Gateway.NotAttached".to_owned(), String::new());
        NatGateway {
            id: id.to_owned(),
            vpc: "vpc-1".to_owned(),
            subnet: "subnet-1".to_owned(),
            interface: "eni-1".to_owned(),
            address: Ipv4Addr::LOCALHOST,
            public: None,
            failure: failed.then_some(failure),
            token: None,
            created: 1000,
            deleted,
            tags: Tags::new(),
        }
    }

    #[test]
    fn a_nat_gateway_changes_its_state_with_time() {
        let at = |deleted, failed, now| gateway("nat-1", deleted, failed).state(now).as_str();
        assert_eq!(at(None, false, 1000), "pending");
        assert_eq!(at(None, true, 1000), "pending");
        let later = 1000 + NAT_CHANGE;
        assert_eq!(at(None, false, later), "available");
        assert_eq!(at(None, true, later), "failed");
        assert_eq!(at(Some(later), false, later), "deleting");
        assert_eq!(at(Some(later), false, later + NAT_CHANGE), "deleted");
    }

    #[test]
    fn a_nat_gateway_that_ended_is_described_for_an_hour() {
        let mut networks = Networks::default();
        for (id, deleted, failed) in [
            ("available", None, false),
            ("failed", None, true),
            ("deleted", Some(5000), false),
        ] {
            let nat = gateway(id, deleted, failed);
            networks.nat_gateways.insert(id.to_owned(), nat);
        }
        let mut known_at = |now| {
            networks.forget_old(now);
            networks.nat_gateways.keys().cloned().collect::<Vec<_>>()
        };
        let failed = 1000 + NAT_CHANGE + HOUR;
        assert_eq!(known_at(failed), ["available", "deleted", "failed"]);
        assert_eq!(known_at(failed + 1), ["available", "deleted"]);
        let deleted = 5000 + NAT_CHANGE + HOUR;
        assert_eq!(known_at(deleted), ["available", "deleted"]);
        assert_eq!(known_at(deleted + 1), ["available"]);
    }
}
