//! Errors of requests without a response: no credentials, no region, no
//! connection.

use aws_credential_types::provider::error::CredentialsError;

use crate::clients::attempts::{NotSent, Place, find};
use crate::error::{Error, ErrorKind};

/// Creates the error for a request without a response: no credentials, no
/// connection, or a broken one.
pub(super) fn unanswered(
    attempt: &str,
    error: &(dyn std::error::Error + 'static),
    not_sent: Option<&NotSent>,
) -> Error {
    if let Some(error) = find::<CredentialsError>(error) {
        return no_credentials(Some(error), None);
    }
    let innermost = innermost(error);
    // Rust's messages end with " (os error 111)".
    let last = innermost
        .split(" (os error")
        .next()
        .unwrap_or(&innermost)
        .to_lowercase();
    match not_sent {
        Some(not_sent) if not_sent.place == Place::LocalCloud => {
            no_cloud(attempt, &not_sent.endpoint)
        }
        Some(not_sent) if not_sent.place == Place::Given => Error::new(
            ErrorKind::Unreachable,
            format!(
                "cannot {attempt}: no response from {}: {last}",
                not_sent.endpoint
            ),
        )
        .hint(
            "check the URL in `--endpoint-url` or AWS_ENDPOINT_URL, and check that a server runs \
             there",
        ),
        _ => Error::new(
            ErrorKind::Unreachable,
            format!("cannot {attempt}: no response from AWS: {last}"),
        )
        .hint("check the network, the region and `--endpoint-url`"),
    }
}

/// Creates the error for a local cloud that is gone.
pub(crate) fn no_cloud(attempt: &str, endpoint: &str) -> Error {
    Error::new(
        ErrorKind::Unreachable,
        format!("cannot {attempt}: the local cloud no longer runs at {endpoint}"),
    )
    .hint("`autorun cloud up` starts it again; then resume the run")
}

/// Returns the message of the innermost source of an error.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = "no connection".to_owned();
    let mut source = error.source();
    while let Some(inner) = source {
        innermost = inner.to_string();
        source = inner.source();
    }
    innermost
}

/// Creates the error for a missing region.
pub(crate) fn no_region() -> Error {
    Error::new(ErrorKind::InvalidOption, "no AWS region is configured").hint(
        "pass `--region eu-central-1`, set AWS_REGION, or put `region = ..` into ~/.aws/config",
    )
}

/// Creates the error for missing credentials; it names the profile, if the user
/// named one.
///
/// The SDK drops the types of its profile and SSO errors on the way here, so
/// only the variant of [`CredentialsError`] distinguishes the cases.
pub(crate) fn no_credentials(error: Option<&CredentialsError>, profile: Option<&str>) -> Error {
    let (message, hint) = match (error, profile) {
        (None | Some(CredentialsError::CredentialsNotLoaded(_)), Some(profile)) => (
            format!("AWS profile `{profile}` does not exist or has no credentials"),
            "`grep '^\\[' ~/.aws/config ~/.aws/credentials` lists your profiles",
        ),
        (None | Some(CredentialsError::CredentialsNotLoaded(_)), None) => (
            "no AWS credentials were found".to_owned(),
            "run `aws configure`, or put aws_access_key_id and aws_secret_access_key under \
             [default] in ~/.aws/credentials, or set AWS_PROFILE",
        ),
        (Some(error), _) => (
            format!("cannot get AWS credentials: {}", all_sources(error)),
            "`aws sso login` of AWS CLI 2 starts a new SSO session, if the profile uses one; \
             `aws sts get-caller-identity` shows whether the AWS CLI has the same problem",
        ),
    };
    Error::new(ErrorKind::Denied, message).hint(hint)
}

/// Returns the messages of an error and all its sources.
fn all_sources(error: &dyn std::error::Error) -> String {
    let mut all = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        all = format!("{all}: {inner}");
        source = inner.source();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_profile_without_credentials_is_named() {
        let missing = CredentialsError::not_loaded("no providers in chain");
        let error = no_credentials(Some(&missing), Some("nosuch"));
        assert!(error.to_string().contains("`nosuch` does not exist"));
        let failed = CredentialsError::provider_error("the SSO session has expired");
        let error = no_credentials(Some(&failed), Some("work"));
        assert!(error.to_string().ends_with("the SSO session has expired"));
        assert!(error.hint.as_ref().unwrap().contains("aws sso login"));
    }
}
