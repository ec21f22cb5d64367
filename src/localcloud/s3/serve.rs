//! Answers a request: the steps that all operations share.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, Stream};
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderValue, TRANSFER_ENCODING,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use jiff::Timestamp;
use s3s::dto::Tagging;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::validation::NameValidation;
use s3s::{Body, S3Error, S3ErrorCode};

use super::access;
use super::account::public_access_block;
use super::acl;
use super::arguments;
use super::authentication::authenticate;
use super::backend::Backend;
use super::call::{self, Call};
use super::checks::{check_features, check_query, check_target};
use super::checksum::Announced;
use super::documents;
use super::failure::{self, Naming as _, Result, fail, invalid_argument, invalid_request};
use super::names;
use super::operation::{self, Operation, Target};
use super::ops::{Operations, get_object_attributes, list_buckets, store_output};
use super::payload::{Payload, Source, Trailers};
use super::policy::{Context, not_json};
use super::post;
use super::presigned;
use super::regions;
use super::store::Store;
use crate::authorization::Guard;
use crate::ec2::OutputStore;
use crate::faults::Account;
use crate::query::{self, Query};
use crate::signature::{Keys, Place, Session, Signed, Validity};

/// S3's maximum size of an object that is uploaded in one request.
const MAX_CONTENT: u64 = 5 << 30;
/// The maximum size of a document. The longest document is the list of 10,000
/// parts that completes a multipart upload.
const MAX_DOCUMENT: u64 = 8 << 20;

/// The header with the source of a copy.
const COPY_SOURCE: &str = "x-amz-copy-source";

/// The configuration of the service.
pub(crate) struct Settings {
    /// The directory of the service. It is created if it does not exist.
    pub dir: PathBuf,
    /// The id of the only access key.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: String,
    /// The account id of 12 digits.
    pub account: String,
}

/// What applies to the sender of a request.
#[derive(Clone, Default)]
pub(crate) struct Rules {
    /// The settings of the account.
    pub account: Account,
    /// The policy that holds the owner of the access key.
    pub guard: Option<Guard>,
}

/// The S3 service. Clones share their state.
#[derive(Clone)]
pub(crate) struct S3(Arc<Inner>);

struct Inner {
    keys: Keys,
    backend: Arc<Backend>,
    service: S3Service,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("S3")
    }
}

impl OutputStore for S3 {
    fn store(&self, bucket: String, key: String, content: File) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            let stored = store_output(&self.0.backend, &bucket, &key, content).await;
            stored.map_err(|error| io::Error::other(error.code().as_str().to_owned()))
        })
    }
}

impl S3 {
    /// Opens the directory, creates it if it does not exist, and removes the
    /// remains of interrupted uploads.
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

    /// Authenticates a request. The result, also if it is an error, has no effect
    /// before [`Self::serve`] is called.
    #[must_use]
    pub(crate) fn receive(
        &self,
        request: Request<Incoming>,
        peer: IpAddr,
        validity: Validity<'_>,
    ) -> Received {
        let (mut parts, incoming) = request.into_parts();
        let known = self.recognise(&parts, validity);
        let signed = known.as_ref().ok().and_then(|known| known.signed.as_ref());
        if signed.is_some_and(|signed| !signed.covers_type)
            && let Some(ignored) = parts.headers.remove(CONTENT_TYPE)
        {
            log::info!("s3: ignored an unsigned content-type: {ignored:?}");
        }
        if let Ok(known) = &known
            && signed.is_some_and(|signed| signed.place == Place::Query)
        {
            presigned::add_headers(&mut parts.headers, &known.query);
        }
        Received {
            parts,
            source: Source::new(incoming),
            known,
            peer,
            now: validity.now,
        }
    }

