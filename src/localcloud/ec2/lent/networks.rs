//! Networks that the account lends: VPCs, subnets, and how these reach the internet.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::Deserialize;

use super::super::groups;
use super::super::ids::new_id;
use super::super::journaled::{Row, Table};
use super::super::state::{Association, ElasticIp, Millis, Peer, Region, Tags};
use super::super::vpc::state::{InternetGateway, NatGateway, Route, RouteTable, Subnet, Vpc};
use super::long_ago;
use crate::as_text;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DefaultVpc {
    id: String,
    /// The ids of the default subnets, by zone.
    #[serde(default)]
    subnets: BTreeMap<String, String>,
    /// The id of the default security group.
    security_group: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LentVpc {
    id: String,
    #[serde(with = "as_text")]
    cidr: Ipv4Net,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LentSubnet {
    id: String,
    /// Without a VPC, it is the default one.
    vpc: Option<String>,
    /// The block, if the VPC is another than the default one.
    cidr: Option<String>,
    zone: Option<String>,
    maps_public_ip: bool,
    /// The NAT gateway through which it reaches the internet. Without it, its route is
    /// that of the VPC.
    nat_gateway: Option<String>,
}

/// A NAT gateway, or what takes its place.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LentNatGateway {
    id: String,
    vpc: String,
    /// A subnet that reaches the internet. Without it, one is found or added.
    subnet: Option<String>,
    /// The allocation id of its Elastic IP address.
    allocation: Option<String>,
    #[serde(default)]
    tags: Tags,
}

/// Replaces the ids of the default VPC and its parts with those of the account. What
/// the rehearsal has created in them stays there.
pub(super) fn rename_default(region: &mut Region, lent: DefaultVpc) {
    let Some(vpc) = region.networks.default_vpc().cloned() else {
        return;
    };
    let mut ids = BTreeMap::from([(vpc.id.clone(), lent.id)]);
    for subnet in region.networks.subnets.values() {
        if let Some(id) = lent.subnets.get(&subnet.zone).filter(|_| subnet.is_default) {
            ids.insert(subnet.id.clone(), id.clone());
        }
    }
    let default = region.groups.values();
    let mut default = default.filter(|group| group.vpc == vpc.id && group.name == "default");
    if let (Some(group), Some(id)) = (default.next(), lent.security_group) {
        ids.insert(group.id.clone(), id);
    }
    Renaming(ids).apply(region);
}

/// The new ids of resources, by the old ones.
struct Renaming(BTreeMap<String, String>);

impl Renaming {
    fn id(&self, id: &mut String) {
        if let Some(new) = self.0.get(id) {
            id.clone_from(new);
        }
    }

    fn apply(&self, region: &mut Region) {
        let networks = &mut region.networks;
        self.rows(&mut networks.vpcs, |vpc| self.id(&mut vpc.id));
        self.rows(&mut networks.subnets, |subnet| {
            self.id(&mut subnet.id);
            self.id(&mut subnet.vpc);
        });
        self.rows(&mut networks.internet_gateways, |gateway| {
            gateway.vpc.iter_mut().for_each(|vpc| self.id(vpc));
        });
        self.rows(&mut networks.route_tables, |table| {
            self.id(&mut table.vpc);
            table.associations.values_mut().for_each(|id| self.id(id));
        });
        self.rows(&mut networks.nat_gateways, |nat| {
            self.id(&mut nat.vpc);
            self.id(&mut nat.subnet);
        });
        self.rows(&mut region.groups, |group| {
            self.id(&mut group.id);
            self.id(&mut group.vpc);
            for rule in group.ingress.iter_mut().chain(&mut group.egress) {
                if let Peer::Group(id) = &mut rule.permission.peer {
                    self.id(id);
                }
            }
        });
        self.rows(&mut region.instances, |instance| {
            self.id(&mut instance.vpc);
            self.id(&mut instance.subnet);
            instance.groups.iter_mut().for_each(|id| self.id(id));
        });
    }

    /// Changes the rows of a table, whose keys are ids.
    fn rows<V: Row>(&self, table: &mut Table<V>, change: impl Fn(&mut V)) {
        let all: Vec<(String, V)> = table
            .iter()
            .map(|(id, row)| (id.clone(), row.clone()))
            .collect();
        for (mut id, mut row) in all {
            table.remove(&id);
            self.id(&mut id);
            change(&mut row);
            table.insert(id, row);
        }
    }
}

/// Adds a VPC whose subnets reach the internet.
pub(super) fn add_vpc(region: &mut Region, lent: LentVpc, now: Millis) {
    if region.networks.vpcs.contains_key(&lent.id) {
        return;
    }
    groups::add_default(region, new_id("sg"), &lent.id, now);
    let gateway = InternetGateway {
        id: new_id("igw"),
        vpc: Some(lent.id.clone()),
        tags: Tags::new(),
    };
    let table = route_table(lent.id.clone(), gateway.id.clone());
    let vpc = Vpc {
        id: lent.id,
        cidr: lent.cidr,
        is_default: false,
        tenancy: "default".to_owned(),
        dns_support: true,
        dns_hostnames: true,
        address_metrics: false,
        tags: Tags::new(),
    };
    let networks = &mut region.networks;
    networks
        .internet_gateways
        .insert(gateway.id.clone(), gateway);
    networks.route_tables.insert(table.id.clone(), table);
    networks.vpcs.insert(vpc.id.clone(), vpc);
}

pub(super) fn default_vpc(region: &Region) -> String {
    let vpc = region.networks.default_vpc();
    vpc.map_or_else(String::new, |vpc| vpc.id.clone())
}

/// Returns the default subnet of a zone, else the first one.
pub(super) fn default_subnet<'a>(region: &'a Region, zone: Option<&str>) -> Option<&'a Subnet> {
    let all = || region.networks.subnets.values().filter(|s| s.is_default);
    let in_zone = all().find(|subnet| Some(subnet.zone.as_str()) == zone);
    in_zone.or_else(|| all().min_by(|a, b| a.zone.cmp(&b.zone)))
}

