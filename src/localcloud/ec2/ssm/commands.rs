//! The commands that were sent, with an invocation for each instance.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::super::call::CONSISTENCY;
use super::super::state::Millis;
use crate::clock;

/// How many commands are kept. AWS keeps those of 30 days.
const MOST: usize = 10_000;

/// All commands of this process, the oldest first, and the registered agents.
#[derive(Debug, Default)]
pub(in super::super) struct Commands {
    commands: Mutex<Vec<Command>>,
    agents: Mutex<BTreeMap<String, Registration>>,
}

/// When an agent registered, and when it was last heard of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registration {
    pub(super) since: Millis,
    pub(super) last_ping: Millis,
}

/// A command.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) id: String,
    pub(super) region: String,
    pub(super) document: String,
    pub(super) version: String,
    pub(super) comment: String,
    pub(super) parameters: Map<String, Value>,
    pub(super) instances: Vec<String>,
    pub(super) targets: Vec<Target>,
    pub(super) timeout: u64,
    pub(super) concurrency: Limit,
    pub(super) errors: Limit,
    pub(super) output: Option<OutputPlace>,
    pub(super) requested: Millis,
    pub(super) is_cancelled: bool,
    pub(super) invocations: Vec<Invocation>,
}

/// What a tag, or a list of instances, selects.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Target {
    pub(super) key: String,
    #[serde(default)]
    pub(super) values: Vec<String>,
}

/// A number of instances, as the request has it.
#[derive(Clone, Debug)]
pub(super) struct Limit(pub(super) String);

impl Limit {
    /// Applies the limit. A percentage is rounded down, but is at least `least`.
    pub(super) fn of(&self, all: usize, least: usize) -> usize {
        match self.0.strip_suffix('%') {
            None => self.0.parse().unwrap_or(usize::MAX),
            Some(percent) => {
                let percent: usize = percent.parse().unwrap_or(100);
                (all * percent / 100).max(least)
            }
        }
    }
}

/// Where the complete output goes.
#[derive(Clone, Debug)]
pub(super) struct OutputPlace {
    pub(super) bucket: String,
    pub(super) prefix: String,
}

impl OutputPlace {
    /// Returns the key of a stream's output.
    pub(super) fn key(&self, command: &str, instance: &str, stream: &str) -> String {
        let path = format!("{command}/{instance}/awsrunShellScript/0.awsrunShellScript/{stream}");
        match self.prefix.trim_end_matches('/') {
            "" => path,
            prefix => format!("{prefix}/{path}"),
        }
    }

    /// Returns the URL of a stream's output, as answers have it.
    pub(super) fn url(&self, region: &str, key: &str) -> String {
        format!("https://s3.{region}.amazonaws.com/{}/{key}", self.bucket)
    }
}

/// The command on one instance.
#[derive(Clone, Debug)]
pub(super) struct Invocation {
    pub(super) instance: String,
    pub(super) name: String,
    pub(super) status: Status,
    pub(super) code: i32,
    pub(super) started: Option<Millis>,
    pub(super) ended: Option<Millis>,
    pub(super) stdout: String,
    pub(super) stderr: String,
    /// Ends it.
    pub(super) cancel: CancellationToken,
}

/// The state of an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Pending,
    InProgress,
    Cancelling,
    Success,
    Failed,
    ExecutionTimedOut,
    DeliveryTimedOut,
    Undeliverable,
    Cancelled,
    /// The command had failed on too many instances before.
    Terminated,
}

impl Status {
    /// Returns AWS's names: the status, and its details.
    pub(super) fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Pending => ("Pending", "Pending"),
            Self::InProgress => ("InProgress", "InProgress"),
            Self::Cancelling => ("Cancelling", "Cancelling"),
            Self::Success => ("Success", "Success"),
            Self::Failed => ("Failed", "Failed"),
            Self::ExecutionTimedOut => ("TimedOut", "ExecutionTimedOut"),
            Self::DeliveryTimedOut => ("TimedOut", "DeliveryTimedOut"),
            Self::Undeliverable => ("Failed", "Undeliverable"),
            Self::Cancelled => ("Cancelled", "Cancelled"),
            Self::Terminated => ("Cancelled", "Terminated"),
        }
    }

    pub(super) fn has_ended(self) -> bool {
        !matches!(self, Self::Pending | Self::InProgress | Self::Cancelling)
    }

    /// Whether it counts as an error of the command.
    pub(super) fn is_error(self) -> bool {
        matches!(self, Self::Failed | Self::ExecutionTimedOut)
    }
}

impl Command {
    fn count(&self, counts: impl Fn(Status) -> bool) -> usize {
        let statuses = self.invocations.iter().map(|one| one.status);
        statuses.filter(|status| counts(*status)).count()
    }

    /// Whether no further invocation may begin.
    pub(super) fn has_too_many_errors(&self) -> bool {
        let most = self.errors.of(self.invocations.len(), 0);
        let errors = self.count(Status::is_error);
        errors > most
    }

    /// Returns status and details of the whole command.
    pub(super) fn status(&self) -> (&'static str, &'static str) {
        let has = |status: Status| self.invocations.iter().any(|one| one.status == status);
        let all = |wanted: &[Status]| {
            self.invocations
                .iter()
                .all(|one| wanted.contains(&one.status))
        };
        if self.invocations.is_empty() {
            return ("Success", "NoInstancesInTag");
        }
        if !self.invocations.iter().all(|one| one.status.has_ended()) {
            return match self.is_cancelled {
                true => ("Cancelling", "Cancelling"),
                false if all(&[Status::Pending]) => ("Pending", "Pending"),
                false => ("InProgress", "InProgress"),
            };
        }
        if all(&[Status::Success, Status::Undeliverable]) && has(Status::Success) {
            ("Success", "Success")
        } else if self.is_cancelled {
            ("Cancelled", "Cancelled")
        } else if self.has_too_many_errors() && has(Status::Failed) {
            ("Failed", "Failed")
        } else if has(Status::ExecutionTimedOut) {
            ("TimedOut", "ExecutionTimedOut")
        } else if has(Status::DeliveryTimedOut) {
            ("TimedOut", "DeliveryTimedOut")
        } else {
            ("Failed", "Incomplete")
        }
    }

