//! Errors of credentials: what is wrong, and the command that helps.

use std::path::{Path, PathBuf};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::error::{ConnectorError, ProvideErrorMetadata as _, SdkError};
use aws_sdk_sts::config::http::HttpResponse;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use ring::digest;
use serde_json::Value;

use super::Environment;
use super::source::{Base, Role, Source, Sso};
use crate::attempts::find;
use crate::aws_error::aws_error;
use crate::error::{Error, ErrorKind};

/// Creates the error for a missing region.
pub(crate) fn no_region() -> Error {
    Error::new(ErrorKind::InvalidOption, "no AWS region is configured").hint(
        "pass `--region eu-central-1`, set AWS_REGION, or put `region = ..` into ~/.aws/config",
    )
}

/// Creates the error for a region that the account has not enabled.
pub(crate) fn region_not_enabled(region: &str) -> Error {
    denied(
        format!("the account has not enabled the region {region}"),
        format!(
            "enable it with `aws account enable-region --region-name {region}`, or pass another \
             `--region`"
        ),
    )
}

/// Creates the error for a source that gives no credentials.
///
/// The SDK drops the types of its errors on the way here. What can be seen on
/// this machine, such as an expired token, is looked at instead.
pub(super) fn base_refused(
    source: &Source,
    environment: &Environment,
    error: &CredentialsError,
) -> Error {
    let profile = source.profile.as_deref();
    match (&source.base, profile) {
        (Base::Sso(sso), Some(profile)) => sso_refused(profile, sso, environment, error),
        (Base::Login(session), Some(profile)) => {
            login_refused(profile, session, environment, error)
        }
        (Base::Container, _) => denied(
            format!(
                "the container's AWS credentials cannot be read: {}",
                reason(error)
            ),
            "check that the task or the pod has a role, and that \
             AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or AWS_CONTAINER_CREDENTIALS_FULL_URI is the \
             value that the container got",
        ),
        (Base::Instance, Some(profile)) if source.roles.is_empty() => {
            let message = format!("the AWS profile `{profile}` has no credentials");
            let profile = shell_words::quote(profile);
            denied(
                message,
                format!(
                    "`aws configure --profile {profile}` sets an access key, `aws configure sso \
                     --profile {profile}` single sign-on"
                ),
            )
        }
        (Base::Instance, Some(profile)) => denied(
            format!(
                "the AWS profile `{profile}` takes its credentials from the EC2 instance, but \
                 there are none: {}",
                reason(error)
            ),
            "run it on an EC2 instance that has an instance profile, or use source_profile",
        ),
        _ => no_credentials(error),
    }
}

fn no_credentials(error: &CredentialsError) -> Error {
    match error {
        CredentialsError::CredentialsNotLoaded(_) | CredentialsError::ProviderTimedOut(_) => {
            denied(
                "no AWS credentials were found".to_owned(),
                "run `aws configure`, or put aws_access_key_id and aws_secret_access_key under \
             [default] in ~/.aws/credentials, or set AWS_PROFILE",
            )
        }
        _ => denied(
            format!(
                "the credentials of this EC2 instance cannot be read: {}",
                reason(error)
            ),
            "attach an instance profile to the instance, or run `aws configure`",
        ),
    }
}

fn denied(message: String, hint: impl Into<String>) -> Error {
    Error::new(ErrorKind::Denied, message).hint(hint)
}

/// Creates the error for a server that did not answer.
fn unreachable(what: &str, error: &CredentialsError) -> Option<Error> {
    let timed_out = matches!(error, CredentialsError::ProviderTimedOut(_));
    if !timed_out && find::<ConnectorError>(error).is_none() {
        return None;
    }
    Some(
        Error::new(
            ErrorKind::Unreachable,
            format!("no response from {what}: {}", reason(error)),
        )
        .hint("check the network, and HTTPS_PROXY if this network needs a proxy"),
    )
}

fn sso_refused(
    profile: &str,
    sso: &Sso,
    environment: &Environment,
    error: &CredentialsError,
) -> Error {
    let login = format!(
        "`aws sso login --profile {}` starts a new session",
        shell_words::quote(profile)
    );
    // The AWS CLI names the file after the session, or, without one, the URL.
    let name = sso.session.as_ref().unwrap_or(&sso.start_url);
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, name.as_bytes());
    let file = environment
        .expanded("~/.aws/sso/cache")
        .join(format!("{}.json", hex::encode(digest.as_ref())));
    let Some(token) = json_file(&file) else {
        return denied(
            format!("the AWS profile `{profile}` has no single sign-on session"),
            login,
        );
    };
    if let Some(expired) = expired(&token["expiresAt"]) {
        return denied(
            format!(
                "the single sign-on session of the AWS profile `{profile}` expired at {expired}"
            ),
            login,
        );
    }
    let what = format!("single sign-on in {}", sso.region);
    unreachable(&what, error).unwrap_or_else(|| {
        denied(
            format!(
                "single sign-on refused role `{}` in account {} to the AWS profile `{profile}`: {}",
                sso.role_name,
                sso.account_id,
                reason(error)
            ),
            format!(
                "{login}; if that does not help, check sso_account_id and sso_role_name: the \
                 access portal at {} shows your accounts and roles",
                sso.start_url
            ),
        )
    })
}

