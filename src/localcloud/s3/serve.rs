//! From a request to its answer: what concerns every operation.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderValue, TRANSFER_ENCODING,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use jiff::Timestamp;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::validation::NameValidation;
use s3s::{Body, S3Error, S3ErrorCode};

use super::access;
use super::authentication::authenticate;
use super::backend::Backend;
use super::call::{self, Call};
use super::checksum::Announced;
use super::failure::{self, Result, fail, invalid_argument, invalid_request, not_implemented};
use super::names;
use super::operation::{self, Operation, Target};
use super::ops::Operations;
use super::payload::{Payload, Source};
use super::policy::Context;
use super::store::Store;
use crate::query::{self, Query};
use crate::signature::{Keys, Place, Signed};

/// Largest object of a single upload.
const MAX_CONTENT: u64 = 5 << 30;
/// Largest document; the part list of a big upload is the longest there is.
const MAX_DOCUMENT: u64 = 8 << 20;

/// Where the service keeps its data and whom it serves.
pub(crate) struct Settings {
    /// Directory of the service's own; made if it is not there.
    pub dir: PathBuf,
    /// The one key.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// The account, 12 digits.
    pub account: String,
}

/// The S3 service. Clones share everything.
#[derive(Clone)]
pub(crate) struct S3(Arc<Inner>);

struct Inner {
    keys: Keys,
    backend: Arc<Backend>,
    service: S3Service,
}

impl S3 {
    /// Opens the directory, making it when it is not there, and removes what
    /// interrupted uploads left in it.
    pub(crate) fn open(settings: Settings) -> io::Result<Self> {
        let backend = Arc::new(Backend {
            store: Store::open(&settings.dir)?,
            account: settings.account,
        });
        let mut builder = S3ServiceBuilder::new(Operations(Arc::clone(&backend)));
        builder.set_validation(Names);
        Ok(Self(Arc::new(Inner {
            keys: Keys {
                access_key_id: settings.access_key_id,
                secret_access_key: settings.secret_access_key,
            },
            backend,
            service: builder.build(),
        })))
    }

    /// Checks who sent a request. Nothing is done for it before it is given to
    /// [`Self::serve`], whatever it comes to.
    #[must_use]
    pub(crate) fn receive(&self, request: Request<Incoming>, peer: IpAddr) -> Received {
        let (mut parts, incoming) = request.into_parts();
        let now = Timestamp::now();
        let known = self.recognise(&parts, now);
        let signed = known.as_ref().ok().and_then(|known| known.signed.as_ref());
        if signed.is_some_and(|signed| !signed.covers_type)
            && let Some(passed_over) = parts.headers.remove(CONTENT_TYPE)
        {
            log::info!("s3: passed over a content-type that is not signed: {passed_over:?}");
        }
        Received {
            parts,
            source: Source::new(incoming),
            known,
            peer,
            now,
        }
    }

    /// Answers a request; `account_blocks_public` says that Block Public Access
    /// of the account is on for it, whatever a bucket says.
    pub(crate) async fn serve(
        &self,
        received: Received,
        account_blocks_public: bool,
    ) -> Response<Body> {
        let id = format!("{:016X}", rand::random::<u64>());
        let resource = received.parts.uri.path().to_owned();
        let silent = received.parts.method == Method::HEAD;
        let held = received.parts.headers.contains_key(EXPECT);
        let source = received.source.clone();
        let mut response = match self.answer(received, account_blocks_public).await {
            Ok(response) => response,
            Err(error) => failure::answer(&error, &resource, &id),
        };
        if has_failed(response.status()) && !source.drain(held).await {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        finish(&mut response, &resource, &id, silent);
        response
    }

    fn recognise(&self, parts: &Parts, now: Timestamp) -> Result<Known> {
        let target = Target::parse(parts.uri.path())?;
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let query = query.ok_or_else(invalid_uri)?;
        if let Some(name) = query.repeated() {
            return Err(invalid_argument(format!(
                "The query parameter {name} is given more than once."
            )));
        }
        Ok(Known {
            operation: operation::resolve(parts, &target, &query),
            signed: authenticate(parts, &query, &self.0.keys, now)?,
            target,
            query,
        })
    }

    async fn answer(
        &self,
        received: Received,
        account_blocks_public: bool,
    ) -> Result<Response<Body>> {
        let Received {
            parts,
            source,
            known,
            peer,
            now,
        } = received;
        let Known {
            target,
            query,
            operation,
            signed,
        } = known?;
        let signed = signed.as_ref();
        check_target(operation, &target)?;
        check_query(operation, &query)?;
        check_features(&parts.headers, operation)?;
        let backend = &self.0.backend;
        let context = Context::new(
            backend,
            (&parts, &query),
            signed,
            (peer, now),
            operation.lists(),
        );
        let caller = access::authorize(
            backend,
            signed,
            (operation, &target),
            (&parts, &query),
            &context,
        )?;
        let payload = Payload::new(&parts.headers, signed, source)?;
        let trailers = payload.trailers();
        let length = payload.length();
        let body = read_body(operation, &parts, signed, payload).await?;
        let call = Call::new(call::Request {
            caller,
            context,
            headers: parts.headers.clone(),
            query,
            trailers,
            account_blocks_public,
        });
        let request = library_request(parts, length, call, body)?;
        self.0.service.call(request).await.map_err(|error| {
            let source: s3s::StdError = error.into();
            failure::internal("serve a request", &io::Error::other(source))
        })
    }
}

/// A request whose signature has been looked at.
pub(crate) struct Received {
    parts: Parts,
    source: Source,
    known: Result<Known>,
    peer: IpAddr,
    now: Timestamp,
}

/// What a request wants, and who signed it.
struct Known {
    target: Target,
    query: Query,
    operation: Operation,
    signed: Option<Signed>,
}

impl Received {
    /// The SDKs' name of the operation it asks for; `Unknown` if there is none,
    /// or if it is going to be refused for its signature.
    #[must_use]
    pub(crate) fn operation(&self) -> &'static str {
        let known = self.known.as_ref();
        known.map_or(operation::UNKNOWN.name, |known| known.operation.name)
    }

