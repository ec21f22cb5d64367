//! The one error type: a kind that scripts can tell apart, a message, a hint.
//!
//! Clients map what AWS, ssh and the system say to an [`ErrorKind`] once; above
//! them nobody looks at foreign error texts. The place in the playbook is added
//! once, where Rust meets Rhai (`script::throw`).

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Result of everything that can fail with an [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, as `err.kind` in a playbook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// An option, argument or file of the caller is not usable.
    InvalidOption,
    /// The thing named does not exist.
    NotFound,
    /// The thing exists already and is not ours to replace.
    AlreadyExists,
    /// Credentials or permissions do not suffice.
    Denied,
    /// The account or the machine has no room for it.
    QuotaExceeded,
    /// AWS asked to slow down, more often than was retried.
    Throttled,
    /// It did not happen in the time allowed.
    Timeout,
    /// No connection could be made or it broke.
    Unreachable,
    /// A host's ssh key is not the one that was pinned or shown.
    HostKeyChanged,
    /// A command ran and failed; `detail` has status, stdout and stderr.
    CommandFailed,
    /// The run was stopped.
    Cancelled,
    /// An error of the playbook itself or of Rhai.
    Script,
    /// Anything else.
    Internal,
}

impl ErrorKind {
    /// The name a playbook sees.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidOption => "invalid_option",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Denied => "denied",
            Self::QuotaExceeded => "quota_exceeded",
            Self::Throttled => "throttled",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::HostKeyChanged => "host_key_changed",
            Self::CommandFailed => "command_failed",
            Self::Cancelled => "cancelled",
            Self::Script => "script",
            Self::Internal => "internal",
        }
    }

    /// Whether the same call may succeed a little later.
    #[must_use]
    pub fn retryable(self) -> bool {
        match self {
            Self::Throttled | Self::Timeout | Self::Unreachable => true,
            Self::InvalidOption
            | Self::NotFound
            | Self::AlreadyExists
            | Self::Denied
            | Self::QuotaExceeded
            | Self::HostKeyChanged
            | Self::CommandFailed
            | Self::Cancelled
            | Self::Script
            | Self::Internal => false,
        }
    }

    /// Whether the error proves that a request had no effect. A lost answer
    /// proves nothing: what was to be made may exist.
    #[must_use]
    pub fn proves_no_effect(self) -> bool {
        match self {
            Self::InvalidOption
            | Self::NotFound
            | Self::AlreadyExists
            | Self::Denied
            | Self::QuotaExceeded
            | Self::Throttled
            | Self::HostKeyChanged
            | Self::Script => true,
            Self::Timeout
            | Self::Unreachable
            | Self::CommandFailed
            | Self::Cancelled
            | Self::Internal => false,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Exit codes of the program; the manual's table is made from this one.
pub mod exit {
    /// Done.
    pub const DONE: u8 = 0;
    /// The playbook failed (also when things were kept).
    pub const FAILED: u8 = 1;
    /// Wrong usage or variables, or the ledger cannot be used.
    pub const USAGE: u8 = 2;
    /// The playbook does not compile or a check found something.
    pub const COMPILE: u8 = 3;
    /// Something could not be removed.
    pub const NOT_REMOVED: u8 = 4;
    /// Interrupted by SIGINT or SIGTERM.
    pub const INTERRUPTED: u8 = 130;

    /// Every code with its meaning, for the manual.
    pub const TABLE: [(u8, &str); 6] = [
        (DONE, "done"),
        (FAILED, "the playbook failed (also when things were kept)"),
        (USAGE, "wrong usage or variables, or the ledger is unusable"),
        (COMPILE, "the playbook does not compile, or a check failed"),
        (NOT_REMOVED, "something could not be removed"),
        (INTERRUPTED, "interrupted"),
    ];
}

/// Where in a playbook something happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Path of the playbook or imported file, as it was given.
    pub source: String,
    /// Line, from 1; 0 if unknown.
    pub line: usize,
    /// Column in characters, from 1; 0 if unknown.
    pub column: usize,
}

/// An error: kind, message, and what to do about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Error(Box<Parts>);

/// The parts of an [`Error`]; reached through it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parts {
    /// What kind of failure this is.
    pub kind: ErrorKind,
    /// Lower-case fragment without a final period; for people alone, who get it
    /// by `Display`.
    message: String,
    /// What to do, if doing it can help.
    pub hint: Option<String>,
    /// What led to this error, nearest first; all failures of a `parallel`.
    #[serde(default)]
    pub causes: Vec<Error>,
    /// The function that failed.
    pub function: Option<String>,
    /// Where in the playbook.
    #[serde(default)]
    pub place: Place,
    /// Machine-readable facts: a failed command's status, stdout and stderr,
    /// an AWS error's code and request id.
    #[serde(default)]
    pub detail: serde_json::Value,
    /// Whether the request that failed was certainly never sent.
    #[serde(skip)]
    unsent: bool,
}

