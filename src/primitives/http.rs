//! HTTP, to see what a browser would see.

use std::time::Duration;

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use serde::Deserialize;

use super::seconds;
use crate::clients::http::Response;
use crate::context::Context;
use crate::error::Result;
use crate::report::text;
use crate::script::{self, Outcome};

/// One request while waiting: a server that accepts and then says nothing must
/// not hold up the next try.
const ONE_TRY: Duration = Duration::from_secs(10);

/// The last try before the deadline still gets a fair chance.
const SHORTEST_TRY: Duration = Duration::from_secs(1);

#[export_module]
pub mod api {
    /// Fetches a URL; any status is an answer.
    ///
    /// Gives a map with `status`, `headers` (names in lower case), `body`,
    /// `size` in bytes and `seconds`.
    ///
    /// - `timeout` (seconds, 30).
    ///
    /// Throws `timeout`, `unreachable`, `invalid_option` for what is no URL.
    ///
    /// ```rhai
    /// let page = http_get("http://192.0.2.10/");
    /// assert(page.status == 200, "the page is missing");
    /// ```
    #[rhai_fn(name = "http_get", return_raw)]
    pub fn http_get_with(
        call: NativeCallContext,
        url: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            super::http_get(cx, &url, script::options(options)?).await
        })
    }

    #[rhai_fn(return_raw)]
    pub fn http_get(call: NativeCallContext, url: ImmutableString) -> Outcome<Dynamic> {
        http_get_with(call, url, Map::new())
    }

    /// Waits until a URL answers as it should, and gives the answer as
    /// `http_get` does.
    ///
    /// - `timeout` (seconds, 120).
    /// - `status` (integer, 200): the status that counts.
    /// - `contains` (string): text that the body must hold.
    ///
    /// Throws `timeout`, with what was seen last.
    ///
    /// ```rhai
    /// wait_until_serving("http://192.0.2.10/", #{ contains: "Welcome" });
    /// ```
    #[rhai_fn(name = "wait_until_serving", return_raw)]
    pub fn wait_until_serving_with(
        call: NativeCallContext,
        url: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            super::wait_until_serving(cx, &url, script::options(options)?).await
        })
    }

    #[rhai_fn(return_raw)]
    pub fn wait_until_serving(call: NativeCallContext, url: ImmutableString) -> Outcome<Dynamic> {
        wait_until_serving_with(call, url, Map::new())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpGet {
    #[serde(default = "half_a_minute")]
    timeout: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WaitUntilServing {
    #[serde(default = "two_minutes")]
    timeout: f64,
    #[serde(default = "ok")]
    status: i64,
    contains: Option<String>,
}

fn half_a_minute() -> f64 {
    30.0
}

fn two_minutes() -> f64 {
    120.0
}

fn ok() -> i64 {
    200
}

async fn http_get(cx: &Context, url: &str, options: HttpGet) -> Result<Response> {
    cx.clients
        .http()
        .get(url, seconds("timeout", options.timeout)?)
        .await
}

async fn wait_until_serving(
    cx: &Context,
    url: &str,
    options: WaitUntilServing,
) -> Result<Response> {
    let timeout = seconds("timeout", options.timeout)?;
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
            Err(error) if error.kind.retryable() => error.message.clone(),
            Err(error) => return Err(error),
        };
        pace.pause(&seen).await?;
    }
}
