//! Sessions with a port of an instance, whose data AWS's session-manager-plugin carries.
//!
//! The program starts and ends sessions itself. So the plugin needs no credentials, and
//! the AWS CLI need not be installed.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Repeat, Ssm};
use crate::aws::Aws;
use crate::calls::Service;
use crate::error::{Error, ErrorKind, Result};
use crate::report::text;
use crate::ssh::{Secret, SsmSession, SsmSessionEnd, SsmSessions, SsmTarget};

/// The document for ssh.
const DOCUMENT: &str = "AWS-StartSSHSession";

/// AWS's program.
const PLUGIN: &str = "session-manager-plugin";

/// The last version of the plugin that reads a session only from its arguments, where
/// every user of this machine could see the token.
const TOO_OLD: [u64; 4] = [1, 2, 497, 0];

/// The environment variable with the session.
const RESPONSE: &str = "AWS_SSM_START_SESSION_RESPONSE";

/// Limit for the plugin to print its version.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// Limit for the request that ends a session, which is also sent while the run ends.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// Starts the sessions of a run.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    aws: Arc<Aws>,
    cancel: CancellationToken,
    /// The sessions that have not ended.
    open: TaskTracker,
    plugin: Arc<OnceCell<()>>,
}

impl Sessions {
    pub(crate) fn new(aws: Arc<Aws>, cancel: CancellationToken) -> Self {
        Self {
            aws,
            cancel,
            open: TaskTracker::new(),
            plugin: Arc::default(),
        }
    }

    /// Returns the same sessions with another cancellation token.
    pub(crate) fn with_cancel(&self, cancel: CancellationToken) -> Self {
        Self {
            cancel,
            ..self.clone()
        }
    }

    /// Waits until each session has been terminated.
    pub(crate) async fn ended(&self) {
        self.open.close();
        // What is left, AWS ends after some time without data.
        drop(tokio::time::timeout(ENDS_WITHIN, self.open.wait()).await);
    }

    async fn started(&self, target: &SsmTarget, port: u16) -> Result<SsmSession> {
        self.plugin.get_or_try_init(check_plugin).await?;
        let service = self.aws.ssm().await?;
        let ssm = Ssm::new(service, self.aws.listeners(), &self.cancel);
        let request = json!({
            "Target": target.instance,
            "DocumentName": DOCUMENT,
            "Parameters": { "portNumber": [port.to_string()] },
        });
        let attempt = format!("start a session with {}", target.instance);
        // A session without a client, after a lost answer, ends by itself.
        let answer = ssm
            .call(("StartSession", &attempt), &request, Repeat::Always)
            .await?;
        let Some(id) = answer["SessionId"].as_str() else {
            return Err(Error::internal("the answer has no session"));
        };
        let end = self.end_of(id);
        Ok(SsmSession {
            program: PLUGIN.into(),
            arguments: vec![
                RESPONSE.to_owned(),
                service.region().to_owned(),
                "StartSession".to_owned(),
                target.profile.clone().unwrap_or_default(),
                request.to_string(),
                service.url().trim_end_matches('/').to_owned(),
            ],
            variable: (RESPONSE, Secret(answer.to_string())),
            end,
        })
    }

    /// Returns what ends a session.
    fn end_of(&self, id: &str) -> SsmSessionEnd {
        let (aws, id) = (Arc::clone(&self.aws), id.to_owned());
        // A connection may be dropped on any thread.
        let runtime = tokio::runtime::Handle::current();
        let is_open = self.open.token();
        SsmSessionEnd::new(move || {
            runtime.spawn(async move {
                end(&aws, &id).await;
                drop(is_open);
            });
        })
    }
}

impl SsmSessions for Sessions {
    fn start<'a>(&'a self, target: &'a SsmTarget, port: u16) -> BoxFuture<'a, Result<SsmSession>> {
        self.started(target, port).boxed()
    }
}

/// Ends a session. Without it, AWS ends the session after some time without data.
async fn end(aws: &Aws, id: &str) {
    let ended = async {
        // The run may have been stopped.
        let never = CancellationToken::new();
        let ssm = Ssm::new(aws.ssm().await?, aws.listeners(), &never);
        let body = json!({ "SessionId": id });
        let operation = ("TerminateSession", "end the session");
        let ended = ssm.once(operation, &body, ENDS_WITHIN).await;
        Ok::<Value, Error>(ended?)
    };
    if let Err(error) = ended.await {
        aws.report().debug(format!("{id}: {error}"));
    }
}

impl Ssm<'_> {
    /// Reports the requests of a session that is not started, for the permissions that
    /// it needs.
    pub fn note_session(&self) {
        for operation in ["StartSession", "TerminateSession"] {
            self.listeners.send(Service::Ssm, operation, &[]);
        }
    }
}

/// Checks that the plugin is installed, and takes a session from the environment.
async fn check_plugin() -> Result<()> {
    let asked = Command::new(PLUGIN)
        .arg("--version")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let answer = match tokio::time::timeout(ANSWERS_WITHIN, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => return Err(missing()),
        Ok(Err(error)) => return Err(Error::io("start", PLUGIN.as_ref(), &error)),
        Err(_) => {
            let message = format!("`{PLUGIN} --version` did not end within 10 s");
            return Err(Error::new(ErrorKind::Timeout, message));
        }
    };
    let text = String::from_utf8_lossy(&answer.stdout);
    match version(text.trim()) {
        Some(version) if version > TOO_OLD => Ok(()),
        _ => {
            let message = format!(
                "{PLUGIN} is too old: it must be newer than 1.2.497.0, and `{PLUGIN} --version` \
                 prints `{}`",
                text::harmless(text.trim())
            );
            Err(Error::new(ErrorKind::NotFound, message).hint(INSTALL))
        }
    }
}

/// Where the plugin comes from. Distributions do not have it, except for Nix.
const INSTALL: &str = "install AWS's package: \
     https://s3.amazonaws.com/session-manager-downloads/plugin/latest/ubuntu_64bit/\
session-manager-plugin.deb on Debian and Ubuntu, .../linux_64bit/session-manager-plugin.rpm on \
     Amazon Linux, Fedora and RHEL (_arm64 in place of _64bit on ARM), `brew install --cask \
     session-manager-plugin` on macOS, `ssm-session-manager-plugin` on NixOS";

fn missing() -> Error {
    let message = format!("`{PLUGIN}` is not installed, which carries ssh through Systems Manager");
    Error::new(ErrorKind::NotFound, message).hint(INSTALL)
}

/// Reads a version such as `1.2.707.0`.
fn version(text: &str) -> Option<[u64; 4]> {
    let numbers: Option<Vec<u64>> = text.split('.').map(|one| one.parse().ok()).collect();
    numbers?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(version("1.2.707.0").unwrap() > TOO_OLD);
        assert!(version("1.10.0.0").unwrap() > TOO_OLD);
        assert!(version("1.2.497.0").unwrap() <= TOO_OLD);
        assert!(version("1.2.54.0").unwrap() < TOO_OLD);
        for text in ["", "1.2", "1.2.3.4.5", "1.2.x.0"] {
            assert_eq!(version(text), None, "{text}");
        }
    }
}
