//! The gate through which everything passes that a host sends.
//!
//! libssh2 reads for as long as a host sends, even in non-blocking mode, and
//! keeps packets that it did not request. Its reads therefore go through a
//! gate: after the deadline, after Ctrl-C, or if a host sends far more than was
//! requested, the gate returns no more data, and libssh2 returns with its state
//! intact.
#![expect(
    unsafe_code,
    reason = "ssh2 has no function to set who reads a session's socket"
)]

use std::ffi::{c_char, c_int, c_void};
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use libssh2_sys::LIBSSH2_SESSION;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use ssh2::Session;
use tokio_util::sync::CancellationToken;

use crate::report::text;

/// The maximum number of bytes that a host may send before the login: banners
/// and key exchange.
pub(super) const BEFORE_LOGIN: u64 = 256 << 10;

/// The maximum number of bytes that a host may send beyond the data in channels.
/// This is more than a window and a socket buffer hold, and it limits what
/// libssh2 keeps.
pub(super) const ASIDE: u64 = 16 << 20;

/// The credit for each byte in a channel, which may arrive in a packet of its
/// own.
const PER_BYTE: u64 = 64;

/// Fewer bytes than this in one read are messages, not a stream of data.
const BULK: usize = 4 << 10;

/// Why the gate returns no more data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shut {
    /// The deadline has passed.
    Late,
    /// The run was stopped, for example by Ctrl-C.
    Cancelled,
    /// The host sends far more than was requested.
    TooMuch,
}

/// A gate; see the module.
#[derive(Debug)]
pub(super) struct Gate(Mutex<State>);

#[derive(Debug)]
struct State {
    until: Option<Instant>,
    cancel: CancellationToken,
    /// The number of bytes that may still arrive.
    left: u64,
    /// The answer to the next hidden question of a keyboard-interactive login.
    answer: Option<String>,
    /// Questions that had no answer.
    unanswered: Vec<String>,
    /// The reason that the host sent when it closed the connection.
    farewell: Option<String>,
    /// The session is being freed: every read fails.
    closed: bool,
}