    /// Answers a request.
    pub(crate) async fn serve(&self, received: Received, rules: Rules) -> Response<Body> {
        let ids = failure::Ids::new();
        let subject = received.subject();
        let is_head = received.parts.method == Method::HEAD;
        let expects_continue = received.parts.headers.contains_key(EXPECT);
        // hyper does not say `100 Continue` for an empty body. Older versions of
        // botocore cannot use the connection after an answer without it.
        let is_unasked = expects_continue && !has_body(&received.parts.headers);
        let source = received.source.clone();
        let mut response = match self.answer(received, rules).await {
            Ok(response) => response,
            Err(error) => failure::answer(&error, &subject, &ids),
        };
        let is_unread = has_failed(response.status()) && !source.drain(expects_continue).await;
        if is_unasked || is_unread {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        finish(&mut response, &ids, is_head);
        response
    }

    fn recognise(&self, parts: &Parts, validity: Validity<'_>) -> Result<Known> {
        let target = Target::of(parts)?;
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let query = query.ok_or_else(invalid_uri)?;
        if let Some(name) = query.repeated() {
            return Err(invalid_argument(format!(
                "The query parameter {name} is specified more than once."
            )));
        }
        Ok(Known {
            operation: operation::resolve(parts, &target, &query),
            signed: authenticate(parts, &query, &self.0.keys, validity)?,
            target,
            query,
        })
    }

    async fn answer(&self, received: Received, rules: Rules) -> Result<Response<Body>> {
        let Received {
            parts,
            source,
            known,
            peer,
            now,
        } = received;
        let known = known?;
        check_target(&self.0.backend, known.operation, &known.target, &parts)?;
        if let ("PostObject", Target::Bucket(bucket)) = (known.operation.name, &known.target) {
            let payload = Payload::new(&parts.headers, known.signed.as_ref(), source)?;
            let keys = (&self.0.keys, now, MAX_CONTENT);
            let form = post::read(&parts, bucket, payload.into_stream(), keys).await?;
            let known = Known {
                target: Target::Object(bucket.clone(), form.key),
                query: Query::default(),
                operation: operation::PUT_OBJECT,
                signed: form.signed,
            };
            let asked = (form.parts, known, Content::File(form.content));
            let stored = self.act(asked, (peer, now), rules).await?;
            return Ok(form.after.answer(stored));
        }
        let asked = (parts, known, Content::Body(source));
        self.act(asked, (peer, now), rules).await
    }

    /// Authorizes a request and acts on it.
    async fn act(
        &self,
        (parts, known, sent): (Parts, Known, Content),
        (peer, now): (IpAddr, Timestamp),
        Rules { account, guard }: Rules,
    ) -> Result<Response<Body>> {
        let Known {
            target,
            query,
            operation,
            signed,
        } = known;
        let signed = signed.as_ref();
        let backend = &self.0.backend;
        check_query(operation, &query)?;
        arguments::check(operation, &query, &parts.headers)?;
        check_features(&parts.headers)?;
        regions::check(backend, (operation, &target), signed, &parts.headers)?;
        let context = Context::new(
            backend,
            (&parts, &query),
            signed,
            (peer, now),
            operation.lists(),
        )
        .held_by(guard);
        let caller = access::authorize(
            backend,
            signed,
            (operation, &target),
            (&parts, &query),
            &context,
            &account,
        )?;
        acl::check(backend, operation, &target, &parts.headers)?;
        if target == Target::Account {
            return public_access_block(backend, &parts.headers, account.blocks_public);
        }
        if operation.name == "ListBuckets" {
            return list_buckets(backend, &query);
        }
        let (trailers, length, (body, tags)) = match sent {
            Content::Body(source) => {
                let payload = Payload::new(&parts.headers, signed, source)?;
                let (trailers, length) = (payload.trailers(), payload.length());
                let read = read_body(operation, &parts, signed, payload).await?;
                (trailers, length, read)
            }
            Content::File(file) => (Trailers::default(), None, (streamed(file), None)),
        };
        let call = Call::new(call::Request {
            caller,
            context,
            headers: parts.headers.clone(),
            query,
            trailers,
            account,
            tags,
            failure: call::Failure::default(),
        });
        if let (Target::Object(bucket, key), "GetObjectAttributes") = (&target, operation.name) {
            return get_object_attributes(backend, &call, (bucket, key));
        }
        let request = library_request(parts, length, call.clone(), body)?;
        let answer = self.0.service.call(request).await;
        match call.failure.take() {
            Some(error) => Err(error),
            None => match answer {
                // Content may have the same type as a document.
                Ok(answer) if operation.name == "GetObject" => Ok(with_its_status(answer)),
                Ok(answer) => Ok(break_declaration(with_its_status(answer))),
                Err(error) => {
                    let source: s3s::StdError = error.into();
                    Err(failure::internal(
                        "serve a request",
                        &io::Error::other(source),
                    ))
                }
            },
        }
    }
}

/// An authenticated or refused request that has not been answered yet.
pub(crate) struct Received {
    parts: Parts,
    source: Source,
    known: Result<Known>,
    peer: IpAddr,
    now: Timestamp,
}

/// What a request stores or says.
enum Content {
    Body(Source),
    /// The file of a form.
    File(BoxStream<'static, Result<Bytes>>),
}

/// The operation of a request and its signature.
struct Known {
    target: Target,
    query: Query,
    operation: Operation,
    signed: Option<Signed>,
}

impl Received {
    /// Returns the SDKs' name of the operation, or `Unknown` if there is no such
    /// operation or the request's signature is refused.
    #[must_use]
    pub(crate) fn operation(&self) -> &'static str {
        let known = self.known.as_ref();
        known.map_or(operation::UNKNOWN.name, |known| known.operation.name)
    }

