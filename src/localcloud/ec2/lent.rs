//! What the user's account lends to a rehearsal: resources that the playbook names
//! and did not create. They have the ids of the account, and exist as records.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::groups;
use super::ids::new_id;
use super::instance_types::{InstanceType, instance_type};
use super::journaled::{Row, Table};
use super::state::{
    Association, Group, Instance, KeyPair, Millis, Peer, Permission, Phase, Region, Rule, Tags,
};
use super::vpc::state::{InternetGateway, Route, RouteTable, Subnet, Vpc};
use crate::as_text;

/// Resources of one region.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lent {
    pub(super) region: String,
    resources: Vec<Resource>,
}

/// One resource. What is not known is assumed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Resource {
    /// The account's default VPC, in the place of the rehearsal's.
    DefaultVpc(DefaultVpc),
    Vpc(LentVpc),
    Subnet(LentSubnet),
    SecurityGroup(LentGroup),
    KeyPair(LentKeyPair),
    InstanceType(LentType),
    Image(LentImage),
    Instance(Box<LentInstance>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DefaultVpc {
    id: String,
    /// The ids of the default subnets, by zone.
    #[serde(default)]
    subnets: BTreeMap<String, String>,
    /// The id of the default security group.
    security_group: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LentVpc {
    id: String,
    #[serde(with = "as_text")]
    cidr: Ipv4Net,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LentSubnet {
    id: String,
    /// Without a VPC, it is the default one.
    vpc: Option<String>,
    /// The block, if the VPC is another than the default one.
    cidr: Option<String>,
    zone: Option<String>,
    maps_public_ip: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LentGroup {
    id: String,
    name: String,
    vpc: Option<String>,
    #[serde(default)]
    ingress: Vec<LentRule>,
    #[serde(default)]
    tags: Tags,
}

/// A rule that allows connections from a network or from a security group.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LentRule {
    protocol: String,
    port: i32,
    to_port: i32,
    from: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LentKeyPair {
    id: String,
    name: String,
    /// Without it, no instance can be logged in to with the key.
    public_key: Option<String>,
    #[serde(default)]
    tags: Tags,
}

/// An instance type that the local cloud does not have.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LentType {
    name: String,
    architecture: Option<String>,
}

impl Row for LentType {}

impl LentType {
    /// Returns the type, which is like a micro type but for its name.
    pub(super) fn instance_type(&self) -> Option<InstanceType> {
        let like = match self.architecture.as_deref() {
            Some("arm64") => "t4g.micro",
            _ => "t3.micro",
        };
        Some(InstanceType {
            // As the names of all types, it lives as long as the program, which is the
            // time of one rehearsal.
            name: self.name.clone().leak(),
            ..instance_type(like)?
        })
    }
}

/// An image. Its instances boot the operating system of the host, as those of all
/// images do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LentImage {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) owner: String,
    /// Whether the account of the user is the owner.
    pub(super) is_own: bool,
    /// Without it, that of the type with which it is launched.
    pub(super) architecture: Option<String>,
    pub(super) created: String,
    /// The login user.
    pub(super) user: Option<String>,
    #[serde(default)]
    pub(super) tags: Tags,
}

impl Row for LentImage {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LentInstance {
    id: String,
    #[serde(rename = "type")]
    instance_type: String,
    image: String,
    state: String,
    zone: Option<String>,
    vpc: Option<String>,
    subnet: Option<String>,
    private_ip: Option<Ipv4Addr>,
    public_ip: Option<Ipv4Addr>,
    key_pair: Option<String>,
    #[serde(default)]
    security_groups: Vec<String>,
    launched: Option<String>,
    #[serde(default)]
    tags: Tags,
}

/// Adds resources to a region, except those that it already has.
pub(super) fn add(region: &mut Region, lent: Lent, now: Millis) {
    for resource in lent.resources {
        match resource {
            Resource::DefaultVpc(vpc) => rename_default(region, vpc),
            Resource::Vpc(vpc) => add_vpc(region, vpc, now),
            Resource::Subnet(subnet) => add_subnet(region, subnet, &lent.region),
            Resource::SecurityGroup(group) => add_group(region, group, now),
            Resource::KeyPair(pair) => add_key_pair(region, pair, now),
            Resource::InstanceType(lent) => region.lent_types.insert(lent.name.clone(), lent),
            Resource::Image(image) => region.lent_images.insert(image.id.clone(), image),
            Resource::Instance(instance) => add_instance(region, *instance, now),
        }
    }
}

/// Replaces the ids of the default VPC and its parts with those of the account. What the rehearsal
/// has created in them stays there.
fn rename_default(region: &mut Region, lent: DefaultVpc) {
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
fn add_vpc(region: &mut Region, lent: LentVpc, now: Millis) {
    if region.networks.vpcs.contains_key(&lent.id) {
        return;
    }
    groups::add_default(region, new_id("sg"), &lent.id, now);
    let gateway = InternetGateway {
        id: new_id("igw"),
        vpc: Some(lent.id.clone()),
        tags: Tags::new(),
    };
    let table = RouteTable {
        id: new_id("rtb"),
        vpc: lent.id.clone(),
        main: Some(new_id("rtbassoc")),
        associations: BTreeMap::new(),
        routes: vec![Route {
            destination: Ipv4Net::default(),
            gateway: gateway.id.clone(),
        }],
        tags: Tags::new(),
    };
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

fn default_vpc(region: &Region) -> String {
    let vpc = region.networks.default_vpc();
    vpc.map_or_else(String::new, |vpc| vpc.id.clone())
}

/// Returns the default subnet of a zone, else the first one.
fn default_subnet<'a>(region: &'a Region, zone: Option<&str>) -> Option<&'a Subnet> {
    let all = || region.networks.subnets.values().filter(|s| s.is_default);
    let in_zone = all().find(|subnet| Some(subnet.zone.as_str()) == zone);
    in_zone.or_else(|| all().min_by(|a, b| a.zone.cmp(&b.zone)))
}

fn add_subnet(region: &mut Region, lent: LentSubnet, name: &str) {
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
    region.networks.subnets.insert(subnet.id.clone(), subnet);
}

/// Adds a security group with its rules. One more rule allows every connection,
/// because the addresses in the rehearsal are not those in the rules.
fn add_group(region: &mut Region, lent: LentGroup, now: Millis) {
    if region.groups.contains_key(&lent.id) {
        return;
    }
    let everyone = || rule("-1", (None, None), Peer::V4(Ipv4Net::default()));
    let own = lent.ingress.iter().filter_map(LentRule::rule);
    let group = Group {
        vpc: lent.vpc.unwrap_or_else(|| default_vpc(region)),
        id: lent.id,
        name: lent.name,
        description: "lent by the account".to_owned(),
        ingress: own.chain([everyone()]).collect(),
        egress: vec![everyone()],
        tags: lent.tags,
        created: long_ago(now),
    };
    region.groups.insert(group.id.clone(), group);
}

impl LentRule {
    fn rule(&self) -> Option<Rule> {
        let peer = match (self.from.parse(), self.from.parse()) {
            _ if self.from.starts_with("sg-") => Peer::Group(self.from.clone()),
            (Ok(net), _) => Peer::V4(net),
            (_, Ok(net)) => Peer::V6(net),
            _ => return None,
        };
        let has_ports = self.protocol != "-1";
        let port = |port: i32| has_ports.then_some(port);
        Some(rule(
            &self.protocol,
            (port(self.port), port(self.to_port)),
            peer,
        ))
    }
}

fn rule(protocol: &str, (from, to): (Option<i32>, Option<i32>), peer: Peer) -> Rule {
    Rule {
        id: new_id("sgr"),
        permission: Permission {
            protocol: protocol.to_owned(),
            from,
            to,
            peer,
        },
        description: None,
        tags: Tags::new(),
    }
}

fn add_key_pair(region: &mut Region, lent: LentKeyPair, now: Millis) {
    if region.key_pairs.contains_key(&lent.name) {
        return;
    }
    let public_key = lent.public_key.unwrap_or_default();
    let kind = match public_key.split_once(' ') {
        Some(("ssh-ed25519", _)) => "ed25519",
        _ => "rsa",
    };
    let pair = KeyPair {
        id: lent.id,
        name: lent.name,
        kind: kind.to_owned(),
        fingerprint: String::new(),
        public_key,
        tags: lent.tags,
        created: long_ago(now),
    };
    region.key_pairs.insert(pair.name.clone(), pair);
}

/// Older than the consistency delay, so that a resource can be found at once.
fn long_ago(now: Millis) -> Millis {
    now.saturating_sub(60_000)
}

fn add_instance(region: &mut Region, lent: LentInstance, now: Millis) {
    if region.instances.contains_key(&lent.id) {
        return;
    }
    let launched: Option<jiff::Timestamp> = lent.launched.and_then(|at| at.parse().ok());
    let launched = launched.and_then(|at| Millis::try_from(at.as_millisecond()).ok());
    let launched = launched.unwrap_or_else(|| long_ago(now));
    let beside = default_subnet(region, lent.zone.as_deref());
    let of_subnet = |part: fn(&Subnet) -> &String| beside.map(part).cloned().unwrap_or_default();
    let instance = Instance {
        phase: phase(&lent.state),
        architecture: instance_type(&lent.instance_type)
            .map_or("x86_64", |known| known.architecture)
            .to_owned(),
        address: lent.private_ip.unwrap_or(Ipv4Addr::UNSPECIFIED),
        elastic_ip: lent.public_ip.map(|address| Association {
            id: new_id("eipassoc"),
            allocation: new_id("eipalloc"),
            address,
        }),
        zone: lent
            .zone
            .unwrap_or_else(|| of_subnet(|subnet| &subnet.zone)),
        vpc: lent.vpc.unwrap_or_else(|| of_subnet(|subnet| &subnet.vpc)),
        subnet: lent
            .subnet
            .unwrap_or_else(|| of_subnet(|subnet| &subnet.id)),
        key_name: lent.key_pair,
        groups: lent.security_groups,
        tags: lent.tags,
        created: launched,
        launched,
        ..Instance::record(lent.id, lent.instance_type, lent.image)
    };
    region.instances.insert(instance.id.clone(), instance);
}

fn phase(state: &str) -> Phase {
    match state {
        "pending" => Phase::Pending,
        "shutting-down" => Phase::ShuttingDown,
        "terminated" => Phase::Terminated,
        "stopping" => Phase::Stopping,
        "stopped" => Phase::Stopped,
        _ => Phase::Running,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::network::ensure_default;
    use super::*;

    const NOW: Millis = 1_800_000_000_000;

    fn region() -> Region {
        let mut region = Region::default();
        ensure_default(
            &mut region,
            "us-east-1",
            "10.77.0.0/20".parse().unwrap(),
            NOW,
        );
        region
    }

    fn lend(region: &mut Region, resources: &serde_json::Value) {
        let lent = json!({ "region": "us-east-1", "resources": resources });
        add(region, serde_json::from_value(lent).unwrap(), NOW);
    }

    #[test]
    fn the_default_vpc_gets_the_ids_of_the_account() {
        let mut region = region();
        let resources = json!([
            { "default_vpc": {
                "id": "vpc-1",
                "subnets": { "us-east-1a": "subnet-1" },
                "security_group": "sg-1",
            }},
            { "subnet": { "id": "subnet-2", "zone": "us-east-1b", "maps_public_ip": false } },
            { "security_group": { "id": "sg-2", "name": "web", "ingress": [
                { "protocol": "tcp", "port": 22, "to_port": 22, "from": "192.0.2.0/24" },
                { "protocol": "-1", "port": -1, "to_port": -1, "from": "sg-2" },
            ]}},
        ]);
        lend(&mut region, &resources);
        let networks = &region.networks;
        assert_eq!(networks.default_vpc().unwrap().id, "vpc-1");
        let subnets = networks.subnets.values();
        assert!(subnets.clone().all(|subnet| subnet.vpc == "vpc-1"));
        assert_eq!(networks.subnets["subnet-1"].zone, "us-east-1a");
        assert!(networks.reaches_internet("subnet-1") && networks.reaches_internet("subnet-2"));
        assert_eq!(networks.subnets["subnet-2"].zone, "us-east-1b");
        assert_eq!(region.groups["sg-1"].name, "default");
        assert_eq!(
            region.groups["sg-1"].ingress[0].permission.peer,
            Peer::Group("sg-1".into())
        );
        assert_eq!(region.groups["sg-2"].vpc, "vpc-1");
        assert_eq!(region.groups["sg-2"].ingress.len(), 3);
    }

    #[test]
    fn a_vpc_is_lent_with_a_way_to_the_internet_and_once() {
        let mut region = region();
        let resources = json!([
            { "vpc": { "id": "vpc-1", "cidr": "10.9.0.0/16" } },
            { "subnet": {
                "id": "subnet-1",
                "vpc": "vpc-1",
                "cidr": "10.9.1.0/24",
                "maps_public_ip": true,
            }},
        ]);
        lend(&mut region, &resources);
        lend(&mut region, &resources);
        let networks = &region.networks;
        assert!(networks.reaches_internet("subnet-1"));
        assert_eq!(networks.subnets["subnet-1"].zone, "us-east-1a");
        let gateways = networks.internet_gateways.values();
        let of_vpc = gateways.filter(|gateway| gateway.vpc.as_deref() == Some("vpc-1"));
        assert_eq!(of_vpc.count(), 1);
    }

    #[test]
    fn a_lent_instance_is_a_record_with_the_addresses_of_the_account() {
        let mut region = region();
        let instance = json!([{ "instance": {
            "id": "i-1",
            "type": "t4g.micro",
            "image": "ami-1",
            "state": "stopped",
            "zone": "us-east-1c",
            "private_ip": "172.31.4.5",
            "public_ip": "198.51.100.7",
            "launched": "2026-11-25T22:10:03Z",
            "tags": { "Name": "db" },
        }}]);
        lend(&mut region, &instance);
        let instance = &region.instances["i-1"];
        assert!(instance.is_record);
        assert_eq!(instance.phase, Phase::Stopped);
        assert_eq!(instance.architecture, "arm64");
        assert_eq!(
            instance.public_address().unwrap().to_string(),
            "198.51.100.7"
        );
        assert_eq!(instance.launched, 1_795_644_603_000);
    }
}
