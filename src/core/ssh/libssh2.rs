//! Meanings of libssh2's error codes.

use libssh2_sys as sys;
use ssh2::{Error, ErrorCode};

/// Returns whether the call only has to be repeated later.
pub(super) fn must_wait(error: &Error) -> bool {
    is_one_of(error, &[sys::LIBSSH2_ERROR_EAGAIN])
}

/// Returns whether the other side has closed the connection.
pub(super) fn is_closed(error: &Error) -> bool {
    is_one_of(
        error,
        &[
            sys::LIBSSH2_ERROR_SOCKET_RECV,
            sys::LIBSSH2_ERROR_SOCKET_DISCONNECT,
        ],
    )
}

/// Returns whether the connection can no longer be used for sending.
pub(super) fn is_gone(error: &Error) -> bool {
    is_closed(error) || is_one_of(error, &[sys::LIBSSH2_ERROR_SOCKET_SEND])
}

/// Returns whether the connection is unusable: it is gone, or it delivered
/// invalid data.
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

/// Returns whether the key exchange failed. libssh2 returns the same error if
/// the other side closes the connection during the key exchange.
pub(super) fn is_key_exchange(error: &Error) -> bool {
    is_one_of(
        error,
        &[
            sys::LIBSSH2_ERROR_KEY_EXCHANGE_FAILURE,
            sys::LIBSSH2_ERROR_KEX_FAILURE,
        ],
    )
}

/// Returns whether a key file could not be read, or its passphrase is another one.
pub(super) fn is_of_a_file(error: &Error) -> bool {
    let of_passphrase = sys::LIBSSH2_ERROR_KEYFILE_AUTH_FAILED;
    is_one_of(error, &[sys::LIBSSH2_ERROR_FILE, of_passphrase])
}

/// Returns whether the host accepted a key, but did not complete the login after
/// its signature.
pub(super) fn is_accepted_key(error: &Error) -> bool {
    is_one_of(error, &[sys::LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED])
}

/// Returns whether the other side refused a request on a channel.
pub(super) fn is_refused_request(error: &Error) -> bool {
    is_one_of(error, &[sys::LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED])
}

fn is_one_of(error: &Error, codes: &[i32]) -> bool {
    matches!(error.code(), ErrorCode::Session(code) if codes.contains(&code))
}
