//! Jump hosts: connections to hosts behind another host, as with `ssh -J`.
//!
//! One connection to the jump host carries all tunnels through it. A separate
//! thread moves the bytes between the tunnels' channels and local sockets. The
//! sessions with the hosts behind the jump host use the other ends of these
//! sockets like any socket.

use std::io::{ErrorKind as IoErrorKind, Read, Write};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use ssh2::{BlockDirections, Channel, Session};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, LOGIN_TIMEOUT};
use super::gate;
use super::host::Host;
use super::libssh2::{is_gone, must_wait};
use crate::error::{Error, ErrorKind, Result};

/// The keepalive interval in seconds.
const KEEPALIVE: u32 = 15;

/// The longest wait in poll on an idle connection.
const GLANCE: Duration = Duration::from_secs(5);

/// After this time, a tunnel that is still opening no longer holds up others:
/// they get a connection of their own.
const STEPS_ASIDE: Duration = Duration::from_secs(2);

const CHUNK: usize = 64 << 10;

/// A connection to a jump host, with tunnels to other hosts.
#[derive(Debug)]
pub(super) struct Jump {
    orders: Sender<Order>,
    /// A byte on this socket wakes the thread.
    bell: UnixStream,
}

/// A request for a tunnel.
struct Order {
    to: Host,
    reply: oneshot::Sender<Result<UnixStream>>,
}

impl Jump {
    /// Starts the tunnels on a logged-in connection.
    pub(super) fn over(connection: Connection, host: Host) -> Result<Self> {
        let failed = |e: std::io::Error| Error::internal(format!("cannot start a tunnel: {e}"));
        let (bell, ringing) = UnixStream::pair().map_err(failed)?;
        bell.set_nonblocking(true).map_err(failed)?;
        ringing.set_nonblocking(true).map_err(failed)?;
        let (orders, received) = channel();
        let worker = Worker {
            connection,
            host,
            ringing,
            orders: Some(received),
            opening: None,
            tunnels: Vec::new(),
            lost: false,
        };
        std::thread::Builder::new()
            .name("jump host".to_owned())
            .spawn(move || worker.work())
            .map_err(failed)?;
        Ok(Self { orders, bell })
    }

    /// Opens a socket to a host behind the jump host. Returns `None` if this
    /// connection accepts no more tunnels and a new one is needed.
    pub(super) async fn open(&self, to: &Host) -> Option<Result<UnixStream>> {
        let (reply, answer) = oneshot::channel();
        let order = Order {
            to: to.clone(),
            reply,
        };
        self.orders.send(order).ok()?;
        // If the socket is full, it already contains bytes to wake the thread.
        drop((&self.bell).write(&[1]));
        answer.await.ok()
    }
}

/// The state of the thread.
struct Worker {
    connection: Connection,
    host: Host,
    ringing: UnixStream,
    /// `None` if the connection accepts no more requests: all senders are gone,
    /// or a tunnel is stuck.
    orders: Option<Receiver<Order>>,
    /// The tunnel being opened; libssh2 opens one channel at a time.
    opening: Option<(Order, Instant)>,
    tunnels: Vec<Tunnel>,
    /// Whether the other side is gone. A new connection then serves the
    /// requests.
    lost: bool,
}

impl Worker {
    fn work(mut self) {
        let session = self.connection.session.clone();
        session.set_keepalive(true, KEEPALIVE);
        // The connection lasts until the end of the run.
        let gate = Arc::clone(&self.connection.gate);
        gate.open(None, &CancellationToken::new(), gate::ASIDE);
        let mut buffer = vec![0; CHUNK];
        loop {
            while self.advance(&session) | self.pump(&mut buffer) {}
            let over = self.orders.is_none() && self.tunnels.is_empty() && self.opening.is_none();
            // A lost connection ends every tunnel, because their sockets close
            // with it. A connection whose host sends far more than was
            // requested ends in the same way.
            if over || self.lost || gate.shut().is_some() || self.wait(&session).is_err() {
                self.connection.cut();
                return;
            }
        }
    }

    /// Continues to open the requested tunnel. Returns whether anything
    /// changed.
    fn advance(&mut self, session: &Session) -> bool {
        if let (None, Some(orders)) = (&self.opening, &self.orders) {
            match orders.try_recv() {
                Ok(order) => self.opening = Some((order, Instant::now())),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => self.orders = None,
            }
        }
        let Some((order, since)) = self.opening.take() else {
            return false;
        };
        let to = &order.to;
        let opened = match session.channel_direct_tcpip(&to.address, to.port, None) {
            Err(e) if must_wait(&e) && since.elapsed() < LOGIN_TIMEOUT => {
                if since.elapsed() >= STEPS_ASIDE {
                    self.orders = None;
                }
                self.opening = Some((order, since));
                return false;
            }
            Err(e) if must_wait(&e) => {
                // libssh2 cannot cancel an opening that it has begun on this
                // connection.
                self.orders = None;
                Err(format!("no answer within {} s", LOGIN_TIMEOUT.as_secs()))
            }
            // The connection closed while it was idle. Nothing has been sent
            // yet, so the caller gets a new connection.
            Err(e) if is_gone(&e) => {
                self.lost = true;
                return false;
            }
            Err(e) => Err(e.message().to_owned()),
            Ok(channel) => Tunnel::new(channel).map_err(|e| e.to_string()),
        };
        let answer = opened.map(|(tunnel, far)| {
            self.tunnels.push(tunnel);
            far
        });
        let answer = answer.map_err(|why| not_reached(&order.to, &self.host, &why));
        drop(order.reply.send(answer));
        true
    }

