//! HTTP, to see what a browser would see.

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

/// One request while waiting: a server that accepts and then says nothing must
/// not hold up the next try.
const ONE_TRY: Duration = Duration::from_secs(10);

/// The last try before the deadline still gets a fair chance.
const SHORTEST_TRY: Duration = Duration::from_secs(1);

#[export_module]
pub mod api {
    /// Fetches a URL; any status is an answer.
    ///
    /// Throws `timeout`, `unreachable`, `invalid_option` for what is no URL.
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
            super::http_get(cx, &url, script::options(options)?).await
        })
    }

    /// Waits until a URL answers as it should, and gives the answer as
    /// `http_get` does.
    ///
    /// Throws `timeout`, with what was seen last.
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
            super::wait_until_serving(cx, &url, script::options(options)?).await
        })
    }
}

pub(super) const DECLARED: &[Declared] = &[
    Declared::of("http_get")
        .options::<HttpGet>()
        .gives::<Response>(Shape::One),
    Declared::of("wait_until_serving")
        .options::<WaitUntilServing>()
        .gives::<Response>(Shape::One),
];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HttpGet {
    #[serde(default = "seconds::<30>")]
    timeout: Seconds,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WaitUntilServing {
    #[serde(default = "seconds::<120>")]
    timeout: Seconds,
    /// The status that counts.
    #[serde(default = "integer::<200>")]
    status: i64,
    /// Text that the body must hold.
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
