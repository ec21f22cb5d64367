//! `http_request`: its options, its steps, and the errors about a status.

use std::collections::BTreeMap;

use base64::Engine as _;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::rehearsed::is_url_outside;
use crate::clients::http::{Redirects, Request, Response, without_password};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Step;
use crate::report::text;
use crate::script::{Seconds, seconds, yes};

/// The longest body of an answer that the ledger records, in bytes.
const LONGEST_RECORDED: usize = 1 << 20;

/// The longest body of an answer otherwise.
const LONGEST: usize = 64 << 20;

/// How many characters of an answer's body an error shows.
const SHOWN: usize = 200;

/// The methods that people use, to find misspelt ones.
const METHODS: [&str; 8] = [
    "GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE",
];

/// The characters that a form does not escape: `*-._`, letters and digits.
const FORM: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'*')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b' ');

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpRequest {
    /// Value to send as JSON.
    json: Option<Value>,
    /// Fields to send as an HTML form does: texts, numbers, true or false.
    form: Option<BTreeMap<String, Value>>,
    /// Text to send as it is.
    body: Option<String>,
    /// Headers of the request.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// How to log in.
    auth: Option<Auth>,
    /// Limit for the whole request.
    #[serde(default = "seconds::<30>")]
    timeout: Seconds,
    /// Throw an error if the status is not 2xx.
    #[serde(default = "yes")]
    check: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Auth {
    /// User name (Basic authentication).
    user: Option<String>,
    /// Password of `user`.
    password: Option<String>,
    /// Token (Bearer authentication), instead of `user`.
    bearer: Option<String>,
}

/// The map that `http_request` returns.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Answer {
    /// HTTP status, as 200.
    status: i64,
    /// Headers, names in lower case. The values of one that is repeated are joined with
    /// ", ", those of `set-cookie` with a line break.
    headers: BTreeMap<String, String>,
    /// The body as text; bytes that are not UTF-8 are replaced.
    body: String,
    /// The value of a JSON body; `()` for other bodies.
    json: Value,
    /// Size of the body in bytes.
    size: i64,
    /// Seconds to the last byte.
    seconds: f64,
}

impl From<Response> for Answer {
    fn from(answer: Response) -> Self {
        let value = parsed(&answer).and_then(serde_json::Result::ok);
        Self {
            json: value.unwrap_or_default(),
            status: answer.status,
            headers: answer.headers,
            body: answer.body,
            size: answer.size,
            seconds: answer.seconds,
        }
    }
}

/// Parses the body of an answer that is announced as JSON.
fn parsed(answer: &Response) -> Option<serde_json::Result<Value>> {
    let kind = answer.headers.get("content-type")?;
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is_json = kind.eq_ignore_ascii_case("application/json")
        || kind.to_ascii_lowercase().ends_with("+json");
    // Some servers write a byte order mark.
    let text = answer.body.trim_start_matches('\u{feff}');
    is_json.then(|| serde_json::from_str(text))
}

/// Returns why the body of an answer is not what its headers announce, or cannot be
/// used as text.
fn unusable(answer: &Response) -> Option<String> {
    if let Some(encoding) = answer.headers.get("content-encoding")
        && !encoding.eq_ignore_ascii_case("identity")
        && answer.size > 0
    {
        let encoding = text::harmless(encoding);
        return Some(format!(
            "the body is compressed ({encoding}), although the request did not allow that"
        ));
    }
    let error = parsed(answer).filter(|_| answer.size > 0)?.err()?;
    Some(format!(
        "the body is announced as JSON, but is not: {error}"
    ))
}

/// Returns whether a method changes nothing on the server (RFC 9110, 9.2.1).
pub(super) fn is_safe(method: &str) -> bool {
    let safe = ["GET", "HEAD", "OPTIONS", "TRACE"];
    safe.iter().any(|name| method.eq_ignore_ascii_case(name))
}

/// Sends a request. A method with an effect is a step of the ledger.
pub(super) async fn send(
    cx: &Context,
    step: Option<&mut Step>,
    method: &str,
    url: &str,
    options: HttpRequest,
) -> Result<Answer> {
    let (longest, redirects) = match step {
        Some(_) => (LONGEST_RECORDED, Redirects::Report),
        None => (LONGEST, Redirects::Follow),
    };
    let check = options.check;
    let request = request(method, url, options, longest, redirects)?;
    if let Some(step) = step {
        if let Some(recorded) = step.recorded::<Answer>()? {
            step.replay();
            return Ok(recorded);
        }
        step.begin()?;
    }
    let method = request.method.clone();
    if is_url_outside(cx, url) {
        cx.assume(
            format!("{method} {}", without_password(url)),
            "status 200, an empty body",
        );
        return Ok(Response::assumed(200, String::new()).into());
    }
    let answer = cx.clients.http().send(request).await?;
    if let Some(why) = unusable(&answer) {
        cx.report
            .warn(format!("{method} {}: {why}", without_password(url)));
    }
    let answer = Answer::from(answer);
    if check && !(200..300).contains(&answer.status) {
        return Err(failure(&method, url, &answer));
    }
    Ok(answer)
}

