//! The rules: the walls, which stay as long as the switch, and the security
//! groups, which are replaced when one of them changes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use nix::libc::{IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP};

use super::super::super::disk::standins::METADATA;
use super::super::links::UPLINK;
use super::batch::{Batch, CableKey, Hook};
use super::expressions::{
    Comparison, Expression, Field, Meta, Rule, Translation, Verdict, accept, equal, is_address,
    is_ipv4, is_of_known_connection, is_transport, leaves_by,
};
use super::{Gateway, Ingress, Port, Protocol};

/// The table with the security groups.
const GROUPS: &str = "autorun";
/// The table with the walls.
const WALLS: &str = "autorun_walls";
/// The set of the switch's interfaces, each with its permitted address.
const CABLES: &str = "cables";

/// Returns the rules that no security group overrides: each veth pair uses only its
/// own address, and the switch itself serves only metadata. All other packets
/// are dropped, including all of IPv6.
pub(super) fn walls() -> Batch {
    let mut batch = Batch::new();
    batch.renew_table(WALLS);
    batch.add_cable_set(WALLS, CABLES);
    batch.add_base_chain(WALLS, "prerouting", Hook::Prerouting);
    batch.add_rule(WALLS, "prerouting", &arrives_on_its_cable());
    batch.add_base_chain(WALLS, "input", Hook::Input);
    batch.add_rule(WALLS, "input", &known_connection());
    let (address, port) = METADATA;
    for rule in [to_port(address, port), to_icmp(address)] {
        batch.add_rule(WALLS, "input", &rule);
    }
    batch.add_base_chain(WALLS, "output", Hook::Output);
    batch.add_rule(WALLS, "output", &known_connection());
    batch
}

/// Allows an address as the source of packets from an interface.
pub(super) fn admitted(cable: CableKey) -> Batch {
    let mut batch = Batch::new();
    batch.add_cable(WALLS, CABLES, cable);
    batch
}

/// Reverts `admitted`.
pub(super) fn dismissed(cable: CableKey) -> Batch {
    let mut batch = Batch::new();
    batch.delete_cable(WALLS, CABLES, cable);
    batch
}

/// Returns the rules of all security groups.
pub(super) fn groups(gateway: Gateway, ports: &[Port]) -> Batch {
    let mut batch = Batch::new();
    batch.renew_table(GROUPS);
    // A map cannot have two verdicts for one address.
    let ports: BTreeMap<_, _> = ports.iter().map(|port| (port.address, port)).collect();
    let mut verdicts = Verdicts::new();
    let mut confined: BTreeMap<usize, Verdicts> = BTreeMap::new();
    for (number, port) in ports.values().enumerate() {
        let chain = format!("to{number}");
        batch.add_chain(GROUPS, &chain);
        for ingress in &port.ingress {
            batch.add_rule(GROUPS, &chain, &allows(ingress));
        }
        let verdicts = match port.network {
            None => &mut verdicts,
            Some(network) => confined.entry(network).or_default(),
        };
        verdicts.push((port.address, Verdict::Jump(chain)));
    }
    let mut sources = Verdicts::new();
    for (number, members) in confined {
        let chain = format!("from{number}");
        batch.add_chain(GROUPS, &chain);
        let of = members.iter().map(|(address, _)| *address);
        let of = of.filter(|address| ports.get(address).is_none_or(|port| port.nat.is_none()));
        sources.extend(of.map(|address| (address, Verdict::Goto(chain.clone()))));
        add_verdicts(&mut batch, &chain, Field::Destination, &members);
    }
    batch.add_base_chain(GROUPS, "forward", Hook::Forward);
    batch.add_rule(GROUPS, "forward", &known_connection());
    // Before all rules that accept packets.
    add_verdicts(&mut batch, "forward", Field::Source, &sources);
    let Gateway { address, port } = gateway;
    for rule in [to_port(address, port), to_icmp(address)] {
        let outwards = [leaves_by(UPLINK), rule].concat();
        batch.add_rule(GROUPS, "forward", &outwards);
    }
    add_verdicts(&mut batch, "forward", Field::Destination, &verdicts);
    translate(&mut batch, ports.values().copied());
    batch
}

/// The verdicts on addresses.
type Verdicts = Vec<(Ipv4Addr, Verdict)>;

/// Adds a rule that decides by an address. The kernel has no empty maps.
fn add_verdicts(batch: &mut Batch, chain: &str, field: Field, verdicts: &Verdicts) {
    if verdicts.is_empty() {
        return;
    }
    let map = batch.add_map(GROUPS, verdicts);
    let mut rule = is_ipv4();
    rule.push(Expression::Payload(field));
    rule.push(Expression::VerdictOf(map));
    batch.add_rule(GROUPS, chain, &rule);
}

