//! Plain HTTP requests, to see a page as a browser would and to call other services.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io::ErrorKind as IoErrorKind;
use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
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
    /// Headers, names in lower case. The values of one that is repeated are joined with
    /// ", ", those of `set-cookie` with a line break.
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
        let headers = joined(answer.headers());
        Ok(Response {
            status: answer.status().as_u16().into(),
            headers,
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

/// Returns the headers with one value each, as RFC 9110 joins them. Cookies contain
/// commas.
fn joined(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        match all.get_mut(name.as_str()) {
            None => {
                all.insert(name.to_string(), value.into_owned());
            }
            Some(before) => {
                before.push_str(if *name == SET_COOKIE { "\n" } else { ", " });
                before.push_str(&value);
            }
        }
    }
    all
}

fn failure(method: &str, url: &str, timeout: Duration, error: &reqwest::Error) -> Error {
    if error.is_builder() {
        let asked = reqwest::Url::parse(url).ok();
        let is_web = |url: &reqwest::Url| matches!(url.scheme(), "http" | "https");
        if let (Some(target), true) = (error.url(), asked.as_ref().is_some_and(is_web))
            && !is_web(target)
        {
            let target = without_password(target.as_str());
            let message = format!("{url} redirects to {target}, which is not an HTTP URL");
            return Error::new(ErrorKind::Unreachable, message);
        }
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
    let (reason, hint) = reason(error);
    match hint {
        Some(hint) => unreachable(&reason).hint(hint),
        None => unreachable(&reason),
    }
}

/// Words the cause of an error without the URL, with a hint.
#[must_use]
pub fn reason(error: &reqwest::Error) -> (String, Option<&'static str>) {
    if let Some(tls) = cause::<rustls::Error>(error) {
        return certificate(tls);
    }
    if cause::<hyper::Error>(error).is_some_and(hyper::Error::is_parse) {
        return (
            "the server does not speak HTTP at this port".to_owned(),
            Some("check the port, and whether the URL begins with http:// or https://"),
        );
    }
    let io = cause::<std::io::Error>(error);
    if error.is_connect() && io.is_some_and(|e| e.kind() == IoErrorKind::UnexpectedEof) {
        return (
            "the server closed the connection before TLS began".to_owned(),
            Some("check the port, or use http://"),
        );
    }
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    let reason = last.to_string();
    let reason = reason.split(" (os error").next().unwrap_or(&reason);
    (reason.to_lowercase(), None)
}

/// Finds an error of a type in the causes of an error. An I/O error hides its cause from
/// `source()`.
fn cause<T: std::error::Error + 'static>(error: &reqwest::Error) -> Option<&T> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref::<T>() {
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
        // Such as a certificate that signs itself.
        _ => (
            "its certificate is not that of a server, or signs itself",
            "sign a certificate for the server with an authority of your own, and set \
             SSL_CERT_FILE to the file with the authority's certificate",
        ),
    };
    (reason.to_owned(), Some(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_of_a_repeated_header_is_lost() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("vary", "a"), ("set-cookie", "a=1"), ("vary", "b, c")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers.append(SET_COOKIE, HeaderValue::from_static("b=2; Expires=Mon, 1"));
        let all = joined(&headers);
        assert_eq!(all["vary"], "a, b, c");
        assert_eq!(all["set-cookie"], "a=1\nb=2; Expires=Mon, 1");
    }

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