pub(super) fn add_subnet(region: &mut Region, lent: LentSubnet, name: &str) {
    if region.networks.subnets.contains_key(&lent.id) {
        return;
    }
    let zone = lent.zone.unwrap_or_else(|| format!("{name}a"));
    // The addresses of the default VPC are those of the machines' network: another
    // subnet of it shares the block of the zone's default subnet.
    let beside = default_subnet(region, Some(&zone));
    let cidr = lent.cidr.and_then(|cidr| cidr.parse().ok());
    let (vpc, cidr) = match (lent.vpc, cidr) {
        (Some(vpc), Some(cidr)) => (vpc, cidr),
        _ => (
            default_vpc(region),
            beside.map_or_else(Ipv4Net::default, |subnet| subnet.cidr),
        ),
    };
    let subnet = Subnet {
        id: lent.id,
        vpc,
        cidr,
        zone,
        is_default: false,
        map_public_ip: lent.maps_public_ip,
        tags: Tags::new(),
    };
    if let Some(gateway) = lent.nat_gateway {
        let table = RouteTable {
            main: None,
            associations: BTreeMap::from([(new_id("rtbassoc"), subnet.id.clone())]),
            ..route_table(subnet.vpc.clone(), gateway)
        };
        let tables = &mut region.networks.route_tables;
        tables.insert(table.id.clone(), table);
    }
    region.networks.subnets.insert(subnet.id.clone(), subnet);
}

/// Adds a NAT gateway to a region with a name. `outside` is its address: the account's
/// own one does not lead back to the machines.
pub(super) fn add_nat_gateway(
    region: &mut Region,
    lent: LentNatGateway,
    (outside, name): (Option<Ipv4Addr>, &str),
    now: Millis,
) {
    if region.networks.nat_gateways.contains_key(&lent.id) {
        return;
    }
    let subnet = lent
        .subnet
        .unwrap_or_else(|| public_subnet(region, &lent.vpc, name));
    let created = long_ago(now);
    let allocation = lent.allocation.unwrap_or_else(|| new_id("eipalloc"));
    let public = outside.map(|address| Association {
        id: new_id("eipassoc"),
        allocation: allocation.clone(),
        address,
    });
    if let Some(address) = outside {
        let own = ElasticIp {
            id: allocation,
            address,
            tags: Tags::new(),
            created,
            is_lent: true,
        };
        region.elastic_ips.insert(own.id.clone(), own);
    }
    let gateway = NatGateway {
        id: lent.id,
        vpc: lent.vpc,
        subnet,
        interface: new_id("eni"),
        address: Ipv4Addr::UNSPECIFIED,
        public,
        failure: None,
        token: None,
        created,
        deleted: None,
        tags: lent.tags,
    };
    let gateways = &mut region.networks.nat_gateways;
    gateways.insert(gateway.id.clone(), gateway);
}

/// Returns a subnet of a VPC that reaches the internet.
fn public_subnet(region: &mut Region, vpc: &str, name: &str) -> String {
    let networks = &mut region.networks;
    let of_vpc = networks.subnets.values().filter(|subnet| subnet.vpc == vpc);
    let mut public = of_vpc.filter(|subnet| networks.reaches_internet(&subnet.id));
    if let Some(subnet) = public.next() {
        return subnet.id.clone();
    }
    let subnet = Subnet {
        id: new_id("subnet"),
        vpc: vpc.to_owned(),
        cidr: networks
            .vpcs
            .get(vpc)
            .map_or_else(Ipv4Net::default, |vpc| vpc.cidr),
        zone: format!("{name}a"),
        is_default: false,
        map_public_ip: true,
        tags: Tags::new(),
    };
    let id = subnet.id.clone();
    networks.subnets.insert(id.clone(), subnet);
    id
}

/// Returns the main table of a VPC, whose subnets reach the internet through a gateway.
fn route_table(vpc: String, gateway: String) -> RouteTable {
    RouteTable {
        id: new_id("rtb"),
        vpc,
        main: Some(new_id("rtbassoc")),
        associations: BTreeMap::new(),
        routes: vec![Route {
            destination: Ipv4Net::default(),
            gateway,
        }],
        tags: Tags::new(),
    }
}
