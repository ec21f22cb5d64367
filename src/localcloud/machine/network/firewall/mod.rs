//! The firewall of the switch: rules of the kernel's nf_tables, which the
//! switch loads itself over netlink. It does not need the `nft` program.
//!
//! As on AWS, packets that no rule allows are dropped without an answer, and
//! established connections continue when rules change.
//!
//! `rules` builds the rules, `expressions` are their parts, `batch` encodes
//! them as messages, `netlink` sends messages and reads the answers.

mod batch;
mod expressions;
mod rules;

use std::io;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::netlink::Kernel;

/// The packets that may reach one address of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// The address.
    pub address: Ipv4Addr,
    /// The number of the network to which the address is confined: packets to
    /// and from it stay among the addresses with the same number.
    pub network: Option<usize>,
    /// The rules. A packet that matches any of them is allowed.
    pub ingress: Vec<Ingress>,
    /// The Elastic IP address that is translated to the machine's address.
    pub elastic: Option<Ipv4Addr>,
    /// The address of a NAT gateway, to which the source of the packets is
    /// translated that leave the network. They are not confined; packets to the
    /// address are.
    pub nat: Option<Ipv4Addr>,
}

/// One rule of a security group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ingress {
    /// The allowed protocol.
    pub protocol: Protocol,
    /// The first port. For ICMP the type; 65535 means any.
    pub from_port: u16,
    /// The last port. For ICMP the code; 65535 means any.
    pub to_port: u16,
    /// The allowed source network.
    pub source: Ipv4Net,
}

/// The protocol of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP.
    Icmp,
    /// All protocols and ports.
    All,
}

/// The service of the host that machines may always reach.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Gateway {
    pub(in super::super) address: Ipv4Addr,
    /// The only port of the host that machines can reach.
    pub(in super::super) port: u16,
}

/// The switch's end of a veth pair, and the only address that may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cable {
    pub(super) index: u32,
    pub(super) address: Ipv4Addr,
}

/// The rules of one network namespace.
#[derive(Debug)]
pub(in super::super) struct Firewall(Kernel);

impl Firewall {
    /// Loads the walls in the network namespace of the current thread. No
    /// packet passes until veth pairs are admitted.
    pub(super) fn raise() -> io::Result<Self> {
        let kernel = Kernel::open()?;
        rules::walls().commit(&kernel)?;
        Ok(Self(kernel))
    }

    /// Allows a veth pair to use its address.
    pub(super) fn admit(&self, cable: Cable) -> io::Result<()> {
        rules::admitted((cable.index, cable.address)).commit(&self.0)
    }

    /// Removes a veth pair.
    pub(super) fn dismiss(&self, cable: Cable) -> io::Result<()> {
        rules::dismissed((cable.index, cable.address)).commit(&self.0)
    }

    /// Replaces the rules of all security groups at once.
    pub(super) fn enforce(&self, gateway: Gateway, ports: &[Port]) -> io::Result<()> {
        rules::groups(gateway, ports).commit(&self.0)
    }
}

/// Tests all kinds of rules in the network namespace of the current thread,
/// which must not be in use.
pub(in super::super) fn probe() -> io::Result<()> {
    let address = Ipv4Addr::new(10, 0, 0, 2);
    let firewall = Firewall::raise()?;
    let cable = Cable { index: 1, address };
    firewall.admit(cable)?;
    let gateway = Gateway { address, port: 1 };
    let all = [Protocol::Tcp, Protocol::Udp, Protocol::Icmp, Protocol::All];
    let ingress = all.map(|protocol| Ingress {
        protocol,
        from_port: 1,
        to_port: 1,
        source: Ipv4Net::from(address),
    });
    let port = |address, network| Port {
        address,
        network,
        ingress: ingress.to_vec(),
        elastic: Some(Ipv4Addr::new(10, 0, 0, 3)),
        nat: network.map(|_| Ipv4Addr::new(10, 0, 0, 5)),
    };
    let confined = Ipv4Addr::new(10, 0, 0, 4);
    firewall.enforce(gateway, &[port(address, None), port(confined, Some(0))])?;
    firewall.dismiss(cable)
}

#[cfg(test)]
mod tests;
