//! The network in a machine: `lo`, `eth0`, the route to the metadata service,
//! and the listener of the proxy.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

use ipnet::Ipv4Net;
use rtnetlink::packet_route::route::RouteScope;
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};

use super::super::disk::standins::{METADATA, PROXY};
use super::links::{NEXT_HOP, connect, index_of};

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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let (handle, connection) = connect()?;
        configure(&handle, wiring).await.map_err(io::Error::other)?;
        connection.abort();
        listen(PROXY)
    })
}

async fn configure(handle: &Handle, wiring: Wiring) -> Result<(), rtnetlink::Error> {
    let lo = index_of(handle, "lo").await?;
    let eth0 = index_of(handle, "eth0").await?;
    for address in wiring.addresses() {
        let added = handle.address().add(eth0, address.into(), 32);
        added.execute().await?;
    }
    for index in [lo, eth0] {
        let up = LinkUnspec::new_with_index(index).up().build();
        handle.link().set(up).execute().await?;
    }
    let next_hop = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(NEXT_HOP, 32)
        .output_interface(eth0)
        .scope(RouteScope::Link)
        .build();
    handle.route().add(next_hop).execute().await?;
    for (reached, source) in wiring.routes() {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(reached.network(), reached.prefix_len())
            .output_interface(eth0)
            .gateway(NEXT_HOP)
            .pref_source(source)
            .build();
        handle.route().add(route).execute().await?;
    }
    Ok(())
}

/// Binds a non-blocking listener, as tokio needs it.
pub(super) fn listen(at: (Ipv4Addr, u16)) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(at)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