    /// Returns the headers of a signed request.
    #[must_use]
    pub(crate) fn signed_headers(&self) -> Option<&HeaderMap> {
        let known = self.known.as_ref().ok()?;
        known.signed.as_ref().map(|_| &self.parts.headers)
    }

    /// Returns who signed the request, and for which region: an instance, or the owner
    /// of the access key.
    pub(crate) fn signer(&self) -> Option<(Option<&Session>, &str)> {
        let signed = self.known.as_ref().ok()?.signed.as_ref()?;
        Some((signed.session.as_ref(), signed.scope.region.as_str()))
    }

    pub(crate) fn method(&self) -> &Method {
        &self.parts.method
    }

    /// Whether the request is valid so far: it can be parsed, and it is unsigned or
    /// its signature is correct.
    #[must_use]
    pub(crate) fn is_sound(&self) -> bool {
        self.known.is_ok()
    }

    /// Returns what error documents name of the request.
    fn subject(&self) -> failure::Subject {
        let target = match &self.known {
            Ok(known) => Some(known.target.clone()),
            Err(_) => Target::of(&self.parts).ok(),
        };
        let asked = |name: &str| Some(self.known.as_ref().ok()?.query.get(name)?.to_owned());
        failure::Subject {
            bucket: target.as_ref().and_then(Target::bucket).map(str::to_owned),
            key: target.as_ref().and_then(Target::key).map(str::to_owned),
            upload_id: asked("uploadId"),
            version_id: asked("versionId"),
            method: self.parts.method.to_string(),
        }
    }

