//! Translates the security groups' rules into the firewall's rules.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::state::{Instance, Millis, Peer, Permission, State};
use crate::machine::{Ingress, Port, Protocol};

/// Returns the allowed incoming traffic of each instance that is pending or
/// running. `shared` is the network of all machines.
pub(super) fn ports(state: &State, shared: Ipv4Net, now: Millis) -> Vec<Port> {
    let mut ports = Vec::new();
    let translated = translated(state, now);
    let networks = state
        .regions
        .values()
        .flat_map(|region| region.networks.vpcs.values());
    let networks: BTreeMap<&str, usize> = networks
        .filter(|vpc| !vpc.is_default)
        .enumerate()
        .map(|(number, vpc)| (vpc.id.as_str(), number))
        .collect();
    for region in state.regions.values() {
        let has_machine = |i: &&Instance| i.phase.is_up() && !i.is_record;
        let up = || region.instances.values().filter(has_machine);
        let members = |group: &str| -> Vec<Ipv4Net> {
            up().filter(|i| i.groups.iter().any(|g| g == group))
                .map(|i| i.address.into())
                .collect()
        };
        for instance in up() {
            let rules = instance
                .groups
                .iter()
                .filter_map(|id| region.groups.get(id))
                .flat_map(|group| &group.ingress);
            let ingress = rules.flat_map(|rule| {
                let sources = match &rule.permission.peer {
                    Peer::V4(net) => sources(*net, &translated),
                    Peer::V6(_) => Vec::new(),
                    Peer::Group(id) => members(id),
                };
                sources
                    .into_iter()
                    .filter_map(|source| ingress(&rule.permission, source))
                    .collect::<Vec<_>>()
            });
            let ingress: Vec<Ingress> = ingress.collect();
            let network = networks.get(instance.vpc.as_str()).copied();
            // An address that the account lends does not lead to a machine.
            let elastic = instance.elastic_ip.as_ref().map(|own| own.address);
            let elastic = elastic.filter(|address| shared.contains(address));
            let mut open = |address, network, elastic| {
                ports.push(Port {
                    address,
                    network,
                    ingress: ingress.clone(),
                    elastic,
                    nat: translated.get(&address).copied(),
                });
            };
            match instance.outside {
                None => open(instance.address, network, elastic),
                Some(outside) => {
                    open(instance.address, network, None);
                    let is_public = region.is_public(instance);
                    open(outside, network.filter(|_| !is_public), elastic);
                }
            }
        }
    }
    ports
}

/// Returns the addresses in the network of all machines that are translated to the
/// Elastic IP address of a NAT gateway, with that address.
///
/// Instances in the default VPC have no second address. They reach each other
/// without the gateway, and the internet through the proxy.
fn translated(state: &State, now: Millis) -> BTreeMap<Ipv4Addr, Ipv4Addr> {
    let mut translated = BTreeMap::new();
    for region in state.regions.values() {
        for instance in region.instances.values().filter(|i| i.phase.is_up()) {
            let nat = region.networks.nat_of(&instance.subnet, now);
            if let (Some(outside), Some(public)) =
                (instance.outside, nat.and_then(|nat| nat.public.as_ref()))
            {
                translated.insert(outside, public.address);
            }
        }
    }
    translated
}

/// Returns the sources that a rule for a network allows. The firewall sees packets
/// before their source is translated.
fn sources(net: Ipv4Net, translated: &BTreeMap<Ipv4Addr, Ipv4Addr>) -> Vec<Ipv4Net> {
    let behind = translated
        .iter()
        .filter(|(own, public)| net.contains(*public) && !net.contains(*own))
        .map(|(own, _)| Ipv4Net::from(*own));
    std::iter::once(net).chain(behind).collect()
}

fn ingress(permission: &Permission, source: Ipv4Net) -> Option<Ingress> {
    let port = |port: Option<i32>, otherwise: u16| {
        port.and_then(|port| u16::try_from(port).ok())
            .unwrap_or(otherwise)
    };
    let (protocol, from_port, to_port) = match permission.protocol.as_str() {
        "tcp" => (
            Protocol::Tcp,
            port(permission.from, 0),
            port(permission.to, 65535),
        ),
        "udp" => (
            Protocol::Udp,
            port(permission.from, 0),
            port(permission.to, 65535),
        ),
        // For ICMP the ports are type and code. -1 means all and is not a u16.
        "icmp" => (
            Protocol::Icmp,
            port(permission.from, 65535),
            port(permission.to, 65535),
        ),
        "-1" => (Protocol::All, 0, 65535),
        // The local cloud's network does not forward any other protocol.
        _ => return None,
    };
    Some(Ingress {
        protocol,
        from_port,
        to_port,
        source,
    })
}
