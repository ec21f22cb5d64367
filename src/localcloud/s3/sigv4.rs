//! Who signed a request: AWS Signature Version 4 in the header or in the query.
//!
//! One key is known. The region of a signature is the client's to choose, the
//! service is not.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use hyper::http::request::Parts;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use s3s::S3ErrorCode;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::claim::{self, Claim, parameters};
use super::failure::{Result, fail};
use super::query::{self, Plus, Query};
use super::sigv2;

pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const MAX_SKEW_SECONDS: i64 = 15 * 60;
pub(super) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
pub(super) const CONTENT_SHA256: &str = "x-amz-content-sha256";

/// The one key.
pub(super) struct Credentials {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
}

/// What a verified signature says and what the chunks of a body build upon.
#[derive(Clone)]
pub(super) struct Signed {
    pub(super) region: String,
    /// `x-amz-content-sha256`, or that the payload is not signed.
    pub(super) payload: String,
    /// What signatures of chunks build upon.
    pub(super) chain: Option<Chain>,
}

impl Signed {
    /// Version 2 knows neither regions nor signed payloads.
    fn of_version_2() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            payload: UNSIGNED.to_owned(),
            chain: None,
        }
    }
}

/// Signs what follows a request: each signature covers the one before.
#[derive(Clone)]
pub(super) struct Chain {
    key: [u8; 32],
    date: String,
    scope: String,
    previous: String,
}

impl Chain {
    /// Whether `signature` is the one for the next chunk, whose digest is given.
    pub(super) fn chunk(&mut self, digest: &[u8], signature: &str) -> bool {
        let empty = hex(&Sha256::digest(b""));
        self.advance("PAYLOAD", &format!("{empty}\n{}", hex(digest)), signature)
    }

    /// Whether `signature` is the one for the trailer.
    pub(super) fn trailer(&mut self, canonical: &str, signature: &str) -> bool {
        let digest = hex(&Sha256::digest(canonical.as_bytes()));
        self.advance("TRAILER", &digest, signature)
    }

    fn advance(&mut self, kind: &str, rest: &str, signature: &str) -> bool {
        let text = format!(
            "{ALGORITHM}-{kind}\n{}\n{}\n{}\n{rest}",
            self.date, self.scope, self.previous
        );
        self.previous = hex(&hmac(&self.key, text.as_bytes()));
        same(&self.previous, signature)
    }
}

/// Verifies the signature of a request; `None` if it has none.
pub(super) fn authenticate(
    parts: &Parts,
    query: &Query,
    credentials: &Credentials,
    now: Timestamp,
) -> Result<Option<Signed>> {
    let Some(claim) = claim::read(parts, query)? else {
        if !query.has("AWSAccessKeyId") {
            return Ok(None);
        }
        sigv2::verify(parts, query, credentials, now.as_second())?;
        return Ok(Some(Signed::of_version_2()));
    };
    verify(parts, query, &claim, credentials, now).map(Some)
}

fn verify(
    parts: &Parts,
    query: &Query,
    claim: &Claim<'_>,
    credentials: &Credentials,
    now: Timestamp,
) -> Result<Signed> {
    let [day, region, service] = claim.scope;
    if claim.access_key_id != credentials.access_key_id {
        return Err(fail(
            S3ErrorCode::InvalidAccessKeyId,
            "The AWS Access Key Id you provided does not exist in our records.",
        ));
    }
    if parts.headers.contains_key("x-amz-security-token") || query.has("X-Amz-Security-Token") {
        return Err(fail(
            S3ErrorCode::InvalidToken,
            "The provided token is malformed or otherwise invalid.",
        ));
    }
    check_time(claim, now)?;
    check_signed_headers(parts, claim)?;
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let request = canonical_request(parts, query, claim);
    let digest = hex(&Sha256::digest(request.as_bytes()));
    let text = format!("{ALGORITHM}\n{}\n{scope}\n{digest}", claim.date);
    let key = signing_key(&credentials.secret_access_key, claim.scope);
    let signature = hex(&hmac(&key, text.as_bytes()));
    if !same(&signature, claim.signature) {
        return Err(fail(
            S3ErrorCode::SignatureDoesNotMatch,
            "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
        ));
    }
    Ok(Signed {
        region: region.to_owned(),
        payload: claim.payload.to_owned(),
        chain: Some(Chain {
            key,
            date: claim.date.to_owned(),
            scope,
            previous: signature,
        }),
    })
}

