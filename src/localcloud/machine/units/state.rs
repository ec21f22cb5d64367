//! The states and failures of a service, in systemd's terms.

use std::collections::VecDeque;
use std::process::ExitStatus;
use std::time::Instant;

use nix::sys::signal::Signal;

use super::definition::Definition;
use super::processes::Family;

/// The active state of a service, in systemd's terms.
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

/// The state of a service.
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
    /// The number of starts and stops. A watcher of an earlier start compares
    /// it to detect that its start is outdated.
    pub(super) turn: u64,
    pub(super) starts: VecDeque<Instant>,
}

/// Why a service did not start or reload: a result in systemd's terms, and the
/// reason.
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
            reason: format!("{what} timed out"),
        }
    }
}

/// Returns an exit status as systemd writes it.
pub(super) fn described(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    if let Some(code) = status.code() {
        let name = match code {
            0 => "SUCCESS",
            1 => "FAILURE",
            2 => "INVALIDARGUMENT",
            3 => "NOTIMPLEMENTED",
            4 => "NOPERMISSION",
            5 => "NOTINSTALLED",
            6 => "NOTCONFIGURED",
            7 => "NOTRUNNING",
            203 => "EXEC",
            _ => "n/a",
        };
        return format!("code=exited, status={code}/{name}");
    }
    let number = status.signal().unwrap_or_default();
    let signal = Signal::try_from(number).map_or("n/a", Signal::as_str);
    let name = signal.trim_start_matches("SIG");
    format!("code=killed, status={number}/{name}")
}

/// Whether an exit status is a success according to the unit file.
pub(super) fn is_success(definition: &Definition, status: ExitStatus) -> bool {
    let code = status.code();
    status.success() || code.is_some_and(|code| definition.success_codes.contains(&code))
}

/// Whether a service ended by one of the signals that usually end services,
/// which is not a failure.
pub(super) fn ended_by_usual_signal(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    let usual = [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGPIPE,
    ];
    let signal = status
        .signal()
        .and_then(|signal| Signal::try_from(signal).ok());
    signal.is_some_and(|signal| usual.contains(&signal))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn exit_statuses_have_names() {
        let words = |raw| described(ExitStatus::from_raw(raw));
        assert_eq!(words(1 << 8), "code=exited, status=1/FAILURE");
        assert_eq!(words(42 << 8), "code=exited, status=42/n/a");
        assert_eq!(words(9), "code=killed, status=9/KILL");
    }
}
