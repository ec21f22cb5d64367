//! HTTP requests, to check what a server delivers.

use std::time::Duration;

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::clients::http::Response;
use crate::context::Context;
use crate::error::Result;
use crate::report::text;
use crate::script::{self, Declared, Outcome, Seconds, Shape, integer, seconds};

/// Limit for one request while waiting. A server that accepts the connection and
/// never answers must not delay the next attempt.
const ONE_TRY: Duration = Duration::from_secs(10);

/// Shortest limit for the last request before the deadline.
const SHORTEST_TRY: Duration = Duration::from_secs(1);

#[export_module]
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
    cx.clients.http().get(url, options.timeout.duration()).await
}

async fn wait_until_serving(
    cx: &Context,
    url: &str,
    options: WaitUntilServing,
) -> Result<Response> {
    let timeout = options.timeout.duration();
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
        pace.pause(&seen).await?;
    }
}
