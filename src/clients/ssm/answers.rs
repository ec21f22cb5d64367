//! What Systems Manager reports about instances and commands.

use serde_json::Value;

/// The longest texts in answers, in bytes: an agent that cuts a text may lose up to
/// three bytes of its last character.
const LONGEST_STDOUT: usize = 24_000 - 3;
const LONGEST_STDERR: usize = 8_000 - 3;

/// What the agent writes between the streams where an answer has both in one text.
const BETWEEN: &str = "\n----------ERROR-------\n";

/// Up to this length, in bytes, such a text is complete: the agent cuts it at 2,400.
const LONGEST_LISTED: usize = 2300;

/// An instance whose agent has registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Managed {
    /// The id of the instance.
    pub id: String,
    /// Whether the agent has a connection.
    pub is_online: bool,
    /// The operating system: `Linux`, `Windows` or `MacOS`.
    pub platform: String,
}

/// The state of a command on an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvocationState {
    /// The agent has not fetched it yet.
    Pending,
    /// It runs.
    Running,
    /// It is being cancelled.
    Cancelling,
    /// It ended with status 0.
    Success,
    /// It ended with another status.
    Failed,
    /// Its time was over.
    TimedOut,
    /// The agent did not fetch it in time, or cannot be reached.
    Undelivered,
    /// It was cancelled.
    Cancelled,
    /// It did not begin: the command had failed on too many other instances.
    NotBegun,
    /// A state that this program does not know.
    Unknown,
}

impl InvocationState {
    fn read(answer: &Value) -> Self {
        let text = |name: &str| answer[name].as_str().unwrap_or_default();
        // The details may have spaces.
        let details = text("StatusDetails").replace(' ', "");
        match (text("Status"), details.as_str()) {
            (_, "Terminated") => Self::NotBegun,
            (_, "DeliveryTimedOut" | "Undeliverable" | "InvalidPlatform" | "AccessDenied") => {
                Self::Undelivered
            }
            ("Pending" | "Delayed", _) => Self::Pending,
            ("InProgress", _) => Self::Running,
            ("Cancelling", _) => Self::Cancelling,
            ("Success", _) => Self::Success,
            ("Failed", _) => Self::Failed,
            ("TimedOut", _) => Self::TimedOut,
            ("Cancelled", _) => Self::Cancelled,
            _ => Self::Unknown,
        }
    }

    /// Returns whether the state is final.
    #[must_use]
    pub fn has_ended(self) -> bool {
        !matches!(
            self,
            Self::Pending | Self::Running | Self::Cancelling | Self::Unknown
        )
    }
}

/// A command on an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The id of the instance.
    pub instance: String,
    /// Its state.
    pub state: InvocationState,
}

/// What a command has written on an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Its state.
    pub state: InvocationState,
    /// Its exit status; `None` if it has none.
    pub status: Option<i64>,
    /// The beginning of standard output.
    pub stdout: String,
    /// The beginning of standard error.
    pub stderr: String,
    /// Whether standard output may be longer.
    pub stdout_is_cut: bool,
    /// Whether standard error may be longer.
    pub stderr_is_cut: bool,
    /// Seconds that it took.
    pub seconds: f64,
}

impl Managed {
    pub(super) fn read(answer: &Value) -> Self {
        Self {
            id: text(&answer["InstanceId"]),
            is_online: answer["PingStatus"] == "Online",
            platform: text(&answer["PlatformType"]),
        }
    }
}

impl Invocation {
    pub(super) fn read(answer: &Value) -> Self {
        Self {
            instance: text(&answer["InstanceId"]),
            state: InvocationState::read(answer),
        }
    }
}

impl Output {
    pub(super) fn read(answer: &Value) -> Self {
        let state = InvocationState::read(answer);
        let code = answer["ResponseCode"].as_i64();
        let (stdout, stderr) = (
            text(&answer["StandardOutputContent"]),
            text(&answer["StandardErrorContent"]),
        );
        let has_status = matches!(state, InvocationState::Success | InvocationState::Failed);
        Self {
            state,
            status: code.filter(|code| has_status && *code >= 0),
            stdout_is_cut: stdout.len() >= LONGEST_STDOUT,
            stderr_is_cut: stderr.len() >= LONGEST_STDERR,
            stderr: without_remark(&stderr, code),
            stdout,
            seconds: elapsed(answer["ExecutionElapsedTime"].as_str().unwrap_or_default()),
        }
    }
}

