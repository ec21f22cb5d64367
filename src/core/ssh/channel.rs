//! A channel on which a command runs.
//!
//! ssh2 has its own channel type, but it returns exit status 0 if the host sent
//! none. A missing exit status must not look like success.
#![expect(
    unsafe_code,
    reason = "ssh2 does not distinguish a missing exit status from 0"
)]

use std::ffi::{c_char, c_int, c_uint};
use std::ptr::{null, null_mut};

use libssh2_sys as sys;
use ssh2::{Error, Session};

/// The type of the channel and of the request for a command.
const SESSION: &str = "session";
const EXEC: &str = "exec";

/// The longest signal name that is kept; those of RFC 4254, section 6.10, are
/// shorter.
const LONGEST_SIGNAL: usize = 32;

unsafe extern "C" {
    fn libssh2_channel_has_exit_status(channel: *mut sys::LIBSSH2_CHANNEL) -> c_int;
}

/// A channel; see the module. A call that has to wait fails with libssh2's
/// EAGAIN.
pub(super) struct Channel {
    raw: *mut sys::LIBSSH2_CHANNEL,
    session: Session,
}

// SAFETY: the pointer is only used while the session is locked.
unsafe impl Send for Channel {}

impl Channel {
    /// Opens a channel.
    pub(super) fn open(session: &Session) -> Result<Self, Error> {
        let mut locked = session.raw();
        // SAFETY: the session is locked, and the text outlives the call.
        let raw = unsafe {
            sys::libssh2_channel_open_ex(
                &raw mut *locked,
                SESSION.as_ptr().cast(),
                length(SESSION),
                sys::LIBSSH2_CHANNEL_WINDOW_DEFAULT,
                sys::LIBSSH2_CHANNEL_PACKET_DEFAULT,
                null(),
                0,
            )
        };
        if raw.is_null() {
            let error = Error::last_session_error_raw(&raw mut *locked);
            return Err(error.unwrap_or_else(Error::unknown));
        }
        drop(locked);
        Ok(Self {
            raw,
            session: session.clone(),
        })
    }

    /// Calls libssh2 with the session locked. A negative result is an error
    /// code.
    fn call(
        &self,
        function: impl FnOnce(*mut sys::LIBSSH2_CHANNEL) -> isize,
    ) -> Result<usize, Error> {
        let mut locked = self.session.raw();
        let result = function(self.raw);
        usize::try_from(result).map_err(|_| {
            let code = c_int::try_from(result).unwrap_or(c_int::MIN);
            Error::from_session_error_raw(&raw mut *locked, code)
        })
    }

    /// Starts a command.
    pub(super) fn exec(&self, command: &str) -> Result<(), Error> {
        // SAFETY: both texts outlive the call. As in the calls below, only
        // `drop` frees the channel.
        let started = self.call(|raw| unsafe {
            sys::libssh2_channel_process_startup(
                raw,
                EXEC.as_ptr().cast(),
                length(EXEC),
                command.as_ptr().cast(),
                length(command),
            ) as isize
        });
        started.map(drop)
    }

    /// Reads from standard output (0) or standard error (1).
    pub(super) fn read(&self, stream: c_int, buffer: &mut [u8]) -> Result<usize, Error> {
        // SAFETY: as in `exec`.
        self.call(|raw| unsafe {
            sys::libssh2_channel_read_ex(raw, stream, buffer.as_mut_ptr().cast(), buffer.len())
        })
    }

    /// Writes to standard input.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<usize, Error> {
        // SAFETY: as in `exec`.
        self.call(|raw| unsafe {
            sys::libssh2_channel_write_ex(raw, 0, bytes.as_ptr().cast(), bytes.len())
        })
    }

    /// Announces the end of standard input.
    pub(super) fn send_eof(&self) -> Result<(), Error> {
        // SAFETY: as in `exec`.
        self.call(|raw| unsafe { sys::libssh2_channel_send_eof(raw) as isize })
            .map(drop)
    }

    /// Returns whether both outputs have ended and have been read.
    pub(super) fn eof(&self) -> bool {
        // SAFETY: as in `exec`.
        let ended = self.call(|raw| unsafe { sys::libssh2_channel_eof(raw) as isize });
        ended.is_ok_and(|ended| ended != 0)
    }

    /// Waits until the other side has closed the channel; its outputs have
    /// ended.
    pub(super) fn wait_close(&self) -> Result<(), Error> {
        // SAFETY: as in `exec`.
        self.call(|raw| unsafe { sys::libssh2_channel_wait_closed(raw) as isize })
            .map(drop)
    }

    /// Closes the channel from this side.
    pub(super) fn close(&self) -> Result<(), Error> {
        // SAFETY: as in `exec`.
        self.call(|raw| unsafe { sys::libssh2_channel_close(raw) as isize })
            .map(drop)
    }

    /// Returns the exit status, if the host sent one.
    pub(super) fn exit_status(&self) -> Option<u32> {
        let _locked = self.session.raw();
        // SAFETY: as in `exec`.
        unsafe {
            (libssh2_channel_has_exit_status(self.raw) != 0)
                .then(|| sys::libssh2_channel_get_exit_status(self.raw).cast_unsigned())
        }
    }

    /// Returns the name of the signal that ended the command, if the host sent
    /// one.
    pub(super) fn exit_signal(&self) -> Option<String> {
        let mut locked = self.session.raw();
        let (mut name, mut length): (*mut c_char, usize) = (null_mut(), 0);
        // SAFETY: as in `exec`; libssh2 allocates only the requested text,
        // which is freed here.
        let name = unsafe {
            sys::libssh2_channel_get_exit_signal(
                self.raw,
                &raw mut name,
                &raw mut length,
                null_mut(),
                null_mut(),
                null_mut(),
                null_mut(),
            );
            if name.is_null() {
                return None;
            }
            let text = std::slice::from_raw_parts(name.cast::<u8>(), length).to_vec();
            sys::libssh2_free(&raw mut *locked, name.cast());
            text
        };
        let plain = |c: &char| c.is_ascii_alphanumeric() || "@.-_".contains(*c);
        let letters = name.iter().take(LONGEST_SIGNAL).copied().map(char::from);
        let name: String = letters.filter(plain).collect();
        (!name.is_empty()).then_some(name)
    }
}

fn length(text: &str) -> c_uint {
    c_uint::try_from(text.len()).unwrap_or(c_uint::MAX)
}

impl Drop for Channel {
    fn drop(&mut self) {
        let _locked = self.session.raw();
        // SAFETY: nothing uses the channel afterwards. If libssh2 would have to
        // wait, the session frees the channel.
        unsafe { sys::libssh2_channel_free(self.raw) };
    }
}