fn request(
    method: &str,
    url: &str,
    options: HttpRequest,
    longest: usize,
    redirects: Redirects,
) -> Result<Request> {
    let (kind, body) = match (options.json, options.form, options.body) {
        (None, None, None) => (None, None),
        (Some(json), None, None) => (Some("application/json"), Some(json.to_string())),
        (None, Some(form), None) => (
            Some("application/x-www-form-urlencoded"),
            Some(encoded(&form)?),
        ),
        (None, None, Some(text)) => (Some("text/plain; charset=utf-8"), Some(text)),
        _ => {
            return Err(Error::invalid(
                "use only one of the options `json`, `form` and `body`",
            ));
        }
    };
    let mut headers: Vec<(String, String)> = options.headers.into_iter().collect();
    let has = |headers: &[(String, String)], name: &str| {
        headers
            .iter()
            .any(|(known, _)| known.eq_ignore_ascii_case(name))
    };
    if has(&headers, "content-length") || has(&headers, "transfer-encoding") {
        return Err(Error::invalid(
            "option `headers`: Content-Length and Transfer-Encoding cannot be set",
        ));
    }
    if let Some(kind) = kind
        && !has(&headers, "content-type")
    {
        headers.push(("content-type".to_owned(), kind.to_owned()));
    }
    if let Some(auth) = &options.auth {
        if has(&headers, "authorization") {
            return Err(Error::invalid(
                "use either the option `auth` or the header `Authorization`",
            ));
        }
        headers.push(("authorization".to_owned(), credentials(auth)?));
    }
    Ok(Request {
        method: method_of(method)?,
        url: url.to_owned(),
        headers,
        body,
        timeout: options.timeout.duration(),
        longest,
        redirects,
    })
}

/// Returns the method in capitals. Refuses what looks like a misspelt one.
fn method_of(given: &str) -> Result<String> {
    let method = given.to_ascii_uppercase();
    if METHODS.contains(&method.as_str()) {
        return Ok(method);
    }
    let error = Error::invalid(format!("`{given}` is not an HTTP method"));
    if let Some(near) = text::nearest(&method, METHODS) {
        return Err(error.hint(format!("did you mean `{near}`?")));
    }
    // Others exist, such as PROPFIND and PURGE.
    if method.is_empty() || !method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
        return Err(error.hint("the method is the first argument, the URL the second"));
    }
    Ok(method)
}

/// Returns the value of the header `Authorization`.
fn credentials(auth: &Auth) -> Result<String> {
    match (&auth.user, &auth.password, &auth.bearer) {
        (None, None, Some(token)) => Ok(format!("Bearer {token}")),
        (Some(user), _, None) if user.contains(':') => Err(Error::invalid(
            "option `auth.user`: a user name cannot contain `:`",
        )),
        (Some(user), password, None) => {
            let both = format!("{user}:{}", password.as_deref().unwrap_or_default());
            let both = base64::engine::general_purpose::STANDARD.encode(both);
            Ok(format!("Basic {both}"))
        }
        _ => Err(Error::invalid(
            "option `auth`: it needs either `user` and `password`, or `bearer`",
        )),
    }
}

/// Encodes the fields of a form (application/x-www-form-urlencoded).
fn encoded(form: &BTreeMap<String, Value>) -> Result<String> {
    let escaped = |text: &str| {
        utf8_percent_encode(text, FORM)
            .to_string()
            .replace(' ', "+")
    };
    let fields = form.iter().map(|(name, value)| {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            _ => {
                return Err(Error::invalid(format!(
                    "option `form.{name}`: expected a string, a number, true or false"
                ))
                .hint("send nested values as `json`"));
            }
        };
        Ok(format!("{}={}", escaped(name), escaped(&text)))
    });
    Ok(fields.collect::<Result<Vec<_>>>()?.join("&"))
}

