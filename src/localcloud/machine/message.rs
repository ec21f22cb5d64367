//! What daemon, zygote and init tell each other: JSON in packets over unix
//! sockets, with file descriptors beside it.
//!
//! An end of file is a message too: the other side is gone.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::boot::{Boot, Ending};
use super::ids::Ids;

/// The longest packet: user data is at most 16 KiB, keys and names are short.
const LONGEST: usize = 128 * 1024;

/// The most descriptors beside one packet.
const MOST_FDS: usize = 4;

/// Daemon to zygote.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToZygote {
    /// First message: make the namespaces, build the seed.
    Start(ZygoteConfig),
    /// Before the first boot, if it is there: the layer of fresh package lists.
    Packages(PathBuf),
    /// Boots a machine; beside it the machine's socket and its console file.
    Boot(Box<Order>),
}

/// What all machines of a zygote stand on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ZygoteConfig {
    /// Where everything is kept.
    pub(super) state_dir: PathBuf,
    /// The program, as bound into the machines.
    pub(super) binary: PathBuf,
    /// Network of the machines, in CIDR notation.
    pub(super) subnet: String,
    /// The base layer for the packages of the host.
    pub(super) base: PathBuf,
}

/// An instance to boot, and what it stands on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) boot: Boot,
    /// The base layer of its disk.
    pub(super) base: PathBuf,
    /// Its ids on the host.
    pub(super) ids: Ids,
}

/// Zygote to daemon.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromZygote {
    /// Namespaces are there.
    Up,
    /// The seed is built; boots may follow.
    Seeded,
    /// It does not work, and why; the zygote has ended.
    Failed {
        /// One line.
        reason: String,
    },
}

/// Daemon to init.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToInit {
    /// `eth0` is plugged in, and up.
    Linked,
}

/// Init, or the process that makes it, to the daemon.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromInit {
    /// The process exists; beside it a pidfd.
    Started {
        /// In the daemon's numbers.
        pid: i32,
    },
    /// It is up: ssh listens.
    Ready,
    /// It is about to end, and how.
    Ending(Ending),
    /// It did not come up, and why.
    Failed {
        /// One line.
        reason: String,
    },
}

/// Two connected sockets that keep packets apart.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Sends one message with descriptors beside it.
pub(super) fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    fds: &[BorrowedFd],
) -> io::Result<()> {
    let packet = serde_json::to_vec(message)?;
    if packet.len() > LONGEST {
        return Err(io::Error::other(format!(
            "a message of {} bytes is longer than the {LONGEST} allowed",
            packet.len()
        )));
    }
    send_packet(socket.as_fd(), &packet, fds)
}

fn send_packet(socket: BorrowedFd, packet: &[u8], fds: &[BorrowedFd]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    let flags = SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(socket, &[IoSlice::new(packet)], &mut beside, flags)
    })?;
    Ok(())
}

/// Waits for one message; `None` when the other side is gone.
pub(super) fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut packet = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut receive = || {
        rustix::io::retry_on_intr(|| {
            let mut parts = [IoSliceMut::new(&mut packet)];
            rustix::net::recvmsg(&socket, &mut parts, &mut beside, RecvFlags::CMSG_CLOEXEC)
        })
    };
    let received = match receive() {
        // The other side went without reading all; its last words come next.
        Err(rustix::io::Errno::CONNRESET) => receive(),
        received => received,
    };
    let length = match received {
        Ok(received) => received.bytes,
        Err(rustix::io::Errno::CONNRESET) => 0,
        Err(error) => return Err(error.into()),
    };
    if length == 0 {
        return Ok(None);
    }
    let mut fds = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Ok(Some((serde_json::from_slice(&packet[..length])?, fds)))
}

/// Puts a descriptor under the eyes of the tokio runtime.
#[expect(
    unsafe_code,
    reason = "tokio cannot know that the descriptor stays the same"
)]
pub(super) fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` always gives the same descriptor, and owns it.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

/// A message socket on a tokio runtime.
#[derive(Debug)]
pub(super) struct Channel(AsyncFd<OwnedFd>);

impl Channel {
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        watched(socket).map(Self)
    }

    pub(super) async fn send<T: Serialize>(
        &self,
        message: &T,
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        self.0
            .async_io(Interest::WRITABLE, |socket| send(socket, message, fds))
            .await
    }

    pub(super) async fn receive<T: DeserializeOwned>(
        &self,
    ) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        self.0
            .async_io(Interest::READABLE, |socket| receive(socket))
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_carry_descriptors() {
        let (here, there) = pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        send(&here, &FromInit::Started { pid: 7 }, &[file.as_fd()]).unwrap();
        let (message, fds) = receive::<FromInit>(&there).unwrap().unwrap();
        assert!(matches!(message, FromInit::Started { pid: 7 }));
        assert_eq!(fds.len(), 1);
        drop(here);
        assert!(receive::<FromInit>(&there).unwrap().is_none());
    }
}
