//! Clients for EC2, S3, ssh and HTTP, without any Rhai.
//!
//! Each client maps foreign errors to [`crate::error::ErrorKind`] once. The AWS
//! SDK is loaded at the first AWS call, so a playbook without AWS never loads
//! it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

pub use account::{AccountOptions, AskCode, Environment, check_role_arn};
pub use aws::{AwsOptions, Endpoints, StaticKey};
pub use local::Local;
pub use pace::Pace;
use s3::Published;
pub use transport::Network;

use crate::error::Result;
use crate::report::Reporter;

mod account;
mod attempts;
mod aws;
mod aws_error;
#[cfg(feature = "crash-points")]
mod crash_points;
pub mod ec2;
pub mod http;
pub mod keys;
mod local;
pub mod marks;
mod pace;
pub mod s3;
pub mod ssh;
mod transport;
pub mod tree;

/// The clients of a run, each created at its first use.
#[derive(Debug)]
pub struct Clients {
    /// The EC2 and S3 configuration.
    aws: Arc<aws::Aws>,
    ssh: ssh::Ssh,
    http: http::Http,
    /// Facts about the user's machine.
    pub local: Local,
    cancel: CancellationToken,
    /// The outcome of publishing each key, by bucket and key. In an account
    /// that forbids public objects, another attempt would take seconds.
    published: Mutex<HashMap<(String, String), Published>>,
}

impl Clients {
    /// Creates clients, which connect at the first call.
    #[must_use]
    pub fn new(
        options: AwsOptions,
        local: Local,
        report: Reporter,
        cancel: CancellationToken,
    ) -> Self {
        let http = http::Http::new(options.local_network);
        Self {
            aws: Arc::new(aws::Aws::new(options, report.clone())),
            ssh: ssh::Ssh::new(local.clone(), report, cancel.clone()),
            http,
            local,
            cancel,
            published: Mutex::default(),
        }
    }

    /// Returns the same clients with another cancellation token.
    #[must_use]
    pub fn with_cancel(&self, report: Reporter, cancel: CancellationToken) -> Self {
        Self {
            aws: Arc::clone(&self.aws),
            ssh: ssh::Ssh::new(self.local.clone(), report, cancel.clone()),
            http: self.http.clone(),
            local: self.local.clone(),
            cancel,
            published: Mutex::default(),
        }
    }

    /// Returns the region in use and the account id, which is empty if it is
    /// not known.
    pub async fn identity(&self) -> Result<(String, String)> {
        Ok((self.aws.region().await?, self.aws.account().await?))
    }

    /// Returns whether the credentials failed only because there was no terminal
    /// to ask for the code of a multi-factor device.
    #[must_use]
    pub fn lacks_code(&self) -> bool {
        self.aws.lacks_code()
    }

    /// Returns the retry window: the time in which the endpoint may not show a
    /// resource that it has just created.
    #[must_use]
    pub fn consistency(&self) -> Duration {
        self.aws.consistency()
    }

    /// Queries a resource that was created at `created`, in milliseconds since
    /// 1970. Within the retry window, an empty answer does not mean that the
    /// resource is missing, so the query is repeated.
    pub async fn once_consistent<T>(
        &self,
        what: &str,
        created: i64,
        report: &Reporter,
        ask: impl AsyncFn() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let window = i64::try_from(self.consistency().as_millis()).unwrap_or(i64::MAX);
        let may_hide = || jiff::Timestamp::now().as_millisecond() - created <= window;
        let what = format!("{what} to appear");
        let mut pace = self.pace(what, self.consistency() * 2, report);
        loop {
            // Check the time before the query, because the answer may be older
            // than the time after it.
            let hidden = may_hide();
            match ask().await? {
                None if hidden => pace.pause("not visible yet").await?,
                answer => return Ok(answer),
            }
        }
    }

    /// Returns EC2 in the configured region.
    pub async fn ec2(&self) -> Result<ec2::Ec2<'_>> {
        Ok(ec2::Ec2::new(self.aws.ec2().await?, &self.cancel))
    }

    /// Returns S3 in the configured region.
    pub async fn s3(&self) -> Result<s3::S3<'_>> {
        Ok(s3::S3::new(
            self.aws.s3().await?,
            self.aws.addressing().await?,
            &self.cancel,
        ))
    }

    /// Makes one key public, once per run. Each change replaces the bucket's
    /// whole policy, so the lock is held to keep changes from overlapping.
    pub async fn publish(
        &self,
        s3: &s3::S3<'_>,
        bucket: &str,
        key: &str,
        blocked: bool,
    ) -> Result<Published> {
        let mut published = self.published.lock().await;
        let object = (bucket.to_owned(), key.to_owned());
        if let Some(known) = published.get(&object) {
            return Ok(known.clone());
        }
        let outcome = s3.publish(bucket, key, blocked).await?;
        published.insert(object, outcome.clone());
        Ok(outcome)
    }

    /// Returns the ssh connections.
    #[must_use]
    pub fn ssh(&self) -> &ssh::Ssh {
        &self.ssh
    }

    /// Returns the HTTP client.
    #[must_use]
    pub fn http(&self) -> &http::Http {
        &self.http
    }

    /// Returns the URL that answers with the caller's public address.
    ///
    /// Throws `unreachable` if it was the local cloud's and the local cloud is
    /// gone.
    pub fn check_ip(&self) -> Result<&str> {
        self.aws.check_ip()
    }

    /// Sleeps; fails with `cancelled` at once if the run is stopped.
    pub async fn sleep(&self, duration: Duration) -> Result<()> {
        pace::sleep(duration, &self.cancel).await
    }

    /// Starts a wait for `what` of at most `timeout`.
    #[must_use]
    pub fn pace(&self, what: String, timeout: Duration, report: &Reporter) -> Pace {
        Pace::new(what, timeout, self.cancel.clone(), report.clone())
    }
}
