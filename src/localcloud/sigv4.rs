//! Signature version 4 of EC2 and STS requests (S3 checks its own).
//!
//! A request is believed when its signature is right, it was signed within
//! fifteen minutes of now, and its body is the one that was signed.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::http::request::Parts;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::ec2::Refusal;

/// How far a signer's clock may be off, as on AWS.
const SKEW: Duration = Duration::from_secs(15 * 60);

/// The one access key of a local cloud.
#[derive(Clone)]
pub(super) struct Keys {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({}, ..)", self.access_key_id)
    }
}

/// What a request was signed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) region: String,
    pub(super) service: String,
}

/// The `Authorization` header's parts.
struct Authorization<'a> {
    key: &'a str,
    date: &'a str,
    scope: Scope,
    signed_headers: &'a str,
    signature: &'a str,
}

/// Verifies a request with its whole body.
pub(super) fn verify(
    parts: &Parts,
    body: &[u8],
    keys: &Keys,
    now: SystemTime,
) -> Result<Scope, Refusal> {
    let found = authorization(parts)?;
    let known = found.key.as_bytes().ct_eq(keys.access_key_id.as_bytes());
    if !bool::from(known) {
        return Err(Refusal::new(
            "AuthFailure",
            "AWS was not able to validate the provided access credentials",
        )
        .status(401));
    }
    let time = header(parts, "x-amz-date").ok_or_else(|| incomplete("'X-Amz-Date' header"))?;
    check_time(time, found.date, now)?;
    let signed: Vec<&str> = found.signed_headers.split(';').collect();
    for needed in ["host", "x-amz-date"] {
        if !signed.contains(&needed) {
            return Err(incomplete(&format!("'{needed}' among the signed headers")));
        }
    }
    let canonical = canonical_request(parts, &signed, &hex(&Sha256::digest(body)));
    let scope = format!(
        "{}/{}/{}/aws4_request",
        found.date, found.scope.region, found.scope.service
    );
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        hex(&Sha256::digest(canonical.as_bytes()))
    );
    let expected = hex(&hmac(
        &signing_key(&keys.secret_access_key, &found),
        to_sign.as_bytes(),
    ));
    if !bool::from(expected.as_bytes().ct_eq(found.signature.as_bytes())) {
        return Err(Refusal::new(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. \
             Check your AWS Secret Access Key and signing method.",
        )
        .status(403));
    }
    Ok(found.scope)
}

fn header<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    parts.headers.get(name)?.to_str().ok()
}

fn incomplete(what: &str) -> Refusal {
    Refusal::new(
        "IncompleteSignature",
        format!("Authorization header requires existence of {what}"),
    )
    .status(403)
}

fn authorization(parts: &Parts) -> Result<Authorization<'_>, Refusal> {
    let text = header(parts, "authorization").ok_or_else(|| {
        Refusal::new(
            "MissingAuthenticationToken",
            "Request is missing Authentication Token",
        )
        .status(403)
    })?;
    let fields = text
        .strip_prefix("AWS4-HMAC-SHA256")
        .ok_or_else(|| incomplete("'AWS4-HMAC-SHA256'"))?;
    let field = |name: &str| {
        fields
            .split(',')
            .find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='))
            .ok_or_else(|| incomplete(&format!("'{name}' parameter")))
    };
    let credential: Vec<&str> = field("Credential")?.split('/').collect();
    let [key, date, region, service, "aws4_request"] = credential[..] else {
        return Err(incomplete("a complete 'Credential' parameter"));
    };
    Ok(Authorization {
        key,
        date,
        scope: Scope {
            region: region.to_owned(),
            service: service.to_owned(),
        },
        signed_headers: field("SignedHeaders")?,
        signature: field("Signature")?,
    })
}

