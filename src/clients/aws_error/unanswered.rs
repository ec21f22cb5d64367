//! Requests without an answer: no credentials, no region, no connection.

use crate::clients::attempts::{NotSent, Place};
use crate::error::{Error, ErrorKind};

/// No answer: no credentials, no connection, or a broken one.
pub(super) fn unanswered(attempt: &str, chain: &[String], not_sent: Option<&NotSent>) -> Error {
    let all = chain.join(": ");
    if all.contains("Missing Region") {
        return no_region();
    }
    if all.contains("credential") || all.contains("profile") || all.contains("SSO") {
        return no_credentials(&all);
    }
    let last = chain.last().map_or("no connection", String::as_str);
    // reqwest-like texts end in "Connection refused (os error 111)".
    let last = last
        .split(" (os error")
        .next()
        .unwrap_or(last)
        .to_lowercase();
    match not_sent {
        Some(not_sent) if not_sent.place == Place::LocalCloud => {
            no_cloud(attempt, &not_sent.endpoint)
        }
        Some(not_sent) if not_sent.place == Place::Given => Error::new(
            ErrorKind::Unreachable,
            format!(
                "cannot {attempt}: no answer from {}: {last}",
                not_sent.endpoint
            ),
        )
        .hint(
            "check that it is the right address, by `--endpoint-url` or AWS_ENDPOINT_URL, and \
             that a server runs there",
        ),
        _ => Error::new(
            ErrorKind::Unreachable,
            format!("cannot {attempt}: no answer from AWS: {last}"),
        )
        .hint("check the network, the region and `--endpoint-url`"),
    }
}

/// The local cloud is not there any more.
pub(crate) fn no_cloud(attempt: &str, endpoint: &str) -> Error {
    Error::new(
        ErrorKind::Unreachable,
        format!("cannot {attempt}: the local cloud does not run any more at {endpoint}"),
    )
    .hint("`autorun cloud up` starts it again, and then the run can be resumed")
}

/// The texts of an error and its sources, outermost first.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> Vec<String> {
    let mut texts = Vec::new();
    let mut source = error.source();
    while let Some(inner) = source {
        texts.push(inner.to_string());
        source = inner.source();
    }
    texts
}

/// No region is configured.
pub(crate) fn no_region() -> Error {
    Error::new(ErrorKind::InvalidOption, "no AWS region is configured").hint(
        "pass `--region eu-central-1`, set AWS_REGION, or write `region = ..` into ~/.aws/config",
    )
}

/// Nobody provided credentials. `said` is the provider chain's own words.
pub(crate) fn no_credentials(said: &str) -> Error {
    let profile = said
        .split("profile `")
        .nth(1)
        .and_then(|rest| rest.split('`').next());
    if let (Some(profile), true) = (profile, said.contains("not defined")) {
        let message = format!("AWS profile `{profile}` is not defined");
        return Error::new(ErrorKind::Denied, message)
            .hint("`grep '^\\[' ~/.aws/config ~/.aws/credentials` shows the profiles there are");
    }
    if said.contains("SSO token") || said.contains("sso") {
        return Error::new(
            ErrorKind::Denied,
            "the AWS SSO session is missing or has expired",
        )
        .hint("run `aws sso login` of AWS CLI 2, with `--profile NAME` if you use one");
    }
    if said.contains("no providers in chain") || said.contains("no credentials found") {
        return Error::new(ErrorKind::Denied, "no AWS credentials were found").hint(
            "run `aws configure`, or put aws_access_key_id and aws_secret_access_key under \
             [default] in ~/.aws/credentials, or set AWS_PROFILE",
        );
    }
    Error::new(
        ErrorKind::Denied,
        format!("cannot get AWS credentials: {said}"),
    )
    .hint("`aws sts get-caller-identity` shows whether the AWS CLI has the same trouble")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_profile_is_named() {
        let error = no_credentials("profile `nosuch` was not defined: not defined");
        assert_eq!(error.message, "AWS profile `nosuch` is not defined");
    }
}
