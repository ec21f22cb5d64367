//! What S3 tells a client about the signature that it refuses.

use hyper::header::{HeaderName, HeaderValue};
use hyper::http::request::Parts;

use super::chain::string_to_sign;
use super::claim::{self, Presented};
use super::{Place, Service, canonical, version_2, version_4};
use crate::query::Query;

/// The texts to which a signature belongs. They contain no secrets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Explanation {
    pub(crate) access_key_id: String,
    /// The signature that the request presents.
    pub(crate) signature: String,
    pub(crate) string_to_sign: String,
    /// The canonical request of version 4.
    pub(crate) canonical_request: Option<String>,
    /// The end of a presigned URL, in seconds since 1970.
    pub(crate) end: Option<i64>,
    /// The lifetime of a presigned URL of version 4 in seconds.
    pub(crate) lifetime: Option<i64>,
}

/// Returns what a request presents. Returns `None` if it cannot be parsed.
pub(crate) fn explain(parts: &Parts, query: &Query) -> Option<Explanation> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let claim = match claim::read(parts, query).ok()?? {
        Presented::Version4(claim) => claim,
        Presented::Version2 => {
            let expires = query.get("Expires")?;
            return Some(Explanation {
                access_key_id: query.get("AWSAccessKeyId")?.to_owned(),
                signature: query.get("Signature")?.to_owned(),
                string_to_sign: text(&version_2::string_to_sign(parts, query, expires)),
                end: expires.parse().ok(),
                ..Explanation::default()
            });
        }
    };
    let date = claim.date.unwrap_or_default();
    let payload = version_4::payload(parts, query, claim.place, Service::S3);
    let complete = with_all(parts, &claim.signed_headers);
    let canonical = payload
        .ok()
        .and_then(|payload| canonical::request(&complete, query, &claim.signed_headers, &payload));
    let scope = [claim.scope.day, claim.scope.region, claim.scope.service].join("/");
    let signed = canonical
        .as_ref()
        .map(|canonical| string_to_sign(date, &scope, canonical));
    let begun = version_4::instant(date).map(jiff::Timestamp::as_second);
    let lifetime = claim.expires.filter(|_| claim.place == Place::Query);
    Some(Explanation {
        access_key_id: claim.access_key_id.to_owned(),
        signature: claim.signature.to_owned(),
        string_to_sign: signed.unwrap_or_default(),
        canonical_request: canonical.map(|canonical| text(&canonical)),
        end: begun
            .zip(lifetime)
            .map(|(begun, lifetime)| begun + lifetime),
        lifetime,
    })
}

/// Returns the request with an empty value for each signed header that is missing.
fn with_all(parts: &Parts, signed_headers: &[&str]) -> Parts {
    let mut parts = parts.clone();
    for name in signed_headers {
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes())
            && !parts.headers.contains_key(&name)
        {
            parts.headers.insert(name, HeaderValue::from_static(""));
        }
    }
    parts
}
