//! The AWS account of a run: which credentials, which roles, which endpoints.
//!
//! The SDK has a chain of its own. It does not ask for MFA codes, lets keys in
//! the environment win over `--profile`, and reports failures without types.
//! So the source of the credentials is determined here, by the AWS CLI's rules,
//! and the SDK's providers only get what the source names.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future;
use aws_sdk_ec2::config::{Credentials, ProvideCredentials};
use aws_sdk_sts::config::http::HttpResponse;
use tokio::sync::Mutex;

pub use arn::check_role_arn;
pub use environment::Environment;
pub(super) use refusal::{no_region, region_not_enabled};

use super::aws::Endpoints;
use crate::error::{Error, Result};
use crate::report::Reporter;
use files::{Files, Section};
use source::{Base, Named, Role, Source};

mod arn;
mod base;
mod environment;
mod files;
mod mfa;
mod process;
mod refusal;
mod role;
mod settings;
mod source;

pub(super) use settings::{Settings, check_region};

/// How long before they expire credentials are replaced.
const EARLY: Duration = Duration::from_secs(120);

/// Asks for the code of a multi-factor device, and returns it. Fails if there
/// is no terminal.
pub type AskCode = fn(serial: &str) -> Result<String>;

/// The options and the environment of the account.
#[derive(Clone, Debug, Default)]
pub struct AccountOptions {
    /// The profile in `--profile`.
    pub profile: Option<String>,
    /// The role in `--role`, which the other credentials assume.
    pub role: Option<String>,
    /// The environment.
    pub environment: Environment,
    /// Asks for the code of a multi-factor device.
    pub ask_code: Option<AskCode>,
}

impl AccountOptions {
    /// Returns the endpoints that the environment and the profile set. Files
    /// that cannot be read set none here: their error comes with the first
    /// request.
    #[must_use]
    pub fn endpoints(&self) -> Endpoints {
        let files = Files::read(&self.environment).unwrap_or_default();
        let settings = Settings::new(self.named().name(), &files, &self.environment);
        Endpoints {
            ec2: settings.endpoint("ec2"),
            s3: settings.endpoint("s3"),
            sts: settings.endpoint("sts"),
            check_ip: None,
        }
    }

    /// Returns the region that the environment or the profile sets. Files that
    /// cannot be read set none.
    #[must_use]
    pub fn region(&self) -> Option<String> {
        let files = Files::read(&self.environment).unwrap_or_default();
        let settings = Settings::new(self.named().name(), &files, &self.environment);
        settings.region.map(|region| region.value)
    }

    /// Checks that the profile exists, if the caller named one.
    ///
    /// Throws `not_found`, or what reading the files throws.
    pub fn check_profile(&self) -> Result<()> {
        let Some(name) = &self.profile else {
            return Ok(());
        };
        let files = Files::read(&self.environment)?;
        if files.profiles.contains_key(name) {
            return Ok(());
        }
        Err(source::no_profile(name, &files))
    }

    fn named(&self) -> Named<'_> {
        Named {
            given: self.profile.as_deref(),
            environment: self
                .environment
                .get("AWS_PROFILE")
                .or_else(|| self.environment.get("AWS_DEFAULT_PROFILE")),
        }
    }
}

/// Reads the source of the credentials and the settings of the profile.
///
/// Throws `not_found`, `invalid_option` or `denied`; see [`source::source`].
pub(super) fn read(options: &AccountOptions) -> Result<(Settings, Origin)> {
    let named = options.named();
    let key = match named.given {
        None => source::environment_key(&options.environment)?,
        Some(_) => None,
    };
    // A key in the environment needs no files, so a damaged one does not matter.
    let files = match (Files::read(&options.environment), &key) {
        (Err(_), Some(_)) => Files::default(),
        (files, _) => files?,
    };
    if let (Some(_), Some(name)) = (&key, named.environment)
        && !files.profiles.contains_key(name)
    {
        return Err(source::no_profile(name, &files).while_doing("AWS_PROFILE in the environment"));
    }
    let mut source = match key {
        Some(source) => source,
        None => source::source(named, &files, &options.environment)?,
    };
    if let Some(arn) = &options.role {
        source.roles.push(Role {
            arn: arn.clone(),
            ..Role::default()
        });
    }
    let settings = Settings::new(named.name(), &files, &options.environment);
    files.check_services(named.name())?;
    Ok((settings, Origin(source)))
}

