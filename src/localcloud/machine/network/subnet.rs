//! Which addresses are free: a /24 that no route of the host touches.

use std::io;
use std::net::Ipv4Addr;

use futures_util::TryStreamExt;
use ipnet::Ipv4Net;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::super::claims::{self, Claims, Kind};

/// A network that no other cloud on this host can have, as long as this lives.
#[derive(Debug)]
pub(in super::super) struct Claim {
    pub(in super::super) subnet: Ipv4Net,
    _number: claims::Claim,
}

impl Claim {
    /// The subnet used before if it is still free, else the first free one.
    /// `None` when the host has routes to all of them.
    pub(in super::super) fn of_free(
        claims: &Claims,
        taken: &[Ipv4Net],
        before: Option<Ipv4Net>,
    ) -> io::Result<Option<Self>> {
        // Two clouds that start at once both see it free.
        let numbers = free(taken, before).map(number_of);
        let claim = claims.first(Kind::Subnet, numbers)?;
        Ok(claim.map(|number| Self {
            subnet: of_number(number.number()),
            _number: number,
        }))
    }
}

/// A /24 by its first three bytes.
fn number_of(subnet: Ipv4Net) -> u32 {
    subnet.network().to_bits() >> 8
}

fn of_number(number: u32) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::from_bits(number << 8), 24)
}

/// Networks that the host has routes to, without the default route.
pub(in super::super) async fn taken(handle: &Handle) -> Result<Vec<Ipv4Net>, rtnetlink::Error> {
    let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let mut routes = handle.route().get(all).execute();
    let mut taken = Vec::new();
    while let Some(route) = routes.try_next().await? {
        let prefix = route.header.destination_prefix_length;
        for attribute in &route.attributes {
            if let RouteAttribute::Destination(RouteAddress::Inet(address)) = attribute {
                taken.extend(Ipv4Net::new(*address, prefix));
            }
        }
    }
    taken.retain(|network| network.prefix_len() > 0);
    Ok(taken)
}

/// Networks that no route of the host touches.
pub(in super::super) fn free(
    taken: &[Ipv4Net],
    before: Option<Ipv4Net>,
) -> impl Iterator<Item = Ipv4Net> {
    let is_free = move |candidate: &Ipv4Net| {
        let overlaps = |network: &Ipv4Net| {
            network.contains(&candidate.network()) || candidate.contains(&network.network())
        };
        !taken.iter().any(overlaps)
    };
    let before = before.filter(|network| network.prefix_len() == 24);
    before
        .into_iter()
        .chain(candidates())
        .filter(move |candidate| is_free(candidate))
}

/// Private addresses in an order that avoids what others take first.
fn candidates() -> impl Iterator<Item = Ipv4Net> {
    let second = (77..=255).chain(0..77);
    let private = second.map(|second| Ipv4Addr::new(10, second, 0, 0));
    let shared = (64..=127).map(|second| Ipv4Addr::new(100, second, 77, 0));
    let addresses = private.chain(shared);
    addresses.map(|address| Ipv4Net::new_assert(address, 24))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(taken: &[Ipv4Net], before: Option<Ipv4Net>) -> Option<Ipv4Net> {
        free(taken, before).next()
    }

    #[test]
    fn clouds_that_start_at_once_get_different_subnets() {
        let directory = tempfile::tempdir().unwrap();
        let claims = Claims::at(directory.path().join("autorun/claims"));
        let before = Some(net("10.251.3.0/24"));
        let first = Claim::of_free(&claims, &[], before).unwrap().unwrap();
        let second = Claim::of_free(&claims, &[], before).unwrap().unwrap();
        assert_eq!(Some(first.subnet), before);
        assert_ne!(first.subnet, second.subnet);
    }

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn a_subnet_is_free_or_not_taken() {
        assert_eq!(choose(&[], None), Some(net("10.77.0.0/24")));
        let taken = [net("10.77.0.0/16"), net("10.78.0.1/32")];
        assert_eq!(choose(&taken, None), Some(net("10.79.0.0/24")));
        assert_eq!(
            choose(&taken, Some(net("10.5.0.0/24"))),
            Some(net("10.5.0.0/24"))
        );
        let vpn = [net("10.0.0.0/8")];
        let chosen = choose(&vpn, Some(net("10.5.0.0/24")));
        assert_eq!(chosen, Some(net("100.64.77.0/24")));
        assert_eq!(
            choose(&[net("10.0.0.0/8"), net("100.64.0.0/10")], None),
            None
        );
    }
}