    /// Its headers, if they are signed.
    #[must_use]
    pub(crate) fn signed_headers(&self) -> Option<&HeaderMap> {
        let known = self.known.as_ref().ok()?;
        known.signed.as_ref().map(|_| &self.parts.headers)
    }

    /// Whether it is either signed or sent by someone who does not say that it
    /// is.
    #[must_use]
    pub(crate) fn is_sound(&self) -> bool {
        self.known.is_ok()
    }

    /// Its path, as it came.
    #[must_use]
    pub(crate) fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// Takes a body off the line that no one wants, so that its sender gets to
    /// read the answer.
    pub(crate) async fn discard(self) {
        let held = self.parts.headers.contains_key(EXPECT);
        self.source.drain(held).await;
    }
}

fn invalid_uri() -> S3Error {
    fail(S3ErrorCode::InvalidURI, "Couldn't parse the specified URI.")
}

struct Names;

impl NameValidation for Names {
    fn validate_bucket_name(&self, name: &str) -> bool {
        names::is_bucket_name(name)
    }
}

fn check_target(operation: Operation, target: &Target) -> Result<()> {
    if let Some(bucket) = target.bucket() {
        names::check_bucket(bucket)?;
    }
    if let Target::Object(_, key) = target {
        names::check_key(key)?;
    }
    if operation.offered() {
        Ok(())
    } else {
        Err(not_implemented(operation.name))
    }
}

/// The library must not find another operation in the query than we did.
fn check_query(operation: Operation, query: &Query) -> Result<()> {
    if operation.ambiguous {
        return Err(invalid_argument("Conflicting query string parameters"));
    }
    let part = matches!(operation.name, "UploadPart" | "UploadPartCopy");
    if part && !query.has("partNumber") {
        return Err(invalid_argument(
            "Part number must be an integer between 1 and 10000, inclusive",
        ));
    }
    Ok(())
}

/// Refuses what a header asks for and nothing here would do.
fn check_features(headers: &HeaderMap, operation: Operation) -> Result<()> {
    let foreign = [
        "x-amz-server-side-encryption-customer-",
        "x-amz-server-side-encryption-aws-kms-",
        "x-amz-server-side-encryption-context",
        "x-amz-copy-source-server-side-encryption-customer-",
        "x-amz-object-lock-",
        "x-amz-bucket-object-lock-enabled",
        "x-amz-website-redirect-location",
        "x-amz-write-offset-bytes",
    ];
    let names = || headers.keys().map(hyper::header::HeaderName::as_str);
    let off = |name: &str| headers.get(name).is_some_and(|value| value == "false");
    if let Some(name) =
        names().find(|name| foreign.iter().any(|head| name.starts_with(head)) && !off(name))
    {
        return Err(not_implemented(name));
    }
    if headers
        .get("x-amz-server-side-encryption")
        .is_some_and(|value| value != "AES256")
    {
        return Err(not_implemented(
            "x-amz-server-side-encryption other than AES256",
        ));
    }
    let source = headers.get("x-amz-copy-source").map(HeaderValue::as_bytes);
    // A signature does not say how many blanks there are.
    if source.is_some_and(|source| source.iter().any(|byte| matches!(byte, b' ' | b'\t'))) {
        return Err(invalid_argument("Invalid copy source encoding."));
    }
    let acl = headers
        .get("x-amz-acl")
        .and_then(|value| value.to_str().ok());
    let granted = names().any(|name| name.starts_with("x-amz-grant-"));
    match (operation.name, acl) {
        ("CreateBucket", Some("private") | None) if !granted => Ok(()),
        ("CreateBucket", _) => Err(fail(
            S3ErrorCode::InvalidBucketAclWithObjectOwnership,
            "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
        )),
        ("PutBucketAcl" | "PutObjectAcl", _) => Err(no_lists()),
        (_, Some("bucket-owner-full-control") | None) if !granted => Ok(()),
        _ => Err(no_lists()),
    }
}

