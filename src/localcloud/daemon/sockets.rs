//! The address that the process serves at.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// Many may wait to be accepted: one that finds no room tries again a second
/// later.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING)
}

/// A port that nobody listens on, here or on all addresses.
pub(super) fn free_port(wanted: u16) -> io::Result<u16> {
    let bound = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, wanted))
        .or_else(|_| std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
    Ok(bound.local_addr()?.port())
}

/// Connections that wait to be accepted; the system may allow fewer.
const WAITING: u32 = 4096;
