//! Why something is not one user's alone. The callers have error types of their
//! own, so that this one keeps its parts apart.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Result of every check.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something is not one user's alone, or why that could not be found out.
#[derive(Debug)]
pub enum Error {
    /// The system did not let this user see or repair it.
    System {
        /// What was attempted, as a verb for the path.
        attempt: &'static str,
        /// What it was attempted on.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// Others have access to it, or it belongs to another user.
    Denied(Reason),
    /// It is not of the kind that is expected.
    WrongKind(Reason),
}

/// A refusal in words.
#[derive(Debug)]
pub struct Reason {
    /// Lower-case fragment without a final period.
    pub message: String,
    /// What to do, if doing it can help.
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

    /// Adds what to do about a refusal.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        match &mut self {
            Self::Denied(reason) | Self::WrongKind(reason) => reason.hint = Some(hint.into()),
            Self::System { .. } => {}
        }
        self
    }

    /// Whether there is nothing at the path.
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

/// The message and the hint, for callers whose errors have no place for a hint.
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