fn failure(method: &str, url: &str, answer: &Answer) -> Error {
    let kind = match answer.status {
        401 | 403 | 407 => ErrorKind::Denied,
        404 | 410 => ErrorKind::NotFound,
        429 => ErrorKind::Throttled,
        408 | 504 => ErrorKind::Timeout,
        502 | 503 => ErrorKind::Unreachable,
        _ => ErrorKind::CommandFailed,
    };
    let url = without_password(url);
    let status = answer.status;
    let header = |name: &str| answer.headers.get(name).map(|value| text::harmless(value));
    let mut message = format!("{method} {url}: the status of the answer is {status}");
    let body = text::harmless(answer.body.trim());
    if !body.is_empty() {
        let shown: String = body.chars().take(SHOWN).collect();
        let more = if shown.len() < body.len() { ".." } else { "" };
        message = format!("{message}:\n{shown}{more}");
    }
    let error = Error::new(kind, message).detail(json!({
        "status": status,
        "headers": answer.headers,
        "body": answer.body,
    }));
    match status {
        300..=399 => match header("location") {
            Some(to) => error.hint(format!(
                "it redirects to {to}, which {method} does not follow: request that URL"
            )),
            None => error,
        },
        401 | 403 => error.hint("check the option `auth` and the permissions of this login"),
        429 | 503 => match header("retry-after") {
            Some(after) => error.hint(format!("the server asks to wait: Retry-After is {after}")),
            None => error,
        },
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(value: Value) -> HttpRequest {
        serde_json::from_value(value).unwrap()
    }

    fn built(method: &str, value: Value) -> Result<Request> {
        request(method, "http://h/", options(value), 9, Redirects::Report)
    }

    #[test]
    fn the_body_and_the_login_are_those_of_curl() {
        for (value, headers, body) in [
            (json!({}), vec![], None),
            (
                json!({ "json": { "a": [1, true, null, "é"] } }),
                vec![("content-type", "application/json")],
                Some("{\"a\":[1,true,null,\"é\"]}"),
            ),
            (
                json!({ "form": { "a b": "c&d=é +*-._~", "n": 1, "t": true } }),
                vec![("content-type", "application/x-www-form-urlencoded")],
                Some("a+b=c%26d%3D%C3%A9+%2B*-._%7E&n=1&t=true"),
            ),
            (
                json!({ "body": "x", "headers": { "Content-Type": "text/csv" } }),
                vec![("Content-Type", "text/csv")],
                Some("x"),
            ),
            (
                json!({ "auth": { "user": "Aladdin", "password": "open sesame" } }),
                vec![("authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")],
                None,
            ),
            (
                json!({ "auth": { "user": "a" } }),
                vec![("authorization", "Basic YTo=")],
                None,
            ),
            (
                json!({ "auth": { "bearer": "t" } }),
                vec![("authorization", "Bearer t")],
                None,
            ),
        ] {
            let request = built("post", value.clone()).unwrap();
            let pairs = request.headers.iter();
            let seen: Vec<_> = pairs.map(|(n, v)| (n.as_str(), v.as_str())).collect();
            assert_eq!(seen, headers, "{value}");
            assert_eq!(request.body.as_deref(), body, "{value}");
            assert_eq!(request.method, "POST");
        }
    }

    #[test]
    fn a_body_that_is_not_what_the_headers_say_is_reported() {
        let answer = |headers: &[(&str, &str)], body: &str| {
            let mut answer = Response::assumed(200, body.to_owned());
            let pairs = headers.iter();
            answer.headers = pairs
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect();
            answer
        };
        let json = ("content-type", "application/problem+json; charset=utf-8");
        let marked = answer(&[json], "\u{feff}{\"a\":1}");
        assert_eq!(unusable(&marked), None);
        assert_eq!(Answer::from(marked).json, json!({ "a": 1 }));
        assert_eq!(unusable(&answer(&[json], "")), None);
        let cut = answer(&[json], "{\"a\":");
        assert!(unusable(&cut).unwrap().contains("announced as JSON"));
        assert_eq!(Answer::from(cut).json, Value::Null);
        let packed = answer(&[json, ("content-encoding", "gzip")], "\u{fffd}");
        assert!(unusable(&packed).unwrap().contains("(gzip)"));
        assert_eq!(
            unusable(&answer(&[("content-type", "text/html")], "<p>")),
            None
        );
    }

    #[test]
    fn contradictions_are_refused_before_the_request() {
        for (method, value, what) in [
            ("POST", json!({ "json": 1, "body": "x" }), "only one of"),
            ("POST", json!({ "form": { "a": [1] } }), "`form.a`"),
            ("POST", json!({ "auth": {} }), "either `user`"),
            (
                "POST",
                json!({ "auth": { "password": "x" } }),
                "either `user`",
            ),
            (
                "POST",
                json!({ "auth": { "user": "x", "bearer": "y" } }),
                "either `user`",
            ),
            ("POST", json!({ "auth": { "user": "a:b" } }), "`:`"),
            (
                "POST",
                json!({ "auth": { "bearer": "x" }, "headers": { "AUTHORIZATION": "y" } }),
                "either the option `auth`",
            ),
            (
                "POST",
                json!({ "headers": { "Content-Length": "1" } }),
                "cannot be set",
            ),
            ("PSOT", json!({}), "not an HTTP method"),
            ("", json!({}), "not an HTTP method"),
            ("http://h/", json!({}), "not an HTTP method"),
        ] {
            let error = built(method, value.clone()).unwrap_err();
            assert!(error.to_string().contains(what), "{value}: {error}");
        }
        assert_eq!(built("PROPFIND", json!({})).unwrap().method, "PROPFIND");
        assert!(is_safe("get") && !is_safe("POST") && !is_safe("PURGE"));
    }
}
