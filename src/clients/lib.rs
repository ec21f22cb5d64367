//! Clients for EC2, S3, Systems Manager, IAM, ssh and HTTP, without any Rhai.
//!
//! Each client maps foreign errors to [`crate::error::ErrorKind`] once. The AWS
//! SDK is loaded at the first AWS call, so a playbook without AWS never loads
//! it.
//!
//! They are a package of their own because only they use the SDK: the compiler needs
//! much memory for the package above while it works on EC2's.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

pub use account::{AccountOptions, AskCode, Environment, check_role_arn};
pub use autorun_core::confinement::{Confinement, Network};
pub use autorun_core::local::Local;
pub use autorun_core::{key_file, keys, ssh, tree};
pub use aws::{AwsOptions, Endpoints, StaticKey};
pub use fence::Fence;
pub use pace::Pace;
use s3::{Published, Publishing, keys as object_keys};
pub use signed_url::SignedUrl;

use autorun_core::{crash, error, report};
use error::Result;
use report::Reporter;

mod account;
mod attempts;
mod aws;
mod aws_error;
pub mod calls;
mod checksums;
#[cfg(feature = "crash-points")]
mod crash_points;
pub mod ec2;
mod fence;
pub mod http;
pub mod iam;
mod instance_connect;
mod issued;
pub mod lending;
pub mod marks;
mod pace;
mod public_access;
mod read_only;
pub mod s3;
mod signed;
mod signed_url;
pub mod ssm;
mod transport;

/// The clients of a run, each created at its first use.
#[derive(Debug)]
pub struct Clients {
    /// The EC2 and S3 configuration.
    aws: Arc<aws::Aws>,
    ssh: ssh::Ssh,
    sessions: ssm::Sessions,
    http: http::Http,
    /// Facts about the user's machine.
    pub local: Local,
    /// What a rehearsal may connect to; `None` in a run.
    confinement: Option<Confinement>,
    cancel: CancellationToken,
    published: Mutex<PublishedKeys>,
}

/// The results of publishing keys in a run.
#[derive(Debug, Default)]
struct PublishedKeys {
    /// The public keys, with their buckets.
    public: HashSet<(String, String)>,
    /// The buckets in which no key can be public, with the reason. If the account
    /// forbids public keys, another attempt could take a minute.
    refused: HashMap<String, String>,
}

/// The shortest time in which S3 may not obey a change of Block Public Access.
const PUBLISHING: Duration = Duration::from_secs(10);

impl Clients {
    /// Creates clients, which connect at the first call.
    #[must_use]
    pub fn new(
        options: AwsOptions,
        local: Local,
        report: Reporter,
        cancel: CancellationToken,
    ) -> Self {
        let confinement = options.confined.then(|| {
            let cloud = options.endpoints.ec2.as_deref();
            Confinement::new(options.local_network, cloud.unwrap_or_default())
        });
        let http = http::Http::new(options.local_network, confinement.clone());
        let aws = Arc::new(aws::Aws::new(options, report.clone()));
        let sessions = ssm::Sessions::new(Arc::clone(&aws), cancel.clone());
        let ssh = ssh::Ssh::new(local.clone(), confinement.clone(), report, cancel.clone());
        Self {
            aws,
            ssh: ssh.with_sessions(Arc::new(sessions.clone())),
            sessions,
            http,
            local,
            confinement,
            cancel,
            published: Mutex::default(),
        }
    }

    /// Returns the same clients with another cancellation token.
    #[must_use]
    pub fn with_cancel(&self, report: Reporter, cancel: CancellationToken) -> Self {
        let sessions = self.sessions.with_cancel(cancel.clone());
        let (local, confinement) = (self.local.clone(), self.confinement.clone());
        let ssh = ssh::Ssh::new(local, confinement, report, cancel.clone());
        Self {
            aws: Arc::clone(&self.aws),
            ssh: ssh.with_sessions(Arc::new(sessions.clone())),
            sessions,
            http: self.http.clone(),
            local: self.local.clone(),
            confinement: self.confinement.clone(),
            cancel,
            published: Mutex::default(),
        }
    }

    /// Returns the region in use and the account id, which is empty if it is
    /// not known.
    pub async fn identity(&self) -> Result<(String, String)> {
        Ok((self.aws.region().await?, self.aws.account().await?))
    }

    /// Returns the region in use and the account id, which is empty if it cannot be
    /// known.
    ///
    /// Throws the error with which AWS refuses the credentials.
    pub async fn caller(&self) -> Result<(String, String)> {
        Ok((self.aws.region().await?, self.aws.caller().await??))
    }

    /// Returns whether the account forbids public objects in all its buckets.
    pub async fn account_blocks_public(&self, account: &str) -> Result<bool> {
        self.aws.account_blocks_public(account).await
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
        ask: impl AsyncFnMut() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let age = jiff::Timestamp::now().as_millisecond() - created;
        let age = Duration::from_millis(age.try_into().unwrap_or_default());
        let window = self.consistency().saturating_sub(age);
        let pace = self.pace(format!("{what} to appear"), window, report);
        pace.find(ask).await
    }