fn check_time(claim: &Claim<'_>, now: Timestamp) -> Result<()> {
    let invalid = || match claim.expires {
        Some(_) => {
            parameters("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
        }
        None => fail(
            S3ErrorCode::AccessDenied,
            "AWS authentication requires a valid Date or x-amz-date header",
        ),
    };
    let moment = DateTime::strptime("%Y%m%dT%H%M%SZ", claim.date)
        .and_then(|date| date.to_zoned(TimeZone::UTC))
        .map_err(|_| invalid())?;
    let [day, ..] = claim.scope;
    if !claim.date.starts_with(day) || day.len() != 8 {
        return Err(fail(
            S3ErrorCode::SignatureDoesNotMatch,
            format!("Invalid credential date {day}. It differs from the date of the request."),
        ));
    }
    let age = now.as_second() - moment.timestamp().as_second();
    match claim.expires {
        Some(expires) if age > expires => {
            Err(fail(S3ErrorCode::AccessDenied, "Request has expired"))
        }
        Some(_) if age >= -MAX_SKEW_SECONDS => Ok(()),
        None if age.abs() <= MAX_SKEW_SECONDS => Ok(()),
        _ => Err(fail(
            S3ErrorCode::RequestTimeTooSkewed,
            "The difference between the request time and the current time is too large.",
        )),
    }
}

/// What decides about a request must be signed: the host and every header of
/// Amazon's.
fn check_signed_headers(parts: &Parts, claim: &Claim<'_>) -> Result<()> {
    let signed = |name: &str| claim.signed_headers.contains(&name);
    let mut names = parts.headers.keys().map(hyper::header::HeaderName::as_str);
    let ours = |name: &str| name.starts_with("x-amz-") && name != CONTENT_SHA256;
    if !signed("host") || names.any(|name| ours(name) && !signed(name)) {
        return Err(fail(
            S3ErrorCode::AccessDenied,
            "There were headers present in the request which were not signed",
        ));
    }
    Ok(())
}

fn canonical_request(parts: &Parts, query: &Query, claim: &Claim<'_>) -> String {
    let path = query::encode(&query::decode(parts.uri.path(), Plus::Literal), b"/");
    let encode = |text: &str| query::encode(text.as_bytes(), b"");
    let mut pairs: Vec<(String, String)> = query
        .pairs()
        .filter(|(name, _)| *name != "X-Amz-Signature")
        .map(|(name, value)| (encode(name), encode(value)))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut headers = String::new();
    for name in &claim.signed_headers {
        let values = parts.headers.get_all(*name).iter();
        let values = values.map(|value| single_spaced(&String::from_utf8_lossy(value.as_bytes())));
        let values = values.collect::<Vec<_>>().join(",");
        // Writing to a string does not fail.
        let _ = writeln!(headers, "{name}:{values}");
    }
    format!(
        "{}\n{path}\n{}\n{headers}\n{}\n{}",
        parts.method,
        pairs.join("&"),
        claim.signed_headers.join(";"),
        claim.payload
    )
}

fn single_spaced(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn signing_key(secret: &str, scope: [&str; 3]) -> [u8; 32] {
    let mut key = hmac(format!("AWS4{secret}").as_bytes(), scope[0].as_bytes());
    for part in [scope[1], scope[2], "aws4_request"] {
        key = hmac(&key, part.as_bytes());
    }
    key
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mut mac) => {
            mac.update(text);
            mac.finalize().into_bytes().into()
        }
        Err(_) => unreachable!("HMAC takes keys of any length"),
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn same(calculated: &str, presented: &str) -> bool {
    calculated.as_bytes().ct_eq(presented.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use hyper::header::AUTHORIZATION;

    use super::*;

    /// The example of Amazon's documentation: GET with a range.
    const SIGNATURE: &str = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn credentials() -> Credentials {
        Credentials {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
        }
    }

    fn example(scope: &str, signature: &str) -> Parts {
        let authorization = format!(
            "{ALGORITHM} Credential=AKIAIOSFODNN7EXAMPLE/{scope}/aws4_request,SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature={signature}"
        );
        let request = hyper::Request::get("/test.txt")
            .header("host", "examplebucket.s3.amazonaws.com")
            .header("range", "bytes=0-9")
            .header(CONTENT_SHA256, EMPTY)
            .header("x-amz-date", "20130524T000000Z")
            .header(AUTHORIZATION, authorization);
        request.body(()).unwrap().into_parts().0
    }

    fn code(parts: &Parts, now: &str) -> String {
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        match authenticate(parts, &query, &credentials(), now.parse().unwrap()) {
            Ok(Some(signed)) => signed.region,
            Ok(None) => "anonymous".into(),
            Err(error) => error.code().as_str().into(),
        }
    }

    #[test]
    fn amazons_example_verifies() {
        let parts = example("20130524/us-east-1/s3", SIGNATURE);
        assert_eq!(code(&parts, "2013-05-24T00:14:59Z"), "us-east-1");
        assert_eq!(code(&parts, "2013-05-24T00:15:01Z"), "RequestTimeTooSkewed");
        assert_eq!(code(&parts, "2013-05-23T23:44:00Z"), "RequestTimeTooSkewed");
    }

    #[test]
    fn what_is_not_right_is_refused() {
        let now = "2013-05-24T00:00:00Z";
        let wrong = SIGNATURE.replace('f', "e");
        assert_eq!(
            code(&example("20130524/us-east-1/s3", &wrong), now),
            "SignatureDoesNotMatch"
        );
        assert_eq!(
            code(&example("20130524/eu-west-1/s3", SIGNATURE), now),
            "SignatureDoesNotMatch"
        );
        assert_eq!(
            code(&example("20130523/us-east-1/s3", SIGNATURE), now),
            "SignatureDoesNotMatch"
        );
        assert_eq!(
            code(&example("20130524/us-east-1/ec2", SIGNATURE), now),
            "AuthorizationHeaderMalformed"
        );
        let mut unsigned = example("20130524/us-east-1/s3", SIGNATURE);
        unsigned
            .headers
            .insert("x-amz-acl", "private".parse().unwrap());
        assert_eq!(code(&unsigned, now), "AccessDenied");
        let mut version_2 = example("20130524/us-east-1/s3", SIGNATURE);
        version_2
            .headers
            .insert(AUTHORIZATION, "AWS AK:sig".parse().unwrap());
        assert_eq!(code(&version_2, now), "InvalidRequest");
        version_2.headers.remove(AUTHORIZATION);
        assert_eq!(code(&version_2, now), "anonymous");
    }

    #[test]
    fn a_presigned_address_verifies_until_it_expires() {
        let presigned = |expires: &str| {
            let uri = format!(
                "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires={expires}&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
            );
            let request = hyper::Request::get(uri).header("host", "examplebucket.s3.amazonaws.com");
            request.body(()).unwrap().into_parts().0
        };
        assert_eq!(
            code(&presigned("86400"), "2013-05-24T23:00:00Z"),
            "us-east-1"
        );
        assert_eq!(
            code(&presigned("86400"), "2013-05-25T00:00:01Z"),
            "AccessDenied"
        );
        assert_eq!(
            code(&presigned("86401"), "2013-05-24T00:00:00Z"),
            "SignatureDoesNotMatch"
        );
        assert_eq!(
            code(&presigned("604801"), "2013-05-24T00:00:00Z"),
            "AuthorizationQueryParametersError"
        );
        assert_eq!(
            code(&presigned("-1"), "2013-05-24T00:00:00Z"),
            "AuthorizationQueryParametersError"
        );
    }
}
