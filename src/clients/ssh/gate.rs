//! The gate through which all passes that a host sends.
//!
//! libssh2 reads on for as long as a host sends, in non-blocking mode as well,
//! and keeps packets that were not asked for. So its reads go through here: when
//! the time is up, after Ctrl-C, or when a host sends far more than was asked of
//! it, there is nothing to read any more, and libssh2 returns to us with its state
//! intact.
#![expect(
    unsafe_code,
    reason = "ssh2 has no word for who reads a session's socket"
)]

use std::ffi::{c_int, c_void};
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use libssh2_sys::LIBSSH2_SESSION;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use ssh2::Session;
use tokio_util::sync::CancellationToken;

/// What a host may send before it has let us in: banners and key exchange.
pub(super) const BEFORE_LOGIN: u64 = 256 << 10;

/// What a host may send beyond the bytes that move in channels. It is more than
/// a window and a socket hold, and it bounds what libssh2 keeps.
pub(super) const ASIDE: u64 = 16 << 20;

/// A byte in a channel may come in a packet of its own.
const PER_BYTE: u64 = 64;

/// Why nothing more is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shut {
    /// The time is up.
    Late,
    /// Ctrl-C.
    Cancelled,
    /// The host sends far more than was asked of it.
    TooMuch,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Gate(Mutex<State>);

#[derive(Debug)]
struct State {
    until: Option<Instant>,
    cancel: CancellationToken,
    /// What may still come.
    left: u64,
    /// No session waits any more: what is left of it comes to an end.
    closed: bool,
}

impl Gate {
    /// Lets this many bytes through until then, or until Ctrl-C.
    pub(super) fn new(until: Instant, cancel: CancellationToken, bytes: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            until: Some(until),
            cancel,
            left: bytes,
            closed: false,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens again, for what is done next.
    pub(super) fn open(&self, until: Option<Instant>, cancel: &CancellationToken, bytes: u64) {
        let mut state = self.state();
        state.until = until;
        state.cancel = cancel.clone();
        state.left = bytes;
    }

    /// So much moved in a channel, in either direction.
    pub(super) fn credit(&self, bytes: usize) {
        let mut state = self.state();
        let more = (bytes as u64).saturating_mul(PER_BYTE);
        state.left = state.left.saturating_add(more).min(ASIDE);
    }

    /// Why nothing comes through, if nothing does.
    pub(super) fn shut(&self) -> Option<Shut> {
        let state = self.state();
        if state.cancel.is_cancelled() {
            Some(Shut::Cancelled)
        } else if state.until.is_some_and(|until| Instant::now() >= until) {
            Some(Shut::Late)
        } else {
            (state.left == 0).then_some(Shut::TooMuch)
        }
    }

    /// From here on every read fails, so that a session can be freed at once.
    pub(super) fn close(&self) {
        self.state().closed = true;
    }

    /// Reads what may be read.
    fn receive(&self, socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
        if self.state().closed {
            return Err(Errno::CONNRESET);
        }
        if self.shut().is_some() {
            return Err(Errno::AGAIN);
        }
        let (read, _) = recv(socket, buffer, RecvFlags::empty())?;
        let mut state = self.state();
        state.left = state.left.saturating_sub(read as u64);
        Ok(read)
    }
}

/// A session's socket. The session owns it, and with it the gate that its reads
/// go through, so neither is gone before the session is.
struct Guarded {
    socket: OwnedFd,
    #[expect(dead_code, reason = "it is held for `receive`")]
    gate: Arc<Gate>,
}

impl AsRawFd for Guarded {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

type Receive = unsafe extern "C" fn(c_int, *mut c_void, usize, c_int, *mut *mut c_void) -> isize;

/// libssh2's number of the function that reads.
const RECEIVES: c_int = 6;

unsafe extern "C" {
    fn libssh2_session_callback_set2(
        session: *mut LIBSSH2_SESSION,
        kind: c_int,
        function: Receive,
    ) -> *mut c_void;
}

/// Gives a session its socket, to be read through the gate alone.
pub(super) fn guard(session: &mut Session, socket: OwnedFd, gate: &Arc<Gate>) {
    let gate = Arc::clone(gate);
    {
        let mut raw = session.raw();
        // SAFETY: the session is locked, and nothing else uses its one pointer for
        // functions: ssh2 does for a login by keyboard only. The gate lives as
        // long as the session, see `Guarded`.
        unsafe {
            let pointer = libssh2_sys::libssh2_session_abstract(&raw mut *raw);
            *pointer = Arc::as_ptr(&gate).cast_mut().cast();
            libssh2_session_callback_set2(&raw mut *raw, RECEIVES, receive);
        }
    }
    session.set_tcp_stream(Guarded { socket, gate });
}

/// What libssh2 calls to read: as recv(2), with `-errno` for a failure.
unsafe extern "C" fn receive(
    socket: c_int,
    buffer: *mut c_void,
    length: usize,
    _flags: c_int,
    pointer: *mut *mut c_void,
) -> isize {
    // SAFETY: `guard` has put the gate there, libssh2 gives an open socket and a
    // buffer of that length.
    let (gate, socket, buffer) = unsafe {
        (
            &*(*pointer).cast::<Gate>(),
            BorrowedFd::borrow_raw(socket),
            std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length),
        )
    };
    match gate.receive(socket.as_fd(), buffer) {
        Ok(read) => read.cast_signed(),
        Err(Errno::INTR) => -(Errno::AGAIN.raw_os_error() as isize),
        Err(error) => -(error.raw_os_error() as isize),
    }
}