impl Gate {
    /// Creates a gate for this many bytes, until the deadline or Ctrl-C.
    pub(super) fn new(until: Instant, cancel: CancellationToken, bytes: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            until: Some(until),
            cancel,
            left: bytes,
            answer: None,
            unanswered: Vec::new(),
            farewell: None,
            closed: false,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the gate again, for the next operation.
    pub(super) fn open(&self, until: Option<Instant>, cancel: &CancellationToken, bytes: u64) {
        let mut state = self.state();
        state.until = until;
        state.cancel = cancel.clone();
        state.left = bytes;
    }

    /// Adds credit for bytes that moved in a channel, in either direction.
    pub(super) fn credit(&self, bytes: usize) {
        let mut state = self.state();
        let more = (bytes as u64).saturating_mul(PER_BYTE);
        state.left = state.left.saturating_add(more).min(ASIDE);
    }

    /// Returns why the gate is shut, if it is.
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

    /// Sets the answer to the next hidden question of the host.
    pub(super) fn will_answer(&self, answer: &str) {
        self.state().answer = Some(answer.to_owned());
    }

    /// Answers a question of the host. The password answers the first one whose
    /// answer is hidden; there is no answer to others.
    pub(super) fn answer(&self, question: &str, shown: bool) -> String {
        let mut state = self.state();
        let answer = if shown { None } else { state.answer.take() };
        answer.unwrap_or_else(|| {
            let question = text::harmless(question.trim());
            if state.unanswered.len() < QUESTIONS {
                state.unanswered.push(question);
            }
            String::new()
        })
    }

    /// Returns the questions that had no answer, and forgets the answer.
    pub(super) fn unanswered(&self) -> Vec<String> {
        let mut state = self.state();
        state.answer = None;
        std::mem::take(&mut state.unanswered)
    }

    /// Returns the reason that the host sent when it closed the connection.
    pub(super) fn farewell(&self) -> Option<String> {
        self.state().farewell.clone()
    }

    /// Makes every further read fail, so that a session can be freed at once.
    pub(super) fn close(&self) {
        self.state().closed = true;
    }

    /// Reads from the socket if the gate allows it.
    fn receive(&self, socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
        if self.state().closed {
            return Err(Errno::CONNRESET);
        }
        if self.shut().is_some() {
            return Err(Errno::AGAIN);
        }
        let (read, _) = recv(socket, buffer, RecvFlags::empty())?;
        if read < BULK {
            acknowledge(socket);
        }
        let mut state = self.state();
        state.left = state.left.saturating_sub(read as u64);
        Ok(read)
    }
}

/// Acknowledges what has arrived, so that the host's next message can leave.
///
/// sshd does not set `TCP_NODELAY`: of two small messages, its kernel holds back
/// the second until the first is acknowledged, and this kernel delays that by
/// 40 ms. The option lasts until the kernel changes its mind.
fn acknowledge(socket: BorrowedFd<'_>) {
    // A failure costs only time. The socket may not be one of TCP.
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_quickack(socket, true);
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

/// A session's socket. The session owns it and the gate, so both exist as long
/// as the session.
struct Guarded {
    socket: Arc<OwnedFd>,
    #[expect(dead_code, reason = "it must live as long as `receive` uses it")]
    gate: Arc<Gate>,
}

impl AsRawFd for Guarded {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// The most unanswered questions that are kept.
const QUESTIONS: usize = 4;

/// The longest reason of a host that is kept, in bytes.
const LONGEST_REASON: usize = 300;

type Receive = unsafe extern "C" fn(c_int, *mut c_void, usize, c_int, *mut *mut c_void) -> isize;

type Disconnect = unsafe extern "C" fn(
    *mut LIBSSH2_SESSION,
    c_int,
    *const c_char,
    c_int,
    *const c_char,
    c_int,
    *mut *mut c_void,
);

/// Any callback: libssh2 casts it to the type that belongs to its number.
type Callback = unsafe extern "C" fn();

/// libssh2's number of the callback that reads (LIBSSH2_CALLBACK_RECV).
const RECEIVES: c_int = 6;

/// libssh2's number of the callback for the host's reason to close the
/// connection (LIBSSH2_CALLBACK_DISCONNECT).
const DISCONNECTS: c_int = 2;

unsafe extern "C" {
    fn libssh2_session_callback_set2(
        session: *mut LIBSSH2_SESSION,
        kind: c_int,
        function: Callback,
    ) -> *mut c_void;
}

/// Sets a session's socket, which it reads only through the gate.
pub(super) fn guard(session: &mut Session, socket: Arc<OwnedFd>, gate: &Arc<Gate>) {
    let gate = Arc::clone(gate);
    {
        let mut raw = session.raw();
        // SAFETY: the session is locked. Nothing else uses its single user
        // pointer: ssh2 uses it only for keyboard-interactive logins, for which
        // `raw_login` has its own function. The gate lives as long as the
        // session, see `Guarded`. The callbacks have the types of their numbers.
        unsafe {
            let pointer = libssh2_sys::libssh2_session_abstract(&raw mut *raw);
            *pointer = Arc::as_ptr(&gate).cast_mut().cast();
            let receive = std::mem::transmute::<Receive, Callback>(receive);
            libssh2_session_callback_set2(&raw mut *raw, RECEIVES, receive);
            let disconnect = std::mem::transmute::<Disconnect, Callback>(disconnect);
            libssh2_session_callback_set2(&raw mut *raw, DISCONNECTS, disconnect);
        }
    }
    session.set_tcp_stream(Guarded { socket, gate });
}

/// The callback for the host's reason to close the connection.
unsafe extern "C" fn disconnect(
    _session: *mut LIBSSH2_SESSION,
    _code: c_int,
    message: *const c_char,
    length: c_int,
    _language: *const c_char,
    _language_length: c_int,
    pointer: *mut *mut c_void,
) {
    let length = usize::try_from(length).unwrap_or_default();
    if message.is_null() || length == 0 {
        return;
    }
    // SAFETY: `guard` has set the pointer to the gate, and the message has this
    // length.
    let (gate, bytes) = unsafe {
        (
            &*(*pointer).cast::<Gate>(),
            std::slice::from_raw_parts(message.cast::<u8>(), length.min(LONGEST_REASON)),
        )
    };
    let reason = text::harmless(String::from_utf8_lossy(bytes).trim());
    gate.state().farewell = Some(reason).filter(|reason| !reason.is_empty());
}

/// The callback with which libssh2 reads: like recv(2), but it returns `-errno`
/// on failure.
unsafe extern "C" fn receive(
    socket: c_int,
    buffer: *mut c_void,
    length: usize,
    _flags: c_int,
    pointer: *mut *mut c_void,
) -> isize {
    // SAFETY: `guard` has set the pointer to the gate, and libssh2 passes an
    // open socket and a buffer of this length.
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
