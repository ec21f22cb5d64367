//! Requests for package files, answered from the cache where it is valid.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{
    ACCEPT_RANGES, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE, WARNING,
};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::MutexGuard;

use super::super::logbook;
use super::body::{self, Body};
use super::cache::{self, Lifetime};
use super::failure::Failure;
use super::origin::{Origins, remove_hop_by_hop};
use super::store::{Entry, Head, Store};

/// How long an index is fresh after it was revalidated.
const FRESH: Duration = Duration::from_secs(60);
/// The number of locks that prevent two requests from fetching the same file. A
/// hash of the URL selects the lock.
const LOCKS: usize = 64;
/// How many bytes are read from disk at a time.
const CHUNK: usize = 128 * 1024;

/// The cache in front of the origins.
pub(super) struct Packages {
    origins: Arc<Origins>,
    store: Arc<Store>,
    /// When each index was last revalidated.
    checked: Mutex<HashMap<String, Instant>>,
    locks: [tokio::sync::Mutex<()>; LOCKS],
}

impl Packages {
    pub(super) fn new(origins: Arc<Origins>, store: Arc<Store>) -> Self {
        Self {
            origins,
            store,
            checked: Mutex::default(),
            locks: std::array::from_fn(|_| tokio::sync::Mutex::default()),
        }
    }

    /// Answers a request with an absolute URL.
    pub(super) async fn serve(&self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let lifetime = match request.method() {
            &Method::GET if !request.headers().contains_key(AUTHORIZATION) => {
                cache::lifetime(request.uri())
            }
            _ => None,
        };
        match lifetime {
            Some(lifetime) => self.serve_cached(request, lifetime).await,
            None => Ok(pass_on(self.origins.send(request).await?)),
        }
    }

    async fn serve_cached(
        &self,
        request: Request<Body>,
        lifetime: Lifetime,
    ) -> Result<Response<Body>, Failure> {
        let url = request.uri().to_string();
        let client_headers = request.headers().clone();
        let lock = self.lock(&url).await;
        let entry = self.store.get(&url);
        if let Some(entry) = &entry
            && (lifetime == Lifetime::Forever || !entry.is_complete() || self.is_fresh(&url))
        {
            // A range of a file that is still being downloaded comes from the
            // origin, so that the client does not wait for the bytes before it.
            if client_headers.contains_key(RANGE) && !entry.is_complete() {
                drop(lock);
                return Ok(pass_on(self.origins.send(request).await?));
            }
            return Ok(answer(entry.clone(), &client_headers));
        }
        if entry.is_none() && client_headers.contains_key(RANGE) {
            drop(lock);
            return Ok(pass_on(self.origins.send(request).await?));
        }
        self.fetch(&url, request, entry, &client_headers).await
    }

    /// Fetches the file, or revalidates the cached copy.
    async fn fetch(
        &self,
        url: &str,
        mut request: Request<Body>,
        copy: Option<Entry>,
        client_headers: &HeaderMap,
    ) -> Result<Response<Body>, Failure> {
        ask_for(request.headers_mut(), copy.as_ref().map(|copy| &copy.head));
        let response = match (self.origins.send(request).await, copy) {
            (Ok(response), Some(copy)) if response.status() == StatusCode::NOT_MODIFIED => {
                self.has_checked(url);
                return Ok(answer(copy, client_headers));
            }
            (Ok(response), Some(copy)) if is_out_of_reach(response.status()) => {
                return Ok(stale(url, copy, client_headers, response.status().as_str()));
            }
            (Err(failure), Some(copy)) if is_out_of_reach(failure.status) => {
                return Ok(stale(url, copy, client_headers, &failure.reason));
            }
            (response, _) => response?,
        };
        let Some(head) = head(url, &response).filter(|head| self.store.has_room_for(head.length))
        else {
            return Ok(pass_on(response));
        };
        let entry = self
            .store
            .save(head, response.into_body())
            .map_err(|e| Failure::internal(format!("cannot cache a package: {e}")))?;
        self.has_checked(url);
        Ok(answer(entry, client_headers))
    }

