//! Tests of the proxy between a client and an origin over TCP.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::body::{self, Body};
use super::service::{CACHE_LIMIT, Proxy, Settings};

const DATE: &str = "Sat, 17 May 2025 09:01:51 GMT";

/// An origin that serves the same content for every file and counts requests.
struct Origin {
    place: String,
    requests: Arc<AtomicUsize>,
    server: tokio::task::AbortHandle,
}

impl Origin {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let counter = Arc::clone(&counter);
                tokio::spawn(async move {
                    let answer = service_fn(|request: Request<Incoming>| {
                        counter.fetch_add(1, Ordering::Relaxed);
                        async move { Ok::<_, Infallible>(file(&request)) }
                    });
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), answer)
                        .await
                });
            }
        });
        Self {
            place,
            requests,
            server: server.abort_handle(),
        }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

fn file(request: &Request<Incoming>) -> Response<Body> {
    assert!(!request.headers().contains_key("proxy-connection"));
    let mut response = Response::new(body::full("0123456789".repeat(1000)));
    if request.uri().path() == "/nothing.deb" {
        *response.status_mut() = hyper::StatusCode::NOT_FOUND;
    }
    let date = HeaderValue::from_static(DATE);
    response.headers_mut().insert("last-modified", date);
    response
}

struct Fixture {
    proxy: String,
    cache: tempfile::TempDir,
    _server: tokio_util::task::AbortOnDropHandle<()>,
}

async fn proxy_for(origin: &Origin) -> Fixture {
    let cache = tempfile::tempdir().unwrap();
    let proxy = Proxy::new(Settings {
        cache_dir: cache.path().join("packages"),
        cache_limit: CACHE_LIMIT,
        upstream: None,
        upstream_https: None,
        no_proxy: String::new(),
        package_sources: vec![origin.place.clone()],
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap().to_string();
    let proxy = proxy.unwrap();
    let server =
        tokio::spawn(async move { proxy.serve(listener, "i-1".into(), Arc::new(|| true)).await });
    Fixture {
        proxy: place,
        cache,
        _server: tokio_util::task::AbortOnDropHandle::new(server),
    }
}

impl Fixture {
    /// Sends all requests at once and returns all answers.
    async fn ask(&self, requests: &[String]) -> String {
        let mut stream = TcpStream::connect(&self.proxy).await.unwrap();
        let mut text = String::new();
        for (number, request) in requests.iter().enumerate() {
            let last = number + 1 == requests.len();
            let end = if last { "Connection: close\r\n" } else { "" };
            text += request;
            text += "Host: x\r\nProxy-Connection: keep-alive\r\n";
            text += end;
            text += "\r\n";
        }
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn get(&self, origin: &Origin, path: &str, headers: &str) -> String {
        let place = &origin.place;
        let request = format!("GET http://{place}{path} HTTP/1.1\r\n{headers}");
        self.ask(&[request]).await
    }
}

#[tokio::test]
async fn a_package_is_fetched_once() {
    let origin = Origin::start().await;
    let fixture = proxy_for(&origin).await;
    let path = "/pool/a_1_all.deb";
    let (first, second) = tokio::join!(
        fixture.get(&origin, path, ""),
        fixture.get(&origin, path, "")
    );
    for answer in [first, second, fixture.get(&origin, path, "").await] {
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.contains("content-length: 10000\r\n"));
        assert!(answer.ends_with("789"));
    }
    assert_eq!(origin.requests(), 1);
    let part = fixture.get(&origin, path, "Range: bytes=5-6\r\n").await;
    assert!(part.starts_with("HTTP/1.1 206") && part.ends_with("\r\n\r\n56"));
    let since = format!("If-Modified-Since: {DATE}\r\n");
    let known = fixture.get(&origin, path, &since).await;
    assert!(known.starts_with("HTTP/1.1 304"));
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn a_missing_package_is_not_cached() {
    let origin = Origin::start().await;
    let fixture = proxy_for(&origin).await;
    for _ in 0..2 {
        let answer = fixture.get(&origin, "/nothing.deb", "").await;
        assert!(answer.starts_with("HTTP/1.1 404"));
    }
    assert_eq!(origin.requests(), 2);
}

#[tokio::test]
async fn a_cached_index_is_served_without_its_origin() {
    let origin = Origin::start().await;
    let fixture = proxy_for(&origin).await;
    let path = "/dists/stable/InRelease";
    for _ in 0..2 {
        fixture.get(&origin, path, "").await;
    }
    assert_eq!(origin.requests(), 1);
    origin.server.abort();
    let later = proxy_with_cache_of(&fixture, &origin).await;
    let answer = later.get(&origin, path, "").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("warning: 110"));
    let other = later.get(&origin, "/dists/stable/Release", "").await;
    assert!(other.starts_with("HTTP/1.1 502"), "{other}");
}

/// Returns a new proxy with the cached files of `old`. It has not sent a request
/// to the origin yet.
async fn proxy_with_cache_of(old: &Fixture, origin: &Origin) -> Fixture {
    let new = proxy_for(origin).await;
    let (from, to) = (old.cache.path(), new.cache.path());
    for entry in std::fs::read_dir(from.join("packages")).unwrap() {
        let entry = entry.unwrap();
        let to = to.join("packages").join(entry.file_name());
        std::fs::copy(entry.path(), to).unwrap();
    }
    new
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::start().await;
    let fixture = proxy_for(&origin).await;
    let get = |place: &str, path: &str| format!("GET http://{place}{path} HTTP/1.1\r\n");
    let requests = [
        get(&origin.place, "/a.deb"),
        get("10.0.0.1", "/"),
        get(&origin.place, "/nothing.deb"),
        get(&origin.place, "/other"),
    ];
    let answer = fixture.ask(&requests).await;
    let statuses: Vec<&str> = answer
        .match_indices("HTTP/1.1 ")
        .map(|(at, text)| &answer[at + text.len()..at + text.len() + 3])
        .collect();
    assert_eq!(statuses, ["200", "403", "404", "200"]);
}

#[tokio::test]
async fn tunnels_carry_bytes_to_allowed_targets_only() {
    let origin = Origin::start().await;
    let fixture = proxy_for(&origin).await;
    let connect = "CONNECT 127.0.0.1:443 HTTP/1.1\r\n".to_owned();
    let refused = fixture.ask(&[connect]).await;
    assert!(refused.starts_with("HTTP/1.1 403"));
    let mut stream = TcpStream::connect(&fixture.proxy).await.unwrap();
    let connect = format!("CONNECT {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.place);
    stream.write_all(connect.as_bytes()).await.unwrap();
    let mut answer = [0; 19];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK\r\nda");
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("\r\n\r\nHTTP/1.1 200 OK") && answer.ends_with("789"));
}