fn check_time(time: &str, date: &str, now: SystemTime) -> Result<(), Refusal> {
    let signed = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", time)
        .and_then(|civil| civil.to_zoned(jiff::tz::TimeZone::UTC))
        .map(|zoned| SystemTime::from(zoned.timestamp()))
        .map_err(|_| incomplete("a valid 'X-Amz-Date' header"))?;
    let off = now
        .duration_since(signed)
        .unwrap_or_else(|early| early.duration());
    if off > SKEW || !time.starts_with(date) {
        let now = Timestamp::try_from(now).unwrap_or_default();
        return Err(Refusal::new(
            "RequestExpired",
            format!("Request has expired. Timestamp date is {time}. Current date is {now}"),
        ));
    }
    Ok(())
}

fn canonical_request(parts: &Parts, signed: &[&str], payload: &str) -> String {
    let mut query: BTreeMap<(String, String), u32> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
        *query.entry((encode(&name), encode(&value))).or_default() += 1;
    }
    let query: Vec<String> = query
        .into_iter()
        .flat_map(|((name, value), times)| {
            std::iter::repeat_n(format!("{name}={value}"), times as usize)
        })
        .collect();
    let mut headers = String::new();
    for name in signed {
        let values: Vec<String> = parts
            .headers
            .get_all(*name)
            .iter()
            .map(|value| {
                let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
                text.split_whitespace().collect::<Vec<_>>().join(" ")
            })
            .collect();
        headers.extend([*name, ":", &values.join(","), "\n"]);
    }
    [
        parts.method.as_str(),
        parts.uri.path(),
        &query.join("&"),
        &headers,
        &signed.join(";"),
        payload,
    ]
    .join("\n")
}

/// Percent-encoding as the signature wants it: all but unreserved characters.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn signing_key(secret: &str, found: &Authorization<'_>) -> Vec<u8> {
    let first = format!("AWS4{secret}").into_bytes();
    [
        found.date,
        &found.scope.region,
        &found.scope.service,
        "aws4_request",
    ]
    .iter()
    .fold(first, |key, part| hmac(&key, part.as_bytes()))
}

fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length, so there is no error to see.
    Hmac::<Sha256>::new_from_slice(key).map_or_else(
        |_| Vec::new(),
        |mut mac| {
            mac.update(data);
            mac.finalize().into_bytes().to_vec()
        },
    )
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `get-vanilla-query-order-key-case` of AWS's published test suite.
    fn vector() -> Parts {
        let (parts, ()) = hyper::Request::builder()
            .uri("/?Param2=value2&Param1=value1")
            .header("host", "example.amazonaws.com")
            .header("x-amz-date", "20150830T123600Z")
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                 SignedHeaders=host;x-amz-date, \
                 Signature=b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            )
            .body(())
            .unwrap()
            .into_parts();
        parts
    }

    /// The secret of AWS's published test suite.
    const EXAMPLE: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    fn keys() -> Keys {
        Keys {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: EXAMPLE.to_owned(),
        }
    }

    fn at(seconds: u64) -> SystemTime {
        // 2015-08-30T12:36:00Z
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160 + seconds)
    }

    #[test]
    fn the_published_vector_verifies() {
        let scope = verify(&vector(), b"", &keys(), at(0)).unwrap();
        assert_eq!(scope.region, "us-east-1");
        assert_eq!(scope.service, "service");
    }

    #[test]
    fn another_body_key_query_or_time_does_not() {
        let code = |parts: &Parts, body: &[u8], keys: &Keys, now| {
            verify(parts, body, keys, now).unwrap_err().code
        };
        assert_eq!(
            code(&vector(), b"x", &keys(), at(0)),
            "SignatureDoesNotMatch"
        );
        let mut other = keys();
        other.secret_access_key.push('x');
        assert_eq!(code(&vector(), b"", &other, at(0)), "SignatureDoesNotMatch");
        other.access_key_id.push('x');
        assert_eq!(code(&vector(), b"", &other, at(0)), "AuthFailure");
        assert_eq!(code(&vector(), b"", &keys(), at(901)), "RequestExpired");
        let mut parts = vector();
        parts.uri = "/?Param2=value2&Param1=other".parse().unwrap();
        assert_eq!(code(&parts, b"", &keys(), at(0)), "SignatureDoesNotMatch");
        parts.headers.remove("authorization");
        assert_eq!(
            code(&parts, b"", &keys(), at(0)),
            "MissingAuthenticationToken"
        );
    }
}
