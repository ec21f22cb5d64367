//! The body of a request: checks its length and its signature, and limits how
//! long the service waits for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{Stream, try_unfold};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use hyper::{HeaderMap, StatusCode};
use s3s::{S3Error, S3ErrorCode};
use sha2::{Digest, Sha256};

use super::chunked::Decoder;
use super::failure::{Result, fail, invalid_argument, invalid_request, named};
use crate::signature::{CONTENT_SHA256, Signed, UNSIGNED};

/// How long a client may pause within a body, as on AWS.
const PATIENCE: Duration = Duration::from_secs(20);
/// How much of an unwanted body is read, and for how long.
const MAX_DRAIN: usize = 256 << 20;
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);

/// The trailer of a body. It is empty until the body has been read.
#[derive(Clone, Default)]
pub(super) struct Trailers(Arc<Mutex<HeaderMap>>);

impl Trailers {
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let headers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(headers.get(name)?.to_str().ok()?.to_owned())
    }

    fn set(&self, headers: HeaderMap) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = headers;
    }
}

/// An arriving body. It outlives the operation that reads it, because a body that
/// an operation refuses may have to be drained.
#[derive(Clone)]
pub(super) struct Source(Arc<tokio::sync::Mutex<Incoming>>);

impl Source {
    pub(super) fn new(incoming: Incoming) -> Self {
        Self(Arc::new(tokio::sync::Mutex::new(incoming)))
    }

    async fn frame(&self) -> Option<hyper::Result<Frame<Bytes>>> {
        self.0.lock().await.frame().await
    }

    /// Reads the rest of a small body. Returns whether the whole body has been
    /// read. If the connection were closed with unread data, the kernel would
    /// reset it, and the client might lose the answer. With `expects_continue`,
    /// the client does not send the body before the service asks for it, so there
    /// is nothing to read.
    pub(super) async fn drain(&self, expects_continue: bool) -> bool {
        let mut incoming = self.0.lock().await;
        let mut taken = 0;
        let all = async {
            while !incoming.is_end_stream() && !expects_continue && taken < MAX_DRAIN {
                match incoming.frame().await {
                    Some(Ok(frame)) => taken += frame.data_ref().map_or(0, Bytes::len),
                    _ => break,
                }
            }
        };
        let drained = tokio::time::timeout(DRAIN_PATIENCE, all).await;
        drained.is_ok() && incoming.is_end_stream()
    }
}

/// A body that has not been read yet.
pub(super) struct Payload {
    source: Source,
    /// The length of the content in bytes, without its encoding.
    length: Option<u64>,
    seen: u64,
    is_covered: bool,
    decoder: Option<Decoder>,
    digest: Option<(Sha256, String)>,
    ready: VecDeque<Bytes>,
    trailers: Trailers,
}

impl Payload {
    /// Determines from the headers how to read the body.
    pub(super) fn new(
        headers: &HeaderMap,
        signed: Option<&Signed>,
        source: Source,
    ) -> Result<Self> {
        let declared = headers.get(CONTENT_SHA256);
        let kind = match (signed, declared) {
            (Some(signed), _) => signed.payload.as_str(),
            (None, Some(value)) => value.to_str().unwrap_or_default(),
            (None, None) => UNSIGNED,
        };
        let kind = Kind::named(kind).ok_or_else(unknown_kind)?;
        let announced = announced_trailer(headers, kind)?;
        let chain = match kind {
            Kind::SignedChunks { .. } => {
                let chain = signed.and_then(|signed| signed.chain.clone());
                Some(chain.ok_or_else(unknown_kind)?)
            }
            _ => None,
        };
        let (decoder, length) = match kind {
            Kind::SignedChunks { .. } | Kind::Chunks => {
                let length = number(headers, "x-amz-decoded-content-length")?;
                let length = length.ok_or_else(missing_length)?;
                (Some(Decoder::new(chain, announced)), Some(length))
            }
            Kind::Unsigned | Kind::Digest(_) => {
                let length = number(headers, CONTENT_LENGTH.as_str())?;
                // Without either header there is no body.
                let none = !headers.contains_key(TRANSFER_ENCODING);
                (None, length.or(none.then_some(0)))
            }
        };
        Ok(Self {
            source,
            length,
            seen: 0,
            is_covered: matches!(kind, Kind::SignedChunks { .. } | Kind::Digest(_)),
            decoder,
            digest: match kind {
                Kind::Digest(digest) => Some((Sha256::new(), digest.to_ascii_lowercase())),
                _ => None,
            },
            ready: VecDeque::new(),
            trailers: Trailers::default(),
        })
    }

    /// Whether the signature covers the content. Otherwise it only covers the
    /// declaration that the content is not signed.
    pub(super) fn is_covered(&self) -> bool {
        self.is_covered
    }