    /// Moves bytes in all tunnels. Returns whether there were any.
    fn pump(&mut self, buffer: &mut [u8]) -> bool {
        let mut moved = false;
        for tunnel in &mut self.tunnels {
            let bytes = tunnel.pump(buffer);
            self.connection.gate.credit(bytes);
            moved |= bytes > 0;
        }
        self.tunnels.retain(|tunnel| !tunnel.over);
        moved
    }

    fn wait(&mut self, session: &Session) -> rustix::io::Result<()> {
        let mut wanted = PollFlags::empty();
        // Data that no tunnel can read stays in the socket and would wake poll
        // at once.
        let takes = self.opening.is_some() || self.tunnels.iter().any(|t| t.back.is_empty());
        wanted.set(PollFlags::IN, takes);
        let blocked = session.block_directions();
        let outbound = matches!(blocked, BlockDirections::Outbound | BlockDirections::Both);
        wanted.set(PollFlags::OUT, outbound);
        let fd = self.connection.fd();
        let bell = self.ringing.as_fd();
        let mut waits = vec![PollFd::new(&fd, wanted)];
        // Without requests the bell socket is at its end, and an idle tunnel's
        // socket may be too: both would wake poll for nothing.
        if self.orders.is_some() {
            waits.push(PollFd::new(&bell, PollFlags::IN));
        }
        let busy = self.tunnels.iter().filter(|t| !t.wants().is_empty());
        waits.extend(busy.map(|t| PollFd::new(&t.near, t.wants())));
        let longest = match self.opening {
            Some(_) => STEPS_ASIDE,
            None => GLANCE,
        };
        let longest = Timespec::try_from(longest).unwrap_or_default();
        match poll(&mut waits, Some(&longest)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e),
        }
        let gone = waits[0]
            .revents()
            .intersects(PollFlags::HUP | PollFlags::ERR);
        let mut rings = [0; 64];
        while matches!((&self.ringing).read(&mut rings), Ok(n) if n == rings.len()) {}
        self.lost = gone || is_lost(session);
        Ok(())
    }
}

/// Returns whether the other side of a connection is gone.
fn is_lost(session: &Session) -> bool {
    match session.keepalive_send() {
        Ok(_) => false,
        Err(e) => !must_wait(&e),
    }
}

fn not_reached(to: &Host, by: &Host, why: &str) -> Error {
    Error::new(
        ErrorKind::Unreachable,
        format!(
            "cannot connect to {} port {} through {}: {}",
            to.address,
            to.port,
            by.login(),
            why.to_lowercase()
        ),
    )
    .hint(format!(
        "check that {0} can reach the host, and that AllowTcpForwarding is on in the sshd of {0}",
        by.name
    ))
}

/// One channel and its local socket.
struct Tunnel {
    channel: Channel,
    near: UnixStream,
    /// Bytes on their way to the host, and how many of them were sent.
    out: Queue,
    /// Bytes on their way from the host.
    back: Queue,
    /// Whether the local socket was closed for writing.
    near_ended: bool,
    eof_sent: bool,
    over: bool,
}

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    gone: usize,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.gone == self.bytes.len()
    }

    fn fill(&mut self, bytes: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
        self.gone = 0;
    }

    /// Writes as much as the writer accepts. Returns the number of bytes.
    fn drain(&mut self, to: &mut impl Write) -> std::io::Result<usize> {
        if self.is_empty() {
            return Ok(0);
        }
        match to.write(&self.bytes[self.gone..]) {
            Ok(n) => {
                self.gone += n;
                Ok(n)
            }
            Err(e) if e.kind() == IoErrorKind::WouldBlock => Ok(0),
            Err(e) => Err(e),
        }
    }
}

impl Tunnel {
    fn new(channel: Channel) -> std::io::Result<(Self, UnixStream)> {
        let (near, far) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        let tunnel = Self {
            channel,
            near,
            out: Queue::default(),
            back: Queue::default(),
            near_ended: false,
            eof_sent: false,
            over: false,
        };
        Ok((tunnel, far))
    }

    fn wants(&self) -> PollFlags {
        let mut wants = PollFlags::empty();
        wants.set(PollFlags::IN, self.out.is_empty() && !self.near_ended);
        wants.set(PollFlags::OUT, !self.back.is_empty());
        wants
    }

    /// Moves bytes in both directions. Returns their number.
    fn pump(&mut self, buffer: &mut [u8]) -> usize {
        if let (Ok(out), Ok(back)) = (self.outwards(buffer), self.inwards(buffer)) {
            return out + back;
        }
        // One end is gone, so close the other one too.
        self.over = true;
        0
    }

    fn outwards(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.out.is_empty() && !self.near_ended {
            match self.near.read(buffer) {
                Ok(0) => self.near_ended = true,
                Ok(n) => self.out.fill(&buffer[..n]),
                Err(e) if e.kind() == IoErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
        let moved = self.out.drain(&mut self.channel)?;
        if self.near_ended && self.out.is_empty() && !self.eof_sent {
            match self.channel.send_eof() {
                Ok(()) => self.eof_sent = true,
                Err(e) if must_wait(&e) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(moved)
    }

    fn inwards(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut moved = 0;
        if self.back.is_empty() {
            match self.channel.read(buffer) {
                Ok(0) => self.over = self.channel.eof(),
                Ok(n) => {
                    self.back.fill(&buffer[..n]);
                    moved = n;
                }
                Err(e) if e.kind() == IoErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
        Ok(self.back.drain(&mut self.near)? + moved)
    }
}
