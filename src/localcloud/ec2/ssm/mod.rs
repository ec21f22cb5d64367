//! Systems Manager: the public parameters with the ids of images, Run Command with the
//! agents of instances, and sessions with their ports.
//!
//! - `parameters` is Parameter Store.
//! - `managed` decides which instances an agent has registered.
//! - `send_command` checks and sends a command, `commands` keeps all of them,
//!   `delivery` brings them to the agents, `cancellation` ends them.
//! - `command_answers` and `invocation_answers` describe them.
//! - `sessions` starts and ends sessions, `data_channel` carries their data in the
//!   messages of `agent_message`.
//! - `order` is what an agent is asked to do; `../agent.rs` does it.
//!
//! Commands and sessions are kept in memory: they end with the process, as the instances do.

mod agent_message;
mod cancellation;
mod command_answers;
mod commands;
mod data_channel;
mod delivery;
mod invocation_answers;
mod managed;
mod order;
mod output;
mod parameters;
mod send_command;
mod sessions;

use std::sync::Arc;

use hyper::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Machines;
use super::call::CloudInfo;
use super::refusal::{Refusal, Result};
use super::regions::has_region;
use super::store::Store;
use crate::authorization::{Guard, Need};
use crate::faults::Account;

pub(super) use commands::Commands;
pub(super) use data_channel::open as open_data_channel;
pub(super) use managed::Agent;
pub(super) use order::{Captured, End, Finished, Order};
pub(crate) use output::OutputStore;
pub(crate) use sessions::PATH as DATA_CHANNELS;
pub(super) use sessions::Sessions;

/// An operation answers a request with JSON.
type Operation = fn(&Request<'_>) -> Result<Value>;

/// Every operation, by AWS's name.
const OPERATIONS: &[(&str, Operation)] = &[
    ("CancelCommand", cancellation::cancel_command),
    (
        "DescribeInstanceInformation",
        managed::describe_instance_information,
    ),
    (
        "GetCommandInvocation",
        invocation_answers::get_command_invocation,
    ),
    ("GetParameter", parameters::get_parameter),
    ("GetParameters", parameters::get_parameters),
    ("GetParametersByPath", parameters::get_parameters_by_path),
    (
        "ListCommandInvocations",
        invocation_answers::list_command_invocations,
    ),
    ("ListCommands", command_answers::list_commands),
    ("ResumeSession", sessions::resume_session),
    ("SendCommand", send_command::send_command),
    ("StartSession", sessions::start_session),
    ("TerminateSession", sessions::terminate_session),
];

/// Returns AWS's names of the operations.
pub(super) fn operations() -> impl Iterator<Item = &'static str> {
    OPERATIONS.iter().map(|(name, _)| *name)
}

/// A request whose signature has been verified.
pub(super) struct Request<'a> {
    pub(super) region: &'a str,
    pub(super) operation: &'a str,
    pub(super) body: &'a [u8],
    /// The name and port under which the sender reaches this server.
    pub(super) host: &'a str,
    pub(super) guard: Option<&'a Guard>,
    pub(super) account: &'a Account,
    pub(super) facts: &'a CloudInfo,
    pub(super) cloud: &'a Arc<Cloud>,
}

/// What requests and commands work with.
#[derive(Debug)]
pub(super) struct Cloud {
    pub(super) store: Arc<Store>,
    pub(super) machines: Option<Machines>,
    pub(super) outputs: Option<Arc<dyn OutputStore>>,
    pub(super) commands: Commands,
    pub(super) sessions: Sessions,
}

impl Request<'_> {
    /// Checks that the sender may do what the request needs.
    fn allow(&self, needs: impl IntoIterator<Item = Need>) -> Result<()> {
        let result = self.guard.map_or(Ok(()), |guard| guard.check(needs));
        result.map_err(|denial| Refusal::new("AccessDeniedException", denial.message(false)))
    }

    /// Checks that the sender may call an operation that acts on no resource.
    fn allow_operation(&self) -> Result<()> {
        self.allow([Need::of_action(format!("ssm:{}", self.operation))])
    }
}

/// Answers a request to a region.
pub(super) fn answer(request: &Request<'_>) -> Result<Value> {
    if !has_region(request.region) {
        let message = format!(
            "The local cloud does not have the region '{}'",
            request.region
        );
        return Err(Refusal::new("UnrecognizedClientException", message));
    }
    let mut operations = OPERATIONS.iter();
    let found = operations.find(|(name, _)| *name == request.operation);
    let Some((_, operation)) = found else {
        return Err(Refusal::new("UnknownOperationException", ""));
    };
    operation(request)
}

/// Returns the operation that a request names in its header.
pub(crate) fn operation(headers: &HeaderMap) -> String {
    let target = headers.get("x-amz-target").and_then(|v| v.to_str().ok());
    let operation = target.and_then(|target| target.strip_prefix("AmazonSSM."));
    operation.unwrap_or_default().to_owned()
}

/// Returns an error answer in Systems Manager's format.
pub(crate) fn refused(refusal: &Refusal) -> Value {
    let mut answer = json!({ "__type": refusal.code });
    if !refusal.message.is_empty() {
        answer["message"] = json!(refusal.message);
    }
    answer
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|e| Refusal::new("SerializationException", e.to_string()))
}

/// Returns the failure of a value that breaks a rule of the service's model.
fn invalid(value: &str, member: &str, rule: &str) -> Refusal {
    let message = format!(
        "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: \
         {rule}"
    );
    Refusal::new("ValidationException", message)
}

/// Checks a number against the limits of the service's model.
fn check_number(value: Option<u64>, member: &str, least: u64, most: u64) -> Result<()> {
    match value {
        Some(value) if value < least => {
            let rule = format!("Member must have value greater than or equal to {least}");
            Err(invalid(&value.to_string(), member, &rule))
        }
        Some(value) if value > most => {
            let rule = format!("Member must have value less than or equal to {most}");
            Err(invalid(&value.to_string(), member, &rule))
        }
        _ => Ok(()),
    }
}

/// Returns the page of entries that a token names, and the token of the next page.
/// The token is the key of the last entry before the page: an entry that is new in front
/// of it moves nothing to another page.
fn page<T>(
    mut entries: Vec<T>,
    key: impl Fn(&T) -> String,
    most: usize,
    token: Option<&str>,
) -> Result<(Vec<T>, Option<String>)> {
    if let Some(token) = token {
        let last = entries.iter().position(|entry| key(entry) == token);
        let last = last
            .ok_or_else(|| Refusal::new("InvalidNextToken", "The specified token isn't valid."))?;
        entries.drain(..=last);
    }
    let has_more = entries.len() > most;
    entries.truncate(most);
    let next = entries.last().filter(|_| has_more).map(key);
    Ok((entries, next))
}

/// Returns a time as the service writes it: seconds since 1970.
fn seconds(millis: super::state::Millis) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "the time has 41 bits")]
    let seconds = millis as f64 / 1000.0;
    json!(seconds)
}
