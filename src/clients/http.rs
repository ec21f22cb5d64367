//! Plain HTTP requests, to see a page as a browser would and to call other services.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::time::{Duration, Instant};

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use rustls::CertificateError;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::OnceCell;

use super::Confinement;
use super::Network;
use super::transport::is_near;
use crate::error::{Error, ErrorKind, Result};
use crate::report::text;

/// The longest body, in bytes. A longer one is an error, so that it cannot
/// exhaust the memory.
const LONGEST_BODY: usize = 64 << 20;

/// How many redirects of a request are followed.
const MOST_REDIRECTS: usize = 10;

/// The response to a request.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Response {
    /// HTTP status, as 200.
    pub status: i64,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body as text; bytes that are not UTF-8 are replaced.
    pub body: String,
    /// Size of the body in bytes.
    pub size: i64,
    /// Seconds to the last byte.
    pub seconds: f64,
}

impl Response {
    /// Returns the response that a rehearsal assumes.
    #[must_use]
    pub fn assumed(status: i64, body: String) -> Self {
        Self {
            status,
            headers: BTreeMap::new(),
            size: i64::try_from(body.len()).unwrap_or(i64::MAX),
            body,
            seconds: 0.0,
        }
    }
}

/// What to do with a response that names another URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirects {
    /// Request that URL, at most ten times.
    Follow,
    /// Return the response.
    Report,
}

/// A request with any method.
#[derive(Debug)]
pub struct Request {
    /// The method, in capitals.
    pub method: String,
    /// The URL.
    pub url: String,
    /// Names and values of headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<String>,
    /// Limit for the whole request.
    pub timeout: Duration,
    /// The longest body of the response, in bytes.
    pub longest: usize,
    /// What to do with a redirect.
    pub redirects: Redirects,
}

/// Returns a builder for HTTP clients. reqwest needs a choice of the cryptography
/// of TLS.
pub fn builder() -> reqwest::ClientBuilder {
    // Fails if the choice exists already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().user_agent(concat!("autorun/", env!("CARGO_PKG_VERSION")))
}

/// Returns a builder for a client of one URL, which uses no proxy if a proxy
/// cannot reach its host. `local` is the network of the local cloud's instances.
pub fn builder_for(url: &reqwest::Url, local: Option<Network>) -> reqwest::ClientBuilder {
    if url.host_str().is_some_and(|host| is_near(host, local)) {
        builder().no_proxy()
    } else {
        builder()
    }
}

/// The HTTP clients, created at their first use.
#[derive(Clone, Debug, Default)]
pub struct Http {
    /// For hosts that a proxy may reach, if the environment names one.
    far: Pair,
    /// For hosts that no proxy can reach.
    near: Pair,
    /// The network of the local cloud's instances.
    local: Option<Network>,
    /// What a rehearsal may connect to.
    confinement: Option<Confinement>,
}

/// A client for each treatment of redirects.
#[derive(Clone, Debug, Default)]
struct Pair {
    following: OnceCell<reqwest::Client>,
    reporting: OnceCell<reqwest::Client>,
}

impl Http {
    /// Creates clients that reach this network without a proxy.
    pub(super) fn new(local: Option<Network>, confinement: Option<Confinement>) -> Self {
        Self {
            local,
            confinement,
            ..Self::default()
        }
    }

    /// Fetches a URL; a response with any status is a success.
    ///
    /// Throws `invalid_option` if the URL is not valid, `timeout`,
    /// `unreachable`, or `quota_exceeded` if the body is longer than 64 MiB.
    pub async fn get(&self, url: &str, timeout: Duration) -> Result<Response> {
        self.send(Request {
            method: "GET".to_owned(),
            url: url.to_owned(),
            headers: Vec::new(),
            body: None,
            timeout,
            longest: LONGEST_BODY,
            redirects: Redirects::Follow,
        })
        .await
    }

    /// Sends a request once; a response with any status is a success.
    ///
    /// Throws `invalid_option` if the URL, the method or a header is not valid,
    /// `timeout`, `unreachable`, or `quota_exceeded` if the body is too long.
    pub async fn send(&self, request: Request) -> Result<Response> {
        let started = Instant::now();
        let url = without_password(&request.url);
        let timeout = request.timeout;
        let longest = request.longest;
        let failed = |e: reqwest::Error| failure(&request.method, &url, timeout, &e);
        let mut answer = self.built(&request).await?.send().await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > longest {
                let limit = text::bytes(longest as u64);
                return Err(Error::new(
                    ErrorKind::QuotaExceeded,
                    format!("the response of {url} is longer than {limit}"),
                ));
            }
        }
        let headers = answer.headers().iter().map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        });
        Ok(Response {
            status: answer.status().as_u16().into(),
            headers: headers.collect(),
            size: i64::try_from(body.len()).unwrap_or(i64::MAX),
            body: String::from_utf8_lossy(&body).into_owned(),
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    async fn built(&self, request: &Request) -> Result<reqwest::RequestBuilder> {
        let method = reqwest::Method::from_bytes(request.method.as_bytes())
            .map_err(|_| Error::invalid(format!("`{}` is not an HTTP method", request.method)))?;
        let client = self.client(&request.url, request.redirects).await?;
        let mut built = client
            .request(method, &request.url)
            .timeout(request.timeout);
        for (name, value) in &request.headers {
            let valid = HeaderName::from_bytes(name.as_bytes());
            let name = valid.map_err(|_| Error::invalid(format!("`{name}` is not a header")))?;
            // The value may be a secret: do not show it.
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
                Error::invalid(format!("the header `{name}` contains a line break"))
                    .hint("a value read from a file may end with one: use trim()")
            })?;
            built = built.header(name, value);
        }
        if let Some(body) = &request.body {
            built = built.body(body.clone());
        }
        Ok(built)
    }

    /// Returns the client for a URL.
    async fn client(&self, url: &str, redirects: Redirects) -> Result<&reqwest::Client> {
        if let Some(confinement) = &self.confinement {
            confinement.check_url(url)?;
        }
        let parsed = reqwest::Url::parse(url).ok();
        let host = parsed.as_ref().and_then(|url| url.host_str());
        let near = host.is_some_and(|host| is_near(host, self.local));
        let pair = if near { &self.near } else { &self.far };
        let (cell, policy) = match redirects {
            Redirects::Follow => (&pair.following, follow(self.confinement.clone())),
            Redirects::Report => (&pair.reporting, Policy::none()),
        };
        cell.get_or_try_init(async || {
            let client = if near {
                builder().no_proxy()
            } else {
                builder()
            };
            client
                .redirect(policy)
                .build()
                .map_err(|e| Error::internal(format!("cannot set up HTTP: {e}")))
        })
        .await
    }
}

