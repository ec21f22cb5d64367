//! Addresses of instances. The instances of all regions share one subnet.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::refusal::{Refusal, Result};
use super::state::{Phase, State};

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
        .map(|instance| instance.address)
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

/// Returns the address of the subnet that a request names. It must be free.
pub(super) fn wanted_address(state: &State, subnet: Ipv4Net, text: &str) -> Result<Ipv4Addr> {
    let invalid = |why: &str| {
        Refusal::new(
            "InvalidParameterValue",
            format!("Value ({text}) for parameter privateIpAddress is invalid. {why}"),
        )
    };
    let address = text
        .parse()
        .map_err(|_| invalid("It is not an IPv4 address."))?;
    if !subnet.contains(&address) {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!("Address {text} does not fall within the subnet's address range"),
        ));
    }
    if !subnet.hosts().skip(1).any(|host| host == address) {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!("Address {text} is in subnet's reserved address range"),
        ));
    }
    let mut elastic = state.regions.values().flat_map(|r| r.elastic_ips.values());
    let taken = state
        .regions
        .values()
        .flat_map(|region| region.instances.values())
        .any(|instance| instance.phase != Phase::Terminated && instance.address == address);
    if taken || elastic.any(|own| own.address == address) {
        return Err(Refusal::new(
            "InvalidIPAddress.InUse",
            format!("Address {text} is in use."),
        ));
    }
    Ok(address)
}

/// Assigns an address of this subnet to each instance and each Elastic IP address
/// whose address is of another subnet.
pub(super) fn readdress(state: &mut State, subnet: Ipv4Net) {
    let all = || state.regions.values().flat_map(|r| r.instances.values());
    let elastic = || state.regions.values().flat_map(|r| r.elastic_ips.values());
    let taken: Vec<_> = all()
        .map(|i| i.address)
        .chain(elastic().map(|own| own.address))
        .filter(|a| subnet.contains(a))
        .collect();
    let mut free = subnet.hosts().skip(1).filter(|a| !taken.contains(a));
    for instance in state
        .regions
        .values_mut()
        .flat_map(|region| region.instances.values_mut())
        .filter(|instance| !subnet.contains(&instance.address))
    {
        if let Some(address) = free.next() {
            instance.address = address;
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
