//! The AWS configuration: region, credentials, endpoints. It is loaded at its
//! first use; from then on, the secrets of the credentials are masked in all
//! output.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::{AppName, BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::config::timeout::TimeoutConfig;
use aws_sdk_ec2::config::{Credentials, SharedCredentialsProvider};
use futures_util::FutureExt as _;
use tokio::sync::OnceCell;

use super::Network;
use super::account::{Account, AccountOptions, check_region, no_region, read};
use super::attempts::{Attempts, Place, is_on_this_machine};
use super::aws_error::no_cloud;
use super::calls::{Listeners, Service};
use super::checksums;
use super::fence::Fence;
use super::issued::Issued;
use super::lending::{self, Lender};
use super::read_only::ReadOnly;
use super::s3::{Addressing, Payloads};
use super::signed::{Location, SignedService, domain, global};
use super::transport::{aws_client, certificates, local_client};
use crate::error::{Error, ErrorKind, Result};
use crate::report::Reporter;

mod caller;

/// AWS's service that returns the caller's public address.
const CHECK_IP: &str = "https://checkip.amazonaws.com/";

/// The retry window of AWS: how long EC2 and S3 may not show a resource that they
/// have just created.
const CONSISTENCY: Duration = Duration::from_secs(60);

/// The endpoints of the services: AWS's own, or these URLs.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    /// EC2's URL.
    pub ec2: Option<String>,
    /// S3's URL.
    pub s3: Option<String>,
    /// STS's URL.
    pub sts: Option<String>,
    /// The URL that answers with the caller's public address.
    pub check_ip: Option<String>,
}

/// The command line's options for AWS.
#[derive(Clone, Debug, Default)]
pub struct AwsOptions {
    /// The profile, the role and the environment.
    pub account: AccountOptions,
    /// The region; it takes precedence over the profile's region.
    pub region: Option<String>,
    /// The endpoints that are not AWS's own. Those in the environment and in the
    /// profile do not count any more.
    pub endpoints: Endpoints,
    /// An access key that replaces the user's own.
    pub key: Option<StaticKey>,
    /// Whether the endpoints belong to the local cloud.
    pub local_cloud: bool,
    /// The network of the local cloud's instances.
    pub local_network: Option<Network>,
    /// Whether only requests are sent that change nothing.
    pub read_only: bool,
    /// Whether the run is a rehearsal, which connects to nothing but the local
    /// cloud and its instances.
    pub confined: bool,
    /// The name of this program in the SDK's requests, such as `autorun-7kq2m9w`.
    pub app_name: Option<String>,
    /// The retry window; the default is 60 seconds, for AWS.
    pub consistency: Option<Duration>,
    /// Who hears of the requests.
    pub listeners: Listeners,
    /// Ends requests of a run that another machine has taken over.
    pub fence: Fence,
    /// Who lends what only the user's account has, in a rehearsal.
    pub lender: Option<Arc<dyn Lender>>,
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
    config: OnceCell<Result<Loaded>>,
    issued: Issued,
    ec2: OnceCell<aws_sdk_ec2::Client>,
    s3: OnceCell<aws_sdk_s3::Client>,
    payloads: Payloads,
    ssm: OnceCell<SignedService>,
    connect: OnceCell<SignedService>,
    iam: OnceCell<SignedService>,
    /// Whether a code of a multi-factor device was needed and not to be had.
    lacks_code: AtomicBool,
    /// Why no request can succeed, if the account has not enabled the region.
    not_enabled: OnceLock<Error>,
}

/// What was loaded.
#[derive(Debug)]
struct Loaded {
    sdk: SdkConfig,
    /// S3's `addressing_style` in the profile.
    addressing: Option<String>,
    /// The certificates that replace those of the system, in PEM.
    certificates: Option<Vec<u8>>,
}

impl Aws {
    pub(super) fn new(options: AwsOptions, report: Reporter) -> Self {
        Self {
            payloads: Payloads::new(is_open(&options)),
            options,
            report,
            config: OnceCell::new(),
            issued: Issued::default(),
            ec2: OnceCell::new(),
            s3: OnceCell::new(),
            ssm: OnceCell::new(),
            connect: OnceCell::new(),
            iam: OnceCell::new(),
            lacks_code: AtomicBool::default(),
            not_enabled: OnceLock::new(),
        }
    }

