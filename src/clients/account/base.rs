//! The credentials to begin with, from the SDK's providers.

use std::time::{Duration, SystemTime};

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::login::LoginCredentialsProvider;
use aws_config::sso::SsoCredentialsProvider;
use aws_config::{Region, retry::RetryConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::config::{Credentials, ProvideCredentials};

use super::refusal::{base_refused, web_identity_refused};
use super::source::{Base, Key, Sso, WebIdentity};
use super::{Account, from_sts, process};
use crate::error::{Error, Result};

/// The timeout of a request for credentials. Outside EC2, a request to the
/// instance metadata service gets no answer at all.
const REQUEST: Duration = Duration::from_secs(10);

/// The timeout of a `credential_process`, which may wait for a person.
pub(super) const PROCESS: Duration = Duration::from_secs(120);

impl Account {
    /// Returns the credentials that assume the roles, or are used themselves.
    pub(super) async fn base(&self) -> Result<Credentials> {
        match &self.source.base {
            Base::Key(key) => Ok(self::key(key)),
            Base::Sso(sso) => self.provide(&self.sso(sso)).await,
            Base::Login(session) => {
                let provider = LoginCredentialsProvider::builder(session)
                    .configure(&self.providers)
                    .build();
                self.provide(&provider).await
            }
            Base::Process(command) => {
                let profile = self.source.profile.as_deref().unwrap_or_default();
                process::credentials(profile, command).await
            }
            Base::WebIdentity(identity) => self.web_identity(identity).await,
            Base::Container => {
                let provider = EcsCredentialsProvider::builder()
                    .configure(&self.providers)
                    .build();
                self.provide(&provider).await
            }
            Base::Instance => {
                let provider = ImdsCredentialsProvider::builder()
                    .configure(&self.providers)
                    .build();
                self.provide(&provider).await
            }
        }
    }

    fn sso(&self, sso: &Sso) -> SsoCredentialsProvider {
        // The region of the sign-on counts, not that of the run.
        let providers = self
            .providers
            .clone()
            .with_region(Some(Region::new(sso.region.clone())))
            .with_retry_config(RetryConfig::standard());
        let mut builder = SsoCredentialsProvider::builder()
            .configure(&providers)
            .account_id(&sso.account_id)
            .role_name(&sso.role_name)
            .start_url(&sso.start_url)
            .region(Region::new(sso.region.clone()));
        builder.set_session_name(sso.session.clone());
        builder.build()
    }

    async fn provide(&self, provider: &impl ProvideCredentials) -> Result<Credentials> {
        let answer = tokio::time::timeout(REQUEST, provider.provide_credentials()).await;
        let refusal = match answer {
            Ok(Ok(credentials)) => return Ok(credentials),
            Ok(Err(refusal)) => refusal,
            Err(_) => CredentialsError::provider_timed_out(REQUEST),
        };
        Err(base_refused(&self.source, &self.environment, &refusal))
    }

    async fn web_identity(&self, identity: &WebIdentity) -> Result<Credentials> {
        let path = self.environment.expanded(&identity.token_file);
        let token = std::fs::read_to_string(&path).map_err(|e| {
            Error::io("read the token", &path, &e).hint(
                "AWS_WEB_IDENTITY_TOKEN_FILE, or web_identity_token_file in ~/.aws/config, names \
                 the file with the token",
            )
        })?;
        let session = identity.session_name.as_ref().unwrap_or(&self.session_name);
        let answer = self
            .sts(None)
            .assume_role_with_web_identity()
            .role_arn(&identity.role_arn)
            .role_session_name(session)
            .web_identity_token(token.trim())
            .send()
            .await;
        match answer {
            Ok(answer) => from_sts(answer.credentials),
            Err(e) => Err(web_identity_refused(&identity.role_arn, &path, &e)),
        }
    }
}

fn key(key: &Key) -> Credentials {
    let expires = key.expires.map(SystemTime::from);
    Credentials::new(&key.id, &key.secret, key.token.clone(), expires, "key")
}
