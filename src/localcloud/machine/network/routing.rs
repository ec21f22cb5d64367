//! Interfaces, addresses and routes of one network namespace, through the kernel's
//! route netlink.
//!
//! The crate for this takes longer to compile than the rest of the network, because it
//! knows every message of the protocol. Here are the eight that the switch needs.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use ipnet::Ipv4Net;
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::libc;

use super::netlink::{Attributes, Message, NLM_F_ACK, NLM_F_REQUEST, Writer, messages};

/// The types of messages.
const RTM_NEWLINK: u16 = libc::RTM_NEWLINK;
const RTM_DELLINK: u16 = libc::RTM_DELLINK;
const RTM_GETLINK: u16 = libc::RTM_GETLINK;
const RTM_NEWADDR: u16 = libc::RTM_NEWADDR;
const RTM_GETADDR: u16 = libc::RTM_GETADDR;
const RTM_NEWROUTE: u16 = libc::RTM_NEWROUTE;
const RTM_GETROUTE: u16 = libc::RTM_GETROUTE;

/// Flags of messages.
const CREATE: u16 = 0x400;
const EXCLUSIVE: u16 = 0x200;
const REPLACE: u16 = 0x100;
const DUMP: u16 = 0x300;

/// Attributes of interfaces (`IFLA_`). `linux/if_link.h` has their numbers.
const LINK_ADDRESS: u16 = 1;
const LINK_NAME: u16 = 3;
const LINK_INFO: u16 = 18;
const LINK_NAMESPACE: u16 = 19;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VETH_PEER: u16 = 1;

/// Attributes of addresses (`IFA_`).
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;

/// Attributes of routes (`RTA_`).
const DESTINATION: u16 = 1;
const INTERFACE: u16 = 4;
const GATEWAY: u16 = 5;
const SOURCE: u16 = 7;

/// The lengths of the structs before the attributes.
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const ROUTE_HEADER: usize = 12;

const INET: u8 = 2;

/// A connection to the kernel in one network namespace. It stays in that namespace,
/// whichever thread uses it.
#[derive(Debug)]
pub(crate) struct Routing(Mutex<Socket>);

/// The other end of a veth pair.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Peer<'a> {
    pub(in super::super) name: &'a str,
    /// The process whose network namespace it is in.
    pub(in super::super) process: Option<i32>,
    /// The hardware address.
    pub(in super::super) mac: Option<[u8; 6]>,
}

/// A route.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) to: Ipv4Net,
    pub(super) interface: u32,
    /// The next hop. Without one, the destination is on the link.
    pub(super) gateway: Option<Ipv4Addr>,
    /// The source address of packets.
    pub(super) source: Option<Ipv4Addr>,
}

