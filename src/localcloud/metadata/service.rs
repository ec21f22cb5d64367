//! The HTTP service: identifies the instance, checks its token, and answers.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, SERVER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use super::instance::Metadata;
use super::tokens::Tokens;
use super::tree::{self, Tree};
use crate::crowd::{Crowd, Limits};
use crate::line::Line;

/// The maximum number of connections at the same time. An instance at its limit
/// loses its own oldest connection.
const CONNECTIONS: Limits = Limits {
    all: 512,
    each: 32,
    settled: 0,
};
/// The maximum size, in bytes, of a request's header.
const MAX_HEAD: usize = 16 * 1024;
/// How long a request's header may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the service pauses if it cannot accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The longest lifetime of a token in seconds, as on AWS.
const MAX_TTL: u64 = 21_600;

const TOKEN_PATH: &str = "/latest/api/token";

/// The versions of the service that it lists. All have the same content here, and
/// newer ones are accepted.
const VERSIONS: [&str; 28] = [
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "2011-01-01",
    "2011-05-01",
    "2012-01-12",
    "2014-02-25",
    "2014-11-05",
    "2015-10-20",
    "2016-04-19",
    "2016-06-30",
    "2016-09-02",
    "2018-03-28",
    "2018-08-17",
    "2018-09-24",
    "2019-10-01",
    "2020-10-27",
    "2021-01-03",
    "2021-03-23",
    "2021-07-15",
    "2022-09-24",
    "latest",
];

const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Returns the metadata of the instance that has an address now.
pub(crate) type LookUp = Arc<dyn Fn(IpAddr) -> Option<Arc<Metadata>> + Send + Sync>;

/// Serves all instances of a network until the caller drops the future.
pub(crate) async fn serve(listener: TcpListener, look_up: LookUp) -> io::Result<()> {
    let service = Arc::new(Service {
        look_up,
        tokens: Tokens::default(),
    });
    let crowd = Crowd::new(CONNECTIONS);
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let service = Arc::clone(&service);
                let place = crowd.enter(peer.ip());
                tokio::spawn(async move {
                    tokio::select! {
                        () = service.converse(stream, peer.ip()) => {}
                        () = place.taken() => {}
                    }
                });
            }
            Err(e) => {
                log::warn!("metadata: cannot accept a connection: {e}");
                crowd.evict_one();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

struct Service {
    look_up: LookUp,
    tokens: Tokens,
}

type Answer = Response<Full<Bytes>>;

impl Service {
    async fn converse(&self, stream: TcpStream, peer: IpAddr) {
        let answer =
            service_fn(|request| async move { Ok::<_, Infallible>(self.answer(&request, peer)) });
        let result = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(Line::new(stream)), answer)
            .await;
        if let Err(e) = result {
            log::debug!("metadata: a connection ended: {e}");
        }
    }

    fn answer(&self, request: &Request<Incoming>, peer: IpAddr) -> Answer {
        let Some(metadata) = (self.look_up)(peer).filter(|metadata| metadata.enabled) else {
            return failure(StatusCode::FORBIDDEN);
        };
        match (request.method(), request.uri().path()) {
            (&Method::PUT, TOKEN_PATH) => self.new_token(request, &metadata, peer),
            (&Method::GET | &Method::HEAD, path) if path != TOKEN_PATH => {
                if self.may_read(request, &metadata, peer) {
                    look_up(&metadata, path)
                } else {
                    failure(StatusCode::UNAUTHORIZED)
                }
            }
            (_, path) => {
                let allowed = if path == TOKEN_PATH {
                    "OPTIONS, PUT"
                } else {
                    "OPTIONS, GET, HEAD"
                };
                let mut answer = failure(StatusCode::METHOD_NOT_ALLOWED);
                let allowed = HeaderValue::from_static(allowed);
                answer.headers_mut().insert(ALLOW, allowed);
                answer
            }
        }
    }

    fn new_token(&self, request: &Request<Incoming>, metadata: &Metadata, peer: IpAddr) -> Answer {
        // A proxy in the instance forwards the request, possibly for an outside
        // client.
        if request.headers().contains_key(FORWARDED) {
            return failure(StatusCode::FORBIDDEN);
        }
        let ttl = request
            .headers()
            .get(TTL)
            .and_then(|ttl| ttl.to_str().ok()?.trim().parse().ok())
            .filter(|ttl| (1..=MAX_TTL).contains(ttl));
        let Some(ttl) = ttl else {
            return failure(StatusCode::BAD_REQUEST);
        };
        let lives = Duration::from_secs(ttl);
        let is_up = |address, instance: &str| {
            (self.look_up)(address).is_some_and(|found| found.instance_id == instance)
        };
        let token = self.tokens.issue(peer, &metadata.instance_id, lives, is_up);
        let mut answer = text(token);
        answer.headers_mut().insert(TTL, ttl.into());
        answer
    }

    /// Whether the request may read metadata. A token must be valid even if
    /// none is required.
    fn may_read(&self, request: &Request<Incoming>, metadata: &Metadata, peer: IpAddr) -> bool {
        let Some(token) = request.headers().get(TOKEN) else {
            return !metadata.tokens_required;
        };
        let instance = &metadata.instance_id;
        let is_good = |token| self.tokens.is_good(peer, instance, token);
        token.to_str().is_ok_and(is_good)
    }
}

fn text(body: impl Into<Bytes>) -> Answer {
    with_type(body, "text/plain")
}

fn with_type(body: impl Into<Bytes>, kind: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(SERVER, HeaderValue::from_static("EC2ws"));
    answer
}

fn failure(status: StatusCode) -> Answer {
    let page = format!(
        "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n<!DOCTYPE html PUBLIC \"-//W3C//DTD \
         XHTML 1.0 Transitional//EN\"\n\t\"http://www.w3.org/TR/xhtml1/DTD/\
         xhtml1-transitional.dtd\">\n<html xmlns=\"http://www.w3.org/1999/xhtml\" \
         xml:lang=\"en\" lang=\"en\">\n <head>\n  <title>{0} - {1}</title>\n </head>\n <body>\n  \
         <h1>{0} - {1}</h1>\n </body>\n</html>\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Error"),
    );
    let mut answer = with_type(page, "text/html");
    *answer.status_mut() = status;
    answer
}

fn look_up(metadata: &Metadata, path: &str) -> Answer {
    let mut parts = path.trim_matches('/').splitn(2, '/');
    let version = parts.next().unwrap_or_default();
    let rest = parts.next().unwrap_or_default();
    if version.is_empty() {
        return text(VERSIONS.join("\n"));
    }
    if !VERSIONS.contains(&version) && !is_newer(version) {
        return failure(StatusCode::NOT_FOUND);
    }
    match rest.split_once('/').unwrap_or((rest, "")) {
        ("", _) => text("dynamic\nmeta-data\nuser-data"),
        ("user-data", "") => match &metadata.user_data {
            Some(data) => with_type(data.clone(), "application/octet-stream"),
            None => failure(StatusCode::NOT_FOUND),
        },
        ("meta-data", path) => found(tree::meta_data(metadata), path),
        ("dynamic", path) => found(tree::dynamic(metadata), path),
        _ => failure(StatusCode::NOT_FOUND),
    }
}

fn is_newer(version: &str) -> bool {
    let is_date = version.len() == 10 && version.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    is_date && version > "2022-09-24"
}

fn found(tree: Tree, path: &str) -> Answer {
    match tree::read(tree, path) {
        Some(value) => text(value),
        None => failure(StatusCode::NOT_FOUND),
    }
}
