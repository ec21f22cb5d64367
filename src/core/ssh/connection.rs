//! A connection: its session, its socket and the gate on it.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::Shutdown;
use ssh2::{BlockDirections, Session};
use tokio_util::sync::CancellationToken;

use super::channel::Channel;
use super::errors::Halt;
use super::gate::{self, Gate};
use super::host::Host;
use super::libssh2::must_wait;
use super::proxy::Proxy;
use crate::error::{Error, Result};

/// The time limit from the first packet to the open channel, including the
/// connection through a jump host.
pub(super) const LOGIN_TIMEOUT: Duration = Duration::from_secs(15);

/// How soon a cancellation is noticed on an idle connection.
pub(super) const GLANCE: Duration = Duration::from_millis(100);

/// A deadline for the other side, and a token that cancels the wait earlier.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    /// The length of the wait, for messages.
    pub(super) limit: Duration,
    pub(super) until: Instant,
    pub(super) cancel: CancellationToken,
}

impl Patience {
    pub(super) fn new(limit: Duration, cancel: &CancellationToken) -> Self {
        Self {
            limit,
            until: Instant::now() + limit,
            cancel: cancel.clone(),
        }
    }

    /// Returns the deadline for the connection and the key exchange, which
    /// `ConnectTimeout` shortens.
    pub(super) fn for_connecting(&self, host: &Host) -> Self {
        let limit = match host.settings.connect_timeout {
            Some(limit) => limit.min(self.left()),
            None => return self.clone(),
        };
        Self::new(limit, &self.cancel)
    }

    pub(super) fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

/// A connection, whose session never blocks.
pub(super) struct Connection {
    pub(super) session: Session,
    pub(super) gate: Arc<Gate>,
    /// The session's socket, for poll.
    socket: Arc<OwnedFd>,
    /// The `ProxyCommand` behind the socket; it ends with the connection.
    pub(super) proxy: Option<Proxy>,
    /// How long the way to the host and back takes, if that is known.
    pub(super) round_trip: Option<Duration>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Creates a session on this socket, on which nothing has been sent yet.
    pub(super) fn over(socket: OwnedFd, patience: &Patience) -> Result<Self> {
        let failed = |e: &dyn std::fmt::Display| {
            Error::internal(format!("cannot start an ssh session: {e}"))
        };
        let mut session = Session::new().map_err(|e| failed(&e))?;
        session.set_blocking(false);
        let socket = Arc::new(socket);
        let cancel = patience.cancel.clone();
        let gate = Gate::new(patience.until, cancel, gate::BEFORE_LOGIN);
        gate::guard(&mut session, Arc::clone(&socket), &gate);
        Ok(Self {
            session,
            gate,
            socket,
            proxy: None,
            round_trip: None,
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Opens a channel, which also checks that the other side still answers.
    pub(super) fn open(&self, patience: &Patience) -> std::result::Result<Channel, Halt> {
        let until = Some(patience.until);
        self.gate.open(until, &patience.cancel, gate::ASIDE);
        self.finish(Channel::open)
    }

    /// Repeats a call of libssh2 until it no longer has to wait, or until the
    /// gate shuts.
    pub(super) fn finish<T>(
        &self,
        mut call: impl FnMut(&Session) -> std::result::Result<T, ssh2::Error>,
    ) -> std::result::Result<T, Halt> {
        loop {
            match call(&self.session) {
                Err(e) if must_wait(&e) => {}
                done => return done.map_err(Halt::Broken),
            }
            if let Some(shut) = self.gate.shut() {
                return Err(Halt::Shut(shut));
            }
            // If waiting fails, the next call fails too.
            let _ = self.wait(GLANCE);
        }
    }

    /// Waits until libssh2 can continue, but at most this long.
    pub(super) fn wait(&self, longest: Duration) -> rustix::io::Result<()> {
        let flags = match self.session.block_directions() {
            BlockDirections::Inbound | BlockDirections::None => PollFlags::IN,
            BlockDirections::Outbound => PollFlags::OUT,
            BlockDirections::Both => PollFlags::IN | PollFlags::OUT,
        };
        let longest = Timespec::try_from(longest).unwrap_or_default();
        match poll(&mut [PollFd::new(&self.fd(), flags)], Some(&longest)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Ends the connection at once. Freeing its objects afterwards does not
    /// wait for the other side.
    pub(super) fn cut(&self) {
        self.gate.close();
        // An error means that the connection is already gone.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.cut();
    }
}