impl Output {
    /// Reads an invocation in a list with details. A list has both streams in one
    /// short text, so this returns `None` unless the command has succeeded and has
    /// written little, and nothing to standard error.
    pub(super) fn read_listed(answer: &Value) -> Option<Self> {
        let state = InvocationState::read(answer);
        let plugin = &answer["CommandPlugins"][0];
        let stdout = plugin["Output"].as_str()?;
        let is_complete = stdout.len() < LONGEST_LISTED && !stdout.contains(BETWEEN);
        let has_succeeded = state == InvocationState::Success && plugin["ResponseCode"] == 0;
        if !is_complete || !has_succeeded {
            return None;
        }
        let started = plugin["ResponseStartDateTime"].as_f64()?;
        let finished = plugin["ResponseFinishDateTime"].as_f64()?;
        Some(Self {
            state,
            status: Some(0),
            stdout: stdout.to_owned(),
            stderr: String::new(),
            stdout_is_cut: false,
            stderr_is_cut: false,
            seconds: (finished - started).max(0.0),
        })
    }
}

/// Removes the line that the agent adds about the status.
fn without_remark(stderr: &str, code: Option<i64>) -> String {
    let remark = format!("failed to run commands: exit status {}", code.unwrap_or(-1));
    stderr.strip_suffix(&remark).unwrap_or(stderr).to_owned()
}

/// Returns the seconds of a duration such as `PT1M2.345S`.
fn elapsed(text: &str) -> f64 {
    let span: Option<jiff::SignedDuration> = text.parse().ok();
    span.map_or(0.0, |span| span.as_secs_f64())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(status: &str, details: &str) -> InvocationState {
        InvocationState::read(&json!({ "Status": status, "StatusDetails": details }))
    }

    #[test]
    fn the_details_distinguish_what_did_not_begin() {
        assert_eq!(state("Success", "Success"), InvocationState::Success);
        assert_eq!(state("Failed", "Failed"), InvocationState::Failed);
        assert_eq!(state("Failed", "Terminated"), InvocationState::NotBegun);
        assert_eq!(state("Cancelled", "Terminated"), InvocationState::NotBegun);
        assert_eq!(
            state("TimedOut", "ExecutionTimedOut"),
            InvocationState::TimedOut
        );
        for details in ["DeliveryTimedOut", "Delivery Timed Out", "Undeliverable"] {
            assert_eq!(state("TimedOut", details), InvocationState::Undelivered);
        }
        assert!(!state("Delayed", "Delayed").has_ended());
        assert!(!state("Anything", "").has_ended());
    }

    #[test]
    fn the_agents_remark_is_not_part_of_the_output() {
        let output = Output::read(&json!({
            "Status": "Failed",
            "StatusDetails": "Failed",
            "ResponseCode": 3,
            "StandardOutputContent": "a\n",
            "StandardErrorContent": "b\nfailed to run commands: exit status 3",
            "ExecutionElapsedTime": "PT1M2.5S",
        }));
        assert_eq!(
            (output.stdout.as_str(), output.stderr.as_str()),
            ("a\n", "b\n")
        );
        assert_eq!(output.status, Some(3));
        assert!((output.seconds - 62.5).abs() < 1e-9, "{}", output.seconds);
        assert!(!output.stdout_is_cut && !output.stderr_is_cut);
    }

    #[test]
    fn a_list_has_the_output_of_a_success_that_wrote_little() {
        let listed = |status: &str, output: &str| {
            Output::read_listed(&json!({
                "Status": status,
                "StatusDetails": status,
                "CommandPlugins": [{
                    "ResponseCode": i32::from(status != "Success"),
                    "ResponseStartDateTime": 1_800_000_000.25,
                    "ResponseFinishDateTime": 1_800_000_001.5,
                    "Output": output,
                }],
            }))
        };
        let short = listed("Success", "out\n").unwrap();
        assert_eq!((short.status, &*short.stdout), (Some(0), "out\n"));
        assert!((short.seconds - 1.25).abs() < 1e-6, "{}", short.seconds);
        assert_eq!(
            listed("Success", ""),
            Some(Output {
                stdout: String::new(),
                ..short
            })
        );
        for (status, output) in [
            ("Failed", "out\n"),
            ("Success", "out\n----------ERROR-------\nerr"),
            ("Success", "\n----------ERROR-------\nerr"),
            ("Success", &*"a".repeat(2400)),
        ] {
            assert_eq!(listed(status, output), None, "{status}: {output}");
        }
        assert_eq!(Output::read_listed(&json!({ "Status": "Success" })), None);
    }

    #[test]
    fn a_command_without_an_end_has_no_status() {
        for details in ["ExecutionTimedOut", "Cancelled", "DeliveryTimedOut"] {
            let answer =
                json!({ "Status": "TimedOut", "StatusDetails": details, "ResponseCode": 137 });
            assert_eq!(Output::read(&answer).status, None);
        }
        let long = json!({ "StandardOutputContent": "a".repeat(24_000) });
        assert!(Output::read(&long).stdout_is_cut);
    }
}
