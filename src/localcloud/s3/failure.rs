//! Errors with S3's codes and messages: a function for each error that occurs in
//! several places, and the error answers.

use std::borrow::Cow;

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use quick_xml::escape::partial_escape;
use s3s::{Body, S3Error, S3ErrorCode};

/// Result of an operation.
pub(super) type Result<T> = std::result::Result<T, S3Error>;

/// Creates an error with one of S3's codes.
pub(super) fn fail(code: S3ErrorCode, message: impl Into<Cow<'static, str>>) -> S3Error {
    S3Error::with_message(code, message)
}

/// Creates an error with a code that s3s does not define.
pub(super) fn named(
    code: &str,
    status: StatusCode,
    message: impl Into<Cow<'static, str>>,
) -> S3Error {
    let code = code.parse().unwrap_or(S3ErrorCode::InternalError);
    let mut error = fail(code, message);
    error.set_status_code(status);
    error
}

pub(super) fn no_such_bucket() -> S3Error {
    fail(
        S3ErrorCode::NoSuchBucket,
        "The specified bucket does not exist",
    )
}

pub(super) fn no_such_key() -> S3Error {
    fail(S3ErrorCode::NoSuchKey, "The specified key does not exist.")
}

pub(super) fn no_such_upload() -> S3Error {
    fail(
        S3ErrorCode::NoSuchUpload,
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
    )
}

pub(super) fn access_denied() -> S3Error {
    fail(S3ErrorCode::AccessDenied, "Access Denied")
}

pub(super) fn malformed_xml() -> S3Error {
    fail(
        S3ErrorCode::MalformedXML,
        "The XML you provided was not well-formed or did not validate against our published schema",
    )
}

pub(super) fn invalid_argument(message: impl Into<Cow<'static, str>>) -> S3Error {
    fail(S3ErrorCode::InvalidArgument, message)
}

pub(super) fn invalid_request(message: impl Into<Cow<'static, str>>) -> S3Error {
    fail(S3ErrorCode::InvalidRequest, message)
}

/// Creates the error for a feature of AWS that the local cloud does not have. Such
/// a request is refused, because ignoring the feature would misrepresent AWS.
pub(super) fn not_implemented(what: &str) -> S3Error {
    fail(
        S3ErrorCode::NotImplemented,
        format!(
            "A header or query you provided implies functionality that is not implemented: {what}"
        ),
    )
}

/// Creates the error for a failed disk operation. The log contains the cause; the
/// answer does not, because the cause contains paths.
pub(super) fn internal(attempt: &str, error: &std::io::Error) -> S3Error {
    log::error!("s3: cannot {attempt}: {error}");
    fail(
        S3ErrorCode::InternalError,
        "We encountered an internal error. Please try again.",
    )
}

/// Returns an error answer for a request that did not reach an operation.
#[must_use]
pub(crate) fn error_response(
    code: &str,
    message: &str,
    status: u16,
    resource: &str,
    request_id: &str,
) -> Response<Body> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message>{}</Error>",
        partial_escape(code),
        partial_escape(message),
        trailer(resource, request_id),
    );
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let xml = HeaderValue::from_static("application/xml");
    response.headers_mut().insert(CONTENT_TYPE, xml);
    identify(&mut response, request_id);
    response
}

/// Returns the answer for `error`.
pub(super) fn answer(error: &S3Error, resource: &str, request_id: &str) -> Response<Body> {
    let status = error
        .status_code()
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let code = error.code().as_str();
    let message = error.message().unwrap_or("The request failed.");
    error_response(code, message, status.as_u16(), resource, request_id)
}

/// Completes an error document of s3s with the elements that end every error
/// document of S3. Returns `None` if the document is not an error document.
pub(super) fn complete(document: &str, resource: &str, request_id: &str) -> Option<String> {
    let head = document.strip_suffix("</Error>")?;
    let message = if head.contains("<Message>") {
        ""
    } else {
        "<Message>The request failed.</Message>"
    };
    Some(format!(
        "{head}{message}{}</Error>",
        trailer(resource, request_id)
    ))
}

/// Adds the headers that identify a request, as in every answer of S3.
pub(super) fn identify(response: &mut Response<Body>, request_id: &str) {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-amz-id-2", id.clone());
        headers.insert("x-amz-request-id", id);
    }
    headers.insert("server", HeaderValue::from_static("AmazonS3"));
}

fn trailer(resource: &str, request_id: &str) -> String {
    format!(
        "<Resource>{}</Resource><RequestId>{request_id}</RequestId><HostId>{request_id}</HostId>",
        partial_escape(resource)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_document_of_s3s_is_completed() {
        let text = complete("<Error><Code>NoSuchKey</Code></Error>", "/b/<k>", "0A").unwrap();
        assert_eq!(
            text,
            "<Error><Code>NoSuchKey</Code><Message>The request failed.</Message>\
             <Resource>/b/&lt;k&gt;</Resource><RequestId>0A</RequestId><HostId>0A</HostId></Error>"
        );
        assert!(complete("<html>", "/", "0A").is_none());
    }

    #[test]
    fn a_code_that_s3s_does_not_define_keeps_its_status() {
        let error = named(
            "NoSuchPublicAccessBlockConfiguration",
            StatusCode::NOT_FOUND,
            "missing",
        );
        assert_eq!(
            error.code().as_str(),
            "NoSuchPublicAccessBlockConfiguration"
        );
        assert_eq!(error.status_code(), Some(StatusCode::NOT_FOUND));
    }
}
