//! Commands on fleets: sending, finding, following and cancelling them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::{Value, json};

use super::answers::{Invocation, Managed, Output};
use super::{Repeat, Ssm};
use crate::calls::Service;
use crate::error::{Error, ErrorKind, Result};

/// The document that runs shell commands.
const DOCUMENT: &str = "AWS-RunShellScript";

/// How many instances one request can name.
pub const MOST_IDS: usize = 50;

/// The most entries of a page.
const PAGE: usize = 50;

/// How many pages of instances are asked for at the same time.
const PAGES_AT_ONCE: usize = 4;

/// Limit for the request that cancels a command, which is sent while the run ends.
const CANCELS_WITHIN: Duration = Duration::from_secs(5);

/// How long an agent may take to fetch a command.
const DELIVERED_WITHIN: Duration = Duration::from_secs(600);

/// A command to send.
#[derive(Clone, Debug)]
pub struct NewCommand {
    /// The ids of the instances, at most [`MOST_IDS`].
    pub instances: Vec<String>,
    /// The text of the script.
    pub script: String,
    /// Names run and step; the command is found by it.
    pub comment: String,
    /// Limit for the script.
    pub timeout: Duration,
    /// How many instances run it at the same time.
    pub at_once: usize,
    /// After more failures than this, no further instance begins.
    pub max_failures: usize,
    /// Bucket and prefix of keys for the complete output.
    pub output: Option<(String, String)>,
}

/// What became of a request to send a command.
#[derive(Debug)]
pub enum Sent {
    /// AWS has accepted it: the id of the command.
    Accepted(String),
    /// There was no answer, so AWS may have accepted it.
    Unknown(Error),
}

