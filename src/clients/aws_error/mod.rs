//! What AWS says -> [`Error`]. Nothing outside of `clients` knows AWS's error
//! codes.

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_ec2::operation::RequestId as _;
use serde_json::json;

use super::attempts::{NotSent, find};
use crate::error::{Error, ErrorKind};
use families::{hint, kind};
use unanswered::unanswered;

mod codes;
mod families;
mod operations;
mod unanswered;

pub(crate) use codes::{Code, code};
pub(crate) use operations::OperationError;
pub(crate) use unanswered::{no_cloud, no_credentials, no_region};

/// Makes an [`Error`] that says what was attempted.
pub(crate) fn aws_error<E: OperationError>(
    attempt: &str,
    error: &SdkError<E, HttpResponse>,
) -> Error {
    let status = error.raw_response().map(|r| r.status().as_u16());
    match error {
        SdkError::ServiceError(_) | SdkError::ResponseError(_) if status.is_some() => {
            answered(attempt, error, status.unwrap_or_default())
        }
        SdkError::TimeoutError(_) => Error::new(
            ErrorKind::Timeout,
            format!("cannot {attempt}: AWS did not answer in time"),
        ),
        _ => match find::<NotSent>(error) {
            Some(not_sent) => unanswered(attempt, error, Some(not_sent)).unsent(),
            None => unanswered(attempt, error, None),
        },
    }
}

/// AWS answered with an error.
fn answered<E: OperationError>(
    attempt: &str,
    error: &SdkError<E, HttpResponse>,
    status: u16,
) -> Error {
    let code = error.code().unwrap_or_default();
    let (said, encoded) = readable(error.message().unwrap_or_default());
    let said = match said.is_empty() {
        false => said.to_owned(),
        true if code.is_empty() && status < 300 => {
            format!("the answer (HTTP {status}) is not one of AWS's")
        }
        true if code.is_empty() => format!("AWS answered HTTP {status} without a reason"),
        true => format!("AWS answered {code}"),
    };
    let mut made = Error::new(kind(code, status), format!("cannot {attempt}: {said}"))
        .detail(json!({ "code": code, "status": status, "request_id": error.request_id() }));
    if let Some(encoded) = encoded {
        made.detail["encoded_message"] = json!(encoded);
    }
    let region = error
        .raw_response()
        .and_then(|answer| answer.headers().get("x-amz-bucket-region"));
    made.hint = hint(code, E::OPERATION, status, &said).map(|hint| match region {
        Some(region) => hint.replace(" REGION`", &format!(" {region}`")),
        None => hint,
    });
    made
}

/// AWS's words without what no person can read: some kilobytes that
/// `aws sts decode-authorization-message` would explain.
fn readable(said: &str) -> (&str, Option<&str>) {
    let (said, encoded) = match said.split_once("Encoded authorization failure message:") {
        Some((said, encoded)) => (said, Some(encoded.trim())),
        None => (said, None),
    };
    (said.trim().trim_end_matches('.'), encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refused_action_is_named_and_what_nobody_can_read_is_left_out() {
        let said = "You are not authorized to perform this operation. User: arn:aws:iam::1:user/a \
             is not authorized to perform: ec2:RunInstances on resource: arn:aws:ec2:x because no \
             identity-based policy allows it. Encoded authorization failure message: abc_-9";
        let (said, encoded) = readable(said);
        assert!(said.ends_with("policy allows it"), "{said}");
        assert_eq!(encoded, Some("abc_-9"));
        let hint = hint("UnauthorizedOperation", "RunInstances", 403, said).unwrap();
        assert!(
            hint.contains("policy that allows ec2:RunInstances, or"),
            "{hint}"
        );
    }
}
