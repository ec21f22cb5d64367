//! The network in a machine: `lo`, `eth0`, the route to the metadata service,
//! and the listener of the proxy.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

use ipnet::Ipv4Net;

use super::super::disk::standins::{METADATA, PROXY};
use super::links::NEXT_HOP;
use super::routing::{Route, Routing};

/// The addresses of a machine and the networks that it reaches.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Wiring {
    /// The private address.
    pub(in super::super) address: Ipv4Addr,
    /// The network of the private address.
    pub(in super::super) network: Ipv4Net,
    /// The address in the network of all machines, if it is another one.
    pub(in super::super) outside: Option<Ipv4Addr>,
    /// The network of all machines.
    pub(in super::super) shared: Ipv4Net,
}

impl Wiring {
    pub(in super::super) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        [Some(self.address), self.outside].into_iter().flatten()
    }

    /// Returns the networks that the machine sends packets to, each with its
    /// source address.
    fn routes(&self) -> Vec<(Ipv4Net, Ipv4Addr)> {
        let mut routes = vec![(Ipv4Net::from(METADATA.0), self.address)];
        match self.outside {
            None => routes.push((self.network, self.address)),
            Some(outside) => {
                routes.push((self.shared, outside));
                if self.network != self.shared {
                    routes.push((self.network, self.address));
                }
            }
        }
        routes
    }
}

/// Configures the interfaces and binds the proxy's listener. Runs in the
/// machine's network namespace, on its own thread.
pub(in super::super) fn settle(wiring: Wiring) -> io::Result<TcpListener> {
    configure(&Routing::open()?, wiring)?;
    listen(PROXY)
}

fn configure(routing: &Routing, wiring: Wiring) -> io::Result<()> {
    let lo = routing.index_of("lo")?;
    let eth0 = routing.index_of("eth0")?;
    for address in wiring.addresses() {
        routing.add_address(eth0, address, 32)?;
    }
    for index in [lo, eth0] {
        routing.turn_on(index)?;
    }
    routing.add_route(&Route {
        to: NEXT_HOP.into(),
        interface: eth0,
        gateway: None,
        source: None,
    })?;
    for (to, source) in wiring.routes() {
        routing.add_route(&Route {
            to,
            interface: eth0,
            gateway: Some(NEXT_HOP),
            source: Some(source),
        })?;
    }
    Ok(())
}

/// Binds a non-blocking listener, as tokio needs it.
pub(super) fn listen(at: (Ipv4Addr, u16)) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(at)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