fn no_lists() -> S3Error {
    fail(
        S3ErrorCode::AccessControlListNotSupported,
        "The bucket does not allow ACLs",
    )
}

/// Content is passed on as it comes; a document is read and checked.
async fn read_body(
    operation: Operation,
    parts: &Parts,
    signed: Option<&Signed>,
    payload: Payload,
) -> Result<Body> {
    if operation.takes_content() {
        check_length(payload.length())?;
        let frames = payload.into_stream().map_ok(Frame::data);
        return Ok(Body::http_body_unsync(StreamBody::new(frames)));
    }
    let trailers = payload.trailers();
    let covered = payload.is_covered() || signed.is_none_or(|it| it.place == Place::Query);
    let document = payload.collect(MAX_DOCUMENT).await?;
    if !covered && !document.is_empty() {
        return Err(invalid_argument(
            "x-amz-content-sha256 must be a valid sha256 value: only the content of an object may be unsigned.",
        ));
    }
    // With these four, the headers are about an object.
    let about_object = matches!(
        operation.name,
        "CreateMultipartUpload" | "CompleteMultipartUpload" | "CopyObject" | "UploadPartCopy"
    );
    if !about_object && !document.is_empty() {
        let announced = Announced::read(&parts.headers)?;
        if operation.name == "DeleteObjects" && !announced.is_something() {
            return Err(invalid_request(
                "Missing required header for this request: Content-MD5",
            ));
        }
        announced.verify_bytes(&document, &trailers)?;
    }
    Ok(Body::from(document))
}

fn check_length(length: Option<u64>) -> Result<()> {
    match length {
        None => Err(fail(
            S3ErrorCode::MissingContentLength,
            "You must provide the Content-Length HTTP header.",
        )),
        Some(length) if length > MAX_CONTENT => Err(fail(
            S3ErrorCode::EntityTooLarge,
            "Your proposed upload exceeds the maximum allowed size",
        )),
        Some(_) => Ok(()),
    }
}

/// The request as the library sees it: verified already, so without signature,
/// and without the headers that operations read in the client's own words.
fn library_request(
    parts: Parts,
    length: Option<u64>,
    call: Call,
    body: Body,
) -> Result<s3s::HttpRequest> {
    let mut headers = HeaderMap::new();
    for (name, value) in &parts.headers {
        let ours = name.as_str().starts_with("x-amz-") || name == HOST;
        let words = [
            "x-amz-meta-",
            "x-amz-copy-source-if-",
            "x-amz-content-sha256",
        ];
        if ours && !words.iter().any(|word| name.as_str().starts_with(word)) {
            headers.append(name.clone(), value.clone());
        }
    }
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let mut request = Request::new(body);
    *request.method_mut() = parts.method;
    *request.uri_mut() = library_uri(parts.uri.path(), &call.query)?;
    *request.headers_mut() = headers;
    request.extensions_mut().insert(call);
    Ok(request)
}

/// The address with what the operations read, in a spelling of our own: nothing
/// in it can mean another thing to the library than it meant to us.
fn library_uri(path: &str, query: &Query) -> Result<Uri> {
    let ours = |name: &str| {
        let name = name.to_ascii_lowercase();
        let signature = ["awsaccesskeyid", "expires", "signature"];
        name.starts_with("x-amz-")
            || name.starts_with("response-")
            || signature.contains(&name.as_str())
    };
    let encoded = |text: &str| query::encode(text, query::VALUE);
    let pairs: Vec<String> = query
        .pairs()
        .filter(|(name, _)| !ours(name))
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
        .collect();
    let text = format!("{path}?{}", pairs.join("&"));
    text.parse().map_err(|_| invalid_uri())
}

fn has_failed(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// What every answer has, and what answers to `HEAD` and 304 have not.
fn finish(response: &mut Response<Body>, resource: &str, id: &str, silent: bool) {
    let status = response.status();
    let failed = has_failed(status);
    let bodiless = silent || status == StatusCode::NOT_MODIFIED;
    if failed && !bodiless {
        let document = response.body().bytes();
        let document = document.and_then(|bytes| String::from_utf8(bytes.into()).ok());
        let document = document.and_then(|text| failure::complete(&text, resource, id));
        if let Some(document) = document {
            response.headers_mut().remove(CONTENT_LENGTH);
            *response.body_mut() = Body::from(document);
        }
    }
    if bodiless {
        *response.body_mut() = Body::empty();
    }
    if bodiless && (failed || status == StatusCode::NOT_MODIFIED) {
        response.headers_mut().remove(CONTENT_LENGTH);
        response.headers_mut().remove(TRANSFER_ENCODING);
    }
    failure::identify(response, id);
}