/// Adds the translation of Elastic IP addresses. The rules above see the machines'
/// own addresses only.
fn translate<'a>(batch: &mut Batch, ports: impl Iterator<Item = &'a Port> + Clone) {
    let elastic = |port: &'a Port| Some((port.elastic?, port.address));
    let nat = |port: &'a Port| Some((port.nat?, port.address));
    let pairs: Vec<_> = ports.clone().filter_map(elastic).collect();
    let behind: Vec<_> = ports.filter_map(nat).collect();
    if pairs.is_empty() && behind.is_empty() {
        return;
    }
    batch.add_base_chain(GROUPS, "arriving", Hook::NewDestination);
    batch.add_base_chain(GROUPS, "leaving", Hook::NewSource);
    for (elastic, own) in pairs {
        let mut arriving = is_address(Field::Destination, elastic);
        arriving.push(Expression::Address(own));
        arriving.push(Expression::Translate(Translation::Destination));
        batch.add_rule(GROUPS, "arriving", &arriving);
        // A machine that connects to its own Elastic IP address would drop
        // packets from itself. On AWS, they also come from the Elastic IP address.
        let mut leaving = is_address(Field::Source, own);
        leaving.push(Expression::Payload(Field::Destination));
        leaving.push(equal(own.octets().to_vec()));
        leaving.push(Expression::Address(elastic));
        leaving.push(Expression::Translate(Translation::Source));
        batch.add_rule(GROUPS, "leaving", &leaving);
    }
    for (nat, own) in behind {
        let mut leaving = is_address(Field::Source, own);
        leaving.push(Expression::Address(nat));
        leaving.push(Expression::Translate(Translation::Source));
        batch.add_rule(GROUPS, "leaving", &leaving);
    }
}

fn arrives_on_its_cable() -> Rule {
    let mut rule = is_ipv4();
    rule.extend([
        Expression::Meta(Meta::InputInterface),
        Expression::SecondPart(Field::Source),
        Expression::IsIn(CABLES),
        accept(),
    ]);
    rule
}

fn known_connection() -> Rule {
    let mut rule = is_of_known_connection();
    rule.push(accept());
    rule
}

fn to_port(address: Ipv4Addr, port: u16) -> Rule {
    let mut rule = is_address(Field::Destination, address);
    rule.extend(is_transport(number(IPPROTO_TCP)));
    rule.push(Expression::Payload(Field::Port));
    rule.push(equal(port.to_be_bytes().to_vec()));
    rule.push(accept());
    rule
}

fn to_icmp(address: Ipv4Addr) -> Rule {
    let mut rule = is_address(Field::Destination, address);
    rule.extend(is_transport(number(IPPROTO_ICMP)));
    rule.push(accept());
    rule
}

fn allows(ingress: &Ingress) -> Rule {
    let mut rule = comes_from(ingress);
    rule.extend(is_for(ingress));
    rule.push(accept());
    rule
}

/// Matches the source network. Any source matches 0.0.0.0/0.
fn comes_from(ingress: &Ingress) -> Rule {
    let source = ingress.source.trunc();
    match source.prefix_len() {
        0 => Vec::new(),
        32 => is_address(Field::Source, source.addr()),
        _ => {
            let mut rule = is_ipv4();
            rule.extend([
                Expression::Payload(Field::Source),
                Expression::Mask(source.netmask().octets().to_vec()),
                equal(source.addr().octets().to_vec()),
            ]);
            rule
        }
    }
}

fn is_for(ingress: &Ingress) -> Rule {
    match ingress.protocol {
        Protocol::Tcp => within(number(IPPROTO_TCP), ingress),
        Protocol::Udp => within(number(IPPROTO_UDP), ingress),
        Protocol::Icmp => is_icmp(ingress),
        Protocol::All => vec![Expression::Counter],
    }
}

fn within(protocol: u8, ingress: &Ingress) -> Rule {
    let bound =
        |comparison, port: u16| Expression::Compare(comparison, port.to_be_bytes().to_vec());
    let mut rule = is_transport(protocol);
    rule.extend([
        Expression::Payload(Field::Port),
        bound(Comparison::AtLeast, ingress.from_port),
        bound(Comparison::AtMost, ingress.to_port),
    ]);
    rule
}

/// A type above 255 means any type, a code above 255 any code.
fn is_icmp(ingress: &Ingress) -> Rule {
    let Ok(kind) = u8::try_from(ingress.from_port) else {
        return is_transport(number(IPPROTO_ICMP));
    };
    let mut rule = is_ipv4();
    rule.extend(is_transport(number(IPPROTO_ICMP)));
    rule.push(Expression::Payload(Field::IcmpType));
    rule.push(equal(vec![kind]));
    if let Ok(code) = u8::try_from(ingress.to_port) {
        rule.push(Expression::Payload(Field::IcmpCode));
        rule.push(equal(vec![code]));
    }
    rule
}

/// Protocol numbers are bytes.
fn number(protocol: i32) -> u8 {
    u8::try_from(protocol).unwrap_or(u8::MAX)
}
