//! Selects the subnet: a /20 that no route of the host overlaps.

use std::io;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::super::claims::{self, Claims, Kind};
use super::routing::Routing;

/// The size of the subnet: a /24 for the default subnet of each of 8 zones, and as
/// many public addresses again.
const PREFIX: u8 = 20;

/// A subnet that no other cloud on this host can use until this value is
/// dropped.
#[derive(Debug)]
pub(in super::super) struct Claim {
    pub(in super::super) subnet: Ipv4Net,
    _number: claims::Claim,
}

impl Claim {
    /// Claims the previous subnet if it is still free, and otherwise the first
    /// free one. Returns `None` if the host has routes to all of them.
    pub(in super::super) fn of_free(
        claims: &Claims,
        taken: &[Ipv4Net],
        previous: Option<Ipv4Net>,
    ) -> io::Result<Option<Self>> {
        // Two clouds that start at the same time both see the same free
        // subnets. The claim decides.
        let numbers = free(taken, previous).map(number_of);
        let claim = claims.first(Kind::Subnet, numbers)?;
        Ok(claim.map(|number| Self {
            subnet: of_number(number.number()),
            _number: number,
        }))
    }
}

/// Returns the first three bytes of a subnet as a number.
fn number_of(subnet: Ipv4Net) -> u32 {
    subnet.network().to_bits() >> 8
}

fn of_number(number: u32) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::from_bits(number << 8), PREFIX)
}

/// Returns the networks that the host has routes to, without the default route.
pub(in super::super) fn taken(host: &Routing) -> io::Result<Vec<Ipv4Net>> {
    host.destinations()
}

/// Returns the subnets that no route of the host overlaps.
pub(in super::super) fn free(
    taken: &[Ipv4Net],
    previous: Option<Ipv4Net>,
) -> impl Iterator<Item = Ipv4Net> {
    let is_free = move |candidate: &Ipv4Net| {
        let overlaps = |network: &Ipv4Net| {
            network.contains(&candidate.network()) || candidate.contains(&network.network())
        };
        !taken.iter().any(overlaps)
    };
    let previous = previous.filter(|network| network.prefix_len() == PREFIX);
    previous
        .into_iter()
        .chain(candidates())
        .filter(move |candidate| is_free(candidate))
}

/// Returns private networks. Ranges that other software uses first come
/// last.
fn candidates() -> impl Iterator<Item = Ipv4Net> {
    let second = (77..=255).chain(0..77);
    let private = second.map(|second| Ipv4Addr::new(10, second, 0, 0));
    let shared = (64..=127).map(|second| Ipv4Addr::new(100, second, 64, 0));
    let addresses = private.chain(shared);
    addresses.map(|address| Ipv4Net::new_assert(address, PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(taken: &[Ipv4Net], previous: Option<Ipv4Net>) -> Option<Ipv4Net> {
        free(taken, previous).next()
    }

    #[test]
    fn clouds_that_start_at_once_get_different_subnets() {
        let directory = tempfile::tempdir().unwrap();
        let claims = Claims::at(directory.path().join("autorun/claims"));
        let previous = Some(net("10.251.48.0/20"));
        let first = Claim::of_free(&claims, &[], previous).unwrap().unwrap();
        let second = Claim::of_free(&claims, &[], previous).unwrap().unwrap();
        assert_eq!(Some(first.subnet), previous);
        assert_ne!(first.subnet, second.subnet);
    }

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn only_free_subnets_are_chosen() {
        assert_eq!(choose(&[], None), Some(net("10.77.0.0/20")));
        let taken = [net("10.77.0.0/16"), net("10.78.0.1/32")];
        assert_eq!(choose(&taken, None), Some(net("10.79.0.0/20")));
        assert_eq!(
            choose(&taken, Some(net("10.5.0.0/20"))),
            Some(net("10.5.0.0/20"))
        );
        let vpn = [net("10.0.0.0/8")];
        let chosen = choose(&vpn, Some(net("10.5.0.0/20")));
        assert_eq!(chosen, Some(net("100.64.64.0/20")));
        assert_eq!(
            choose(&[net("10.0.0.0/8"), net("100.64.0.0/10")], None),
            None
        );
    }
}
