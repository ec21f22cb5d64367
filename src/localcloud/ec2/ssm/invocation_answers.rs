//! Describes the invocations of commands.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::refusal::{Refusal, Result};
use super::cancellation::no_such_command;
use super::command_answers::{Filter, PAGE, are_met, no_log, no_notification};
use super::commands::{Command, Invocation};
use super::{Request, check_number, page, read, seconds};
use crate::clock::{self, iso};

/// The only plugin of the document.
const PLUGIN: &str = "aws:runShellScript";

/// The longest output in a list.
const LISTED: usize = 2500;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct GetCommandInvocation {
    command_id: String,
    instance_id: String,
    plugin_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ListCommandInvocations {
    command_id: Option<String>,
    instance_id: Option<String>,
    max_results: Option<u64>,
    next_token: Option<String>,
    #[serde(default)]
    filters: Vec<Filter>,
    #[serde(default)]
    details: bool,
}

pub(super) fn get_command_invocation(request: &Request<'_>) -> Result<Value> {
    request.allow_operation()?;
    let wanted: GetCommandInvocation = read(request.body)?;
    if wanted.command_id.len() != 36 {
        return Err(no_such_command());
    }
    if wanted.plugin_name.is_some_and(|name| name != PLUGIN) {
        return Err(Refusal::new("InvalidPluginName", ""));
    }
    let missing = || Refusal::new("InvocationDoesNotExist", "");
    let command = request
        .cloud
        .commands
        .find(request.region, &wanted.command_id);
    let command = command.filter(|command| command.is_visible(clock::millis()));
    let command = command.ok_or_else(missing)?;
    let mut all = command.invocations.iter();
    let invocation = all.find(|one| one.instance == wanted.instance_id);
    Ok(whole(&command, invocation.ok_or_else(missing)?))
}

fn whole(command: &Command, invocation: &Invocation) -> Value {
    let (status, details) = invocation.status.names();
    let ended = invocation.ended.filter(|_| invocation.started.is_some());
    let elapsed = invocation.started.zip(ended);
    let elapsed = elapsed.map(|(started, ended)| elapsed_time(ended.saturating_sub(started)));
    json!({
        "CommandId": command.id,
        "InstanceId": invocation.instance,
        "Comment": command.comment,
        "DocumentName": command.document,
        "DocumentVersion": command.version,
        "PluginName": PLUGIN,
        "ResponseCode": invocation.code,
        "ExecutionStartDateTime": invocation.started.map(iso).unwrap_or_default(),
        "ExecutionElapsedTime": elapsed.unwrap_or_default(),
        "ExecutionEndDateTime": ended.map(iso).unwrap_or_default(),
        "Status": status,
        "StatusDetails": details,
        "StandardOutputContent": invocation.stdout,
        "StandardOutputUrl": url(command, invocation, "stdout"),
        "StandardErrorContent": invocation.stderr,
        "StandardErrorUrl": url(command, invocation, "stderr"),
        "CloudWatchOutputConfig": no_log(),
    })
}

/// Formats a duration as the service does, such as `PT0.123S`.
fn elapsed_time(millis: u64) -> String {
    format!("PT{}.{:03}S", millis / 1000, millis % 1000)
}

/// Returns the URL of a stream's complete output.
fn url(command: &Command, invocation: &Invocation, stream: &str) -> String {
    let place = command.output.as_ref();
    let url = place.map(|place| {
        let key = place.key(&command.id, &invocation.instance, stream);
        place.url(&command.region, &key)
    });
    url.unwrap_or_default()
}

pub(super) fn list_command_invocations(request: &Request<'_>) -> Result<Value> {
    request.allow_operation()?;
    let wanted: ListCommandInvocations = read(request.body)?;
    check_number(wanted.max_results, "maxResults", 1, PAGE)?;
    let most = usize::try_from(wanted.max_results.unwrap_or(PAGE)).unwrap_or_default();
    let token = wanted.next_token.as_deref();
    let page_of = |all: &[&Command]| -> Result<(Vec<Value>, Option<String>)> {
        let mut found = Vec::new();
        for command in all {
            for invocation in &command.invocations {
                let is_there = wanted.instance_id.as_ref();
                let is_there = is_there.is_none_or(|id| *id == invocation.instance);
                if is_there && are_met(&wanted.filters, command, invocation.status.names().0)? {
                    found.push((*command, invocation));
                }
            }
        }
        let key = |(command, invocation): &(&Command, &Invocation)| {
            format!("{} {}", command.id, invocation.instance)
        };
        let (shown, next) = page(found, key, most, token)?;
        let shown = shown.into_iter();
        let shown = shown.map(|(command, one)| listed(command, one, wanted.details));
        Ok((shown.collect(), next))
    };
    let commands = &request.cloud.commands;
    let (shown, next) = commands.read(request.region, wanted.command_id.as_deref(), page_of)?;
    let mut answer = json!({ "CommandInvocations": shown });
    if let Some(next) = next {
        answer["NextToken"] = json!(next);
    }
    Ok(answer)
}

fn listed(command: &Command, invocation: &Invocation, details: bool) -> Value {
    let (status, status_details) = invocation.status.names();
    let plugins = if details {
        vec![plugin(command, invocation)]
    } else {
        Vec::new()
    };
    json!({
        "CommandId": command.id,
        "InstanceId": invocation.instance,
        "InstanceName": invocation.name,
        "Comment": command.comment,
        "DocumentName": command.document,
        "DocumentVersion": command.version,
        "RequestedDateTime": seconds(command.requested),
        "Status": status,
        "StatusDetails": status_details,
        "StandardOutputUrl": url(command, invocation, "stdout"),
        "StandardErrorUrl": url(command, invocation, "stderr"),
        "CommandPlugins": plugins,
        "ServiceRole": "",
        "NotificationConfig": no_notification(),
        "CloudWatchOutputConfig": no_log(),
    })
}

fn plugin(command: &Command, invocation: &Invocation) -> Value {
    let (status, status_details) = invocation.status.names();
    let mut plugin = json!({
        "Name": PLUGIN,
        "Status": status,
        "StatusDetails": status_details,
        "ResponseCode": invocation.code,
        "Output": both(&invocation.stdout, &invocation.stderr),
        "StandardOutputUrl": url(command, invocation, "stdout"),
        "StandardErrorUrl": url(command, invocation, "stderr"),
    });
    if let Some(place) = &command.output {
        plugin["OutputS3BucketName"] = json!(place.bucket);
        plugin["OutputS3KeyPrefix"] = json!(place.prefix);
        plugin["OutputS3Region"] = json!(command.region);
    }
    if let Some(started) = invocation.started {
        plugin["ResponseStartDateTime"] = seconds(started);
    }
    if let Some(ended) = invocation.ended {
        plugin["ResponseFinishDateTime"] = seconds(ended);
    }
    plugin
}

/// Returns both streams in one text, as lists have them.
fn both(stdout: &str, stderr: &str) -> String {
    let text = match stderr {
        "" => stdout.to_owned(),
        stderr => format!("{stdout}\n----------ERROR-------\n{stderr}"),
    };
    text.chars().take(LISTED).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_elapsed_time_is_an_iso_duration() {
        assert_eq!(elapsed_time(0), "PT0.000S");
        assert_eq!(elapsed_time(61_007), "PT61.007S");
    }

    #[test]
    fn a_list_has_the_beginning_of_both_streams() {
        assert_eq!(both("a\n", ""), "a\n");
        assert_eq!(both("a\n", "b\n"), "a\n\n----------ERROR-------\nb\n");
        assert_eq!(both(&"a".repeat(3000), "").len(), 2500);
    }
}
