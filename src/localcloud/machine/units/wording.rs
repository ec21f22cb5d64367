//! The messages of `systemctl`, with the texts and exit statuses of systemd.

use super::super::init::control::Reply;
use super::arguments::Call;
use super::manager::Refusal;
use super::state::{Active, State};

/// The message about units that are not meant to be enabled.
pub(super) const NOT_INSTALLABLE: &str = "The unit files have no installation config (WantedBy=, \
    RequiredBy=, Also=,\nAlias= settings in the [Install] section, and DefaultInstance= for \
    template\nunits). This means they are not meant to be enabled or disabled using systemctl.\n";

pub(super) fn out(text: impl Into<String>) -> Reply {
    Reply {
        out: text.into(),
        ..Reply::default()
    }
}

pub(super) fn denied(call: &Call) -> Reply {
    let unit = call.units.first().map_or("unit", String::as_str);
    let verb = &call.verb;
    Reply::failure(
        format!("Failed to {verb} {unit}: Interactive authentication required."),
        1,
    )
}

pub(super) fn refused(verb: &str, unit: &str, refusal: &Refusal) -> Reply {
    match refusal {
        Refusal::Missing => Reply::failure(
            format!("Failed to {verb} {unit}: Unit {unit} not found."),
            5,
        ),
        Refusal::Masked => Reply::failure(
            format!("Failed to {verb} {unit}: Unit {unit} is masked."),
            1,
        ),
        Refusal::NotApplicable => Reply::failure(
            format!("Failed to {verb} {unit}: Job type reload is not applicable for unit {unit}."),
            1,
        ),
        Refusal::Dependency => Reply::failure(
            format!("A dependency job for {unit} failed. See 'journalctl -xe' for details."),
            1,
        ),
        Refusal::Io(error) => Reply::failure(format!("Failed to {verb} {unit}: {error}"), 1),
        Refusal::Failed(failure) => {
            let why = match failure.result {
                "exit-code" => "the control process exited with error code",
                "timeout" => "a timeout was exceeded",
                "signal" => "a fatal signal was delivered to the control process",
                _ => "of unavailable resources or another system error",
            };
            Reply::failure(
                format!(
                    "Job for {unit} failed because {why}: {}.\n\
                     See \"systemctl status {unit}\" and \"journalctl -xeu {unit}\" for details.",
                    failure.reason
                ),
                1,
            )
        }
    }
}

pub(super) fn describe(state: &State) -> String {
    let active = state.active.as_str();
    let result = match state.active {
        Active::Failed => format!(" (Result: {})", state.result),
        _ => String::new(),
    };
    let since = state.since.strftime("%a %Y-%m-%d %H:%M:%S %Z");
    let mut lines = vec![format!(
        "     Active: {active} ({}){result} since {since}",
        state.sub
    )];
    match (state.family.main, state.status) {
        (Some(main), _) => lines.push(format!("   Main PID: {main}")),
        (None, Some(status)) => lines.push(format!("    Process: {status}")),
        (None, None) => {}
    }
    lines_of(lines)
}

/// Joins lines, each with a line break.
pub(super) fn lines_of<T: Into<String>>(lines: impl IntoIterator<Item = T>) -> String {
    lines.into_iter().map(|line| line.into() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_the_exit_statuses_of_systemd() {
        let reply = refused("start", "x.service", &Refusal::Missing);
        assert_eq!(
            reply.err,
            "Failed to start x.service: Unit x.service not found.\n"
        );
        assert_eq!(reply.code, 5);
        assert_eq!(refused("start", "x.service", &Refusal::Masked).code, 1);
    }
}
