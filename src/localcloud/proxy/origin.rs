//! Sends requests to origins, directly or through the host's upstream proxy, and
//! keeps idle connections for further requests.
//!
//! Why not the connection pool of hyper-util's client: it limits the idle
//! connections to each origin, but not to all origins, and an instance can name
//! any number of origins. It would also keep separate connections to the upstream
//! proxy for each origin.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{
    CONNECTION, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Method, Request, Response, Uri, Version};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::body::{self, Body};
use super::failure::Failure;
use super::target::{Policy, Target};
use super::upstream::{Exceptions, Upstream};

/// How long connecting to an origin may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an origin may take to answer a request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// How long an idle connection is kept.
const KEEP: Duration = Duration::from_secs(20);
/// How many idle connections are kept to each origin, and to all origins.
const MAX_KEPT: usize = 8;
const MAX_KEPT_IN_ALL: usize = 128;

/// An end of a tunnel.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The connections to all origins.
pub(super) struct Origins {
    policy: Policy,
    http: Option<Upstream>,
    https: Option<Upstream>,
    exceptions: Exceptions,
    kept: Mutex<HashMap<Target, Vec<Kept>>>,
}

/// An idle connection.
struct Kept {
    sender: SendRequest<Body>,
    since: Instant,
}

/// How to connect to a target.
enum Route<'a> {
    Direct(Vec<std::net::SocketAddr>),
    Through(&'a Upstream),
}

impl Origins {
    pub(super) fn new(
        policy: Policy,
        http: Option<Upstream>,
        https: Option<Upstream>,
        exceptions: Exceptions,
    ) -> Self {
        Self {
            policy,
            http,
            https,
            exceptions,
            kept: Mutex::default(),
        }
    }

    /// Sends a request with an absolute URL to its origin.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, Failure> {
        let authority = request
            .uri()
            .authority()
            .ok_or_else(|| Failure::invalid("the URL has no host"))?;
        let target = Target::new(authority, Some(80))?;
        let route = self.route(&target, self.http.as_ref()).await?;
        prepare(&mut request, &route)?;
        let hop = match route {
            Route::Direct(_) => target.clone(),
            Route::Through(upstream) => upstream.proxy.clone(),
        };
        while let Some(sender) = self.take(&hop) {
            match self.exchange(&hop, sender, request).await {
                Err(Exchange::NotSent(unsent)) => request = *unsent,
                Err(Exchange::Failed(failure)) => return Err(failure),
                Ok(response) => return Ok(response),
            }
        }
        let stream = connect(&target, &route).await?;
        let sender = handshake(&target, stream).await?;
        match self.exchange(&hop, sender, request).await {
            Err(Exchange::NotSent(_)) => Err(broken(&target)),
            Err(Exchange::Failed(failure)) => Err(failure),
            Ok(response) => Ok(response),
        }
    }

    /// Opens a connection for a tunnel.
    pub(super) async fn connect(&self, target: &Target) -> Result<Box<dyn Stream>, Failure> {
        let route = self.route(target, self.https.as_ref()).await?;
        let stream = connect(target, &route).await?;
        match route {
            Route::Direct(_) => Ok(Box::new(stream)),
            Route::Through(upstream) => through(upstream, target, stream).await,
        }
    }

    async fn route<'a>(
        &self,
        target: &Target,
        upstream: Option<&'a Upstream>,
    ) -> Result<Route<'a>, Failure> {
        match upstream {
            Some(upstream) if !self.exceptions.contain(target) => {
                self.policy.check_for_upstream(target).await?;
                Ok(Route::Through(upstream))
            }
            _ => Ok(Route::Direct(self.policy.addresses(target).await?)),
        }
    }

    fn take(&self, hop: &Target) -> Option<SendRequest<Body>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = kept.get_mut(hop)?;
        connections.retain(|kept| !kept.sender.is_closed() && kept.since.elapsed() < KEEP);
        connections.pop().map(|kept| kept.sender)
    }

    fn keep(&self, hop: Target, sender: SendRequest<Body>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, connections| {
            connections.retain(|kept| !kept.sender.is_closed() && kept.since.elapsed() < KEEP);
            !connections.is_empty()
        });
        if kept.values().map(Vec::len).sum::<usize>() >= MAX_KEPT_IN_ALL {
            return;
        }
        let connections = kept.entry(hop).or_default();
        if connections.len() < MAX_KEPT {
            let since = Instant::now();
            connections.push(Kept { sender, since });
        }
    }

    async fn exchange(
        self: &Arc<Self>,
        hop: &Target,
        mut sender: SendRequest<Body>,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Exchange> {
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, sender.try_send_request(request)).await;
        let response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(mut e)) => {
                return Err(match e.take_message() {
                    Some(unsent) => Exchange::NotSent(Box::new(unsent)),
                    None => Exchange::Failed(Failure::unreachable(format!(
                        "`{hop}` closed the connection: {}",
                        e.into_error()
                    ))),
                });
            }
            Err(_) => {
                let reason = format!("`{hop}` does not answer");
                return Err(Exchange::Failed(Failure::timeout(reason)));
            }
        };
        let (origins, hop) = (Arc::clone(self), hop.clone());
        tokio::spawn(async move {
            // The connection is ready again after the body was read completely.
            if sender.ready().await.is_ok() {
                origins.keep(hop, sender);
            }
        });
        Ok(response)
    }
}

