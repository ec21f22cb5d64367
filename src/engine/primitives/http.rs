//! HTTP requests, to check what a server delivers.

use std::time::Duration;

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::Deserialize;

use super::http_request::{self, Answer, HttpRequest};
use super::rehearsed::is_url_outside;
use crate::clients::http::{Response, without_password};
use crate::context::Context;
use crate::error::Result;
use crate::report::text;
use crate::script::{self, Declared, Outcome, Seconds, Shape, integer, seconds};

/// Limit for one request while waiting. A server that accepts the connection and
/// never answers must not delay the next attempt.
const ONE_TRY: Duration = Duration::from_secs(10);

/// Shortest limit for the last request before the deadline.
const SHORTEST_TRY: Duration = Duration::from_secs(1);

#[export_module(manifest)]
pub mod api {
    /// Fetches a URL and returns the answer.
    ///
    /// An HTTP status such as 404 or 500 is not an error: check `status` in the
    /// returned map.
    ///
    /// Throws `timeout` if the answer is not complete in time, `unreachable` if
    /// there is no connection or it breaks, and `invalid_option` if `url` is
    /// not a valid URL.
    ///
    /// ```rhai
    /// let page = http_get("http://192.0.2.10/");
    /// assert(page.status == 200, "the page is missing");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn http_get(
        call: NativeCallContext,
        url: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            super::http_get(cx, &url, script::options(&call, options)?).await
        })
    }

    /// Sends an HTTP request and returns the answer.
    ///
    /// `method` is `GET`, `POST`, `PUT`, `PATCH`, `DELETE`, or any other. Use at
    /// most one of `json`, `form` and `body`. A status other than 2xx is an
    /// error, unless `check` is false.
    ///
    /// The request is sent once and is never repeated. `GET`, `HEAD` and
    /// `OPTIONS` follow redirects; other methods do not, so that data is sent
    /// only to the host that you name. They are steps: `resume` returns the
    /// recorded answer of a request that succeeded, and sends one that failed
    /// again. The variables `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` of the
    /// environment name a proxy.
    ///
    /// Throws:
    ///
    /// - `denied` for the status 401, 403 or 407, `not_found` for 404 or 410,
    ///   `throttled` for 429, `timeout` for 408 or 504, `unreachable` for 502 or
    ///   503, and `command_failed` for any other status that is not 2xx (the
    ///   `detail` has `status`, `headers` and `body`);
    /// - `timeout` if the answer is not complete in time;
    /// - `unreachable` if there is no connection, it breaks, or its certificate
    ///   is not accepted;
    /// - `quota_exceeded` if the body of the answer is longer than 64 MiB, or
    ///   than 1 MiB for a step;
    /// - `invalid_option` if the method, the URL, a header or an option is not
    ///   valid.
    ///
    /// ```rhai
    /// let token = secret("7f3k-example-token");
    /// let answer = http_request("POST", "http://192.0.2.10/", #{
    ///     json: #{ service: "shop", version: 3 },
    ///     auth: #{ bearer: token },
    ///     check: false,
    /// });
    /// print(answer.status);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn http_request(
        call: NativeCallContext,
        method: ImmutableString,
        url: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        if http_request::is_safe(&method) {
            return script::run(&call, async |cx| {
                http_request::send(cx, None, &method, &url, script::options(&call, options)?).await
            });
        }
        let arguments = [
            &method.clone().into(),
            &url.clone().into(),
            &options.clone().into(),
        ];
        script::effect(&call, &arguments, async |cx, step| {
            let options = script::options(&call, options)?;
            http_request::send(cx, Some(step), &method, &url, options).await
        })
    }

    /// Waits until a URL answers as expected.
    ///
    /// The answer must have the expected status and contain the expected text.
    ///
    /// Throws `timeout` if the URL does not do so in time (the message contains
    /// the last answer or failure), and `invalid_option` if `url` is not a
    /// valid URL.
    ///
    /// ```rhai
    /// wait_until_serving("http://192.0.2.10/", #{ contains: "Welcome" });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn wait_until_serving(
        call: NativeCallContext,
        url: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            super::wait_until_serving(cx, &url, script::options(&call, options)?).await
        })
    }
}

pub(super) const DECLARED: &[Declared] = &[
    Declared::of("http_get")
        .options::<HttpGet>()
        .returns::<Response>(Shape::One),
    Declared::of("http_request")
        .options::<HttpRequest>()
        .returns::<Answer>(Shape::One),
    Declared::of("wait_until_serving")
        .options::<WaitUntilServing>()
        .returns::<Response>(Shape::One),
];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HttpGet {
    /// Limit for the whole request.
    #[serde(default = "seconds::<30>")]
    timeout: Seconds,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WaitUntilServing {
    /// How long to wait.
    #[serde(default = "seconds::<120>")]
    timeout: Seconds,
    /// The expected HTTP status.
    #[serde(default = "integer::<200>")]
    status: i64,
    /// Text that the body must contain.
    contains: Option<String>,
}

async fn http_get(cx: &Context, url: &str, options: HttpGet) -> Result<Response> {
    if is_url_outside(cx, url) {
        cx.assume(
            format!("GET {}", without_password(url)),
            "status 200, an empty body",
        );
        return Ok(Response::assumed(200, String::new()));
    }
    cx.clients.http().get(url, options.timeout.duration()).await
}

async fn wait_until_serving(
    cx: &Context,
    url: &str,
    options: WaitUntilServing,
) -> Result<Response> {
    let timeout = options.timeout.duration();
    if is_url_outside(cx, url) {
        cx.assume_success(format!("wait until {} serves", without_password(url)));
        let body = options.contains.unwrap_or_default();
        return Ok(Response::assumed(options.status, body));
    }
    let mut pace = cx.pace(format!("{url} to serve"), timeout);
    loop {
        let seen = match cx
            .clients
            .http()
            .get(url, ONE_TRY.min(pace.left()).max(SHORTEST_TRY))
            .await
        {
            Ok(answer) if answer.status != options.status => {
                format!("HTTP status {}", answer.status)
            }
            Ok(answer) => match &options.contains {
                Some(text) if !answer.body.contains(text) => {
                    format!("a page without `{text}`")
                }
                _ => {
                    let took = text::duration(pace.elapsed());
                    cx.report.info(format!("{url} is serving after {took}"));
                    return Ok(answer);
                }
            },
            Err(error) if error.kind.retryable() => error.to_string(),
            Err(error) => return Err(error),
        };
        pace.pause_briefly(&seen).await?;
    }
}