/// Returns the policy that follows at most ten redirects, and in a rehearsal none
/// that leads outside of it.
fn follow(confinement: Option<Confinement>) -> Policy {
    match confinement {
        None => Policy::limited(MOST_REDIRECTS),
        Some(confinement) => Policy::custom(move |attempt| {
            if attempt.previous().len() > MOST_REDIRECTS {
                attempt.error("too many redirects")
            } else if confinement.has_url(attempt.url().as_str()) {
                attempt.follow()
            } else {
                attempt.stop()
            }
        }),
    }
}

/// Returns the URL with `****` for the password of `user:password@`.
#[must_use]
pub fn without_password(url: &str) -> String {
    let hidden = || {
        let (scheme, rest) = url.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (login, host) = authority.rsplit_once('@')?;
        let (user, _) = login.split_once(':')?;
        Some(format!("{scheme}://{user}:****@{host}{path}"))
    };
    hidden().unwrap_or_else(|| url.to_owned())
}

fn failure(method: &str, url: &str, timeout: Duration, error: &reqwest::Error) -> Error {
    if error.is_builder() {
        return Error::invalid(format!("`{url}` is not a URL"))
            .hint("a URL begins with http:// or https://");
    }
    if error.is_timeout() {
        let limit = text::duration(timeout);
        return Error::new(
            ErrorKind::Timeout,
            format!("{url} did not answer within {limit}"),
        );
    }
    let attempt = match method {
        "GET" => format!("cannot get {url}"),
        method => format!("cannot {method} {url}"),
    };
    let unreachable =
        |reason: &str| Error::new(ErrorKind::Unreachable, format!("{attempt}: {reason}"));
    if error.is_redirect() {
        return unreachable("it redirects more than ten times");
    }
    if let Some(tls) = tls_error(error) {
        let (reason, hint) = certificate(tls);
        let error = unreachable(&reason);
        return match hint {
            Some(hint) => error.hint(hint),
            None => error,
        };
    }
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    let reason = last.to_string();
    let reason = reason
        .split(" (os error")
        .next()
        .unwrap_or(&reason)
        .to_lowercase();
    unreachable(&reason)
}

/// Finds the error of TLS in the causes of an error. An I/O error hides its cause from
/// `source()`.
fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        let io = cause.downcast_ref::<std::io::Error>();
        let hidden = io.and_then(std::io::Error::get_ref);
        next = match hidden {
            Some(hidden) => Some(hidden),
            None => cause.source(),
        };
    }
    None
}

/// Words an error of TLS, with a hint.
fn certificate(error: &rustls::Error) -> (String, Option<&'static str>) {
    let rustls::Error::InvalidCertificate(fault) = error else {
        return match error {
            rustls::Error::InvalidMessage(_) => (
                "the server does not speak TLS at this port".to_owned(),
                Some("check the port, or use http://"),
            ),
            other => (format!("TLS failed: {other}"), None),
        };
    };
    let (reason, hint) = match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
            "its certificate has expired",
            "renew the certificate of the server",
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
            "its certificate is not valid yet",
            "set this machine's clock: `date -u` must show the time in UTC",
        ),
        CertificateError::UnknownIssuer => (
            "its certificate is not signed by an authority that this machine trusts",
            "for an authority of your own, set SSL_CERT_FILE to the file with its certificate",
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            "its certificate is for another name",
            "use the name for which the certificate was issued",
        ),
        CertificateError::Other(cause) => {
            return (
                format!("its certificate is not accepted: {cause}"),
                Some("a certificate that signs itself is not accepted"),
            );
        }
        other => return (format!("its certificate is not valid: {other}"), None),
    };
    (reason.to_owned(), Some(hint))
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn the_password_in_a_url_is_hidden() {
        for (url, shown) in [
            ("http://h/", "http://h/"),
            ("http://u@h/", "http://u@h/"),
            ("https://u:p@h:1/a?b@c:d", "https://u:****@h:1/a?b@c:d"),
            ("https://u:p@ss@h", "https://u:****@h"),
            ("http://:p@h", "http://:****@h"),
            ("http://h/a:b@c", "http://h/a:b@c"),
            ("", ""),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