impl Error {
    /// An error of this kind.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            kind,
            message: message.into(),
            hint: None,
            causes: Vec::new(),
            function: None,
            place: Place::default(),
            detail: serde_json::Value::Null,
            unsent: false,
        }))
    }

    /// An `invalid_option` error.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidOption, message)
    }

    /// An `internal` error.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// What every wait gives back once the run is being stopped.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "interrupted")
    }

    /// An I/O error, naming the operation and the path.
    #[must_use]
    pub fn io(attempt: &str, path: &Path, source: &std::io::Error) -> Self {
        let kind = match source.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            std::io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
            // What is there is not what the caller took it for.
            std::io::ErrorKind::IsADirectory
            | std::io::ErrorKind::NotADirectory
            | std::io::ErrorKind::InvalidData
            | std::io::ErrorKind::InvalidFilename => ErrorKind::InvalidOption,
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                ErrorKind::QuotaExceeded
            }
            _ => ErrorKind::Internal,
        };
        let message = format!("cannot {attempt} `{}`: {}", path.display(), reason(source));
        let error = Self::new(kind, message);
        match source.kind() {
            std::io::ErrorKind::NotFound if path.is_relative() => {
                error.hint("relative paths start at the directory autorun is called in")
            }
            std::io::ErrorKind::PermissionDenied => error.hint(format!(
                "`ls -ld {}` shows who may do that",
                shell_words::quote(&there(path).to_string_lossy())
            )),
            std::io::ErrorKind::IsADirectory => error.hint("name a file in it"),
            std::io::ErrorKind::StorageFull => {
                error.hint("make room there: `df -h` shows the disks")
            }
            _ if kind == ErrorKind::Internal => {
                error.hint("is it an ordinary file, and the disk that it is on sound?")
            }
            _ => error,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds what led to this error.
    #[must_use]
    pub fn caused_by(mut self, causes: impl IntoIterator<Item = Error>) -> Self {
        self.0.causes.extend(causes);
        self
    }

    /// Adds machine-readable facts.
    #[must_use]
    pub fn detail(mut self, detail: serde_json::Value) -> Self {
        self.0.detail = detail;
        self
    }

    /// Says that the request which failed was certainly never sent.
    #[must_use]
    pub fn unsent(mut self) -> Self {
        self.0.unsent = true;
        self
    }

    /// Says that an earlier request for the same may have had an effect, whatever
    /// became of this one.
    #[must_use]
    pub fn after_another(mut self) -> Self {
        self.0.unsent = false;
        self
    }

    /// Whether it is certain that what was asked for was not done.
    #[must_use]
    pub fn proves_no_effect(&self) -> bool {
        self.unsent || self.kind.proves_no_effect()
    }

    /// Says the same in other words.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.0.message = message.into();
        self
    }

    /// Puts what was attempted in front of the message.
    #[must_use]
    pub fn while_doing(mut self, attempt: &str) -> Self {
        self.0.message = format!("{attempt}: {}", self.0.message);
        self
    }
}

impl From<autorun_private::Error> for Error {
    fn from(error: autorun_private::Error) -> Self {
        use autorun_private::Error as Private;
        let (kind, reason) = match error {
            Private::System {
                attempt,
                path,
                source,
            } => return Self::io(attempt, &path, &source),
            Private::Denied(reason) => (ErrorKind::Denied, reason),
            Private::WrongKind(reason) => (ErrorKind::InvalidOption, reason),
        };
        let error = Self::new(kind, reason.message);
        match reason.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// The path, or the nearest directory above it that can be seen.
fn there(path: &Path) -> &Path {
    path.ancestors()
        .find(|path| path.symlink_metadata().is_ok())
        .filter(|path| !path.as_os_str().is_empty())
        .unwrap_or_else(|| {
            if path.is_absolute() {
                Path::new("/")
            } else {
                Path::new(".")
            }
        })
}

/// The system's words without Rust's ` (os error 2)`, in lower case.
fn reason(source: &std::io::Error) -> String {
    let text = source.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => text.to_owned(),
    }
}

impl std::ops::Deref for Error {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl std::ops::DerefMut for Error {
    fn deref_mut(&mut self) -> &mut Parts {
        &mut self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_error_names_operation_and_path() {
        let source = std::io::Error::from_raw_os_error(2);
        let error = Error::io("read", Path::new("assets/nosuch.png"), &source);
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert_eq!(
            error.message,
            "cannot read `assets/nosuch.png`: no such file or directory"
        );
    }

    #[test]
    fn a_lost_answer_proves_nothing() {
        assert!(!ErrorKind::Timeout.proves_no_effect());
        assert!(ErrorKind::Denied.proves_no_effect());
        let lost = Error::new(ErrorKind::Unreachable, "connection reset");
        assert!(!lost.proves_no_effect());
        let refused = lost.unsent().while_doing("cannot launch");
        assert!(refused.proves_no_effect());
        assert!(!refused.after_another().proves_no_effect());
    }
}
