//! The proxy service: accepts connections and dispatches requests.

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::body;
use super::body::Body;
use super::failure::Failure;
use super::origin::Origins;
use super::packages::Packages;
use super::sources::package_sources_of_host;
use super::store::Store;
use super::target::Policy;
use super::tunnel;
use super::upstream::{Exceptions, Upstream};
use crate::crowd::{Crowd, Limits, Place};
use crate::line::Line;
use crate::logbook;

/// The maximum number of connections of an instance. Further connections wait.
const MAX_CONNECTIONS: usize = 128;

/// The limits of connections. If all instances together have too many, the
/// instance with the most connections loses one.
const CONNECTIONS: Limits = Limits {
    all: 1024,
    each: MAX_CONNECTIONS,
    settled: 0,
};

/// How long a connection may be idle or take to send a request's head.
const IDLE: Duration = Duration::from_secs(60);

/// The maximum size of a request's head, and of a piece of a body, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// How long the proxy waits after the kernel refuses to accept a connection, for
/// example because there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The default of [`Settings::cache_limit`]: 2 GiB.
pub(crate) const CACHE_LIMIT: u64 = 2 << 30;

/// The configuration of the proxy.
pub(crate) struct Settings {
    /// The directory of cached package files. It is created if it does not exist.
    pub cache_dir: PathBuf,
    /// The maximum size of the cache in bytes. The oldest files are removed first.
    pub cache_limit: u64,
    /// The value of the host's `http_proxy`.
    pub upstream: Option<String>,
    /// The value of the host's `https_proxy`.
    pub upstream_https: Option<String>,
    /// The value of the host's `no_proxy`.
    pub no_proxy: String,
    /// `host` or `host:port` of the package sources, which may have private
    /// addresses.
    pub package_sources: Vec<String>,
}

/// The user agent of the installation of cloud-init at the first boot. The images
/// of AWS contain cloud-init, so that an instance without access to the internet
/// has it too.
const INSTALLER: &str = "autorun-cloud-init";

fn installs_cloud_init(request: &Request<Incoming>) -> bool {
    let agent = request.headers().get(USER_AGENT);
    agent.is_some_and(|agent| agent == INSTALLER)
}

/// Whether an instance reaches the internet now.
pub(crate) type Online = Arc<dyn Fn() -> bool + Send + Sync>;

/// The proxy of all instances.
#[derive(Clone)]
pub(crate) struct Proxy(Arc<Parts>);

struct Parts {
    origins: Arc<Origins>,
    packages: Packages,
    crowd: Arc<Crowd<Arc<str>>>,
}

impl Proxy {
    /// Opens the cache and parses the upstream proxies.
    pub(crate) fn new(settings: Settings) -> io::Result<Self> {
        let origins = Arc::new(Origins::new(
            Policy::new(&settings.package_sources),
            Upstream::parse("http_proxy", settings.upstream.as_deref())?,
            Upstream::parse("https_proxy", settings.upstream_https.as_deref())?,
            Exceptions::parse(&settings.no_proxy),
        ));
        let store = Store::open(settings.cache_dir, settings.cache_limit)?;
        let packages = Packages::new(Arc::clone(&origins), Arc::new(store));
        let crowd = Crowd::new(CONNECTIONS);
        Ok(Self(Arc::new(Parts {
            origins,
            packages,
            crowd,
        })))
    }

    /// See [`package_sources_of_host`].
    #[must_use]
    pub(crate) fn package_sources_of_host() -> Vec<String> {
        package_sources_of_host()
    }

    /// Serves an instance's listener. Dropping the future ends all connections of
    /// the instance.
    pub(crate) async fn serve(&self, listener: TcpListener, instance: String, online: Online) {
        let instance: Arc<str> = instance.into();
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let end = CancellationToken::new();
        let _end = end.clone().drop_guard();
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let client = Client {
                        proxy: Arc::clone(&self.0),
                        instance: Arc::clone(&instance),
                        online: Arc::clone(&online),
                        seat: Arc::new(Seat {
                            place: self.0.crowd.enter(Arc::clone(&instance)),
                            _slot: slot,
                        }),
                        end: end.clone(),
                    };
                    connections.spawn(async move {
                        let seat = Arc::clone(&client.seat);
                        tokio::select! {
                            () = client.serve(stream) => {}
                            () = seat.place.taken() => {}
                        }
                    });
                }
                Err(e) => {
                    log::warn!("proxy: cannot accept a connection of {instance}: {e}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// One connection of an instance.
struct Client {
    proxy: Arc<Parts>,
    instance: Arc<str>,
    online: Online,
    seat: Arc<Seat>,
    /// Cancelled when the instance ends.
    end: CancellationToken,
}

/// The resources that a connection occupies. A connection that becomes a tunnel
/// passes them on to the tunnel.
struct Seat {
    place: Place<Arc<str>>,
    _slot: OwnedSemaphorePermit,
}

impl Client {
    async fn serve(&self, stream: TcpStream) {
        let answer =
            service_fn(|request| async { Ok::<_, Infallible>(self.answer(request).await) });
        // apt pipelines: it sends further requests before it receives answers.
        let result = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .pipeline_flush(true)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(Line::new(stream)), answer)
            .with_upgrades()
            .await;
        if let Err(e) = result {
            log::debug!("proxy: a connection of {} ended: {e}", self.instance);
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let wanted = format!("{} {}", request.method(), shown(&request));
        match self.act(request).await {
            Ok(response) => response,
            Err(Failure { status, reason }) => {
                let wanted = logbook::name(&wanted);
                log::warn!("proxy: {}: {wanted}: {reason}", self.instance);
                let mut response = Response::new(body::full(format!("{reason}\n")));
                *response.status_mut() = status;
                let kind = HeaderValue::from_static("text/plain; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, kind);
                response
            }
        }
    }

    async fn act(&self, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
        if !(self.online)() && !installs_cloud_init(&request) {
            return Err(Failure::refused(
                "this instance does not reach the internet: it has no public address, or its \
                 subnet has no route to an internet gateway",
            ));
        }
        if request.method() == Method::CONNECT {
            let origins = &self.proxy.origins;
            let (seat, end) = (Arc::clone(&self.seat), self.end.clone());
            return tunnel::open(origins, request, async move {
                tokio::select! {
                    () = seat.place.taken() => {}
                    () = end.cancelled() => {}
                }
            })
            .await;
        }
        match request.uri().scheme_str() {
            Some("http") => {}
            Some(_) => {
                return Err(Failure::invalid(
                    "only http URLs are supported; use CONNECT",
                ));
            }
            None => return Err(Failure::invalid("this is a proxy, not a web server")),
        }
        let request = request.map(body::incoming);
        self.proxy.packages.serve(request).await
    }
}

/// Returns the URL for the log, without its query and credentials, which may be
/// secret.
fn shown(request: &Request<Incoming>) -> String {
    let uri = request.uri();
    let host = uri.host().unwrap_or_default();
    match uri.port_u16() {
        Some(port) => format!("{host}:{port}{}", uri.path()),
        None => format!("{host}{}", uri.path()),
    }
}
