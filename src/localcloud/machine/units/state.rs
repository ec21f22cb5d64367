//! How a service is, and why it is not as it should be, in systemd's words.

use std::collections::VecDeque;
use std::process::ExitStatus;
use std::time::Instant;

use nix::sys::signal::Signal;

use super::definition::Definition;
use super::processes::Family;

/// What a service is doing, in systemd's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Active {
    Inactive,
    Activating,
    Running,
    Reloading,
    Deactivating,
    Failed,
}

impl Active {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Activating => "activating",
            Self::Running => "active",
            Self::Reloading => "reloading",
            Self::Deactivating => "deactivating",
            Self::Failed => "failed",
        }
    }
}

/// How a service is.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) active: Active,
    pub(super) sub: &'static str,
    /// `success`, `exit-code`, `signal`, `timeout`, `start-limit-hit`.
    pub(super) result: &'static str,
    pub(super) status: Option<ExitStatus>,
    pub(super) since: jiff::Zoned,
    pub(super) restarts: u32,
    pub(super) family: Family,
    /// Counts starts and stops: an older watcher sees that it is not its turn.
    pub(super) turn: u64,
    pub(super) starts: VecDeque<Instant>,
}

/// Why a service did not start or reload: a result in systemd's words, and more.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) result: &'static str,
    pub(super) reason: String,
}

impl Failure {
    pub(super) fn resources(error: impl std::fmt::Display) -> Self {
        Self {
            result: "resources",
            reason: error.to_string(),
        }
    }

    pub(super) fn of_status(what: &str, status: ExitStatus) -> Self {
        let result = match status.code() {
            Some(_) => "exit-code",
            None => "signal",
        };
        let reason = format!("{what}: {status}");
        Self { result, reason }
    }

    pub(super) fn timeout(what: &str) -> Self {
        Self {
            result: "timeout",
            reason: format!("{what} did not end in time"),
        }
    }
}

/// Whether a service's end by itself is as its unit file wants it.
pub(super) fn is_success(definition: &Definition, status: ExitStatus) -> bool {
    let code = status.code();
    status.success() || code.is_some_and(|code| definition.success_codes.contains(&code))
}

/// Signals that a service is usually ended by are no failure.
pub(super) fn is_polite_end(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    let polite = [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGPIPE,
    ];
    let signal = status
        .signal()
        .and_then(|signal| Signal::try_from(signal).ok());
    signal.is_some_and(|signal| polite.contains(&signal))
}
