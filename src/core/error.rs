//! The project's error type: a kind that scripts can match on, a message and a
//! hint.
//!
//! Clients map the errors of AWS, ssh and the system to an [`ErrorKind`] once.
//! No other code inspects foreign error texts. `script::throw`, where Rust
//! meets Rhai, adds the place in the playbook.

use std::fmt;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The result of every operation that can fail with an [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// The kind of failure, `err.kind` in a playbook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// An option, an argument or a file of the caller is not usable.
    InvalidOption,
    /// The named resource, file or value does not exist.
    NotFound,
    /// The resource or file already exists and autorun must not replace it.
    AlreadyExists,
    /// Credentials or permissions are missing or insufficient.
    Denied,
    /// A quota of the account or the space on the machine is exhausted.
    QuotaExceeded,
    /// AWS or an ssh server throttled the request, also after all retries.
    Throttled,
    /// The operation did not finish within its timeout.
    Timeout,
    /// No connection was possible, or the connection broke.
    Unreachable,
    /// A host's ssh key is not the one that was pinned or presented before.
    HostKeyChanged,
    /// A command ran and failed; `detail` has status, stdout and stderr.
    CommandFailed,
    /// The run was stopped.
    Cancelled,
    /// An error in the playbook itself or in Rhai.
    Script,
    /// Any other failure.
    Internal,
}

impl ErrorKind {
    /// Returns the name that a playbook sees.
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

    /// Returns whether the same call may succeed a little later.
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

    /// Returns whether the error proves that a request had no effect. A lost
    /// answer does not: the request may have created its resource.
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

/// Exit codes of the program. The manual's table is generated from
/// [`exit::TABLE`].
pub mod exit {
    /// Success.
    pub const DONE: u8 = 0;
    /// The playbook failed; its resources may still exist.
    pub const FAILED: u8 = 1;
    /// An invalid command line or variables, or an unusable ledger.
    pub const USAGE: u8 = 2;
    /// A syntax error in the playbook, or a mistake that a check before the run found.
    pub const COMPILE: u8 = 3;
    /// One or more resources could not be removed.
    pub const NOT_REMOVED: u8 = 4;
    /// The program was interrupted by SIGINT or SIGTERM.
    pub const INTERRUPTED: u8 = 130;

    /// Every code with its meaning, for the manual.
    pub const TABLE: [(u8, &str); 6] = [
        (DONE, "done"),
        (FAILED, "the playbook failed (resources may still exist)"),
        (
            USAGE,
            "invalid command line or variables, or the ledger cannot be used",
        ),
        (
            COMPILE,
            "the playbook has a syntax error, or a check before the run failed",
        ),
        (NOT_REMOVED, "one or more resources could not be removed"),
        (INTERRUPTED, "interrupted"),
    ];
}

/// A place in a playbook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Path of the playbook or imported file, as the user wrote it.
    pub source: String,
    /// Line, from 1; 0 if unknown.
    pub line: usize,
    /// Column in characters, from 1; 0 if unknown.
    pub column: usize,
}

/// An error: a kind, a message, and what to do about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Error(Box<Parts>);

/// The parts of an [`Error`], which dereferences to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parts {
    /// The kind of failure.
    pub kind: ErrorKind,
    /// A lower-case fragment without a final period. Private, so that no
    /// decision depends on its words; `Display` shows it.
    message: String,
    /// What to do next, if there is a remedy.
    pub hint: Option<String>,
    /// The errors that led to this one, nearest first; all failures of a
    /// `parallel`.
    #[serde(default)]
    pub causes: Vec<Error>,
    /// The one of many hosts or items on which it failed.
    #[serde(default)]
    pub on: Option<String>,
    /// The playbook function that failed.
    pub function: Option<String>,
    /// The place in the playbook.
    #[serde(default)]
    pub place: Place,
    /// Machine-readable facts: a failed command's status, stdout and stderr; an
    /// AWS error's code and request id.
    #[serde(default)]
    pub detail: serde_json::Value,
    /// Whether the failed request was certainly never sent.
    #[serde(skip)]
    unsent: bool,
}

impl Error {
    /// Creates an error of this kind.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            kind,
            message: message.into(),
            hint: None,
            causes: Vec::new(),
            on: None,
            function: None,
            place: Place::default(),
            detail: serde_json::Value::Null,
            unsent: false,
        }))
    }

    /// Creates an `invalid_option` error.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidOption, message)
    }

    /// Creates an `internal` error.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Creates the error with which every wait fails once the run is being
    /// stopped.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "interrupted")
    }

    /// Creates an error from an I/O error; the message names the operation and
    /// the path.
    #[must_use]
    pub fn io(attempt: &str, path: &Path, source: &std::io::Error) -> Self {
        let kind = match source.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            std::io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
            // The path exists, but is not the kind of file that the caller
            // expects.
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
            std::io::ErrorKind::NotFound if path.is_relative() => error.hint(
                "relative paths start at the current directory: see `autorun docs script_dir`",
            ),
            std::io::ErrorKind::PermissionDenied => error.hint(format!(
                "`ls -ld {}` shows the owner and the permissions",
                shell_words::quote(&nearest_visible(path).to_string_lossy())
            )),
            std::io::ErrorKind::IsADirectory => error.hint("name a file in this directory"),
            std::io::ErrorKind::StorageFull => {
                error.hint("free some space: `df -h` shows how full each disk is")
            }
            _ if kind == ErrorKind::Internal => {
                error.hint("check that it is a regular file and that the disk is healthy")
            }
            _ => error,
        }
    }

    /// Adds a hint: what to do about the error.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the errors that led to this one.
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

    /// Marks the failed request as certainly never sent.
    #[must_use]
    pub fn unsent(mut self) -> Self {
        self.0.unsent = true;
        self
    }

    /// Records that an earlier request for the same resource may have had an
    /// effect, even if this one was never sent.
    #[must_use]
    pub fn after_another(mut self) -> Self {
        self.0.unsent = false;
        self
    }

    /// Returns whether the request was certainly never sent, because there was no
    /// connection.
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        self.unsent
    }

    /// Returns whether it is certain that the request had no effect.
    #[must_use]
    pub fn proves_no_effect(&self) -> bool {
        self.unsent || self.kind.proves_no_effect()
    }

    /// Replaces the message; everything else stays.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.0.message = message.into();
        self
    }

    /// Puts the attempted operation in front of the message.
    #[must_use]
    pub fn while_doing(mut self, attempt: &str) -> Self {
        self.0.message = format!("{attempt}: {}", self.0.message);
        self
    }

    /// Names the one of many hosts or items on which it failed, also in front of the
    /// message.
    #[must_use]
    pub fn on(self, name: &str) -> Self {
        let mut error = self.while_doing(&format!("[{name}]"));
        error.0.on = Some(name.to_owned());
        error
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

/// Returns the path, or its nearest ancestor that this user can see.
fn nearest_visible(path: &Path) -> &Path {
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

/// Returns the system's message in lower case, without Rust's ` (os error 2)`.
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
    fn a_lost_answer_does_not_prove_that_a_request_had_no_effect() {
        assert!(!ErrorKind::Timeout.proves_no_effect());
        assert!(ErrorKind::Denied.proves_no_effect());
        let lost = Error::new(ErrorKind::Unreachable, "connection reset");
        assert!(!lost.proves_no_effect());
        let refused = lost.unsent().while_doing("cannot launch");
        assert!(refused.proves_no_effect());
        assert!(!refused.after_another().proves_no_effect());
    }
}
