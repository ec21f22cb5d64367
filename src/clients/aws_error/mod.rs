//! Maps errors of the AWS SDK to [`Error`]. No code outside `clients` knows
//! AWS's error codes.

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
pub(crate) use unanswered::no_cloud;

/// Creates an [`Error`] that names the attempted operation.
pub(crate) fn aws_error<E: OperationError>(
    attempt: &str,
    error: &SdkError<E, HttpResponse>,
) -> Error {
    aws_error_of(E::OPERATION, attempt, error)
}

/// Like [`aws_error`], for a request that has the body of another operation.
pub(crate) fn aws_error_of<E: OperationError>(
    operation: &str,
    attempt: &str,
    error: &SdkError<E, HttpResponse>,
) -> Error {
    let status = error.raw_response().map(|r| r.status().as_u16());
    match error {
        SdkError::ServiceError(_) | SdkError::ResponseError(_) if status.is_some() => {
            answered((operation, attempt), error, status.unwrap_or_default())
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

/// Creates the error for an error response from AWS.
fn answered<E: OperationError>(
    (operation, attempt): (&str, &str),
    error: &SdkError<E, HttpResponse>,
    status: u16,
) -> Error {
    let code = error.code().unwrap_or_default();
    let (message, encoded) = readable(error.message().unwrap_or_default());
    let message = match message.is_empty() {
        false => message.to_owned(),
        true if code.is_empty() && status < 300 => {
            format!("the response (HTTP {status}) is not from AWS")
        }
        true if code.is_empty() => format!("AWS returned HTTP {status} without a reason"),
        true => format!("AWS returned {code}"),
    };
    let mut created = Error::new(kind(code, status), format!("cannot {attempt}: {message}"))
        .detail(json!({ "code": code, "status": status, "request_id": error.request_id() }));
    if let Some(encoded) = encoded {
        created.detail["encoded_message"] = json!(encoded);
    }
    let region = error
        .raw_response()
        .and_then(|answer| answer.headers().get("x-amz-bucket-region"));
    created.hint = hint(code, operation, status, &message).map(|hint| match region {
        Some(region) => hint.replace(" REGION`", &format!(" {region}`")),
        None => hint,
    });
    created
}

/// Creates the error for an error answer that did not come through the SDK.
pub(crate) fn refused(
    (operation, attempt): (&str, &str),
    (code, message): (&str, &str),
    status: u16,
) -> Error {
    // Services with JSON name AccessDeniedException what others name AccessDenied.
    let known = code.strip_suffix("Exception").unwrap_or(code);
    let (text, _) = readable(message);
    let text = match (text, code) {
        ("", "") => format!("AWS returned HTTP {status} without a reason"),
        ("", code) => format!("AWS returned {code}"),
        (text, _) => text.to_owned(),
    };
    let mut error = Error::new(kind(known, status), format!("cannot {attempt}: {text}"))
        .detail(json!({ "code": code, "status": status }));
    error.hint = hint(known, operation, status, &text);
    error
}

/// Splits AWS's message into its readable text and the encoded part: some
/// kilobytes that only `aws sts decode-authorization-message` can decode.
fn readable(message: &str) -> (&str, Option<&str>) {
    let (message, encoded) = match message.split_once("Encoded authorization failure message:") {
        Some((message, encoded)) => (message, Some(encoded.trim())),
        None => (message, None),
    };
    (message.trim().trim_end_matches('.'), encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_names_the_refused_action_and_the_encoded_text_is_split_off() {
        let message = "You are not authorized to perform this operation. User: arn:aws:iam::1:user/a \
             is not authorized to perform: ec2:RunInstances on resource: arn:aws:ec2:x because no \
             identity-based policy allows it. Encoded authorization failure message: abc_-9";
        let (message, encoded) = readable(message);
        assert!(message.ends_with("policy allows it"), "{message}");
        assert_eq!(encoded, Some("abc_-9"));
        let hint = hint("UnauthorizedOperation", "RunInstances", 403, message).unwrap();
        assert!(
            hint.contains("policy that allows ec2:RunInstances ("),
            "{hint}"
        );
    }
}