/// Where the credentials come from.
#[derive(Debug)]
pub(super) struct Origin(Source);

impl Origin {
    /// Returns whether anything names credentials; else only the machine may
    /// have some.
    pub(super) fn is_named(&self) -> bool {
        self.0.base != Base::Instance || !self.0.roles.is_empty()
    }
}

/// The credentials of a run. Those that expire are replaced in time.
#[derive(Debug)]
pub(super) struct Account {
    source: Source,
    /// The configuration for requests to STS, without credentials.
    config: SdkConfig,
    /// The configuration of the SDK's providers.
    providers: ProviderConfig,
    sts_url: Option<String>,
    session_name: String,
    environment: Environment,
    ask_code: Option<AskCode>,
    report: Reporter,
    current: Mutex<Option<Credentials>>,
    /// Whether a code was needed and not to be had.
    lacks_code: AtomicBool,
}

impl Account {
    pub(super) fn new(
        origin: Origin,
        options: &AccountOptions,
        config: &SdkConfig,
        sts_url: Option<&String>,
        session_name: &str,
        report: &Reporter,
    ) -> Self {
        let providers = ProviderConfig::without_region()
            .with_region(config.region().cloned())
            .with_use_fips(config.use_fips())
            .with_use_dual_stack(config.use_dual_stack());
        let providers = match config.http_client() {
            Some(client) => providers.with_http_client(client),
            None => providers,
        };
        Self {
            source: origin.0,
            config: config.clone(),
            providers,
            sts_url: sts_url.cloned(),
            session_name: session_name.to_owned(),
            environment: options.environment.clone(),
            ask_code: options.ask_code,
            report: report.clone(),
            current: Mutex::default(),
            lacks_code: AtomicBool::default(),
        }
    }

    /// Returns whether the credentials failed because there was no terminal to
    /// ask for a code.
    pub(super) fn lacks_code(&self) -> bool {
        self.lacks_code.load(Ordering::Relaxed)
    }

    /// Returns credentials that are valid for a while.
    pub(super) async fn credentials(&self) -> Result<Credentials> {
        let mut current = self.current.lock().await;
        if let Some(credentials) = current.as_ref().filter(|c| lasts(c)) {
            return Ok(credentials.clone());
        }
        let mut credentials = self.base().await?;
        for role in &self.source.roles {
            self.mask(&credentials);
            credentials = self.assume(role, credentials).await?;
        }
        self.mask(&credentials);
        *current = Some(credentials.clone());
        Ok(credentials)
    }

    fn mask(&self, credentials: &Credentials) {
        let mask = self.report.mask();
        mask.add(credentials.secret_access_key());
        if let Some(token) = credentials.session_token() {
            mask.add(token);
        }
    }

    /// Returns an STS client with these credentials.
    fn sts(&self, credentials: Option<Credentials>) -> aws_sdk_sts::Client {
        let mut config = aws_sdk_sts::config::Builder::from(&self.config);
        if self.sts_url.is_some() {
            config = config.use_fips(false).use_dual_stack(false);
        }
        config.set_endpoint_url(self.sts_url.clone());
        if let Some(credentials) = credentials {
            config = config.credentials_provider(credentials);
        }
        aws_sdk_sts::Client::from_conf(config.build())
    }
}

fn lasts(credentials: &Credentials) -> bool {
    let soon = SystemTime::now() + EARLY;
    credentials.expiry().is_none_or(|expiry| expiry > soon)
}

impl ProvideCredentials for Account {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let credentials = self.credentials().await;
            credentials.map_err(CredentialsError::provider_error)
        })
    }
}

/// The result of a request to STS.
type Answer<T, E> = std::result::Result<T, aws_sdk_sts::error::SdkError<E, HttpResponse>>;

/// Creates credentials from STS's answer.
fn from_sts(answer: Option<aws_sdk_sts::types::Credentials>) -> Result<Credentials> {
    let answer = answer.ok_or_else(|| Error::internal("STS returned no credentials"))?;
    Ok(Credentials::new(
        answer.access_key_id,
        answer.secret_access_key,
        Some(answer.session_token),
        SystemTime::try_from(answer.expiration).ok(),
        "sts",
    ))
}
