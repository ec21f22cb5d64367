//! The messages between daemon, zygote and init: JSON in packets over unix
//! sockets, together with file descriptors.
//!
//! An end of file is a message too: the other process has ended.

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
use super::execution::Execution;
use super::ids::Ids;
use super::volumes;

/// The longest packet. User data is at most 16 KiB; keys and names are short.
const LONGEST: usize = 128 * 1024;

/// The maximum number of descriptors with one packet.
const MOST_FDS: usize = 4;

/// Messages from the daemon to the zygote.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToZygote {
    /// The first message: create the namespaces, build the seed.
    Start(ZygoteConfig),
    /// Use this layer of package lists. Sent before the first boot, if it
    /// exists.
    Packages(PathBuf),
    /// Boot a machine. Sent with the machine's socket and its console file.
    Boot(Box<Order>),
}

/// The settings that all machines of a zygote share.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ZygoteConfig {
    /// The state directory.
    pub(super) state_dir: PathBuf,
    /// The program, as mounted in the machines.
    pub(super) binary: PathBuf,
    /// The network of the machines, in CIDR notation.
    pub(super) subnet: String,
    /// The base layer for the host's current packages.
    pub(super) base: PathBuf,
}

/// A machine to boot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) boot: Boot,
    /// The base layer of the machine's disk.
    pub(super) base: PathBuf,
    /// The machine's ids on the host.
    pub(super) ids: Ids,
}

/// Messages from the zygote to the daemon.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromZygote {
    /// The namespaces exist.
    Up,
    /// The seed is built; machines can boot.
    Seeded,
    /// The zygote failed and has ended.
    Failed {
        /// The reason, one line.
        reason: String,
    },
}

/// Messages from the daemon to init.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToInit {
    /// `eth0` is connected and up.
    Linked,
    /// Run a command. Sent with its control socket, and the pipes of its standard
    /// output and standard error.
    Execute(Execution),
    /// Connect to a port of the machine. Sent with a socket that carries the data.
    Dial { port: u16 },
    /// The volumes of the boot are attached. Sent only if there are some.
    Attached,
    /// The answer to a request about volumes.
    Volumes {
        number: u64,
        answer: volumes::Answer,
    },
}

/// Messages to the daemon from init and from the processes that create it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromInit {
    /// The first process exists. Sent with its pidfd.
    Started {
        /// The pid in the daemon's pid namespace.
        pid: i32,
    },
    /// The machine is up: the ssh server listens.
    Ready,
    /// The machine's root wants this host name in the kernel.
    Named(String),
    /// A program's request about volumes.
    Volumes {
        number: u64,
        request: volumes::Request,
    },
    /// The machine is about to end in this way.
    Ending(Ending),
    /// The machine did not boot.
    Failed {
        /// The reason, one line.
        reason: String,
    },
}

/// Returns two connected sockets that preserve packet boundaries.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Sends one message together with descriptors.
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

/// Waits for one message. Returns `None` if the other process has ended.
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
        // The other process ended with unread messages. Its own last message
        // comes next.
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

/// Registers a descriptor with the tokio runtime.
#[expect(
    unsafe_code,
    reason = "tokio cannot know that the descriptor stays the same"
)]
pub(super) fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` owns its descriptor and always returns the same one.
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
        let (left, right) = pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        send(&left, &FromInit::Started { pid: 7 }, &[file.as_fd()]).unwrap();
        let (message, fds) = receive::<FromInit>(&right).unwrap().unwrap();
        assert!(matches!(message, FromInit::Started { pid: 7 }));
        assert_eq!(fds.len(), 1);
        drop(left);
        assert!(receive::<FromInit>(&right).unwrap().is_none());
    }
}
