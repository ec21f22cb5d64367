//! Errors with S3's codes and messages: a function for each error that occurs in
//! several places, and the error answers.
//!
//! An error document of S3 names what the error is about in further elements: the
//! missing key, the argument that is invalid. [`Naming::naming`] adds an element to
//! an error. The elements that name the target of a request, such as `Key`, are
//! added to the document by the code of the error; see [`Subject`].

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
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

/// As [`named`], with the status as a number.
pub(super) fn fail_as(code: &str, status: u16, message: impl Into<Cow<'static, str>>) -> S3Error {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    named(code, status, message)
}

/// An element of an error document: its name and its content.
type Element = (&'static str, String);

/// The elements of an error document in addition to code and message.
#[derive(Debug)]
struct Elements(Vec<Element>);

impl fmt::Display for Elements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|(name, value)| format!("{name}={value}"));
        f.write_str(&names.collect::<Vec<_>>().join(" "))
    }
}

impl std::error::Error for Elements {}

/// Adds elements to the document of an error.
pub(super) trait Naming {
    /// Adds an element, in the order of the document.
    fn naming(self, element: &'static str, content: impl Into<String>) -> Self;
}

impl Naming for S3Error {
    fn naming(mut self, element: &'static str, content: impl Into<String>) -> Self {
        let mut elements = elements(&self).to_vec();
        elements.push((element, content.into()));
        self.set_source(Box::new(Elements(elements)));
        self
    }
}

fn elements(error: &S3Error) -> &[Element] {
    let source = error.source();
    let elements = source.and_then(|source| source.downcast_ref::<Elements>());
    elements.map_or(&[], |elements| &elements.0)
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

const MALFORMED: &str =
    "The XML you provided was not well-formed or did not validate against our published schema";

pub(super) fn malformed_xml() -> S3Error {
    fail(S3ErrorCode::MalformedXML, MALFORMED)
}

pub(super) fn invalid_argument(message: impl Into<Cow<'static, str>>) -> S3Error {
    fail(S3ErrorCode::InvalidArgument, message)
}

/// Creates the error for an argument of a request: a header or a parameter.
pub(super) fn bad_argument(
    name: &str,
    value: impl Into<String>,
    message: impl Into<Cow<'static, str>>,
) -> S3Error {
    invalid_argument(message)
        .naming("ArgumentName", name)
        .naming("ArgumentValue", value)
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

/// Creates the error for a method that a resource does not have.
pub(super) fn method_not_allowed(method: &str, resource: &'static str) -> S3Error {
    fail(
        S3ErrorCode::MethodNotAllowed,
        "The specified method is not allowed against this resource.",
    )
    .naming("Method", method)
    .naming("ResourceType", resource)
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

/// The ids of an answer, which its headers and its error document contain.
pub(crate) struct Ids {
    request: String,
    host: String,
}

impl Ids {
    pub(crate) fn new() -> Self {
        let host: [u8; 57] = std::array::from_fn(|_| rand::random());
        Self {
            request: format!("{:016X}", rand::random::<u64>()),
            host: BASE64_STANDARD.encode(host),
        }
    }
}

/// The target of a request, as error documents name it.
#[derive(Debug, Default)]
pub(super) struct Subject {
    pub(super) bucket: Option<String>,
    pub(super) key: Option<String>,
    pub(super) upload_id: Option<String>,
    pub(super) version_id: Option<String>,
    pub(super) method: String,
}

impl Subject {
    /// Returns the elements that documents with this code contain.
    fn elements(&self, code: &str) -> Vec<Element> {
        let method = Some(self.method.clone());
        let elements = match code {
            "NoSuchKey" => vec![("Key", self.key.clone())],
            "NoSuchVersion" => vec![
                ("Key", self.key.clone()),
                ("VersionId", self.version_id.clone()),
            ],
            "NoSuchUpload" => vec![("UploadId", self.upload_id.clone())],
            "MethodNotAllowed" => vec![("Method", method)],
            _ if ABOUT_BUCKETS.contains(&code) => vec![("BucketName", self.bucket.clone())],
            _ => Vec::new(),
        };
        let present = elements.into_iter();
        present
            .filter_map(|(name, content)| Some((name, content?)))
            .collect()
    }
}

/// The codes whose documents contain `BucketName`.
const ABOUT_BUCKETS: [&str; 15] = [
    "BucketAlreadyExists",
    "BucketAlreadyOwnedByYou",
    "BucketNotEmpty",
    "InvalidBucketName",
    "NoSuchBucket",
    "NoSuchBucketPolicy",
    "NoSuchCORSConfiguration",
    "NoSuchLifecycleConfiguration",
    "NoSuchPublicAccessBlockConfiguration",
    "NoSuchTagSet",
    "NoSuchWebsiteConfiguration",
    "ObjectLockConfigurationNotFoundError",
    "OwnershipControlsNotFoundError",
    "ReplicationConfigurationNotFoundError",
    "ServerSideEncryptionConfigurationNotFoundError",
];

/// Returns an error answer for a request that did not reach an operation.
#[must_use]
pub(crate) fn error_response(code: &str, message: &str, status: u16) -> Response<Body> {
    let ids = Ids::new();
    let mut response = respond(code, message, status, Vec::new(), &ids);
    identify(&mut response, &ids);
    response
}

/// Returns the answer for `error`.
pub(super) fn answer(error: &S3Error, subject: &Subject, ids: &Ids) -> Response<Body> {
    let status = error
        .status_code()
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let code = error.code().as_str();
    let message = error.message().unwrap_or_else(|| usual_message(code));
    let mut named = elements(error).to_vec();
    for (name, content) in subject.elements(code) {
        if !named.iter().any(|(other, _)| *other == name) {
            named.push((name, content));
        }
    }
    let mut response = respond(code, message, status.as_u16(), named, ids);
    for (name, value) in error.headers().into_iter().flatten() {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

fn respond(
    code: &str,
    message: &str,
    status: u16,
    elements: Vec<Element>,
    ids: &Ids,
) -> Response<Body> {
    let mut body = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>");
    let code = ("Code", code.to_owned());
    let message = ("Message", message.to_owned());
    for (name, content) in [code, message].into_iter().chain(elements) {
        body.push_str(&xml(&[(name, &content)]));
    }
    body.push_str(&trailer(ids));
    body.push_str("</Error>");
    let mut response = document_response(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    response
}

/// Returns an answer with a document.
pub(super) fn document_response(document: String) -> Response<Body> {
    let mut response = Response::new(Body::from(document));
    let xml = HeaderValue::from_static("application/xml");
    response.headers_mut().insert(CONTENT_TYPE, xml);
    response
}

/// Returns elements with their contents.
pub(super) fn xml(elements: &[(&str, &str)]) -> String {
    let element =
        |(name, content): &(&str, &str)| format!("<{name}>{}</{name}>", partial_escape(*content));
    elements.iter().map(element).collect()
}

/// Returns the message of an error that s3s creates without one.
fn usual_message(code: &str) -> &'static str {
    match code {
        "MalformedXML" => MALFORMED,
        "MissingRequestBodyError" => "Request Body is empty",
        _ => "The request failed.",
    }
}

/// Completes an error document of s3s with the elements that end every error
/// document of S3. Returns `None` if the document is not an error document.
pub(super) fn complete(document: &str, ids: &Ids) -> Option<String> {
    let head = document.strip_suffix("</Error>")?;
    if head.contains("<RequestId>") {
        return None;
    }
    let mut text = head.to_owned();
    if !head.contains("<Message>") {
        let code = head
            .split_once("<Code>")
            .and_then(|(_, rest)| rest.split_once("</Code>"));
        let message = usual_message(code.map_or("", |(code, _)| code));
        text.push_str(&xml(&[("Message", message)]));
    }
    Some(format!("{text}{}</Error>", trailer(ids)))
}

/// Adds the headers that identify a request, as in every answer of S3.
pub(super) fn identify(response: &mut Response<Body>, ids: &Ids) {
    let headers = response.headers_mut();
    for (name, id) in [
        ("x-amz-id-2", &ids.host),
        ("x-amz-request-id", &ids.request),
    ] {
        if let Ok(id) = HeaderValue::from_str(id) {
            headers.insert(name, id);
        }
    }
    headers.insert("server", HeaderValue::from_static("AmazonS3"));
}

fn trailer(ids: &Ids) -> String {
    format!(
        "<RequestId>{}</RequestId><HostId>{}</HostId>",
        ids.request, ids.host
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(response: &Response<Body>) -> String {
        String::from_utf8(response.body().bytes().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn an_error_document_of_s3s_is_completed() {
        let ids = Ids::new();
        let text = complete("<Error><Code>MalformedXML</Code></Error>", &ids).unwrap();
        let (request, host) = (&ids.request, &ids.host);
        assert_eq!(
            text,
            format!(
                "<Error><Code>MalformedXML</Code><Message>{MALFORMED}</Message>\
                 <RequestId>{request}</RequestId><HostId>{host}</HostId></Error>"
            )
        );
        assert!(complete("<html>", &ids).is_none());
        assert!(complete(&text, &ids).is_none());
    }

    #[test]
    fn documents_name_what_the_error_is_about() {
        let subject = Subject {
            bucket: Some("b".into()),
            key: Some("<k>".into()),
            ..Subject::default()
        };
        let document = |error: S3Error| text(&answer(&error, &subject, &Ids::new()));
        assert!(document(no_such_key()).contains("<Key>&lt;k&gt;</Key>"));
        assert!(document(no_such_bucket()).contains("<BucketName>b</BucketName>"));
        let source = no_such_bucket().naming("BucketName", "source");
        let source = document(source);
        assert!(
            source.contains("<BucketName>source</BucketName>"),
            "{source}"
        );
        assert!(!source.contains("<BucketName>b<"), "{source}");
        let argument = document(bad_argument("max-keys", "", "wrong"));
        assert!(argument.contains(
            "<ArgumentName>max-keys</ArgumentName><ArgumentValue></ArgumentValue><RequestId>"
        ));
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