impl Routing {
    /// Opens a connection in the network namespace of the current thread.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        if let Err(error) = socket.set_ext_ack(true) {
            log::debug!("the kernel cannot describe netlink errors: {error}");
        }
        Ok(Self(Mutex::new(socket)))
    }

    /// Returns the index of an interface.
    pub(super) fn index_of(&self, name: &str) -> io::Result<u32> {
        let answers = self.request(RTM_GETLINK, 0, |message| {
            link(message, 0, false);
            message.text(LINK_NAME, name);
        })?;
        let index = answers.first().and_then(|answer| answer.number(4));
        index.ok_or_else(|| io::Error::other(format!("the kernel did not describe `{name}`")))
    }

    /// Creates a veth pair.
    pub(in super::super) fn add_veth(
        &self,
        name: &str,
        is_up: bool,
        peer: &Peer,
    ) -> io::Result<()> {
        self.request(RTM_NEWLINK, CREATE | EXCLUSIVE, |message| {
            link(message, 0, is_up);
            message.text(LINK_NAME, name);
            message.nested(LINK_INFO, |info| {
                info.bytes(INFO_KIND, b"veth");
                info.nested(INFO_DATA, |data| {
                    data.nested(VETH_PEER, |end| {
                        link(end, 0, false);
                        end.text(LINK_NAME, peer.name);
                        if let Some(mac) = peer.mac {
                            end.bytes(LINK_ADDRESS, &mac);
                        }
                        if let Some(process) = peer.process {
                            end.bytes(LINK_NAMESPACE, &process.to_ne_bytes());
                        }
                    });
                });
            });
        })?;
        Ok(())
    }

    /// Turns an interface on.
    pub(super) fn turn_on(&self, index: u32) -> io::Result<()> {
        self.request(RTM_NEWLINK, 0, |message| link(message, index, true))?;
        Ok(())
    }

    /// Removes an interface.
    pub(super) fn remove(&self, index: u32) -> io::Result<()> {
        self.request(RTM_DELLINK, 0, |message| link(message, index, false))?;
        Ok(())
    }

    /// Adds an address to an interface.
    pub(super) fn add_address(&self, index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        self.request(RTM_NEWADDR, CREATE | EXCLUSIVE, |message| {
            let [a, b, c, d] = index.to_ne_bytes();
            message.raw(&[INET, prefix, 0, 0, a, b, c, d]);
            message.bytes(LOCAL, &address.octets());
            message.bytes(ADDRESS, &address.octets());
        })?;
        Ok(())
    }

    /// Adds a route.
    pub(super) fn add_route(&self, route: &Route) -> io::Result<()> {
        self.change_route(CREATE | EXCLUSIVE, route)
    }

    /// Adds a route, or replaces the one to the same destination.
    pub(super) fn replace_route(&self, route: &Route) -> io::Result<()> {
        self.change_route(CREATE | REPLACE, route)
    }

    fn change_route(&self, flags: u16, route: &Route) -> io::Result<()> {
        self.request(RTM_NEWROUTE, flags, |message| {
            let scope = match route.gateway {
                Some(_) => libc::RT_SCOPE_UNIVERSE,
                None => libc::RT_SCOPE_LINK,
            };
            message.raw(&[
                INET,
                route.to.prefix_len(),
                0,
                0,
                libc::RT_TABLE_MAIN,
                libc::RTPROT_STATIC,
                scope,
                libc::RTN_UNICAST,
                0,
                0,
                0,
                0,
            ]);
            message.bytes(DESTINATION, &route.to.network().octets());
            message.bytes(INTERFACE, &route.interface.to_ne_bytes());
            for (kind, address) in [(GATEWAY, route.gateway), (SOURCE, route.source)] {
                if let Some(address) = address {
                    message.bytes(kind, &address.octets());
                }
            }
        })?;
        Ok(())
    }

    /// Returns the destinations of all routes for IPv4, without the default route.
    pub(super) fn destinations(&self) -> io::Result<Vec<Ipv4Net>> {
        let routes = self.request(RTM_GETROUTE, DUMP, |message| {
            let mut header = [0; ROUTE_HEADER];
            header[0] = INET;
            message.raw(&header);
        })?;
        let destination = |route: Message| {
            let prefix = *route.body.get(1)?;
            let found = Attributes::after(&route, ROUTE_HEADER).find(DESTINATION)?;
            let address: [u8; 4] = found.try_into().ok()?;
            Ipv4Net::new(address.into(), prefix).ok()
        };
        let destinations = routes.into_iter().filter_map(destination);
        Ok(destinations.filter(|to| to.prefix_len() > 0).collect())
    }

    /// Returns the addresses of all interfaces.
    pub(crate) fn addresses(&self) -> io::Result<Vec<IpAddr>> {
        let found = self.request(RTM_GETADDR, DUMP, |message| {
            message.raw(&[0; ADDRESS_HEADER]);
        })?;
        let addresses = found.iter().flat_map(|message| {
            let attributes = Attributes::after(message, ADDRESS_HEADER);
            let both = attributes.filter(|(kind, _)| [ADDRESS, LOCAL].contains(kind));
            both.filter_map(|(_, bytes)| address(bytes))
                .collect::<Vec<_>>()
        });
        Ok(addresses.collect())
    }

    /// Sends one message, and returns the kernel's messages up to its acknowledgement.
    fn request(
        &self,
        kind: u16,
        flags: u16,
        body: impl FnOnce(&mut Writer),
    ) -> io::Result<Vec<Message>> {
        let mut writer = Writer::default();
        let is_dump = flags == DUMP;
        let wanted = if is_dump { 0 } else { NLM_F_ACK };
        writer.message(kind, NLM_F_REQUEST | wanted | flags, 1, body);
        let request = writer.finish()?;
        let socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        socket.send(&request, 0)?;
        let mut found = Vec::new();
        loop {
            let (datagram, _) = socket.recv_from_full()?;
            for message in messages(&datagram) {
                match message.outcome() {
                    Some(Ok(())) => return Ok(found),
                    Some(Err(error)) => return Err(error),
                    None => found.push(message),
                }
            }
        }
    }
}

/// Writes an `ifinfomsg`.
fn link(message: &mut Writer, index: u32, is_up: bool) {
    let up = if is_up {
        libc::IFF_UP.cast_unsigned()
    } else {
        0
    };
    let mut header = vec![0; 4];
    header.extend(index.to_ne_bytes());
    header.extend(up.to_ne_bytes());
    header.extend(up.to_ne_bytes());
    debug_assert_eq!(header.len(), LINK_HEADER);
    message.raw(&header);
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(four).into());
    }
    let sixteen = <[u8; 16]>::try_from(bytes).ok()?;
    Some(IpAddr::from(Ipv6Addr::from(sixteen)).to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_and_interfaces_of_this_machine_are_read() {
        let routing = Routing::open().unwrap();
        let addresses = routing.addresses().unwrap();
        assert!(
            addresses.contains(&Ipv4Addr::LOCALHOST.into()),
            "{addresses:?}"
        );
        assert_eq!(routing.index_of("lo").unwrap(), 1);
        let missing = routing.index_of("nothing-here0").unwrap_err();
        assert_eq!(missing.raw_os_error(), Some(libc::ENODEV));
        routing.destinations().unwrap();
    }
}
