//! The addresses that an instance may reach: public addresses, except the
//! addresses of the host.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use crate::machine::network::routing::Routing;

const V4: [(Ipv4Net, &str); 12] = [
    (v4([0, 0, 0, 0], 8), "unspecified"),
    (v4([10, 0, 0, 0], 8), "private"),
    (v4([100, 64, 0, 0], 10), "private"),
    (v4([127, 0, 0, 0], 8), "loopback"),
    (v4([169, 254, 0, 0], 16), "link-local"),
    (v4([172, 16, 0, 0], 12), "private"),
    (v4([192, 0, 0, 0], 24), "reserved"),
    (v4([192, 168, 0, 0], 16), "private"),
    (v4([198, 18, 0, 0], 15), "private"),
    (v4([224, 0, 0, 0], 4), "multicast"),
    (v4([240, 0, 0, 0], 4), "reserved"),
    (v4([255, 255, 255, 255], 32), "broadcast"),
];

const V6: [(Ipv6Net, &str); 5] = [
    (v6([0, 0], 96), "reserved"),
    (v6([0xfc00, 0], 7), "private"),
    (v6([0xfe80, 0], 10), "link-local"),
    (v6([0xfec0, 0], 10), "private"),
    (v6([0xff00, 0], 8), "multicast"),
];

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6([a, b]: [u16; 2], length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), length)
}

/// Returns the reason why an instance may not reach an address, or `None` if it
/// may.
pub(super) fn refusal(address: IpAddr, host_addresses: &[IpAddr]) -> Option<&'static str> {
    let address = address.to_canonical();
    if host_addresses.contains(&address) {
        return Some("an address of the host");
    }
    match address {
        IpAddr::V4(address) => refusal_v4(address),
        IpAddr::V6(address) => refusal_v6(address).or_else(|| {
            let inner = embedded(address)?;
            refusal(inner.into(), host_addresses)
        }),
    }
}

fn refusal_v4(address: Ipv4Addr) -> Option<&'static str> {
    V4.iter()
        .find_map(|(net, reason)| net.contains(&address).then_some(*reason))
}

fn refusal_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_loopback() {
        return Some("loopback");
    }
    if address.is_unspecified() {
        return Some("unspecified");
    }
    V6.iter()
        .find_map(|(net, reason)| net.contains(&address).then_some(*reason))
}

/// Returns the IPv4 address to which a gateway translates an IPv6 address (NAT64,
/// 6to4).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let ([0x64, 0xff9b, .., a, b] | [0x2002, a, b, ..]) = address.segments() else {
        return None;
    };
    let bits = u32::from(a) << 16 | u32::from(b);
    Some(Ipv4Addr::from_bits(bits))
}

/// Returns all addresses of the host's interfaces.
pub(super) fn host_addresses() -> io::Result<Vec<IpAddr>> {
    let found = Routing::open().and_then(|routing| routing.addresses());
    found.map_err(|error| {
        let reason = format!("cannot list the addresses of the host: {error}");
        io::Error::new(error.kind(), reason)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(address: &str) -> Option<&'static str> {
        let own = ["8.8.4.4".parse().unwrap()];
        refusal(address.parse().unwrap(), &own)
    }

    #[test]
    fn addresses_that_are_not_public_are_refused() {
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "224.0.0.1",
            "255.255.255.255",
            "8.8.4.4",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.4.4",
            "::ffff:169.254.169.254",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(refused(address).is_some(), "{address}");
        }
    }

    #[test]
    fn public_addresses_are_allowed() {
        for address in [
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "169.253.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2606:4700::1111",
        ] {
            assert_eq!(refused(address), None, "{address}");
        }
    }

    #[test]
    fn the_addresses_of_the_host_include_its_loopback() {
        let own = host_addresses().unwrap();
        assert!(own.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
}