fn login_refused(
    profile: &str,
    session: &str,
    environment: &Environment,
    error: &CredentialsError,
) -> Error {
    let login = format!(
        "`aws login --profile {}` starts a new session",
        shell_words::quote(profile)
    );
    let digest = digest::digest(&digest::SHA256, session.trim().as_bytes());
    let file = environment
        .path("AWS_LOGIN_CACHE_DIRECTORY", ".aws/login/cache")
        .join(format!("{}.json", hex::encode(digest.as_ref())));
    if json_file(&file).is_none() {
        return denied(
            format!("the AWS profile `{profile}` has no session of `aws login`"),
            login,
        );
    }
    unreachable("AWS Sign-In", error).unwrap_or_else(|| {
        denied(
            format!(
                "the session of `aws login` of the AWS profile `{profile}` cannot be used: {}",
                reason(error)
            ),
            login,
        )
    })
}

fn json_file(file: &PathBuf) -> Option<Value> {
    serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()
}

/// Returns the time if it is over.
fn expired(time: &Value) -> Option<jiff::Timestamp> {
    let time: jiff::Timestamp = time.as_str()?.parse().ok()?;
    (time <= jiff::Timestamp::now()).then_some(time)
}

/// Creates the error for a role that cannot be assumed. AWS's message names who
/// may not assume what.
pub(super) fn role_refused(
    role: &Role,
    by: Option<&str>,
    error: &SdkError<AssumeRoleError, HttpResponse>,
) -> Error {
    let created = aws_error(&format!("assume role {}", role.arn), error);
    let name = role.arn.rsplit('/').next().unwrap_or_default();
    let hint = match error.code().unwrap_or_default() {
        "AccessDenied" if role.mfa_serial.is_some() => format!(
            "wait for the next code of the device, because a code works once; if that does not \
             help, check mfa_serial, and the trust policy of the role: `aws iam get-role \
             --role-name {name}` shows it"
        ),
        "AccessDenied" => format!(
            "two policies must allow it: one of the caller that allows sts:AssumeRole on this \
             role, and the role's trust policy, which names the caller and may require \
             external_id or mfa_serial in a profile: `aws iam get-role --role-name {name}` shows \
             it"
        ),
        "ValidationError" => "check role_session_name, external_id and duration_seconds of the \
                              profile: a session lasts no longer than the role's \
                              MaxSessionDuration, and one hour if another role assumes it"
            .to_owned(),
        "ExpiredToken" | "ExpiredTokenException" => match by {
            Some(profile) => format!(
                "the credentials of the AWS profile `{profile}` have expired: get new ones, and \
                 check this machine's clock"
            ),
            None => "get new temporary credentials, and check this machine's clock".to_owned(),
        },
        "RegionDisabledException" => {
            "activate STS for this region in the account settings of IAM, or pass another \
             `--region`"
                .to_owned()
        }
        _ => return created,
    };
    created.hint(hint)
}

/// Creates the error for a token that gives no role.
pub(super) fn web_identity_refused(
    role: &str,
    token: &Path,
    error: &SdkError<AssumeRoleWithWebIdentityError, HttpResponse>,
) -> Error {
    let token = token.display();
    let created = aws_error(
        &format!("assume role {role} with the token in `{token}`"),
        error,
    );
    let hint = match error.code().unwrap_or_default() {
        "ExpiredTokenException" => format!("get a new token: that in `{token}` has expired"),
        "InvalidIdentityToken" | "IDPRejectedClaim" | "IDPCommunicationError" => {
            "check that the account has an identity provider for the issuer of the token".to_owned()
        }
        "AccessDenied" => {
            "check the role's trust policy: it must name the identity provider, and its \
             conditions must fit the token's subject and audience"
                .to_owned()
        }
        _ => return created,
    };
    created.hint(hint)
}

/// Returns the innermost message of an error.
fn reason(error: &CredentialsError) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    let text = innermost.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    text.trim_end_matches('.').to_owned()
}