    /// Returns the numbers of targets, as answers have them. As on AWS, the targets
    /// are not known at first.
    pub(super) fn counts(&self, is_new: bool) -> Value {
        let targets = if is_new && self.instances.is_empty() {
            0
        } else {
            self.invocations.len()
        };
        json!({
            "TargetCount": targets,
            "CompletedCount": self.count(Status::has_ended),
            "ErrorCount": self.count(Status::is_error),
            "DeliveryTimedOutCount": self.count(|status| status == Status::DeliveryTimedOut),
        })
    }

    /// Whether answers have the command: right after it was sent, they do not.
    pub(super) fn is_visible(&self, now: Millis) -> bool {
        now.saturating_sub(self.requested) >= CONSISTENCY
    }
}

impl Commands {
    fn all(&self) -> MutexGuard<'_, Vec<Command>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn agents(&self) -> MutexGuard<'_, BTreeMap<String, Registration>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a command, and forgets the oldest that have ended.
    pub(super) fn add(&self, command: Command) {
        let mut all = self.all();
        all.push(command);
        if all.len() > MOST {
            all.remove(0);
        }
    }

    /// Passes the commands of a region that answers have, the newest first: all, or
    /// the one with this id.
    pub(super) fn read<T>(
        &self,
        region: &str,
        id: Option<&str>,
        read: impl FnOnce(&[&Command]) -> T,
    ) -> T {
        let now = clock::millis();
        let all = self.all();
        let known = all.iter().rev().filter(|one| one.region == region);
        let known = known.filter(|one| id.is_none_or(|id| one.id == id));
        let known: Vec<&Command> = known.filter(|one| one.is_visible(now)).collect();
        read(&known)
    }

    /// Returns a command.
    pub(super) fn find(&self, region: &str, id: &str) -> Option<Command> {
        let all = self.all();
        let mut known = all.iter().filter(|one| one.region == region);
        known.find(|one| one.id == id).cloned()
    }

    /// Changes a command. Returns `None` if it is forgotten.
    pub(super) fn change<T>(&self, id: &str, change: impl FnOnce(&mut Command) -> T) -> Option<T> {
        let mut all = self.all();
        let command = all.iter_mut().rev().find(|one| one.id == id)?;
        Some(change(command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(errors: &str, statuses: &[Status]) -> Command {
        let invocation = |status: &Status| Invocation {
            instance: "i-0".into(),
            name: String::new(),
            status: *status,
            code: -1,
            started: None,
            ended: None,
            stdout: String::new(),
            stderr: String::new(),
            cancel: CancellationToken::new(),
        };
        Command {
            id: "c".into(),
            region: "us-east-1".into(),
            document: "AWS-RunShellScript".into(),
            version: "$DEFAULT".into(),
            comment: String::new(),
            parameters: Map::new(),
            instances: Vec::new(),
            targets: Vec::new(),
            timeout: 3600,
            concurrency: Limit("50".into()),
            errors: Limit(errors.into()),
            output: None,
            requested: 0,
            is_cancelled: false,
            invocations: statuses.iter().map(invocation).collect(),
        }
    }

    #[test]
    fn a_limit_is_a_number_or_a_percentage() {
        let of = |text: &str, all, least| Limit(text.to_owned()).of(all, least);
        assert_eq!(of("3", 50, 1), 3);
        assert_eq!(of("10%", 50, 1), 5);
        assert_eq!(of("10%", 5, 1), 1);
        assert_eq!(of("10%", 5, 0), 0);
        assert_eq!(of("0", 5, 0), 0);
        assert_eq!(of("100%", 0, 1), 1);
    }

    #[test]
    fn the_status_of_a_command_is_that_of_its_invocations() {
        use Status::{
            Cancelled, DeliveryTimedOut, ExecutionTimedOut, Failed, InProgress, Pending, Success,
            Terminated,
        };
        let of = |errors, statuses: &[Status]| command(errors, statuses).status();
        assert_eq!(of("0", &[]), ("Success", "NoInstancesInTag"));
        assert_eq!(of("0", &[Pending, Pending]), ("Pending", "Pending"));
        assert_eq!(of("0", &[Success, Pending]), ("InProgress", "InProgress"));
        assert_eq!(
            of("0", &[Success, InProgress]),
            ("InProgress", "InProgress")
        );
        assert_eq!(of("0", &[Success, Success]), ("Success", "Success"));
        assert_eq!(of("0", &[Failed, Terminated]), ("Failed", "Failed"));
        assert_eq!(of("1", &[Failed, Success]), ("Failed", "Incomplete"));
        let long = of("0", &[Success, ExecutionTimedOut]);
        assert_eq!(long, ("TimedOut", "ExecutionTimedOut"));
        let late = of("1", &[DeliveryTimedOut, Success]);
        assert_eq!(late, ("TimedOut", "DeliveryTimedOut"));
        let mut cancelled = command("0", &[Success, Cancelled]);
        cancelled.is_cancelled = true;
        assert_eq!(cancelled.status(), ("Cancelled", "Cancelled"));
    }
}
