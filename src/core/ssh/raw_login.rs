//! Logins for which ssh2 has no function that can be used here: the list of
//! methods, which ssh2 takes for UTF-8 without a check; keyboard-interactive,
//! for which ssh2 would replace the session's user pointer, which is the gate's;
//! and Ed25519 keys that have been read already.
#![expect(unsafe_code, reason = "ssh2 has no functions for this")]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ptr;

use libssh2_sys::{
    LIBSSH2_SESSION, LIBSSH2_USERAUTH_KBDINT_PROMPT, LIBSSH2_USERAUTH_KBDINT_RESPONSE,
};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use ssh2::{Error, ErrorCode, Session};

use super::gate::Gate;

type Respond = extern "C" fn(
    *const c_char,
    c_int,
    *const c_char,
    c_int,
    c_int,
    *const LIBSSH2_USERAUTH_KBDINT_PROMPT,
    *mut LIBSSH2_USERAUTH_KBDINT_RESPONSE,
    *mut *mut c_void,
);

type Sign = unsafe extern "C" fn(
    *mut LIBSSH2_SESSION,
    *mut *mut u8,
    *mut usize,
    *const u8,
    usize,
    *mut *mut c_void,
) -> c_int;

unsafe extern "C" {
    // libssh2 frees the answers and signatures with free(3).
    fn malloc(size: usize) -> *mut c_void;

    // libssh2-sys does not declare it.
    fn libssh2_userauth_publickey(
        session: *mut LIBSSH2_SESSION,
        user: *const c_char,
        public_key: *const u8,
        length: usize,
        sign: Sign,
        pointer: *mut *mut c_void,
    ) -> c_int;
}

/// The name of the keys' and the signatures' algorithm.
const ED25519: &[u8] = b"ssh-ed25519";

/// Returns the login methods that the host accepts from this user. The list is
/// empty if the user is logged in already.
pub(super) fn methods(session: &Session, user: &str) -> Result<Vec<String>, Error> {
    if session.authenticated() {
        return Ok(Vec::new());
    }
    let mut raw = session.raw();
    let length = c_uint::try_from(user.len()).unwrap_or(c_uint::MAX);
    // SAFETY: the session is locked, and the user is `length` bytes long. The
    // returned text ends with a zero byte and lives as long as the session.
    let list = unsafe {
        let raw: *mut LIBSSH2_SESSION = &raw mut *raw;
        let list = libssh2_sys::libssh2_userauth_list(raw, user.as_ptr().cast(), length);
        if list.is_null() {
            let logged_in = libssh2_sys::libssh2_userauth_authenticated(raw) != 0;
            return match Error::last_session_error_raw(raw) {
                Some(error) if !logged_in => Err(error),
                _ => Ok(Vec::new()),
            };
        }
        CStr::from_ptr(list).to_string_lossy().into_owned()
    };
    let names = list.split(',').filter(|name| !name.is_empty());
    Ok(names.map(str::to_owned).collect())
}

/// Logs in with keyboard-interactive. The gate has the answer.
pub(super) fn keyboard_interactive(session: &Session, user: &str) -> Result<(), Error> {
    let mut raw = session.raw();
    let length = c_uint::try_from(user.len()).unwrap_or(c_uint::MAX);
    let respond: Respond = respond;
    // SAFETY: the session is locked, the user is `length` bytes long, and the
    // session's user pointer is the gate, which lives as long as the session.
    let code = unsafe {
        libssh2_sys::libssh2_userauth_keyboard_interactive_ex(
            &raw mut *raw,
            user.as_ptr().cast(),
            length,
            Some(respond),
        )
    };
    if code < 0 {
        return Err(Error::from_session_error_raw(&raw mut *raw, code));
    }
    Ok(())
}