/// Why an exchange failed.
enum Exchange {
    /// The connection was already closed and the request was not sent, so it can
    /// be sent on another connection.
    NotSent(Box<Request<Body>>),
    Failed(Failure),
}

fn broken(target: &Target) -> Failure {
    Failure::unreachable(format!("`{target}` closed the connection"))
}

async fn connect(target: &Target, route: &Route<'_>) -> Result<TcpStream, Failure> {
    let connecting = async {
        match route {
            Route::Direct(addresses) => TcpStream::connect(addresses.as_slice()).await,
            Route::Through(Upstream { proxy, .. }) => {
                TcpStream::connect((proxy.host.as_str(), proxy.port)).await
            }
        }
    };
    let by = match route {
        Route::Direct(_) => "",
        Route::Through(_) => " through the host's upstream proxy",
    };
    let stream = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(e)) => {
            let reason = format!("cannot connect to `{target}`{by}: {e}");
            return Err(Failure::unreachable(reason));
        }
        Err(_) => {
            let reason = format!("cannot connect to `{target}`{by}: no answer");
            return Err(Failure::timeout(reason));
        }
    };
    stream
        .set_nodelay(true)
        .map_err(|e| Failure::internal(e.to_string()))?;
    Ok(stream)
}

async fn handshake(target: &Target, stream: TcpStream) -> Result<SendRequest<Body>, Failure> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|_| broken(target))?;
    let name = target.to_string();
    tokio::spawn(async move {
        if let Err(e) = connection.with_upgrades().await {
            log::debug!("proxy: the connection to {name} ended: {e}");
        }
    });
    Ok(sender)
}

/// Opens a tunnel through the host's upstream proxy.
async fn through(
    upstream: &Upstream,
    target: &Target,
    stream: TcpStream,
) -> Result<Box<dyn Stream>, Failure> {
    let name = target.to_string();
    let mut request = Request::new(body::empty());
    *request.method_mut() = Method::CONNECT;
    let invalid = |_| Failure::invalid(format!("`{target}` is not a host and a port"));
    *request.uri_mut() = name.parse().map_err(invalid)?;
    let host = HeaderValue::try_from(&name).map_err(|_| broken(target))?;
    request.headers_mut().insert(HOST, host);
    authorize(request.headers_mut(), upstream);
    let mut sender = handshake(target, stream).await?;
    let answer = tokio::time::timeout(CONNECT_TIMEOUT, sender.send_request(request)).await;
    let response = match answer {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => return Err(broken(target)),
        Err(_) => {
            let reason = format!("the host's upstream proxy does not connect to `{target}`");
            return Err(Failure::timeout(reason));
        }
    };
    if !response.status().is_success() {
        return Err(Failure::unreachable(format!(
            "the host's upstream proxy does not connect to `{target}`: {}",
            response.status()
        )));
    }
    let upgraded = hyper::upgrade::on(response).await;
    let upgraded = upgraded.map_err(|_| broken(target))?;
    Ok(Box::new(TokioIo::new(upgraded)))
}

fn authorize(headers: &mut HeaderMap, upstream: &Upstream) {
    if let Some(authorization) = &upstream.authorization {
        headers.insert(PROXY_AUTHORIZATION, authorization.clone());
    }
}

/// Turns a client's request into a request of the proxy.
fn prepare(request: &mut Request<Body>, route: &Route) -> Result<(), Failure> {
    let uri = request.uri().clone();
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = HeaderValue::try_from(authority)
        .map_err(|_| Failure::invalid("the URL has no valid host"))?;
    remove_hop_by_hop(request.headers_mut());
    request.headers_mut().insert(HOST, host);
    *request.version_mut() = Version::HTTP_11;
    match route {
        Route::Direct(_) => {
            let path = uri.path_and_query().map_or("/", |path| path.as_str());
            *request.uri_mut() = path
                .parse::<Uri>()
                .map_err(|_| Failure::invalid("the URL has no valid path"))?;
        }
        Route::Through(upstream) => authorize(request.headers_mut(), upstream),
    }
    Ok(())
}

/// Removes the headers that apply only to one connection (hop-by-hop headers).
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        CONNECTION,
        EXPECT,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hop_by_hop_headers_are_removed() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("proxy-authorization", "Basic x"),
            ("keep-alive", "timeout=5"),
            ("accept", "*/*"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers.len(), 1);
        assert!(headers.contains_key("accept"));
    }
}
