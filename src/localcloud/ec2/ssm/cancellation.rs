//! Cancels a command.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::refusal::{Refusal, Result};
use super::commands::Status;
use super::{Request, read};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct CancelCommand {
    command_id: String,
    #[serde(default)]
    instance_ids: Vec<String>,
}

/// Returns the failure of an id that no command has.
pub(super) fn no_such_command() -> Refusal {
    Refusal::new("InvalidCommandId", "")
}

pub(super) fn cancel_command(request: &Request<'_>) -> Result<Value> {
    request.allow_operation()?;
    let wanted: CancelCommand = read(request.body)?;
    let commands = &request.cloud.commands;
    let found = commands.find(request.region, &wanted.command_id);
    let found = found.ok_or_else(no_such_command)?;
    let has = |id: &String| found.invocations.iter().any(|one| one.instance == *id);
    if !wanted.instance_ids.iter().all(has) {
        return Err(Refusal::new("InvalidInstanceId", ""));
    }
    commands.change(&wanted.command_id, |command| {
        command.is_cancelled |= wanted.instance_ids.is_empty();
        for invocation in &mut command.invocations {
            let is_meant = wanted.instance_ids.is_empty()
                || wanted.instance_ids.contains(&invocation.instance);
            if is_meant && !invocation.status.has_ended() {
                if invocation.status == Status::InProgress {
                    invocation.status = Status::Cancelling;
                }
                invocation.cancel.cancel();
            }
        }
    });
    Ok(json!({}))
}
