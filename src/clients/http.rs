//! Plain HTTP requests, to see a page as a browser would.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::OnceCell;

use super::transport::{Network, is_near};
use crate::error::{Error, ErrorKind, Result};
use crate::report::text;

/// The longest body, in bytes. A longer one is an error, so that it cannot
/// exhaust the memory.
const LONGEST_BODY: usize = 64 << 20;

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

/// Returns a builder for HTTP clients. reqwest needs a choice of the cryptography
/// of TLS.
#[must_use]
pub fn builder() -> reqwest::ClientBuilder {
    // Fails if the choice exists already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().user_agent(concat!("autorun/", env!("CARGO_PKG_VERSION")))
}

/// Returns a builder for a client of one URL, which uses no proxy if a proxy
/// cannot reach its host. `local` is the network of the local cloud's instances.
#[must_use]
pub fn builder_for(url: &reqwest::Url, local: Option<Network>) -> reqwest::ClientBuilder {
    match url.host_str().is_some_and(|host| is_near(host, local)) {
        true => builder().no_proxy(),
        false => builder(),
    }
}

/// The HTTP clients, created at their first use.
#[derive(Clone, Debug, Default)]
pub struct Http {
    /// For hosts that a proxy may reach, if the environment names one.
    far: OnceCell<reqwest::Client>,
    /// For hosts that no proxy can reach.
    near: OnceCell<reqwest::Client>,
    /// The network of the local cloud's instances.
    local: Option<Network>,
}

impl Http {
    /// Creates clients that reach this network without a proxy.
    pub(super) fn new(local: Option<Network>) -> Self {
        Self {
            local,
            ..Self::default()
        }
    }

    /// Returns the client for a URL.
    async fn client(&self, url: &str) -> Result<&reqwest::Client> {
        let parsed = reqwest::Url::parse(url).ok();
        let host = parsed.as_ref().and_then(|url| url.host_str());
        let near = host.is_some_and(|host| is_near(host, self.local));
        let cell = if near { &self.near } else { &self.far };
        cell.get_or_try_init(async || {
            let client = if near { builder().no_proxy() } else { builder() };
            client
                .build()
                .map_err(|e| Error::internal(format!("cannot set up HTTP: {e}")))
        })
        .await
    }

    /// Fetches a URL; a response with any status is a success.
    ///
    /// Throws `invalid_option` if the URL is not valid, `timeout`,
    /// `unreachable`, or `quota_exceeded` if the body is longer than 64 MiB.
    pub async fn get(&self, url: &str, timeout: Duration) -> Result<Response> {
        let started = Instant::now();
        let client = self.client(url).await?;
        let failed = |e| failure(url, timeout, &e);
        let mut answer = client
            .get(url)
            .timeout(timeout)
            .send()
            .await
            .map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST_BODY {
                let limit = text::bytes(LONGEST_BODY as u64);
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
}

fn failure(url: &str, timeout: Duration, error: &reqwest::Error) -> Error {
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
    Error::new(
        ErrorKind::Unreachable,
        format!("cannot get {url}: {reason}"),
    )
}
