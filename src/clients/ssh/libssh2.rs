//! What an error of libssh2 means, by its code.

use libssh2_sys as sys;
use ssh2::{Error, ErrorCode};

/// Whether a call only has to be repeated later.
pub(super) fn must_wait(error: &Error) -> bool {
    is_one_of(error, &[sys::LIBSSH2_ERROR_EAGAIN])
}

/// Whether the other side has closed the connection.
pub(super) fn is_closed(error: &Error) -> bool {
    is_one_of(
        error,
        &[
            sys::LIBSSH2_ERROR_SOCKET_RECV,
            sys::LIBSSH2_ERROR_SOCKET_DISCONNECT,
        ],
    )
}

/// Whether nothing can be sent on the connection any more.
pub(super) fn is_gone(error: &Error) -> bool {
    is_closed(error) || is_one_of(error, &[sys::LIBSSH2_ERROR_SOCKET_SEND])
}

/// Whether the connection is of no use any more: it is gone, or what came on it
/// makes no sense.
pub(super) fn is_broken(error: &Error) -> bool {
    is_gone(error)
        || is_one_of(
            error,
            &[
                sys::LIBSSH2_ERROR_DECRYPT,
                sys::LIBSSH2_ERROR_PROTO,
                sys::LIBSSH2_ERROR_INVALID_MAC,
            ],
        )
}

/// Whether keys were not agreed upon. libssh2 says the same when the other side
/// closes the connection meanwhile.
pub(super) fn is_key_exchange(error: &Error) -> bool {
    is_one_of(
        error,
        &[
            sys::LIBSSH2_ERROR_KEY_EXCHANGE_FAILURE,
            sys::LIBSSH2_ERROR_KEX_FAILURE,
        ],
    )
}

/// Whether a key file could not be read.
pub(super) fn is_of_a_file(error: &Error) -> bool {
    is_one_of(error, &[sys::LIBSSH2_ERROR_FILE])
}

fn is_one_of(error: &Error, codes: &[i32]) -> bool {
    matches!(error.code(), ErrorCode::Session(code) if codes.contains(&code))
}
