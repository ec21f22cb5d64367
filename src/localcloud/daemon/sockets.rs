//! The listening socket of the process.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// Opens a listener with a long backlog. A client that finds the backlog full
/// tries again only a second later.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING)
}

/// Returns a free port: the wanted one if possible. It is free on all
/// addresses.
pub(super) fn free_port(wanted: u16) -> io::Result<u16> {
    let bound = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, wanted))
        .or_else(|_| std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
    Ok(bound.local_addr()?.port())
}

/// The length of the backlog; the kernel may reduce it.
const WAITING: u32 = 4096;
