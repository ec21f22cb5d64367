//! EC2 Instance Connect: lets the holder of a private key log in to an instance that does
//! not know the key.
//!
//! This is a signed request in JSON, for the reason that the header of `ssm` has.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::calls::{Listeners, Service};
use super::pace;
use super::signed::{Failure, SignedRequest, SignedService, failure};
use super::ssm::reason;
use crate::error::{Error, Result};

/// Limit for a request.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How often the request is sent if it fails for a moment.
const ATTEMPTS: u32 = 4;

/// The pause before the second attempt; each one after it is twice as long.
const PAUSE: Duration = Duration::from_millis(200);

const OPERATION: &str = "SendSSHPublicKey";

/// EC2 Instance Connect in the region of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct InstanceConnect<'a> {
    pub(super) service: &'a SignedService,
    pub(super) listeners: &'a Listeners,
    pub(super) cancel: &'a CancellationToken,
}

impl InstanceConnect<'_> {
    /// Lets an instance accept a public key for 60 seconds. The request succeeds also if
    /// the image of the instance does not look at such keys.
    pub(super) async fn send_public_key(
        &self,
        instance: &str,
        user: &str,
        key: &str,
    ) -> Result<()> {
        let body = json!({
            "InstanceId": instance,
            "InstanceOSUser": user,
            "SSHPublicKey": key,
        });
        let body = body.to_string();
        let mut pause = PAUSE;
        for _ in 1..ATTEMPTS {
            let answer = tokio::select! {
                () = self.cancel.cancelled() => return Err(Error::cancelled()),
                answer = self.send(instance, &body) => answer,
            };
            match answer {
                Ok(()) => return Ok(()),
                Err(failure) if failure.error.kind.retryable() => {}
                Err(failure) => return Err(failure.into()),
            }
            pace::sleep(pause, self.cancel).await?;
            pause *= 2;
        }
        Ok(self.send(instance, &body).await?)
    }

    async fn send(&self, instance: &str, body: &str) -> std::result::Result<(), Failure> {
        let attempt = format!("send a public key to {instance}");
        let request = SignedRequest {
            operation: OPERATION,
            attempt: &attempt,
            content_type: "application/x-amz-json-1.1",
            target: Some(format!("AWSEC2InstanceConnectService.{OPERATION}")),
            body: body.to_owned(),
            timeout: TIMEOUT,
        };
        self.listeners
            .send(Service::InstanceConnect, OPERATION, &[]);
        let answer = self.service.send(&request).await?;
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        if answer.status == 200 {
            return Ok(());
        }
        let (code, message) = reason(&body);
        Err(failure(&request, (&code, &message), answer.status))
    }
}
