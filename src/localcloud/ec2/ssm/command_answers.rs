//! Describes commands.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::refusal::{Refusal, Result};
use super::super::state::Millis;
use super::commands::Command;
use super::{Request, check_number, page, read, seconds};

/// The size of a page: the default is the largest.
pub(super) const PAGE: u64 = 50;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ListCommands {
    command_id: Option<String>,
    instance_id: Option<String>,
    max_results: Option<u64>,
    next_token: Option<String>,
    #[serde(default)]
    filters: Vec<Filter>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    pub(super) key: String,
    pub(super) value: String,
}

impl Filter {
    /// Whether a command, or an invocation with a status of its own, is selected.
    pub(super) fn selects(&self, command: &Command, status: &str) -> Result<bool> {
        let time = || {
            let parsed = self.value.parse::<jiff::Timestamp>();
            let parsed = parsed.map_err(|_| {
                let message = "The specified filter value isn't valid.";
                Refusal::new("ValidationException", message)
            })?;
            Ok(u64::try_from(parsed.as_millisecond()).unwrap_or_default())
        };
        Ok(match self.key.as_str() {
            "InvokedAfter" => command.requested > time()?,
            "InvokedBefore" => command.requested < time()?,
            "Status" => status == self.value,
            "DocumentName" => command.document == self.value,
            "ExecutionStage" => {
                let is_executing = ["Pending", "InProgress", "Cancelling"].contains(&status);
                (self.value == "Executing") == is_executing
            }
            _ => {
                let message = "The specified key isn't valid.";
                return Err(Refusal::new("InvalidFilterKey", message));
            }
        })
    }
}

/// Whether all filters select a command or an invocation.
pub(super) fn are_met(filters: &[Filter], command: &Command, status: &str) -> Result<bool> {
    for filter in filters {
        if !filter.selects(command, status)? {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn list_commands(request: &Request<'_>) -> Result<Value> {
    request.allow_operation()?;
    let wanted: ListCommands = read(request.body)?;
    check_number(wanted.max_results, "maxResults", 1, PAGE)?;
    let most = usize::try_from(wanted.max_results.unwrap_or(PAGE)).unwrap_or_default();
    let token = wanted.next_token.as_deref();
    let has = |command: &Command, id: &String| {
        let mut instances = command.invocations.iter().map(|one| &one.instance);
        instances.any(|instance| instance == id)
    };
    let page_of = |all: &[&Command]| -> Result<(Vec<Value>, Option<String>)> {
        let mut found = Vec::new();
        for command in all {
            let instance = wanted.instance_id.as_ref();
            let is_there = instance.is_none_or(|id| has(command, id));
            if is_there && are_met(&wanted.filters, command, command.status().0)? {
                found.push(*command);
            }
        }
        let (shown, next) = page(found, |command| command.id.clone(), most, token)?;
        let shown: Vec<Value> = shown.iter().map(|one| describe(one, false)).collect();
        Ok((shown, next))
    };
    let commands = &request.cloud.commands;
    let (shown, next) = commands.read(request.region, wanted.command_id.as_deref(), page_of)?;
    let mut answer = json!({ "Commands": shown });
    if let Some(next) = next {
        answer["NextToken"] = json!(next);
    }
    Ok(answer)
}

/// Returns the description of a command.
pub(super) fn describe(command: &Command, is_new: bool) -> Value {
    let (status, details) = if is_new {
        ("Pending", "Pending")
    } else {
        command.status()
    };
    let output = command.output.as_ref();
    let mut answer = json!({
        "CommandId": command.id,
        "DocumentName": command.document,
        "DocumentVersion": command.version,
        "Comment": command.comment,
        "ExpiresAfter": seconds(expires(command)),
        "Parameters": command.parameters,
        "InstanceIds": command.instances,
        "Targets": command.targets,
        "RequestedDateTime": seconds(command.requested),
        "Status": status,
        "StatusDetails": details,
        "OutputS3BucketName": output.map_or("", |place| &place.bucket),
        "OutputS3KeyPrefix": output.map_or("", |place| &place.prefix),
        "MaxConcurrency": command.concurrency.0,
        "MaxErrors": command.errors.0,
        "ServiceRole": "",
        "NotificationConfig": no_notification(),
        "CloudWatchOutputConfig": no_log(),
        "TimeoutSeconds": command.timeout,
    });
    if let (Some(answer), Some(counts)) =
        (answer.as_object_mut(), command.counts(is_new).as_object())
    {
        answer.extend(counts.clone());
    }
    answer
}

/// Returns when a command ends at the latest.
fn expires(command: &Command) -> Millis {
    let (_, _, execution) = super::send_command::script(command);
    command.requested + (command.timeout + execution) * 1000
}

/// Returns what an answer has of notifications and logs, which no command has.
pub(super) fn no_notification() -> Value {
    json!({ "NotificationArn": "", "NotificationEvents": [], "NotificationType": "" })
}

pub(super) fn no_log() -> Value {
    json!({ "CloudWatchLogGroupName": "", "CloudWatchOutputEnabled": false })
}
