//! The error type of the runtime.

use std::fmt;

/// A failed attempt and its cause; the text is for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Error {
    message: String,
}

impl Error {
    pub(super) fn new(message: impl Into<String>) -> Self {
        let message = message.into();
        Self { message }
    }

    pub(super) fn io(attempt: &str, error: impl fmt::Display) -> Self {
        Self::new(format!("cannot {attempt}: {error}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