    /// Queries a resource whose create request may have had an effect. Repeats the
    /// query throughout the retry window, from now.
    pub async fn find_created<T>(
        &self,
        what: &str,
        report: &Reporter,
        ask: impl AsyncFnMut() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let what = format!("{what} to appear, if it was created");
        self.pace(what, self.consistency(), report).find(ask).await
    }

    /// Returns the value of a public parameter of Systems Manager.
    pub async fn public_parameter(&self, name: &str) -> Result<String> {
        self.ssm().await?.public_parameter(name).await
    }

    /// Returns IAM.
    pub async fn iam(&self) -> Result<iam::Iam<'_>> {
        let (service, partition) = self.aws.iam().await?;
        let around = (self.aws.listeners(), &self.cancel);
        Ok(iam::Iam::new(service, around, partition))
    }

    /// Returns Systems Manager in the configured region.
    pub async fn ssm(&self) -> Result<ssm::Ssm<'_>> {
        let service = self.aws.ssm().await?;
        Ok(ssm::Ssm::new(service, self.aws.listeners(), &self.cancel))
    }

    /// Lets an instance accept a public key of a user for 60 seconds, if its image has
    /// EC2 Instance Connect.
    pub async fn send_public_key(&self, instance: &str, user: &str, key: &str) -> Result<()> {
        let connect = instance_connect::InstanceConnect {
            service: self.aws.instance_connect().await?,
            listeners: self.aws.listeners(),
            cancel: &self.cancel,
        };
        connect.send_public_key(instance, user, key).await
    }

    /// Returns EC2 in the configured region.
    pub async fn ec2(&self) -> Result<ec2::Ec2<'_>> {
        Ok(ec2::Ec2::new(self.aws.ec2().await?, &self.cancel))
    }

    /// Returns S3 in the configured region.
    pub async fn s3(&self) -> Result<s3::S3<'_>> {
        Ok(s3::S3::new(
            self.aws.s3().await?,
            self.aws.payloads(),
            self.aws.addressing().await?,
            &self.cancel,
        ))
    }

    /// Makes one key public, once per run. Each change replaces the bucket's
    /// whole policy, so the lock is held to keep changes from overlapping.
    pub async fn publish(
        &self,
        s3: &s3::S3<'_>,
        wanted: Publishing<'_>,
        report: &Reporter,
    ) -> Result<Published> {
        let Publishing { bucket, key, .. } = wanted;
        if let Some(fault) = object_keys::policy_fault(key) {
            return Ok(Published::Forbidden(fault.to_owned()));
        }
        let mut known = self.published.lock().await;
        let object = (bucket.to_owned(), key.to_owned());
        if known.public.contains(&object) {
            return Ok(Published::Public);
        }
        if let Some(reason) = known.refused.get(bucket) {
            return Ok(Published::Forbidden(reason.clone()));
        }
        let what = format!("bucket {bucket} to accept a public policy");
        let mut wait = self.pace(what, self.consistency().max(PUBLISHING), report);
        let account = async || self.aws.account().await;
        let published = s3.publish(wanted, account, &mut wait).await?;
        match &published {
            Published::Public => drop(known.public.insert(object)),
            Published::Forbidden(reason) => {
                known.refused.insert(bucket.to_owned(), reason.clone());
            }
        }
        Ok(published)
    }

    /// Keeps every key of a bucket from being made public in this run.
    pub async fn forbid_public_keys(&self, bucket: &str, reason: &str) {
        let mut known = self.published.lock().await;
        known.refused.insert(bucket.to_owned(), reason.to_owned());
    }

    /// Returns a URL that downloads the object without credentials, and its
    /// real end.
    pub async fn presigned_url(
        &self,
        bucket: &str,
        key: &str,
        valid: Duration,
    ) -> Result<SignedUrl> {
        let from = jiff::Timestamp::now();
        let url = self.s3().await?.presigned_url(bucket, key, valid).await?;
        let end = self.aws.issued().end(&signed_url::access_key_id(&url));
        Ok(SignedUrl::new(url, from, valid, end))
    }

    /// Returns the ssh connections.
    #[must_use]
    pub fn ssh(&self) -> &ssh::Ssh {
        &self.ssh
    }

    /// Returns how an instance is reached through Systems Manager.
    pub async fn ssm_target(&self, instance: &str) -> Result<ssh::SsmTarget> {
        Ok(ssh::SsmTarget {
            instance: instance.to_owned(),
            region: self.aws.region().await?,
            profile: self.aws.profile().cloned(),
        })
    }

    /// Closes the ssh connections, and ends their sessions of Systems Manager.
    pub async fn close(&self) {
        self.ssh.close();
        self.sessions.ended().await;
    }

    /// Returns whether EC2 and S3 are the local cloud's.
    #[must_use]
    pub fn on_local_cloud(&self) -> bool {
        self.aws.is_local_cloud()
    }

    /// Returns what a rehearsal may connect to, or `None` in a run.
    #[must_use]
    pub fn confinement(&self) -> Option<&Confinement> {
        self.confinement.as_ref()
    }

    /// Returns bucket and key of each object that this run has made public.
    pub async fn public_objects(&self) -> Vec<(String, String)> {
        let known = self.published.lock().await;
        let mut public: Vec<_> = known.public.iter().cloned().collect();
        public.sort();
        public
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
