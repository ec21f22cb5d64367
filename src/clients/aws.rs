//! The AWS configuration: region, credentials, endpoints. It is loaded at its
//! first use; from then on, the secrets of the credentials are masked in all
//! output.

use std::time::Duration;

use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::config::timeout::TimeoutConfig;
use aws_sdk_ec2::config::{Credentials, ProvideCredentials as _};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder as HttpClientBuilder, tls};
use tokio::sync::OnceCell;

use super::attempts::{Attempts, Place, is_on_this_machine};
use super::aws_error::{aws_error, no_cloud, no_credentials, no_region};
use crate::error::{Error, ErrorKind, Result};
use crate::report::Reporter;

/// AWS's service that returns the caller's public address.
const CHECK_IP: &str = "https://checkip.amazonaws.com/";

/// The timeout of the credential providers. Outside EC2, a request to the
/// instance metadata service gets no answer at all.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(10);

/// The timeout of the STS query for the account id.
const STS_TIMEOUT: Duration = Duration::from_secs(5);

/// The retry window of AWS: how long EC2 and S3 may not show a resource that they
/// have just created.
const CONSISTENCY: Duration = Duration::from_secs(60);

/// The endpoints of the services: AWS's own, or these URLs.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    /// EC2's URL; the default is the one in the AWS configuration.
    pub ec2: Option<String>,
    /// S3's URL; the default is the one in the AWS configuration.
    pub s3: Option<String>,
    /// STS's URL; the default is the one in the AWS configuration.
    pub sts: Option<String>,
    /// The URL that answers with the caller's public address.
    pub check_ip: Option<String>,
}

/// The command line's options for AWS.
#[derive(Clone, Debug, Default)]
pub struct AwsOptions {
    /// The profile in `~/.aws`.
    pub profile: Option<String>,
    /// The profile in AWS_PROFILE, for messages only: the SDK reads the
    /// variable itself.
    pub environment_profile: Option<String>,
    /// The region; it takes precedence over the profile's region.
    pub region: Option<String>,
    /// The endpoints; they take precedence over those in the environment.
    pub endpoints: Endpoints,
    /// An access key that replaces the user's own.
    pub key: Option<StaticKey>,
    /// Whether the endpoints belong to the local cloud.
    pub local_cloud: bool,
    /// The name of this program in the SDK's requests, such as `autorun-7kq2m9w`.
    pub app_name: Option<String>,
    /// The retry window; the default is 60 seconds, for AWS.
    pub consistency: Option<Duration>,
}

/// An access key with fixed values.
#[derive(Clone)]
pub struct StaticKey {
    /// The access key id.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: String,
}

impl std::fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StaticKey({}, ..)", self.access_key_id)
    }
}

/// The configuration and clients, loaded at their first use.
#[derive(Debug)]
pub(super) struct Aws {
    options: AwsOptions,
    report: Reporter,
    config: OnceCell<Result<SdkConfig>>,
    ec2: OnceCell<aws_sdk_ec2::Client>,
    s3: OnceCell<aws_sdk_s3::Client>,
}

impl Aws {
    pub(super) fn new(options: AwsOptions, report: Reporter) -> Self {
        Self {
            options,
            report,
            config: OnceCell::new(),
            ec2: OnceCell::new(),
            s3: OnceCell::new(),
        }
    }

    /// Returns the EC2 client.
    ///
    /// Throws `invalid_option` if there is no region, `denied` if there are no
    /// credentials.
    pub(super) async fn ec2(&self) -> Result<&aws_sdk_ec2::Client> {
        self.ec2
            .get_or_try_init(async || {
                let config = self.config().await?;
                let mut ec2 = aws_sdk_ec2::config::Builder::from(config).timeout_config(
                    TimeoutConfig::builder()
                        .connect_timeout(Duration::from_secs(5))
                        .operation_attempt_timeout(Duration::from_secs(60))
                        .build(),
                );
                if let Some(url) = &self.options.endpoints.ec2 {
                    ec2 = ec2.endpoint_url(url);
                }
                let attempts = self.attempts(config, self.options.endpoints.ec2.as_ref());
                let ec2 = ec2.interceptor(attempts).retry_classifier(attempts);
                #[cfg(feature = "crash-points")]
                let ec2 = ec2.interceptor(super::crash_points::CrashPoints);
                Ok(aws_sdk_ec2::Client::from_conf(ec2.build()))
            })
            .await
    }

    /// Returns the S3 client. At an endpoint other than AWS's, it addresses
    /// buckets by path, because bucket names are not resolved there as host
    /// names.
    ///
    /// Throws the same kinds as [`Self::ec2`].
    pub(super) async fn s3(&self) -> Result<&aws_sdk_s3::Client> {
        self.s3
            .get_or_try_init(async || {
                let config = self.config().await?;
                // A limit on the whole operation would break long uploads, so
                // the timeout counts only the time without data.
                let mut s3 = aws_sdk_s3::config::Builder::from(config).timeout_config(
                    TimeoutConfig::builder()
                        .connect_timeout(Duration::from_secs(5))
                        .read_timeout(Duration::from_secs(60))
                        .build(),
                );
                if let Some(url) = &self.options.endpoints.s3 {
                    s3 = s3.endpoint_url(url);
                }
                let custom = self.s3_endpoint().await?.is_some();
                let attempts = self.attempts(config, self.options.endpoints.s3.as_ref());
                let s3 = s3.interceptor(attempts).retry_classifier(attempts);
                #[cfg(feature = "crash-points")]
                let s3 = s3.interceptor(super::crash_points::CrashPoints);
                Ok(aws_sdk_s3::Client::from_conf(
                    s3.force_path_style(custom).build(),
                ))
            })
            .await
    }

