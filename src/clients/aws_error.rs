//! What AWS says -> [`Error`]: the one place that knows AWS's error codes.

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::RequestId as _;
use serde_json::json;

use crate::error::{Error, ErrorKind};

/// The code AWS gave, as `InvalidGroup.NotFound`; empty when there was none.
pub(crate) fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> &str {
    error.code().unwrap_or_default()
}

/// Makes an [`Error`] that says what was attempted.
pub(crate) fn aws_error<E>(attempt: &str, error: &SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let status = error.raw_response().map(|r| r.status().as_u16());
    match error {
        SdkError::ServiceError(_) | SdkError::ResponseError(_) if status.is_some() => {
            answered(attempt, error, status.unwrap_or_default())
        }
        SdkError::TimeoutError(_) => Error::new(
            ErrorKind::Timeout,
            format!("cannot {attempt}: AWS did not answer in time"),
        ),
        _ => unanswered(attempt, &chain(error)),
    }
}

/// AWS answered with an error.
fn answered<E>(attempt: &str, error: &SdkError<E, HttpResponse>, status: u16) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let code = code(error);
    let said = match error.message().map(|m| m.trim_end_matches('.')) {
        Some(message) if !message.is_empty() => message.to_owned(),
        _ if code.is_empty() => format!("AWS answered HTTP {status} without a reason"),
        _ => format!("AWS answered {code}"),
    };
    let mut made = Error::new(kind(code, status), format!("cannot {attempt}: {said}"))
        .detail(json!({ "code": code, "status": status, "request_id": error.request_id() }));
    made.hint = hint(code, status).map(str::to_owned);
    made
}

/// No answer: no credentials, no connection, or a broken one.
fn unanswered(attempt: &str, chain: &[String]) -> Error {
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
    Error::new(
        ErrorKind::Unreachable,
        format!("cannot {attempt}: no answer from AWS: {last}"),
    )
    .hint("check the network, the region and `--endpoint-url`")
}

/// The texts of an error and its sources, outermost first.
fn chain(error: &(dyn std::error::Error + 'static)) -> Vec<String> {
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
        return Error::new(ErrorKind::Denied, message).hint(
            "`aws configure list-profiles` shows the profiles in ~/.aws/config \
             and ~/.aws/credentials",
        );
    }
    if said.contains("SSO token") || said.contains("sso") {
        return Error::new(
            ErrorKind::Denied,
            "the AWS SSO session is missing or has expired",
        )
        .hint("run `aws sso login`, with `--profile NAME` if you use one");
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

fn kind(code: &str, status: u16) -> ErrorKind {
    match code {
        "UnauthorizedOperation"
        | "AccessDenied"
        | "AccessDeniedException"
        | "AuthFailure"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException"
        | "OptInRequired"
        | "Blocked"
        | "PendingVerification"
        | "InvalidToken" => ErrorKind::Denied,
        "BucketAlreadyExists" | "BucketAlreadyOwnedByYou" => ErrorKind::AlreadyExists,
        "RequestLimitExceeded" | "SlowDown" | "EC2ThrottledException" | "TooManyRequests" => {
            ErrorKind::Throttled
        }
        "TooManyBuckets" | "InsufficientInstanceCapacity" | "InsufficientAddressCapacity" => {
            ErrorKind::QuotaExceeded
        }
        "InternalError" | "InternalFailure" | "ServiceUnavailable" | "Unavailable" => {
            ErrorKind::Unreachable
        }
        "RequestTimeout" => ErrorKind::Timeout,
        _ if code.starts_with("Throttling") => ErrorKind::Throttled,
        _ if code.ends_with("LimitExceeded") => ErrorKind::QuotaExceeded,
        _ if code.ends_with(".NotFound") || code.starts_with("NoSuch") => ErrorKind::NotFound,
        _ if code.ends_with(".Duplicate") => ErrorKind::AlreadyExists,
        _ => match status {
            401 | 403 => ErrorKind::Denied,
            404 => ErrorKind::NotFound,
            408 => ErrorKind::Timeout,
            429 => ErrorKind::Throttled,
            400..500 => ErrorKind::InvalidOption,
            _ => ErrorKind::Unreachable,
        },
    }
}

/// What a person can do about a code.
fn hint(code: &str, status: u16) -> Option<&'static str> {
    Some(match code {
        "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" => {
            "ask for an IAM policy that allows this action, or use another `--profile`; \
             `aws sts get-caller-identity` shows who you are"
        }
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => {
            "log in again (`aws sso login`, or fetch new temporary credentials), \
             and check this machine's clock"
        }
        "AuthFailure"
        | "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException"
        | "InvalidToken" => {
            "the access key in use is not valid: check ~/.aws/credentials, AWS_PROFILE and \
             the AWS_* variables"
        }
        "OptInRequired" | "Blocked" | "PendingVerification" => {
            "sign in to the AWS console: the account is not yet able to use this service"
        }
        "VPCIdNotSpecified" | "MissingInput" => {
            "this region has no default VPC: make one with `aws ec2 create-default-vpc`, or \
             pass `vpc` to create_security_group and `subnet` to launch_instance"
        }
        "InvalidKeyPair.Duplicate" => {
            "choose another name, or remove the old one with \
             `aws ec2 delete-key-pair --key-name NAME`"
        }
        "InvalidGroup.Duplicate" => "choose another name, or pass the existing group's id",
        "BucketAlreadyExists" => "bucket names are shared by all AWS accounts: choose another",
        "InvalidAMIID.NotFound" | "InvalidAMIID.Malformed" => {
            "an AMI's id holds in one region only: use latest_amazon_linux()"
        }
        "VcpuLimitExceeded" | "InstanceLimitExceeded" => {
            "end instances you no longer need, or ask for a higher limit under Service Quotas"
        }
        "TooManyBuckets" => "delete buckets you no longer need, or ask for a higher limit",
        "DependencyViolation" => "something still uses it: wait until its instances are gone",
        "RequestLimitExceeded" | "SlowDown" => "AWS asks for fewer requests: wait a little",
        "BucketNotEmpty" => "delete its objects first",
        "AccessControlListNotSupported" => "make objects public by `public: true`, not by an ACL",
        "InsufficientInstanceCapacity" | "Unsupported" | "UnsupportedOperation" => {
            "try another instance type or another subnet"
        }
        _ if status >= 500 => "AWS has trouble; try again in a minute",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_of_codes_has_its_kind() {
        assert_eq!(kind("InvalidGroup.NotFound", 400), ErrorKind::NotFound);
        assert_eq!(
            kind("InvalidKeyPair.Duplicate", 400),
            ErrorKind::AlreadyExists
        );
        assert_eq!(kind("RequestLimitExceeded", 503), ErrorKind::Throttled);
        assert_eq!(kind("VcpuLimitExceeded", 400), ErrorKind::QuotaExceeded);
        assert_eq!(kind("InvalidParameterValue", 400), ErrorKind::InvalidOption);
        assert_eq!(kind("", 404), ErrorKind::NotFound);
        assert_eq!(kind("", 500), ErrorKind::Unreachable);
    }

    #[test]
    fn an_unknown_profile_is_named() {
        let error = no_credentials("profile `nosuch` was not defined: not defined");
        assert_eq!(error.message, "AWS profile `nosuch` is not defined");
    }
}
