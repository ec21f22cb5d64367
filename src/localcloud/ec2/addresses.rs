//! Addresses of instances. The instances of all regions share one subnet, from
//! which those in other VPCs than the default one have their public addresses.

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

/// Returns a free private address of a subnet that is not a default one.
///
/// No two instances of the local cloud have the same address, although VPCs may
/// have the same CIDR blocks: one switch routes the packets of all VPCs.
pub(super) fn free_private_address(
    state: &State,
    shared: Ipv4Net,
    subnet: &Subnet,
) -> Result<Ipv4Addr> {
    let regions = state.regions.values();
    let instances = regions.flat_map(|region| region.instances.values());
    let taken: HashSet<Ipv4Addr> = instances
        .filter(|instance| instance.phase != Phase::Terminated)
        .flat_map(of)
        .collect();
    assignable(subnet.cidr)
        .find(|address| !shared.contains(address) && !taken.contains(address))
        .ok_or_else(|| {
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

/// Returns a free address of the subnet. The first host address belongs to the
/// gateway. The search starts after the last assigned address, so that a freed
/// address is not reused at once.
pub(super) fn free_address(state: &mut State, subnet: Ipv4Net) -> Result<Ipv4Addr> {
    let elastic = state.regions.values().flat_map(|r| r.elastic_ips.values());
    let taken: Vec<Ipv4Addr> = state
        .regions
        .values()
        .flat_map(|region| region.instances.values())
        .filter(|instance| instance.phase != Phase::Terminated)
        .flat_map(of)
        .chain(elastic.map(|own| own.address))
        .collect();
    let all: Vec<Ipv4Addr> = subnet.hosts().skip(1).collect();
    let start = state
        .last_address
        .and_then(|last| all.iter().position(|address| *address == last))
        .map_or(0, |position| position + 1);
    let free = all
        .iter()
        .cycle()
        .skip(start)
        .take(all.len())
        .find(|address| !taken.contains(address));
    let Some(free) = free.copied() else {
        return Err(Refusal::new(
            "InsufficientFreeAddressesInSubnet",
            format!(
                "The subnet of the local cloud holds at most {} instances. Terminate \
                 instances that you do not need.",
                all.len()
            ),
        ));
    };
    *state.last_address.get_mut() = Some(free);
    Ok(free)
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
    let allowed = if subnet.is_default {
        shared.hosts().skip(1).any(|host| host == address)
    } else {
        assignable(subnet.cidr).any(|host| host == address)
    };
    if !allowed {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!("Address {text} is in subnet's reserved address range"),
        ));
    }
    let mut elastic = state.regions.values().flat_map(|r| r.elastic_ips.values());
    let instances = state.regions.values().flat_map(|r| r.instances.values());
    let mut taken = instances
        .filter(|instance| instance.phase != Phase::Terminated)
        .flat_map(of);
    let foreign = !subnet.is_default && shared.contains(&address);
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
    let moved = |address: Ipv4Addr| match before.contains(&address) {
        true => Ipv4Addr::from(u32::from(address).wrapping_add(offset)),
        false => address,
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
