//! What the user's account lends to a rehearsal: resources that the playbook names
//! and did not create. They have the ids of the account, and exist as records.

mod networks;
mod storage;

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::addresses::free_address;
use super::ids::new_id;
use super::instance_types::{InstanceType, instance_type};
use super::journaled::Row;
use super::state::{
    Association, ElasticIp, Group, Instance, KeyPair, Millis, Peer, Permission, Phase, Region,
    Rule, State, Tags,
};
use super::vpc::state::Subnet;
use networks::{
    DefaultVpc, LentNatGateway, LentSubnet, LentVpc, add_nat_gateway, add_subnet, add_vpc,
    default_subnet, default_vpc, rename_default,
};
use storage::{LentSnapshot, LentVolume, add_snapshot, add_volume};

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
    NatGateway(LentNatGateway),
    Subnet(LentSubnet),
    SecurityGroup(LentGroup),
    KeyPair(LentKeyPair),
    InstanceType(LentType),
    Image(LentImage),
    Instance(Box<LentInstance>),
    Volume(LentVolume),
    Snapshot(LentSnapshot),
    ElasticIp(LentElasticIp),
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
    root_device: Option<String>,
    #[serde(default)]
    tags: Tags,
}

/// An Elastic IP address.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LentElasticIp {
    /// The allocation id.
    id: String,
    address: Ipv4Addr,
    /// The instance that has it.
    instance: Option<String>,
    /// The id of the association with it.
    association: Option<String>,
    #[serde(default)]
    tags: Tags,
}

/// Adds resources to a region, except those that it already has.
pub(super) fn add(state: &mut State, shared: Ipv4Net, lent: Lent, now: Millis) {
    let name = lent.region;
    for resource in lent.resources {
        let outside = match resource {
            Resource::NatGateway(_) => free_address(state, shared).ok(),
            _ => None,
        };
        let region = state.regions.entry(name.clone()).or_default();
        match resource {
            Resource::DefaultVpc(vpc) => rename_default(region, vpc),
            Resource::Vpc(vpc) => add_vpc(region, vpc, now),
            Resource::NatGateway(gateway) => {
                add_nat_gateway(region, gateway, (outside, &name), now);
            }
            Resource::Subnet(subnet) => add_subnet(region, subnet, &name),
            Resource::SecurityGroup(group) => add_group(region, group, now),
            Resource::KeyPair(pair) => add_key_pair(region, pair, now),
            Resource::InstanceType(lent) => region.lent_types.insert(lent.name.clone(), lent),
            Resource::Image(image) => region.lent_images.insert(image.id.clone(), image),
            Resource::Instance(instance) => add_instance(region, *instance, now),
            Resource::Volume(volume) => add_volume(region, volume, &name, now),
            Resource::Snapshot(snapshot) => add_snapshot(region, snapshot, now),
            Resource::ElasticIp(address) => add_elastic_ip(region, address, now),
        }
    }
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
    let launched = millis(lent.launched).unwrap_or_else(|| long_ago(now));
    let record = Instance::record(lent.id, lent.instance_type.clone(), lent.image);
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
        root_device: lent.root_device.unwrap_or(record.root_device),
        ..record
    };
    region.instances.insert(instance.id.clone(), instance);
}

/// Adds an Elastic IP address. An instance of the account that has it is lent too.
fn add_elastic_ip(region: &mut Region, lent: LentElasticIp, now: Millis) {
    if region.elastic_ips.contains_key(&lent.id) {
        return;
    }
    let holder = lent.instance.as_deref();
    if let Some(instance) = holder.and_then(|id| region.instances.get_mut(id)) {
        instance.elastic_ip = Some(Association {
            id: lent.association.unwrap_or_else(|| new_id("eipassoc")),
            allocation: lent.id.clone(),
            address: lent.address,
        });
    }
    let own = ElasticIp {
        id: lent.id,
        address: lent.address,
        tags: lent.tags,
        created: long_ago(now),
        is_lent: true,
    };
    region.elastic_ips.insert(own.id.clone(), own);
}