    /// Reads and discards an unwanted body, so that the client can read the
    /// answer.
    pub(crate) async fn discard(self) {
        let expects_continue = self.parts.headers.contains_key(EXPECT);
        self.source.drain(expects_continue).await;
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

/// Returns content as a body that s3s reads.
fn streamed(content: impl Stream<Item = Result<Bytes>> + Send + 'static) -> Body {
    Body::http_body_unsync(StreamBody::new(content.map_ok(Frame::data)))
}

/// Returns the content of an object as a stream. Reads and checks a document, and
/// separates the tags of a new bucket.
async fn read_body(
    operation: Operation,
    parts: &Parts,
    signed: Option<&Signed>,
    payload: Payload,
) -> Result<(Body, Option<Tagging>)> {
    if operation.takes_content() {
        check_length(payload.length())?;
        return Ok((streamed(payload.into_stream()), None));
    }
    let trailers = payload.trailers();
    let completes = operation.name == "CompleteMultipartUpload";
    let covered = payload.is_covered() || signed.is_none_or(|it| it.place == Place::Query);
    let document = payload.collect(MAX_DOCUMENT).await?;
    if !covered && !document.is_empty() && !Announced::read(&parts.headers)?.has_digest() {
        return Err(invalid_argument(
            "x-amz-content-sha256 must be a valid sha256 value: only the content of an object may be unsigned.",
        ));
    }
    // The checksum headers of these operations are about an object, not about the
    // document.
    let about_object = matches!(
        operation.name,
        "CreateMultipartUpload" | "CompleteMultipartUpload" | "CopyObject" | "UploadPartCopy"
    );
    if !about_object && !document.is_empty() {
        let announced = Announced::read(&parts.headers)?;
        if operation.name == "DeleteObjects" && !announced.has_checksum() {
            return Err(invalid_request(
                "Missing required header for this request: Content-MD5",
            ));
        }
        announced.verify_bytes(&document, &trailers)?;
    }
    if operation.name == "PutBucketPolicy" && std::str::from_utf8(&document).is_err() {
        return Err(not_json());
    }
    documents::check(operation.name, &document)?;
    // The operation looks for the upload before it refuses an empty list of parts.
    if completes && document.is_empty() {
        return Ok((Body::from("<CompleteMultipartUpload/>".to_owned()), None));
    }
    let document = documents::with_tag_set(operation.name, document);
    let (document, tags) = match operation.name {
        "CreateBucket" => documents::take_tags(document)?,
        _ => (document, None),
    };
    Ok((Body::from(document), tags))
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
        )
        .naming("ProposedSize", length.to_string())
        .naming("MaxSizeAllowed", MAX_CONTENT.to_string())),
        Some(_) => Ok(()),
    }
}

/// Returns the request for s3s. It is already verified and does not contain the
/// signature, nor the headers that operations read as the client wrote them.
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
    let source = parts.headers.get(COPY_SOURCE);
    let source = source.and_then(arguments::copy_source);
    if let Some(source) = source.and_then(|source| HeaderValue::from_str(&source).ok()) {
        headers.insert(COPY_SOURCE, source);
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

/// Returns the URI for s3s. It contains only the parameters that operations read,
/// in canonical spelling, so that s3s cannot interpret it differently from this
/// module.
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
        .filter(|(name, value)| !ours(name) && (!value.is_empty() || !arguments::is_number(name)))
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
        .collect();
    let text = format!("{path}?{}", pairs.join("&"));
    text.parse().map_err(|_| invalid_uri())
}

fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH);
    headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
}

/// Applies the status that an operation put into the extensions.
fn with_its_status(mut answer: Response<Body>) -> Response<Body> {
    if let Some(status) = answer.extensions_mut().remove::<StatusCode>() {
        *answer.status_mut() = status;
    }
    answer
}

fn has_failed(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// Ends the declaration of a document with a line break, as S3 does and s3s 0.14.1
/// does not.
fn break_declaration(mut answer: Response<Body>) -> Response<Body> {
    const DECLARATION: &[u8] = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>";
    let document = answer.body().bytes().unwrap_or_default();
    if let Some(rest) = document.strip_prefix(DECLARATION)
        && rest.starts_with(b"<")
    {
        let document = [DECLARATION, b"\n", rest].concat();
        answer.headers_mut().remove(CONTENT_LENGTH);
        *answer.body_mut() = Body::from(document);
    }
    answer
}

/// Completes an answer. Answers to `HEAD` and answers with status 304 do not have
/// a body.
fn finish(response: &mut Response<Body>, ids: &failure::Ids, is_head: bool) {
    let status = response.status();
    let failed = has_failed(status);
    let bodiless = is_head || status == StatusCode::NOT_MODIFIED;
    if failed && !bodiless {
        let document = response.body().bytes();
        let document = document.and_then(|bytes| String::from_utf8(bytes.into()).ok());
        let document = document.and_then(|text| failure::complete(&text, ids));
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
    failure::identify(response, ids);
}
