//! The user at the other end of a local connection.

use std::net::SocketAddr;

/// Returns the user who owns the peer's socket. Returns `None` if the peer is
/// on another host or in another network namespace.
///
/// Call this directly after accepting: the kernel knows the owner only while
/// the other side keeps its end open.
#[cfg(target_os = "linux")]
pub(crate) fn user_of(peer: SocketAddr, own: SocketAddr) -> Option<u32> {
    let (SocketAddr::V4(peer), SocketAddr::V4(own)) = (peer, own) else {
        return None;
    };
    diag::user_of(peer, own).unwrap_or_else(|error| {
        log::debug!("cannot query the owner of a connection: {error}");
        None
    })
}

/// Other systems have no such query.
#[cfg(not(target_os = "linux"))]
pub(crate) fn user_of(_: SocketAddr, _: SocketAddr) -> Option<u32> {
    None
}

#[cfg(target_os = "linux")]
mod diag {
    //! `sock_diag(7)`: a query about one socket, answered synchronously.

    use std::io;
    use std::net::SocketAddrV4;
    use std::os::fd::AsRawFd as _;

    use nix::sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
    };

    /// The message type of both the query and the answer.
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const ESTABLISHED: u8 = 1;
    /// Offsets in the answer: netlink's header has 16 bytes; the addresses of
    /// the socket precede the owner.
    const STATE: usize = 17;
    const OWNER: usize = 80;

    pub(crate) fn user_of(peer: SocketAddrV4, own: SocketAddrV4) -> io::Result<Option<u32>> {
        let netlink = socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkSockDiag,
        )?;
        send(netlink.as_raw_fd(), &query(peer, own), MsgFlags::empty())?;
        let mut answer = [0; 1024];
        let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        Ok(owner(&answer[..length]))
    }

    fn query(peer: SocketAddrV4, own: SocketAddrV4) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(72);
        bytes.extend(72_u32.to_ne_bytes());
        bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        // `NLM_F_REQUEST`: the query is about one socket. Sequence number and
        // port id are 0.
        bytes.extend(1_u16.to_ne_bytes());
        bytes.extend([0; 8]);
        // AF_INET, IPPROTO_TCP, in all states.
        bytes.extend([2, 6, 0, 0]);
        bytes.extend(u32::MAX.to_ne_bytes());
        bytes.extend(peer.port().to_be_bytes());
        bytes.extend(own.port().to_be_bytes());
        for address in [peer, own] {
            bytes.extend(address.ip().octets());
            bytes.extend([0; 12]);
        }
        // On any interface, with any cookie.
        bytes.extend([0; 4]);
        bytes.extend([0xff; 8]);
        bytes
    }

    fn owner(answer: &[u8]) -> Option<u32> {
        let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
        // For a closed socket the kernel reports owner 0.
        if kind != SOCK_DIAG_BY_FAMILY || *answer.get(STATE)? != ESTABLISHED {
            return None;
        }
        let owner = answer.get(OWNER..OWNER + 4)?.try_into().ok()?;
        Some(u32::from_ne_bytes(owner))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::net::{Shutdown, TcpListener, TcpStream};

    #[test]
    fn a_connection_has_an_owner_until_it_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap();
        let client = TcpStream::connect(own).unwrap();
        let peer = client.local_addr().unwrap();
        let user = nix::unistd::geteuid().as_raw();
        assert_eq!(user_of(peer, own), Some(user));
        let other = SocketAddr::from(([127, 0, 0, 2], peer.port()));
        assert_eq!(user_of(other, own), None);
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(user_of(peer, own), None);
    }
}