/// Returns a time of the account, if it is known.
fn millis(time: Option<String>) -> Option<Millis> {
    let time: jiff::Timestamp = time?.parse().ok()?;
    Millis::try_from(time.as_millisecond()).ok()
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

    fn shared() -> Ipv4Net {
        "10.77.0.0/20".parse().unwrap()
    }

    /// Returns a region that has its default VPC, and what was lent.
    fn lent(resources: &[&serde_json::Value]) -> Region {
        let mut state = State::default();
        let region = state.regions.entry("us-east-1".to_owned()).or_default();
        ensure_default(region, "us-east-1", shared(), NOW);
        for resources in resources {
            let lent = json!({ "region": "us-east-1", "resources": resources });
            add(
                &mut state,
                shared(),
                serde_json::from_value(lent).unwrap(),
                NOW,
            );
        }
        state.regions.remove("us-east-1").unwrap()
    }

    #[test]
    fn the_default_vpc_gets_the_ids_of_the_account() {
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
        let region = lent(&[&resources]);
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
        let resources = json!([
            { "vpc": { "id": "vpc-1", "cidr": "10.9.0.0/16" } },
            { "subnet": {
                "id": "subnet-1",
                "vpc": "vpc-1",
                "cidr": "10.9.1.0/24",
                "maps_public_ip": true,
            }},
        ]);
        let region = lent(&[&resources, &resources]);
        let networks = &region.networks;
        assert!(networks.reaches_internet("subnet-1"));
        assert_eq!(networks.subnets["subnet-1"].zone, "us-east-1a");
        let gateways = networks.internet_gateways.values();
        let of_vpc = gateways.filter(|gateway| gateway.vpc.as_deref() == Some("vpc-1"));
        assert_eq!(of_vpc.count(), 1);
    }

    #[test]
    fn a_lent_instance_is_a_record_with_the_addresses_of_the_account() {
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
        let region = lent(&[&instance]);
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

    #[test]
    fn a_private_subnet_reaches_the_internet_through_its_nat_gateway() {
        let resources = json!([
            { "vpc": { "id": "vpc-1", "cidr": "10.9.0.0/16" } },
            { "subnet": {
                "id": "subnet-1", "vpc": "vpc-1", "cidr": "10.9.1.0/24", "maps_public_ip": true,
            }},
            { "nat_gateway": {
                "id": "nat-1", "vpc": "vpc-1", "subnet": "subnet-1", "allocation": "eipalloc-1",
            }},
            { "subnet": {
                "id": "subnet-2", "vpc": "vpc-1", "cidr": "10.9.2.0/24",
                "maps_public_ip": false, "nat_gateway": "nat-1",
            }},
        ]);
        let region = lent(&[&resources, &resources]);
        let networks = &region.networks;
        assert!(networks.reaches_internet("subnet-1") && !networks.reaches_internet("subnet-2"));
        let nat = networks.nat_of("subnet-2", NOW).unwrap();
        let public = nat.public.as_ref().unwrap();
        assert_eq!((&*nat.id, &*public.allocation), ("nat-1", "eipalloc-1"));
        assert!(shared().contains(&public.address));
        assert_eq!(region.elastic_ips["eipalloc-1"].address, public.address);
        assert!(networks.nat_of("subnet-1", NOW).is_none());
    }

    #[test]
    fn a_gateway_without_a_subnet_is_in_a_public_one() {
        let resources = json!([
            { "vpc": { "id": "vpc-1", "cidr": "10.9.0.0/16" } },
            { "nat_gateway": { "id": "nat-1", "vpc": "vpc-1" } },
            { "subnet": {
                "id": "subnet-1", "vpc": "vpc-1", "cidr": "10.9.1.0/24",
                "maps_public_ip": false, "nat_gateway": "nat-1",
            }},
        ]);
        let region = lent(&[&resources, &resources]);
        let nat = region.networks.nat_of("subnet-1", NOW).unwrap();
        assert!(nat.public.is_some() && nat.subnet != "subnet-1");
    }

    #[test]
    fn lent_addresses_are_marked_as_such() {
        let address = json!([{ "elastic_ip": { "id": "eipalloc-1", "address": "198.51.100.7" } }]);
        assert!(lent(&[&address]).elastic_ips["eipalloc-1"].is_lent);
    }

    #[test]
    fn volumes_and_addresses_belong_to_the_lent_instance() {
        let resources = json!([
            { "instance": { "id": "i-1", "type": "t3.micro", "image": "ami-1",
                "state": "running", "public_ip": "198.51.100.7" }},
            { "volume": { "id": "vol-1", "size": 20, "type": "gp3", "iops": 3000,
                "zone": "us-east-1b", "instance": "i-1", "device": "/dev/sdf",
                "created": "2026-11-25T22:10:03Z", "tags": { "Name": "data" } }},
            { "volume": { "id": "vol-2", "size": 8, "type": "gp2", "instance": "i-absent" } },
            { "snapshot": { "id": "snap-1", "volume": "vol-1", "size": 20,
                "started": "2026-11-25T22:10:03Z" }},
            { "elastic_ip": { "id": "eipalloc-1", "address": "198.51.100.7",
                "instance": "i-1", "association": "eipassoc-1" }},
        ]);
        let region = lent(&[&resources, &resources]);
        let instance = &region.instances["i-1"];
        let devices: Vec<_> = instance.attachments.iter().map(|a| &*a.device).collect();
        assert_eq!(devices, ["/dev/sdf"]);
        assert_eq!(instance.elastic_ip.as_ref().unwrap().id, "eipassoc-1");
        let volume = &region.volumes["vol-1"];
        assert_eq!(
            (&*volume.zone, volume.instance.as_deref()),
            ("us-east-1b", Some("i-1"))
        );
        assert_eq!(volume.created, 1_795_644_603_000);
        let other = &region.volumes["vol-2"];
        assert_eq!((&*other.zone, &other.instance), ("us-east-1a", &None));
        assert_eq!(region.snapshots["snap-1"].started, 1_795_644_603_000);
        assert_eq!(region.elastic_ips.len(), 1);
    }
}
