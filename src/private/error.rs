//! Errors of the checks. This crate has its own type because its callers have
//! different error types.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The result of every check.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a file or directory is not private to one user, or why the check failed.
#[derive(Debug)]
pub enum Error {
    /// The system did not let this user inspect or repair it.
    System {
        /// The attempted operation, as a verb for the path.
        attempt: &'static str,
        /// The path of the operation.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Other users have access to it, or it belongs to another user.
    Denied(Reason),
    /// It is not of the expected kind.
    WrongKind(Reason),
}

/// The message and hint of a refusal.
#[derive(Debug)]
pub struct Reason {
    /// Lower-case fragment without a final period.
    pub message: String,
    /// What to do next, if there is a remedy.
    pub hint: Option<String>,
}

impl Error {
    pub(crate) fn system(attempt: &'static str, path: &Path, source: io::Error) -> Self {
        Self::System {
            attempt,
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn denied(message: impl Into<String>) -> Self {
        Self::Denied(Reason::new(message))
    }

    pub(crate) fn wrong_kind(message: impl Into<String>) -> Self {
        Self::WrongKind(Reason::new(message))
    }

    /// Adds a hint to a refusal.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        match &mut self {
            Self::Denied(reason) | Self::WrongKind(reason) => reason.hint = Some(hint.into()),
            Self::System { .. } => {}
        }
        self
    }

    /// Returns whether the path does not exist.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::System { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl Reason {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }
}

/// The message and the hint in one text, for callers whose errors have no hint.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System {
                attempt,
                path,
                source,
            } => write!(f, "cannot {attempt} `{}`: {source}", path.display()),
            Self::Denied(reason) | Self::WrongKind(reason) => {
                f.write_str(&reason.message)?;
                reason
                    .hint
                    .iter()
                    .try_for_each(|hint| write!(f, "; {hint}"))
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System { source, .. } => Some(source),
            Self::Denied(_) | Self::WrongKind(_) => None,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}
