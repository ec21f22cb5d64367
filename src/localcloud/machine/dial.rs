//! Connections to ports of a machine that no security group has to open: init makes
//! them, from inside.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net;

use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;

use super::message::{Channel, ToInit};

/// What init sends when it has connected. If it cannot connect, it closes the socket.
pub(super) const CONNECTED: u8 = b'+';

/// Connects to a port of a machine.
pub(super) async fn dial(machine: &Channel, port: u16) -> io::Result<UnixStream> {
    let (near, far) = net::UnixStream::pair()?;
    let far = OwnedFd::from(far);
    machine.send(&ToInit::Dial { port }, &[far.as_fd()]).await?;
    drop(far);
    near.set_nonblocking(true)?;
    let mut near = UnixStream::from_std(near)?;
    let mut first = [0];
    match near.read(&mut first).await? {
        0 => Err(io::ErrorKind::ConnectionRefused.into()),
        _ => Ok(near),
    }
}