    /// Returns the region in use, for example `eu-central-1`.
    pub(super) async fn region(&self) -> Result<String> {
        let config = self.config().await?;
        config
            .region()
            .map(ToString::to_string)
            .ok_or_else(no_region)
    }

    /// Returns S3's URL if it is not AWS's own.
    pub(super) async fn s3_endpoint(&self) -> Result<Option<String>> {
        let config = self.config().await?;
        let general = || config.endpoint_url().map(str::to_owned);
        Ok(self.options.endpoints.s3.clone().or_else(general))
    }

    /// Returns how to judge the attempts at an endpoint.
    fn attempts(&self, config: &SdkConfig, endpoint: Option<&String>) -> Attempts {
        Attempts(
            match endpoint.is_some() || config.endpoint_url().is_some() {
                _ if self.options.local_cloud => Place::LocalCloud,
                true => Place::Given,
                false => Place::Aws,
            },
        )
    }

    /// Returns the URL that answers with the caller's public address.
    ///
    /// Throws `unreachable` if it was the local cloud's and the local cloud is
    /// gone.
    pub(super) fn check_ip(&self) -> Result<&str> {
        let url = self.options.endpoints.check_ip.as_deref();
        let url = url.unwrap_or(CHECK_IP);
        if self.options.local_cloud && !is_on_this_machine(url) {
            Err(no_cloud("ask for this machine's address", url))
        } else {
            Ok(url)
        }
    }

    /// Returns the account id, or an empty string if it is not known.
    ///
    /// Throws the same kinds as [`Self::ec2`], but does not fail if STS does
    /// not answer: no operation depends on the account id.
    pub(super) async fn account(&self) -> Result<String> {
        let config = self.config().await?;
        let general = || config.endpoint_url().map(str::to_owned);
        let endpoint = self.options.endpoints.sts.clone().or_else(general);
        // AWS's STS knows nothing about the account behind another endpoint.
        let elsewhere = self.options.endpoints.ec2.is_some() || self.options.endpoints.s3.is_some();
        if endpoint.is_none() && elsewhere {
            return Ok(String::new());
        }
        let mut sts = aws_sdk_sts::config::Builder::from(config)
            .retry_config(RetryConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder()
                    .operation_timeout(STS_TIMEOUT)
                    .build(),
            );
        if let Some(url) = &endpoint {
            sts = sts.endpoint_url(url);
        }
        let sts = sts.interceptor(self.attempts(config, endpoint.as_ref()));
        let sts = aws_sdk_sts::Client::from_conf(sts.build());
        match sts.get_caller_identity().send().await {
            Ok(answer) => Ok(answer.account().unwrap_or_default().to_owned()),
            Err(e) => {
                let error = aws_error("get the account id", &e);
                self.report.debug(error.to_string());
                Ok(String::new())
            }
        }
    }

    /// Returns the retry window.
    pub(super) fn consistency(&self) -> Duration {
        self.options.consistency.unwrap_or(CONSISTENCY)
    }

    fn named_profile(&self) -> Option<&str> {
        let options = &self.options;
        let profile = options.profile.as_ref();
        profile
            .or(options.environment_profile.as_ref())
            .map(String::as_str)
    }

    /// Loads the configuration once; an error does not go away within a run, so
    /// it is kept as well.
    async fn config(&self) -> Result<&SdkConfig> {
        let loaded = self.config.get_or_init(async || self.load().await).await;
        loaded.as_ref().map_err(Clone::clone)
    }

    async fn load(&self) -> Result<SdkConfig> {
        let https = HttpClientBuilder::new()
            .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(https)
            .retry_config(RetryConfig::standard().with_max_attempts(4));
        if let Some(profile) = &self.options.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(region) = &self.options.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(key) = &self.options.key {
            loader = loader.credentials_provider(Credentials::new(
                &key.access_key_id,
                &key.secret_access_key,
                None,
                None,
                "local cloud",
            ));
        }
        if let Some(name) = &self.options.app_name
            && let Ok(name) = AppName::new(name.clone())
        {
            loader = loader.app_name(name);
        }
        let config = loader.load().await;
        // Check the credentials first: a profile that does not exist has no
        // region either.
        let provider = config
            .credentials_provider()
            .ok_or_else(|| no_credentials(None, self.named_profile()))?;
        let credentials = tokio::time::timeout(CREDENTIALS_TIMEOUT, provider.provide_credentials())
            .await
            .map_err(|_| {
                Error::new(ErrorKind::Timeout, "getting AWS credentials took too long")
                    .hint("set AWS_EC2_METADATA_DISABLED=true if this is not an EC2 instance")
            })?
            .map_err(|e| no_credentials(Some(&e), self.named_profile()))?;
        if config.region().is_none() {
            return Err(no_region());
        }
        let mask = self.report.mask();
        mask.add(credentials.secret_access_key());
        if let Some(token) = credentials.session_token() {
            mask.add(token);
        }
        Ok(config)
    }
}
