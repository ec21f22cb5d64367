//! Addresses of instances. The instances of all regions share one network. Its
//! lower half is the default VPC of every region. From its upper half, instances in
//! other VPCs have their public addresses.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::journaled::Table;
use super::refusal::{Refusal, Result};
use super::state::{Instance, Phase, State};
use super::vpc::state::Subnet;
use super::vpc::subnets::assignable;

/// Returns all addresses of an instance.
pub(super) fn of(instance: &Instance) -> impl Iterator<Item = Ipv4Addr> + use<> {
    [Some(instance.address), instance.outside]
        .into_iter()
        .flatten()
}

/// Returns the block of the default VPCs: the lower half of the shared network.
/// Their addresses are private and public at once.
pub(super) fn default_block(shared: Ipv4Net) -> Ipv4Net {
    half(shared, 0)
}

/// Returns the other public addresses: the upper half of the shared network.
fn public_block(shared: Ipv4Net) -> Ipv4Net {
    half(shared, 1)
}

fn half(net: Ipv4Net, number: usize) -> Ipv4Net {
    let mut halves = net.subnets(net.prefix_len() + 1).into_iter().flatten();
    halves.nth(number).unwrap_or(net)
}

/// Returns the private addresses of NAT gateways.
fn of_nat_gateways(state: &State) -> impl Iterator<Item = Ipv4Addr> + use<'_> {
    let networks = state.regions.values().map(|region| &region.networks);
    networks
        .flat_map(|networks| networks.nat_gateways.values())
        .filter(|nat| nat.deleted.is_none() && nat.failure.is_none())
        .map(|nat| nat.address)
}

/// Returns a free private address of a subnet.
///
/// No two instances of the local cloud have the same address, although VPCs may
/// have the same CIDR blocks: one switch routes the packets of all VPCs.
pub(super) fn free_private_address(
    state: &mut State,
    shared: Ipv4Net,
    subnet: &Subnet,
) -> Result<Ipv4Addr> {
    let is_shared = shared.contains(&subnet.cidr);
    let usable = assignable(subnet.cidr).filter(|a| is_shared || !shared.contains(a));
    next_free(state, subnet.cidr, usable).ok_or_else(|| {
        Refusal::new(
            "InsufficientFreeAddressesInSubnet",
            format!(
                "There are not enough free addresses in subnet '{}' to satisfy the requested \
                 number of instances.",
                subnet.id
            ),
        )
    })
}

/// Returns a free public address.
pub(super) fn free_address(state: &mut State, shared: Ipv4Net) -> Result<Ipv4Addr> {
    let block = public_block(shared);
    next_free(state, block, block.hosts()).ok_or_else(|| {
        Refusal::new(
            "InsufficientAddressCapacity",
            format!(
                "The {} public addresses of the local cloud are in use.",
                block.hosts().count()
            ),
        )
    })
}

/// Returns the next free one of these addresses, which are in order. The search
/// starts after the one that was assigned last, so that a freed address is not
/// assigned again at once.
fn next_free(
    state: &mut State,
    block: Ipv4Net,
    all: impl Iterator<Item = Ipv4Addr> + Clone,
) -> Option<Ipv4Addr> {
    let elastic = state.regions.values().flat_map(|r| r.elastic_ips.values());
    let taken: HashSet<Ipv4Addr> = state
        .regions
        .values()
        .flat_map(|region| region.instances.values())
        .filter(|instance| instance.phase != Phase::Terminated)
        .flat_map(of)
        .chain(elastic.map(|own| own.address))
        .chain(of_nat_gateways(state))
        .collect();
    let key = block.to_string();
    let last = state.last_addresses.get(&key).copied();
    let later = all.clone().skip_while(|address| last >= Some(*address));
    let free = later.chain(all).find(|address| !taken.contains(address))?;
    state.last_addresses.insert(key, free);
    Some(free)
}

/// Returns the private address of a subnet that a request names. It must be free.
pub(super) fn wanted_address(
    state: &State,
    shared: Ipv4Net,
    subnet: &Subnet,
    text: &str,
) -> Result<Ipv4Addr> {
    let address = text.parse().map_err(|_| {
        Refusal::new(
            "InvalidParameterValue",
            format!(
                "Value ({text}) for parameter privateIpAddress is invalid. It is not an IPv4 \
                 address."
            ),
        )
    })?;
    if !subnet.cidr.contains(&address) {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!("Address {text} does not fall within the subnet's address range"),
        ));
    }
    if !assignable(subnet.cidr).any(|host| host == address) {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!("Address {text} is in subnet's reserved address range"),
        ));
    }
    let mut elastic = state.regions.values().flat_map(|r| r.elastic_ips.values());
    let instances = state.regions.values().flat_map(|r| r.instances.values());
    let mut taken = instances
        .filter(|instance| instance.phase != Phase::Terminated)
        .flat_map(of)
        .chain(of_nat_gateways(state));
    let foreign = !shared.contains(&subnet.cidr) && shared.contains(&address);
    if foreign || taken.any(|other| other == address) || elastic.any(|own| own.address == address) {
        return Err(Refusal::new(
            "InvalidIPAddress.InUse",
            format!("Address {text} is in use."),
        ));
    }
    Ok(address)
}

/// Moves the addresses to this subnet, if they are of the subnet of an earlier
/// daemon.
pub(super) fn readdress(state: &mut State, shared: Ipv4Net) {
    let before = state.shared.unwrap_or(shared.network());
    let before = Ipv4Net::new_assert(before, shared.prefix_len());
    *state.shared.get_mut() = Some(shared.network());
    if before == shared {
        return;
    }
    let offset = u32::from(shared.network()).wrapping_sub(u32::from(before.network()));
    let moved = |address: Ipv4Addr| {
        if before.contains(&address) {
            Ipv4Addr::from(u32::from(address).wrapping_add(offset))
        } else {
            address
        }
    };
    let moved_net = |net: Ipv4Net| Ipv4Net::new_assert(moved(net.network()), net.prefix_len());
    for region in state.regions.values_mut() {
        let networks = &mut region.networks;
        for id in keys(&networks.vpcs) {
            if let Some(vpc) = networks.vpcs.get_mut(&id).filter(|vpc| vpc.is_default) {
                vpc.cidr = moved_net(vpc.cidr);
            }
        }
        let is_default = |vpc: &str| networks.vpcs.get(vpc).is_some_and(|vpc| vpc.is_default);
        for id in keys(&networks.subnets) {
            if let Some(subnet) = networks.subnets.get_mut(&id).filter(|s| is_default(&s.vpc)) {
                subnet.cidr = moved_net(subnet.cidr);
            }
        }
        for id in keys(&networks.nat_gateways) {
            if let Some(nat) = networks.nat_gateways.get_mut(&id) {
                if is_default(&nat.vpc) {
                    nat.address = moved(nat.address);
                }
                if let Some(association) = &mut nat.public {
                    association.address = moved(association.address);
                }
            }
        }
        for id in keys(&region.instances) {
            let Some(instance) = region.instances.get_mut(&id) else {
                continue;
            };
            if is_default(&instance.vpc) {
                instance.address = moved(instance.address);
            }
            instance.outside = instance.outside.map(moved);
            if let Some(association) = &mut instance.elastic_ip {
                association.address = moved(association.address);
            }
        }
        for id in keys(&region.elastic_ips) {
            if let Some(own) = region.elastic_ips.get_mut(&id) {
                own.address = moved(own.address);
            }
        }
    }
}

fn keys<V>(table: &Table<V>) -> Vec<String> {
    table.keys().cloned().collect()
}