impl Ssm<'_> {
    /// Returns the instances of these ids whose agents have registered.
    pub async fn managed(&self, ids: &[String]) -> Result<Vec<Managed>> {
        let operation = (
            "DescribeInstanceInformation",
            "ask which instances are ready",
        );
        let pages = ids.chunks(PAGE).map(async |some| {
            let body = json!({
                "Filters": [{ "Key": "InstanceIds", "Values": some }],
                "MaxResults": PAGE,
            });
            self.pages(operation, body, "InstanceInformationList").await
        });
        let pages: Vec<Result<Vec<Value>>> =
            stream::iter(pages).buffered(PAGES_AT_ONCE).collect().await;
        let mut found = Vec::new();
        for page in pages {
            found.extend(page?.iter().map(Managed::read));
        }
        Ok(found)
    }

    /// Sends a command. A request that AWS may have accepted is not repeated.
    pub async fn send_command(&self, command: &NewCommand) -> Result<Sent> {
        let operation = ("SendCommand", "send the command");
        let body = command.body();
        match self.call(operation, &body, Repeat::IfWithoutEffect).await {
            Ok(answer) => match answer["Command"]["CommandId"].as_str() {
                Some(id) => Ok(Sent::Accepted(id.to_owned())),
                None => Ok(Sent::Unknown(Error::internal("the answer has no command"))),
            },
            Err(failure) if failure.error.kind.proves_no_effect() => Err(failure.into()),
            Err(failure) if failure.error.is_unsent() => Err(failure.into()),
            Err(failure) if failure.error.kind == ErrorKind::Cancelled => Err(failure.into()),
            Err(failure) => Ok(Sent::Unknown(failure.into())),
        }
    }

    /// Returns the id of the command with this comment that was sent since a time, in
    /// milliseconds since 1970.
    pub async fn find_command(&self, comment: &str, since: i64) -> Result<Option<String>> {
        let since = jiff::Timestamp::from_millisecond(since).unwrap_or_default();
        let since = since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let body = json!({
            "Filters": [{ "key": "InvokedAfter", "value": since }],
            "MaxResults": PAGE,
        });
        let list = self
            .pages(("ListCommands", "look for the command"), body, "Commands")
            .await?;
        let found = list
            .iter()
            .find(|one| one["Comment"].as_str() == Some(comment));
        let id = found.and_then(|one| one["CommandId"].as_str());
        Ok(id.map(str::to_owned))
    }

    /// Returns the state of a command on each of its instances.
    pub async fn invocations(&self, id: &str) -> Result<Vec<Invocation>> {
        let operation = ("ListCommandInvocations", "follow the command");
        let body = json!({ "CommandId": id, "MaxResults": PAGE });
        let list = self.pages(operation, body, "CommandInvocations").await?;
        Ok(list.iter().map(Invocation::read).collect())
    }

    /// Returns what a command has written on the instances where it has succeeded and
    /// has written little. One request has the output of 50 instances.
    pub async fn short_outputs(&self, id: &str) -> Result<BTreeMap<String, Output>> {
        let operation = ("ListCommandInvocations", "read the output of the command");
        let body = json!({
            "CommandId": id,
            "Details": true,
            "Filters": [{ "key": "Status", "value": "Success" }],
            "MaxResults": PAGE,
        });
        let list = self.pages(operation, body, "CommandInvocations").await?;
        let outputs = list.iter().filter_map(|one| {
            let output = Output::read_listed(one)?;
            Some((one["InstanceId"].as_str()?.to_owned(), output))
        });
        Ok(outputs.collect())
    }

    /// Returns what a command that has ended has written on an instance. Returns `None`
    /// while AWS does not show it.
    pub async fn output(&self, id: &str, instance: &str) -> Result<Option<Output>> {
        let operation = ("GetCommandInvocation", "read the output of the command");
        let body = json!({ "CommandId": id, "InstanceId": instance });
        match self.call(operation, &body, Repeat::Always).await {
            Ok(answer) => Ok(Some(Output::read(&answer))),
            Err(failure) if failure.code == "InvocationDoesNotExist" => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Reports the requests of a command that is not sent, for the permissions that it
    /// needs.
    pub fn note_command(&self) {
        for operation in [
            "DescribeInstanceInformation",
            "SendCommand",
            "ListCommands",
            "ListCommandInvocations",
            "GetCommandInvocation",
            "CancelCommand",
        ] {
            self.listeners.send(Service::Ssm, operation, &[]);
        }
    }

    /// Cancels a command, also if the run is stopped.
    pub async fn cancel_command(&self, id: &str) -> Result<()> {
        let operation = ("CancelCommand", "cancel the command");
        let body = json!({ "CommandId": id });
        let cancelled = self.once(operation, &body, CANCELS_WITHIN).await;
        Ok(cancelled.map(drop)?)
    }

    /// Returns the state of a command once, also if the run is stopped.
    pub async fn invocations_at_end(&self, id: &str) -> Result<Vec<Invocation>> {
        let operation = ("ListCommandInvocations", "ask where the command runs");
        let body = json!({ "CommandId": id, "MaxResults": PAGE });
        let answer = self.once(operation, &body, CANCELS_WITHIN).await?;
        let list = answer["CommandInvocations"].as_array();
        Ok(list.into_iter().flatten().map(Invocation::read).collect())
    }
}

impl NewCommand {
    fn body(&self) -> Value {
        let mut body = json!({
            "DocumentName": DOCUMENT,
            "InstanceIds": self.instances,
            "Comment": self.comment,
            "TimeoutSeconds": DELIVERED_WITHIN.as_secs(),
            "MaxConcurrency": self.at_once.max(1).to_string(),
            "MaxErrors": self.max_failures.to_string(),
            "Parameters": {
                "commands": [self.script],
                "executionTimeout": [self.timeout.as_secs().to_string()],
            },
        });
        if let Some((bucket, prefix)) = &self.output {
            body["OutputS3BucketName"] = json!(bucket);
            body["OutputS3KeyPrefix"] = json!(prefix);
        }
        body
    }
}
