//! Verifies presigned URLs of version 2, for the clients that [`super`] names.
//!
//! A signature of version 2 covers only some parameters of a query and contains
//! their values without escapes. All other parameters are therefore refused, and
//! so are values that could be read as two parameters.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use jiff::Timestamp;

use super::chain::{same, sign_sha1};
use super::{CONTENT_SHA256, Fault, Flaw, Keys, Place, Scope, Signed, UNSIGNED};
use crate::query::Query;

/// The parameters that contain the signature itself.
const OWN: [&str; 3] = ["AWSAccessKeyId", "Signature", "Expires"];

/// The parameter of temporary credentials.
const TOKEN: &str = "x-amz-security-token";

/// The parameters that the signature covers.
const COVERED: [&str; 28] = [
    "accelerate",
    "acl",
    "cors",
    "delete",
    "lifecycle",
    "location",
    "logging",
    "notification",
    "partNumber",
    "policy",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "select",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
];

/// Verifies a presigned URL.
pub(super) fn verify(
    parts: &Parts,
    query: &Query,
    keys: &Keys,
    now: Timestamp,
) -> Result<Signed, Fault> {
    let flawed = |flaw| Fault::Malformed(Place::Query, flaw);
    let field = |name: &'static str| query.get(name).ok_or_else(|| flawed(Flaw::Missing(name)));
    let (key_id, signature) = (field("AWSAccessKeyId")?, field("Signature")?);
    let expires = field("Expires")?;
    let end: i64 = expires.parse().map_err(|_| flawed(Flaw::Epoch))?;
    if now.as_second() > end {
        return Err(Fault::Expired);
    }
    let (session, keys) = keys.of_request(parts, query, key_id, now)?;
    if let Some(name) = uncovered(parts, query) {
        return Err(Fault::Uncovered(name.to_owned()));
    }
    let text = string_to_sign(parts, query, expires);
    let calculated = BASE64_STANDARD.encode(sign_sha1(&keys.secret_access_key, &text));
    if !same(&calculated, signature) {
        return Err(Fault::Mismatch);
    }
    let payload = parts.headers.get(CONTENT_SHA256);
    let payload = payload.map_or(UNSIGNED, |value| value.to_str().unwrap_or_default());
    Ok(Signed {
        // A signature of version 2 does not contain a region.
        scope: Scope {
            region: "us-east-1".to_owned(),
            service: "s3".to_owned(),
        },
        place: Place::Query,
        version: "AWS",
        time: None,
        covers_type: true,
        payload: payload.to_owned(),
        session,
        chain: None,
    })
}

/// Returns a parameter that the signature does not cover or covers ambiguously.
fn uncovered<'a>(parts: &Parts, query: &'a Query) -> Option<&'a str> {
    let is_covered = |name: &str, value: &str| {
        // In the query, the token is signed as if it were a header.
        (name == TOKEN && !parts.headers.contains_key(TOKEN))
            || (COVERED.contains(&name) && !value.contains('&'))
    };
    query
        .pairs()
        .filter(|(name, _)| !OWN.contains(name))
        .find(|(name, value)| !is_covered(name, value))
        .map(|(name, _)| name)
}

pub(super) fn string_to_sign(parts: &Parts, query: &Query, expires: &str) -> Vec<u8> {
    let header = |name: &HeaderName| {
        let value = parts.headers.get(name);
        value.map_or(&b""[..], HeaderValue::as_bytes)
    };
    let mut lines = vec![
        parts.method.as_str().as_bytes().to_vec(),
        header(&HeaderName::from_static("content-md5")).to_vec(),
        header(&CONTENT_TYPE).to_vec(),
        expires.as_bytes().to_vec(),
    ];
    let named = parts
        .headers
        .keys()
        .map(|name| (name.as_str(), header(name)));
    let mut signed: Vec<_> = named
        .filter(|(name, _)| name.starts_with("x-amz-"))
        .collect();
    signed.extend(query.get(TOKEN).map(|token| (TOKEN, token.as_bytes())));
    signed.sort_unstable();
    let line = |(name, value): (&str, &[u8])| [name.as_bytes(), value].join(&b':');
    lines.extend(signed.into_iter().map(line));
    lines.push(resource(parts.uri.path(), query).into_bytes());
    lines.join(&b'\n')
}

fn resource(path: &str, query: &Query) -> String {
    let mut pairs: Vec<(&str, &str)> = query.pairs().collect();
    pairs.retain(|(name, _)| COVERED.contains(name));
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| match value {
            "" => name.to_owned(),
            _ => format!("{name}={value}"),
        })
        .collect();
    if pairs.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", pairs.join("&"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Verifies the example of AWS's documentation, with `more` in its query.
    fn outcome(signature: &str, more: &str, now: i64) -> Result<Signed, Fault> {
        let keys = Keys {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
        };
        let uri = format!(
            "/johnsmith/photos/puppy.jpg?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature={signature}&Expires=1175139620{more}"
        );
        let parts = hyper::Request::get(uri).body(()).unwrap().into_parts().0;
        let query = Query::parse(parts.uri.query().unwrap()).unwrap();
        verify(&parts, &query, &keys, Timestamp::from_second(now).unwrap())
    }

    const RIGHT: &str = "NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D";

    #[test]
    fn the_example_of_the_documentation_verifies_until_it_expires() {
        assert!(outcome(RIGHT, "", 1_175_139_620).is_ok());
        let fault = |signature, now| outcome(signature, "", now).unwrap_err();
        assert_eq!(fault(RIGHT, 1_175_139_621), Fault::Expired);
        assert_eq!(fault("x", 0), Fault::Mismatch);
    }

    #[test]
    fn a_parameter_that_is_not_covered_is_refused() {
        let fault = |more: &str| outcome(RIGHT, more, 0).unwrap_err();
        for name in ["publicAccessBlock", "prefix", "x-amz-acl", "attributes"] {
            let expected = Fault::Uncovered(name.to_owned());
            assert_eq!(fault(&format!("&{name}=")), expected, "{name}");
        }
        assert_eq!(fault("&acl"), Fault::Mismatch);
        // Without escapes, the value would be two parameters.
        assert!(matches!(
            fault("&response-content-type=a%26versionId=1"),
            Fault::Uncovered(_)
        ));
    }
}