/// Logs in with an Ed25519 key.
pub(super) fn ed25519(session: &Session, user: &str, pair: &Ed25519KeyPair) -> Result<(), Error> {
    let invalid = |_| Error::from_errno(ErrorCode::Session(libssh2_sys::LIBSSH2_ERROR_INVAL));
    let user = CString::new(user).map_err(invalid)?;
    let mut public_key = Vec::new();
    for field in [ED25519, pair.public_key().as_ref()] {
        let length = u32::try_from(field.len()).unwrap_or_default();
        public_key.extend(length.to_be_bytes());
        public_key.extend(field);
    }
    let mut raw = session.raw();
    let mut pointer = ptr::from_ref(pair).cast_mut().cast::<c_void>();
    // SAFETY: the session is locked, the user ends with a zero byte, and libssh2 uses the
    // public key and the pointer to the pair only during the call. If the call has to be
    // repeated, it gets them again.
    let code = unsafe {
        libssh2_userauth_publickey(
            &raw mut *raw,
            user.as_ptr(),
            public_key.as_ptr(),
            public_key.len(),
            sign,
            &raw mut pointer,
        )
    };
    if code < 0 {
        return Err(Error::from_session_error_raw(&raw mut *raw, code));
    }
    Ok(())
}

/// The callback with which libssh2 asks for a signature.
unsafe extern "C" fn sign(
    _session: *mut LIBSSH2_SESSION,
    signature: *mut *mut u8,
    signature_length: *mut usize,
    data: *const u8,
    length: usize,
    pointer: *mut *mut c_void,
) -> c_int {
    // SAFETY: libssh2 passes `length` bytes, and the pointer from `ed25519`. It
    // frees the signature.
    unsafe {
        let pair = &*(*pointer).cast::<Ed25519KeyPair>();
        let signed = pair.sign(std::slice::from_raw_parts(data, length));
        let bytes = signed.as_ref();
        let copy = malloc(bytes.len()).cast::<u8>();
        if copy.is_null() {
            return libssh2_sys::LIBSSH2_ERROR_ALLOC;
        }
        ptr::copy_nonoverlapping(bytes.as_ptr(), copy, bytes.len());
        *signature = copy;
        *signature_length = bytes.len();
    }
    0
}

/// The callback with which libssh2 asks for the answers.
extern "C" fn respond(
    _name: *const c_char,
    _name_length: c_int,
    _instruction: *const c_char,
    _instruction_length: c_int,
    count: c_int,
    prompts: *const LIBSSH2_USERAUTH_KBDINT_PROMPT,
    responses: *mut LIBSSH2_USERAUTH_KBDINT_RESPONSE,
    pointer: *mut *mut c_void,
) {
    let count = usize::try_from(count).unwrap_or_default();
    if count == 0 || prompts.is_null() || responses.is_null() {
        return;
    }
    // SAFETY: libssh2 passes `count` prompts and responses, and the pointer that
    // `gate::guard` has set. It frees the texts of the responses.
    unsafe {
        let gate = &*(*pointer).cast::<Gate>();
        let prompts = std::slice::from_raw_parts(prompts, count);
        let responses = std::slice::from_raw_parts_mut(responses, count);
        for (prompt, response) in prompts.iter().zip(responses) {
            let text = if prompt.text.is_null() {
                String::new()
            } else {
                let bytes = std::slice::from_raw_parts(prompt.text, prompt.length);
                String::from_utf8_lossy(bytes).into_owned()
            };
            let answer = gate.answer(&text, prompt.echo != 0);
            let bytes = answer.as_bytes();
            let copy = malloc(bytes.len().max(1));
            if copy.is_null() {
                continue;
            }
            ptr::copy_nonoverlapping(bytes.as_ptr(), copy.cast::<u8>(), bytes.len());
            response.text = copy.cast();
            response.length = c_uint::try_from(bytes.len()).unwrap_or_default();
        }
    }
}

/// Returns whether a host wants the user to change an expired password.
pub(super) fn is_expired(error: &Error) -> bool {
    matches!(error.code(), ErrorCode::Session(code)
        if code == libssh2_sys::LIBSSH2_ERROR_PASSWORD_EXPIRED)
}