    /// Returns the EC2 client.
    ///
    /// Throws `invalid_option` if there is no region, `denied` if there are no
    /// credentials or if it is known that the region is not enabled.
    pub(super) async fn ec2(&self) -> Result<&aws_sdk_ec2::Client> {
        self.check_enabled()?;
        self.ec2
            .get_or_try_init(async || {
                let config = &self.config().await?.sdk;
                let mut ec2 = aws_sdk_ec2::config::Builder::from(config).timeout_config(
                    TimeoutConfig::builder()
                        .connect_timeout(Duration::from_secs(5))
                        .operation_attempt_timeout(Duration::from_secs(60))
                        .build(),
                );
                let endpoint = &self.options.endpoints.ec2;
                if endpoint.is_some() {
                    ec2 = ec2.use_fips(false).use_dual_stack(false);
                }
                ec2.set_endpoint_url(endpoint.clone());
                let attempts = self.attempts(endpoint.as_ref());
                let mut ec2 = ec2.interceptor(attempts).retry_classifier(attempts);
                if let Some(recorder) = self.options.listeners.interceptor(Service::Ec2) {
                    ec2 = ec2.interceptor(recorder);
                }
                if self.options.read_only {
                    ec2 = ec2.interceptor(ReadOnly);
                }
                #[cfg(feature = "crash-points")]
                let ec2 = ec2.interceptor(super::crash_points::CrashPoints);
                let ec2 = ec2.interceptor(self.options.fence.clone());
                Ok(aws_sdk_ec2::Client::from_conf(ec2.build()))
            })
            .await
    }

    /// Returns the S3 client.
    ///
    /// Throws the same kinds as [`Self::ec2`].
    pub(super) async fn s3(&self) -> Result<&aws_sdk_s3::Client> {
        self.check_enabled()?;
        self.s3
            .get_or_try_init(async || {
                let config = &self.config().await?.sdk;
                // The read timeout begins with the request, so it includes the upload of
                // the contents over a slow line. The SDK itself ends a transfer that
                // stalls.
                let mut s3 = aws_sdk_s3::config::Builder::from(config).timeout_config(
                    TimeoutConfig::builder()
                        .connect_timeout(Duration::from_secs(5))
                        .read_timeout(Duration::from_secs(300))
                        .build(),
                );
                let addressing = self.addressing().await?;
                s3 = s3
                    .use_fips(addressing.fips)
                    .use_dual_stack(addressing.dual_stack);
                s3.set_endpoint_url(addressing.endpoint.clone());
                if addressing.endpoint.is_some() && !self.options.local_cloud {
                    s3 = checksums::only_if_required(config, s3);
                }
                let attempts = self.attempts(addressing.endpoint.as_ref());
                let mut s3 = s3.interceptor(attempts).retry_classifier(attempts);
                if let Some(recorder) = self.options.listeners.interceptor(Service::S3) {
                    s3 = s3.interceptor(recorder);
                }
                if self.options.read_only {
                    s3 = s3.interceptor(ReadOnly);
                }
                #[cfg(feature = "crash-points")]
                let s3 = s3.interceptor(super::crash_points::CrashPoints);
                let s3 = s3.interceptor(self.options.fence.clone());
                Ok(aws_sdk_s3::Client::from_conf(
                    s3.force_path_style(addressing.path_style).build(),
                ))
            })
            .await
    }

    /// Returns the reader of contents for uploads.
    pub(super) fn payloads(&self) -> &Payloads {
        &self.payloads
    }

    /// Returns the region in use, for example `eu-central-1`.
    pub(super) async fn region(&self) -> Result<String> {
        let config = &self.config().await?.sdk;
        config
            .region()
            .map(ToString::to_string)
            .ok_or_else(no_region)
    }

    /// Returns how buckets are addressed. At an endpoint other than AWS's, the
    /// bucket is in the path, because its name is not resolved there as a host
    /// name, unless the profile asks for host names.
    pub(super) async fn addressing(&self) -> Result<Addressing> {
        let loaded = self.config().await?;
        let endpoint = self.options.endpoints.s3.clone();
        Ok(Addressing {
            region: self.region().await?,
            path_style: match loaded.addressing.as_deref() {
                Some("path") => true,
                Some("virtual") => false,
                _ => endpoint.is_some(),
            },
            // There are no variants of an endpoint that is not AWS's.
            fips: endpoint.is_none() && loaded.sdk.use_fips() == Some(true),
            dual_stack: endpoint.is_none() && loaded.sdk.use_dual_stack() == Some(true),
            endpoint,
        })
    }