    /// Returns the announced length of the content.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    pub(super) fn trailers(&self) -> Trailers {
        self.trailers.clone()
    }

    /// Reads a small body as a whole.
    pub(super) async fn collect(mut self, limit: u64) -> Result<Bytes> {
        let too_long = || {
            fail(
                S3ErrorCode::MaxMessageLengthExceeded,
                "Your request was too big.",
            )
        };
        if self.length.is_some_and(|length| length > limit) {
            return Err(too_long());
        }
        let mut whole = BytesMut::new();
        while let Some(piece) = self.next().await? {
            if (whole.len() + piece.len()) as u64 > limit {
                return Err(too_long());
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// Returns the content as a stream of pieces.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<Bytes>> + Send {
        try_unfold(self, |mut payload| async move {
            let piece = payload.next().await?;
            Ok(piece.map(|piece| (piece, payload)))
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return self.check(piece).map(Some);
            }
            match self.receive().await? {
                Some(piece) => match &mut self.decoder {
                    Some(decoder) => decoder.feed(piece, &mut self.ready)?,
                    None => self.ready.push_back(piece),
                },
                None => return self.finish().map(|()| None),
            }
        }
    }

    async fn receive(&mut self) -> Result<Option<Bytes>> {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.source.frame()).await;
            let frame = frame.map_err(|_| {
                fail(
                    S3ErrorCode::RequestTimeout,
                    "Your socket connection to the server was not read from or written to within the timeout period. Idle connections will be closed.",
                )
            })?;
            match frame {
                None => return Ok(None),
                Some(Err(_)) => return Err(incomplete()),
                // S3 does not use HTTP's own trailers.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) if !piece.is_empty() => return Ok(Some(piece)),
                    _ => {}
                },
            }
        }
    }

    fn check(&mut self, piece: Bytes) -> Result<Bytes> {
        self.seen += piece.len() as u64;
        if self.length.is_some_and(|length| self.seen > length) {
            return Err(incomplete());
        }
        if let Some((digest, _)) = &mut self.digest {
            digest.update(&piece);
        }
        Ok(piece)
    }

    fn finish(&mut self) -> Result<()> {
        if let Some(decoder) = self.decoder.take() {
            self.trailers.set(decoder.finish()?);
        }
        if self.length.is_some_and(|length| length != self.seen) {
            return Err(incomplete());
        }
        let Some((digest, expected)) = self.digest.take() else {
            return Ok(());
        };
        if hex::encode(digest.finalize()) == expected {
            Ok(())
        } else {
            Err(named(
                "XAmzContentSHA256Mismatch",
                StatusCode::BAD_REQUEST,
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
            ))
        }
    }
}

/// How a body is signed, as declared by `x-amz-content-sha256`.
#[derive(Clone, Copy)]
enum Kind<'a> {
    Unsigned,
    Digest(&'a str),
    /// Unsigned chunks and a trailer.
    Chunks,
    SignedChunks {
        trailer: bool,
    },
}

impl<'a> Kind<'a> {
    fn named(name: &'a str) -> Option<Self> {
        let is_digest =
            |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        Some(match name {
            UNSIGNED => Self::Unsigned,
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Self::Chunks,
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Self::SignedChunks { trailer: false },
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Self::SignedChunks { trailer: true },
            digest if is_digest(digest) => Self::Digest(digest),
            _ => return None,
        })
    }

    fn has_trailer(self) -> bool {
        matches!(self, Self::Chunks | Self::SignedChunks { trailer: true })
    }
}

fn unknown_kind() -> S3Error {
    invalid_argument(
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
    )
}

/// Returns the name of the trailer that must follow the content.
fn announced_trailer(headers: &HeaderMap, kind: Kind<'_>) -> Result<Option<String>> {
    let named = headers.get("x-amz-trailer");
    let named = named.map(|value| value.to_str().unwrap_or_default().to_ascii_lowercase());
    match (kind.has_trailer(), named) {
        (true, None) => Err(invalid_request(
            "The request announces a trailer but does not name it in x-amz-trailer.",
        )),
        (false, Some(_)) => Err(invalid_request(
            "The request names a trailer that its x-amz-content-sha256 does not announce.",
        )),
        (_, named) => Ok(named),
    }
}

/// Parses a header that contains a number of bytes.
fn number(headers: &HeaderMap, name: &str) -> Result<Option<u64>> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let digits = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
    let text = value.to_str().ok().filter(digits);
    match text.and_then(|text| text.parse().ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(invalid_request(format!("{name} is not a number of bytes."))),
    }
}

fn missing_length() -> S3Error {
    fail(
        S3ErrorCode::MissingContentLength,
        "You must provide the Content-Length HTTP header.",
    )
}

fn incomplete() -> S3Error {
    fail(
        S3ErrorCode::IncompleteBody,
        "You did not provide the number of bytes specified by the Content-Length HTTP header",
    )
}
