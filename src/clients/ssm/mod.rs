//! Systems Manager: public parameters, Run Command, and sessions.
//!
//! These are signed requests in JSON, without the SDK's crate for Systems Manager:
//! on 2 cores that crate takes 127 seconds to compile, more than a tenth of a build,
//! and the program sends nine of its 152 operations.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::calls::{Listeners, Service};
use super::pace;
use super::signed::{Failure, SignedRequest, SignedService, failure};
use crate::error::{Error, ErrorKind, Result};

mod answers;
mod commands;
mod parameters;
mod sessions;

pub use answers::{Invocation, InvocationState, Managed, Output};
pub use commands::{MOST_IDS, NewCommand, Sent};
pub(super) use sessions::Sessions;

/// Limit for a request.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How often a request is sent that only reads and fails.
const ATTEMPTS: u32 = 5;

/// How often a request is sent that AWS refuses for its rate. Commands on a large fleet
/// share the rate of the account.
const THROTTLED_ATTEMPTS: u32 = 8;

/// The pause before the second attempt; each one after it is twice as long, up to the
/// longest one.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Systems Manager in the region of a run.
#[derive(Clone, Copy, Debug)]
pub struct Ssm<'a> {
    service: &'a SignedService,
    listeners: &'a Listeners,
    cancel: &'a CancellationToken,
}

/// What may be done after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    /// Repeat a request without an effect, whatever happened.
    Always,
    /// Repeat it only if AWS has refused it for its rate, or it was not sent.
    IfWithoutEffect,
}

impl<'a> Ssm<'a> {
    pub(super) fn new(
        service: &'a SignedService,
        listeners: &'a Listeners,
        cancel: &'a CancellationToken,
    ) -> Self {
        Self {
            service,
            listeners,
            cancel,
        }
    }

    /// Sends a request, and repeats it as `repeat` says. Fails at once if the run is
    /// stopped.
    async fn call(
        &self,
        (operation, attempt): (&str, &str),
        body: &Value,
        repeat: Repeat,
    ) -> std::result::Result<Value, Failure> {
        let (mut pause, mut attempts) = (PAUSE, 0);
        loop {
            attempts += 1;
            let answer = tokio::select! {
                () = self.cancel.cancelled() => return Err(cancelled()),
                answer = self.once((operation, attempt), body, TIMEOUT) => answer,
            };
            let failure = match answer {
                Err(failure) if may_repeat(&failure, repeat, attempts) => failure,
                answer => return answer,
            };
            if pace::sleep(pace::jittered(pause), self.cancel)
                .await
                .is_err()
            {
                return Err(failure);
            }
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// Sends a request once, also if the run is stopped.
    async fn once(
        &self,
        (operation, attempt): (&str, &str),
        body: &Value,
        timeout: Duration,
    ) -> std::result::Result<Value, Failure> {
        let request = SignedRequest {
            operation,
            attempt,
            content_type: "application/x-amz-json-1.1",
            target: Some(format!("AmazonSSM.{operation}")),
            body: body.to_string(),
            timeout,
        };
        self.listeners
            .send(Service::Ssm, operation, &recorded(body));
        let answer = self.service.send(&request).await?;
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        if answer.status == 200 {
            return Ok(body);
        }
        let (code, message) = reason(&body);
        Err(failure(&request, (&code, &message), answer.status))
    }

    /// Returns all pages of a list.
    async fn pages(
        &self,
        (operation, attempt): (&str, &str),
        mut body: Value,
        list: &str,
    ) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        loop {
            let mut answer = self
                .call((operation, attempt), &body, Repeat::Always)
                .await?;
            if let Some(page) = answer[list].as_array_mut() {
                all.append(page);
            }
            match answer["NextToken"].as_str() {
                Some(token) if !token.is_empty() => body["NextToken"] = json!(token),
                _ => return Ok(all),
            }
        }
    }
}

/// Returns the parameters of a request on which permissions depend.
fn recorded(body: &Value) -> Vec<(&str, &str)> {
    let name = body["Name"].as_str().map(|name| ("Name", name));
    name.into_iter().collect()
}

/// Whether a request may be sent again that has failed so often.
fn may_repeat(failure: &Failure, repeat: Repeat, attempts: u32) -> bool {
    if failure.error.kind == ErrorKind::Throttled {
        return attempts < THROTTLED_ATTEMPTS;
    }
    let has_no_effect = match repeat {
        Repeat::Always => failure.error.kind.retryable(),
        Repeat::IfWithoutEffect => failure.error.is_unsent(),
    };
    has_no_effect && attempts < ATTEMPTS
}

fn cancelled() -> Failure {
    Failure {
        code: String::new(),
        error: Error::cancelled(),
    }
}

/// Returns code and message of an error answer in JSON.
pub(super) fn reason(answer: &Value) -> (String, String) {
    // AWS's services write the member with either letter.
    let message = answer["message"].as_str().or(answer["Message"].as_str());
    let code = answer["__type"].as_str().unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default();
    (code.to_owned(), message.unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_answer_has_a_code_and_a_message() {
        let denied = json!({
            "__type": "AccessDeniedException",
            "Message": "User: arn:aws:iam::1:user/a is not authorized to perform: ssm:GetParameter",
        });
        let (code, message) = reason(&denied);
        assert_eq!(code, "AccessDeniedException");
        assert!(message.ends_with("perform: ssm:GetParameter"));
        let missing = json!({ "__type": "com.amazonaws.ssm#ParameterNotFound" });
        assert_eq!(reason(&missing).0, "ParameterNotFound");
        assert_eq!(reason(&Value::Null), (String::new(), String::new()));
    }
}
