//! Addresses of instances. The instances of all regions share one subnet, from
//! which those in other VPCs than the default one have their public addresses.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::refusal::{Refusal, Result};
use super::state::{Instance, Phase, State};
use super::vpc::state::Subnet;
use super::vpc::subnets::assignable;
use super::vpc::vpcs::is_default;

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
    state.last_address = Some(free);
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

/// Assigns an address of this subnet to each instance and each Elastic IP address
/// whose address in the network of all machines is of the subnet of an earlier
/// daemon.
pub(super) fn readdress(state: &mut State, subnet: Ipv4Net) {
    let all = || state.regions.values().flat_map(|r| r.instances.values());
    let elastic = || state.regions.values().flat_map(|r| r.elastic_ips.values());
    let elastic = elastic().map(|own| own.address);
    let taken: HashSet<Ipv4Addr> = all().flat_map(of).chain(elastic).collect();
    let mut free = subnet.hosts().skip(1).filter(|a| !taken.contains(a));
    for instance in state
        .regions
        .values_mut()
        .flat_map(|region| region.instances.values_mut())
    {
        let shared = if is_default(&instance.region(), &instance.vpc) {
            Some(&mut instance.address)
        } else {
            instance.outside.as_mut()
        };
        if let Some(address) = shared.filter(|address| !subnet.contains(&**address))
            && let Some(next) = free.next()
        {
            *address = next;
        }
    }
    for region in state.regions.values_mut() {
        for own in region.elastic_ips.values_mut() {
            if !subnet.contains(&own.address)
                && let Some(address) = free.next()
            {
                own.address = address;
            }
        }
        let associations = region
            .instances
            .values_mut()
            .filter_map(|i| i.elastic_ip.as_mut());
        for association in associations {
            if let Some(own) = region.elastic_ips.get(&association.allocation) {
                association.address = own.address;
            }
        }
    }
}
