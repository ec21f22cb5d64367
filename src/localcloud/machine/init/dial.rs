//! Carries the data between the daemon and a port of the machine.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net;

use tokio::io::{AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpStream, UnixStream};

use crate::machine::dial::CONNECTED;

/// Connects to a port, and carries the data until both sides have ended. The only
/// descriptor is the socket of the daemon.
pub(super) async fn carry(port: u16, descriptors: Vec<OwnedFd>) -> io::Result<()> {
    let [daemon] = <[OwnedFd; 1]>::try_from(descriptors)
        .map_err(|_| io::Error::other("a connection needs one descriptor"))?;
    let daemon = net::UnixStream::from(daemon);
    daemon.set_nonblocking(true)?;
    let mut daemon = UnixStream::from_std(daemon)?;
    // The daemon sees that its socket is closed.
    let Ok(mut port) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
        return Ok(());
    };
    port.set_nodelay(true)?;
    daemon.write_all(&[CONNECTED]).await?;
    // Either side may go at any time.
    let _ = copy_bidirectional(&mut daemon, &mut port).await;
    Ok(())
}
