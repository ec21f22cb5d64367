//! The network in a machine: `lo`, `eth0`, the route to the metadata service,
//! and the listener of the proxy.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

use ipnet::Ipv4Net;
use rtnetlink::packet_route::route::RouteScope;
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};

use super::super::disk::standins::{METADATA, PROXY};
use super::links::{NEXT_HOP, connect, index_of};

/// Configures the interfaces and binds the proxy's listener. Runs in the
/// machine's network namespace, on its own thread.
pub(in super::super) fn settle(address: Ipv4Addr, subnet: Ipv4Net) -> io::Result<TcpListener> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let (handle, connection) = connect()?;
        configure(&handle, address, subnet)
            .await
            .map_err(io::Error::other)?;
        connection.abort();
        listen(PROXY)
    })
}

async fn configure(
    handle: &Handle,
    address: Ipv4Addr,
    subnet: Ipv4Net,
) -> Result<(), rtnetlink::Error> {
    let lo = index_of(handle, "lo").await?;
    let eth0 = index_of(handle, "eth0").await?;
    let added = handle.address().add(eth0, address.into(), 32);
    added.execute().await?;
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
    let metadata = Ipv4Net::from(METADATA.0);
    for reached in [subnet, metadata] {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(reached.network(), reached.prefix_len())
            .output_interface(eth0)
            .gateway(NEXT_HOP)
            .pref_source(address)
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
