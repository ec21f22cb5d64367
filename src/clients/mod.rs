//! What the outside world is reached through: EC2, S3, ssh, HTTP. No Rhai here.
//!
//! Each client maps foreign errors to [`crate::error::ErrorKind`] once. The SDK
//! is loaded when it is first needed, never for a playbook without AWS.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

pub use aws::{AwsOptions, Endpoints, StaticKey};
pub use local::Local;
pub use pace::Pace;
use s3::Published;

use crate::error::Result;
use crate::report::Reporter;

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
pub mod tree;

/// The clients of a run, each built when it is first used.
#[derive(Debug)]
pub struct Clients {
    /// EC2 and S3 configuration.
    aws: Arc<aws::Aws>,
    ssh: ssh::Ssh,
    http: http::Http,
    /// The user's machine.
    pub local: Local,
    cancel: CancellationToken,
    /// What became of making a key public: asking again would take seconds
    /// where the account forbids it.
    published: Mutex<HashMap<(String, String), Published>>,
}

impl Clients {
    /// Clients that connect to nothing yet.
    #[must_use]
    pub fn new(
        options: AwsOptions,
        local: Local,
        report: Reporter,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            aws: Arc::new(aws::Aws::new(options, report.clone())),
            ssh: ssh::Ssh::new(local.clone(), report, cancel.clone()),
            http: http::Http::default(),
            local,
            cancel,
            published: Mutex::default(),
        }
    }

    /// The same clients for work that another signal stops.
    #[must_use]
    pub fn with_cancel(&self, report: Reporter, cancel: CancellationToken) -> Self {
        Self {
            aws: Arc::clone(&self.aws),
            ssh: ssh::Ssh::new(self.local.clone(), report, cancel.clone()),
            http: http::Http::default(),
            local: self.local.clone(),
            cancel,
            published: Mutex::default(),
        }
    }

    /// The region in use and the account's number, which is empty when nobody
    /// told it.
    pub async fn identity(&self) -> Result<(String, String)> {
        Ok((self.aws.region().await?, self.aws.account().await?))
    }

    /// How long right after a create the endpoint may deny that it exists.
    #[must_use]
    pub fn consistency(&self) -> Duration {
        self.aws.consistency()
    }

    /// Asks for something that was made at `made`, in milliseconds since 1970:
    /// while the endpoint may deny that it exists, an empty answer does not mean that
    /// it is missing.
    pub async fn once_consistent<T>(
        &self,
        what: &str,
        made: i64,
        report: &Reporter,
        ask: impl AsyncFn() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let window = i64::try_from(self.consistency().as_millis()).unwrap_or(i64::MAX);
        let may_hide = || jiff::Timestamp::now().as_millisecond() - made <= window;
        let what = format!("{what} to show");
        let mut pace = self.pace(what, self.consistency() * 2, report);
        loop {
            // The time first: an answer is as old as its question.
            let hidden = may_hide();
            match ask().await? {
                None if hidden => pace.pause("not visible yet").await?,
                answer => return Ok(answer),
            }
        }
    }

    /// EC2 in the configured region.
    pub async fn ec2(&self) -> Result<ec2::Ec2<'_>> {
        Ok(ec2::Ec2::new(self.aws.ec2().await?, &self.cancel))
    }

    /// S3 in the configured region.
    pub async fn s3(&self) -> Result<s3::S3<'_>> {
        let endpoint = self.aws.s3_endpoint().await?;
        Ok(s3::S3::new(
            self.aws.s3().await?,
            self.aws.region().await?,
            endpoint,
            &self.cancel,
        ))
    }

    /// Lets everyone read one key, once per run. Changes of one bucket's
    /// policy must not overlap, so the lock is held meanwhile.
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

    /// ssh connections.
    #[must_use]
    pub fn ssh(&self) -> &ssh::Ssh {
        &self.ssh
    }

    /// HTTP requests.
    #[must_use]
    pub fn http(&self) -> &http::Http {
        &self.http
    }

    /// The URL that answers with the caller's public address.
    ///
    /// Throws `unreachable` when the local cloud that had it is gone.
    pub fn check_ip(&self) -> Result<&str> {
        self.aws.check_ip()
    }

    /// Sleeps; `cancelled` at once when the run is stopped.
    pub async fn sleep(&self, duration: Duration) -> Result<()> {
        pace::sleep(duration, &self.cancel).await
    }

    /// A wait for `what` of at most `timeout`.
    #[must_use]
    pub fn pace(&self, what: String, timeout: Duration, report: &Reporter) -> Pace {
        Pace::new(what, timeout, self.cancel.clone(), report.clone())
    }
}