    /// Returns whether the credentials failed only because there was no terminal
    /// to ask for a code.
    pub(super) fn lacks_code(&self) -> bool {
        self.lacks_code.load(Ordering::Relaxed)
    }

    /// Returns how to judge the attempts at an endpoint.
    fn attempts(&self, endpoint: Option<&String>) -> Attempts {
        Attempts(match endpoint {
            _ if self.options.local_cloud => Place::LocalCloud,
            Some(_) => Place::Given,
            None => Place::Aws,
        })
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

    /// Returns whether the endpoints belong to the local cloud.
    pub(super) fn is_local_cloud(&self) -> bool {
        self.options.local_cloud
    }

    /// Returns the URL of S3, if it is not AWS's.
    pub(super) fn endpoint_of_s3(&self) -> Option<String> {
        self.options.endpoints.s3.clone()
    }

    /// Returns the ends of the credentials that signed requests.
    pub(super) fn issued(&self) -> &Issued {
        &self.issued
    }

    /// Returns Systems Manager in the region.
    ///
    /// Throws the same kinds as [`Self::ec2`], and `unreachable` if its endpoint is not
    /// known.
    pub(super) async fn ssm(&self) -> Result<&SignedService> {
        self.check_enabled()?;
        let create = async || {
            let region = self.region().await?;
            let aws = format!("https://ssm.{region}.{}", domain(&region));
            self.signed_service("ssm", "Systems Manager", (&aws, &region))
                .await
        };
        self.ssm.get_or_try_init(create).await
    }

    /// Returns EC2 Instance Connect in the region.
    ///
    /// Throws the same kinds as [`Self::ssm`].
    pub(super) async fn instance_connect(&self) -> Result<&SignedService> {
        let create = async || {
            let region = self.region().await?;
            let name = Service::InstanceConnect.as_str();
            let aws = format!("https://{name}.{region}.{}", domain(&region));
            self.signed_service(name, "EC2 Instance Connect", (&aws, &region))
                .await
        };
        self.connect.get_or_try_init(create).await
    }

    /// Returns IAM and the name of the partition.
    ///
    /// Throws the same kinds as [`Self::ssm`].
    pub(super) async fn iam(&self) -> Result<(&SignedService, &'static str)> {
        let region = self.region().await?;
        let place = global(&region);
        let create = async || {
            self.signed_service("iam", "IAM", (place.iam, place.region))
                .await
        };
        Ok((self.iam.get_or_try_init(create).await?, place.partition))
    }

    /// Returns a service that has no SDK here. `aws` is AWS's endpoint, and the region
    /// of its signatures.
    async fn signed_service(
        &self,
        name: &'static str,
        title: &str,
        (aws, region): (&str, &str),
    ) -> Result<SignedService> {
        let loaded = self.config().await?;
        let given = &self.options.endpoints;
        // A server for both EC2 and S3 has all services. One for EC2 alone does
        // not, and a request to AWS may not be wanted.
        let url = match &given.ec2 {
            None => aws,
            Some(url) if self.options.local_cloud || given.s3 == given.ec2 => url,
            Some(_) => {
                let message = format!("the endpoint of {title} is not known");
                return Err(Error::new(ErrorKind::Unreachable, message));
            }
        };
        let location = Location {
            url,
            region,
            local: self.options.local_network,
            certificates: loaded.certificates.as_deref(),
            fence: &self.options.fence,
        };
        let app_name = self.options.app_name.as_deref().unwrap_or("autorun");
        SignedService::new(name, &location, &loaded.sdk, app_name)
    }

    /// Returns the profile in `--profile`.
    pub(super) fn profile(&self) -> Option<&String> {
        self.options.account.profile.as_ref()
    }

    /// Returns the reporter.
    pub(super) fn report(&self) -> &Reporter {
        &self.report
    }

    /// Returns who hears of the requests.
    pub(super) fn listeners(&self) -> &Listeners {
        &self.options.listeners
    }

    /// Returns the retry window.
    pub(super) fn consistency(&self) -> Duration {
        self.options.consistency.unwrap_or(CONSISTENCY)
    }

    /// Loads the configuration once; an error does not go away within a run, so
    /// it is kept as well.
    async fn config(&self) -> Result<&Loaded> {
        // Boxed, so that the types of the callers' futures do not contain it.
        let loaded = self.config.get_or_init(|| self.load().boxed()).await;
        loaded.as_ref().map_err(Clone::clone)
    }

    async fn load(&self) -> Result<Loaded> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(RetryConfig::standard().with_max_attempts(4))
            // The account keeps its credentials until shortly before they expire.
            .identity_cache(IdentityCache::no_cache());
        if let Some(name) = &self.options.app_name
            && let Ok(name) = AppName::new(name.clone())
        {
            loader = loader.app_name(name);
        }
        if let Some(region) = &self.options.region {
            check_region(region, "`--region` or the settings of autorun")?;
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(key) = &self.options.key {
            // Nothing in the user's files and environment is about the local
            // cloud.
            let key = Credentials::new(
                &key.access_key_id,
                &key.secret_access_key,
                None,
                None,
                "local cloud",
            );
            self.report.mask().add(key.secret_access_key());
            let loader = loader.use_fips(false).use_dual_stack(false);
            return Ok(Loaded {
                sdk: loader
                    .http_client(lending::client(
                        local_client(),
                        self.options.lender.as_ref(),
                    ))
                    .credentials_provider(self.issued.watch(SharedCredentialsProvider::new(key)))
                    .load()
                    .await,
                addressing: None,
                certificates: None,
            });
        }
        self.load_account(loader).await
    }

    async fn load_account(&self, mut loader: ConfigLoader) -> Result<Loaded> {
        let options = &self.options;
        let (settings, origin) = read(&options.account)?;
        let pem = settings
            .ca_bundle
            .as_deref()
            .map(certificates)
            .transpose()?;
        loader = loader.http_client(aws_client(pem.clone())).no_credentials();
        // The SDK does not know AWS_DEFAULT_PROFILE.
        loader = loader.profile_name(&settings.name);
        if options.region.is_none()
            && let Some(region) = &settings.region
        {
            check_region(&region.value, &region.source)?;
            loader = loader.region(Region::new(region.value.clone()));
        }
        for (service, used) in [
            ("ec2", &options.endpoints.ec2),
            ("s3", &options.endpoints.s3),
            ("sts", &options.endpoints.sts),
        ] {
            if *used == settings.endpoint(service) {
                settings.check_endpoint(service)?;
            }
        }
        if let Some(fips) = settings.flag("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint") {
            loader = loader.use_fips(fips);
        }
        let dual_stack = settings.flag("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint");
        if let Some(dual_stack) = dual_stack {
            loader = loader.use_dual_stack(dual_stack);
        }
        let config = loader.load().await;
        let lacks_region = config.region().is_none();
        // Without any credentials, a region would not help.
        if lacks_region && origin.is_named() {
            return Err(no_region());
        }
        let account = Account::new(
            origin,
            &options.account,
            &config,
            options.endpoints.sts.as_ref(),
            options.app_name.as_deref().unwrap_or("autorun"),
            &self.report,
        );
        if let Err(error) = account.credentials().await {
            self.lacks_code
                .store(account.lacks_code(), Ordering::Relaxed);
            return Err(error);
        }
        if lacks_region {
            return Err(no_region());
        }
        let provider = self.issued.watch(SharedCredentialsProvider::new(account));
        let mut sdk = config.into_builder();
        sdk.set_credentials_provider(Some(provider));
        Ok(Loaded {
            sdk: sdk.build(),
            addressing: settings.addressing,
            certificates: pem,
        })
    }
}

/// Returns whether other machines could read and change requests to S3.
fn is_open(options: &AwsOptions) -> bool {
    let Some(url) = options.endpoints.s3.as_deref() else {
        return false;
    };
    let url = reqwest::Url::parse(url).ok();
    let is_loopback = |url: &reqwest::Url| {
        let host = url.host_str().unwrap_or_default();
        let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        host == "localhost" || address.is_some_and(|address| address.is_loopback())
    };
    let is_closed = |url: &reqwest::Url| url.scheme() == "https" || is_loopback(url);
    !options.local_cloud && !url.is_some_and(|url| is_closed(&url))
}
