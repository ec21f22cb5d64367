//! The firewall of the switch: rules for the kernel's nf_tables, which the
//! switch sends itself.
//!
//! As on AWS: what no rule lets in gets no answer. Connections that exist go on.
//!
//! `rules` says what is let in, `expressions` is what rules are made of, `batch`
//! makes messages of them, `netlink` sends those and reads the answers.

mod batch;
mod expressions;
mod netlink;
mod rules;

use std::io;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use netlink::Kernel;

/// What is let in to one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// The machine's address.
    pub address: Ipv4Addr,
    /// Rules; any of them suffices.
    pub ingress: Vec<Ingress>,
}

/// One rule of a security group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ingress {
    /// What is let in.
    pub protocol: Protocol,
    /// First port; for ICMP the type, 65535 for any.
    pub from_port: u16,
    /// Last port; for ICMP the code, 65535 for any.
    pub to_port: u16,
    /// From where.
    pub source: Ipv4Net,
}

/// A protocol that a rule can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP.
    Icmp,
    /// All of them, all ports.
    All,
}

/// What machines may always do.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Gateway {
    pub(in super::super) address: Ipv4Addr,
    /// The only port of the host that machines reach.
    pub(in super::super) port: u16,
}

/// The end of a cable in the switch, and the only address that may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cable {
    pub(super) index: u32,
    pub(super) address: Ipv4Addr,
}

/// The rules of one network namespace.
#[derive(Debug)]
pub(in super::super) struct Firewall(Kernel);

impl Firewall {
    /// Raises the walls in the network namespace of the current thread. Nothing
    /// passes until cables are admitted.
    pub(super) fn raise() -> io::Result<Self> {
        let kernel = Kernel::open()?;
        rules::walls().commit(&kernel)?;
        Ok(Self(kernel))
    }

    /// Lets a cable use its address.
    pub(super) fn admit(&self, cable: Cable) -> io::Result<()> {
        rules::admitted((cable.index, cable.address)).commit(&self.0)
    }

    /// Forgets a cable.
    pub(super) fn dismiss(&self, cable: Cable) -> io::Result<()> {
        rules::dismissed((cable.index, cable.address)).commit(&self.0)
    }

    /// Replaces all security groups at once.
    pub(super) fn enforce(&self, gateway: Gateway, ports: &[Port]) -> io::Result<()> {
        rules::groups(gateway, ports).commit(&self.0)
    }
}

/// Tries all kinds of rules in the network namespace of the current thread,
/// which should be one that nothing else uses.
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
    let port = Port {
        address,
        ingress: ingress.to_vec(),
    };
    firewall.enforce(gateway, &[port])?;
    firewall.dismiss(cable)
}

#[cfg(test)]
mod tests;