    async fn lock(&self, url: &str) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        url.hash(&mut hasher);
        let index = hasher.finish() % LOCKS as u64;
        // The index is smaller than the length of the array, so it is a `usize`.
        self.locks[usize::try_from(index).unwrap_or_default()]
            .lock()
            .await
    }

    fn is_fresh(&self, url: &str) -> bool {
        let checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        checked.get(url).is_some_and(|when| when.elapsed() < FRESH)
    }

    fn has_checked(&self, url: &str) {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        checked.retain(|_, when| when.elapsed() < FRESH);
        checked.insert(url.to_owned(), Instant::now());
    }
}

/// Replaces the client's conditions: the request asks for the whole file, unless
/// it is the same as the cached copy.
fn ask_for(headers: &mut HeaderMap, copy: Option<&Head>) {
    for name in [
        RANGE,
        IF_RANGE,
        IF_MATCH,
        IF_NONE_MATCH,
        IF_MODIFIED_SINCE,
        IF_UNMODIFIED_SINCE,
    ] {
        headers.remove(name);
    }
    let Some(copy) = copy else { return };
    put(headers, IF_NONE_MATCH, copy.etag.as_deref());
    put(headers, IF_MODIFIED_SINCE, copy.last_modified.as_deref());
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: Option<&str>) {
    if let Some(Ok(value)) = value.map(HeaderValue::try_from) {
        headers.insert(name, value);
    }
}

fn is_out_of_reach(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

fn stale(url: &str, copy: Entry, client_headers: &HeaderMap, reason: &str) -> Response<Body> {
    let url = logbook::name(url);
    log::warn!("proxy: answered {url} from a cached copy that may be stale: {reason}");
    let mut response = answer(copy, client_headers);
    let warning = HeaderValue::from_static("110 autorun \"Response is stale\"");
    response.headers_mut().insert(WARNING, warning);
    response
}

/// Returns the head of a response that may be cached, or `None`.
fn head(url: &str, response: &Response<Incoming>) -> Option<Head> {
    let headers = response.headers();
    let text = |name: HeaderName| Some(headers.get(name)?.to_str().ok()?.to_owned());
    let control = text(CACHE_CONTROL).unwrap_or_default();
    if response.status() != StatusCode::OK
        || control.contains("no-store")
        || control.contains("private")
        || headers.contains_key("content-encoding")
    {
        return None;
    }
    Some(Head {
        url: url.to_owned(),
        length: text(CONTENT_LENGTH)?.parse().ok()?,
        content_type: text(CONTENT_TYPE),
        etag: text(ETAG),
        last_modified: text(LAST_MODIFIED),
    })
}

/// Forwards an origin's response without its hop-by-hop headers.
fn pass_on(response: Response<Incoming>) -> Response<Body> {
    let mut response = response.map(body::incoming);
    remove_hop_by_hop(response.headers_mut());
    response
}

/// Returns a response from a cached file, according to the request's conditions
/// and range.
fn answer(entry: Entry, client_headers: &HeaderMap) -> Response<Body> {
    let head = &entry.head;
    let mut response = Response::new(body::empty());
    let headers = response.headers_mut();
    put(headers, ETAG, head.etag.as_deref());
    put(headers, LAST_MODIFIED, head.last_modified.as_deref());
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if cache::is_not_modified(head, client_headers) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    put(headers, CONTENT_TYPE, head.content_type.as_deref());
    let length = head.length;
    let part = match cache::range(head, client_headers) {
        Ok(None) => 0..length,
        Ok(Some(part)) => {
            let range = format!("bytes {}-{}/{length}", part.start, part.end - 1);
            put(headers, CONTENT_RANGE, Some(&range));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            part
        }
        Err(()) => {
            put(headers, CONTENT_RANGE, Some(&format!("bytes */{length}")));
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            return response;
        }
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, (part.end - part.start).into());
    *response.body_mut() = content(entry, part);
    response
}

/// Returns a range of a file as a body. It waits for bytes that are still being
/// downloaded.
fn content(entry: Entry, part: Range<u64>) -> Body {
    let frames = stream::try_unfold((entry, part), |(mut entry, mut part)| async move {
        let most = usize::try_from(part.end - part.start).map_or(CHUNK, |left| left.min(CHUNK));
        if most == 0 {
            return Ok(None);
        }
        let data = entry.read(part.start, most).await?;
        part.start += data.len() as u64;
        let frame = Frame::data(Bytes::from(data));
        std::io::Result::Ok(Some((frame, (entry, part))))
    });
    StreamBody::new(frames).boxed_unsync()
}
