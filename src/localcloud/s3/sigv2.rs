//! Presigned addresses of Signature Version 2.
//!
//! AWS takes them where it always did, and the AWS CLI and boto3 still make
//! them for an endpoint they do not know, as this one. In headers Version 2 is
//! refused: no client of today sends it there.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{CONTENT_TYPE, HeaderName};
use hyper::http::request::Parts;
use s3s::S3ErrorCode;
use s3s::crypto::{Checksum as _, Sha1};
use subtle::ConstantTimeEq;

use super::failure::{Result, access_denied, fail};
use super::query::Query;
use super::sigv4::Credentials;

/// The queries that are part of what is signed, besides `response-...`.
const SIGNED: [&str; 22] = [
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

/// Verifies a presigned address; `now` is in seconds since 1970.
pub(super) fn verify(
    parts: &Parts,
    query: &Query,
    credentials: &Credentials,
    now: i64,
) -> Result<()> {
    let field = |name: &str| query.get(name).ok_or_else(access_denied);
    let (key_id, signature) = (field("AWSAccessKeyId")?, field("Signature")?);
    let expires = field("Expires")?;
    let Ok(end) = expires.parse::<i64>() else {
        return Err(fail(
            S3ErrorCode::AccessDenied,
            "Invalid date (should be seconds since epoch): Expires",
        ));
    };
    if now > end {
        return Err(fail(S3ErrorCode::AccessDenied, "Request has expired"));
    }
    if key_id != credentials.access_key_id {
        return Err(fail(
            S3ErrorCode::InvalidAccessKeyId,
            "The AWS Access Key Id you provided does not exist in our records.",
        ));
    }
    let text = string_to_sign(parts, query, expires);
    let calculated = hmac_sha1(credentials.secret_access_key.as_bytes(), text.as_bytes());
    let calculated = BASE64_STANDARD.encode(calculated);
    match calculated.as_bytes().ct_eq(signature.as_bytes()).into() {
        true => Ok(()),
        false => Err(fail(
            S3ErrorCode::SignatureDoesNotMatch,
            "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
        )),
    }
}

fn string_to_sign(parts: &Parts, query: &Query, expires: &str) -> String {
    let header = |name: HeaderName| {
        let value = parts.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let mut names: Vec<&str> = parts.headers.keys().map(HeaderName::as_str).collect();
    names.retain(|name| name.starts_with("x-amz-"));
    names.sort_unstable();
    let amazon: Vec<String> = names
        .into_iter()
        .map(|name| {
            let values = parts.headers.get_all(name).iter();
            let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
            let values: Vec<_> = values.map(|value| value.trim().to_owned()).collect();
            format!("{name}:{}\n", values.join(","))
        })
        .collect();
    format!(
        "{}\n{}\n{}\n{expires}\n{}{}",
        parts.method,
        header(HeaderName::from_static("content-md5")),
        header(CONTENT_TYPE),
        amazon.concat(),
        resource(parts.uri.path(), query)
    )
}

fn resource(path: &str, query: &Query) -> String {
    let mut pairs: Vec<(&str, &str)> = query.pairs().collect();
    pairs.retain(|(name, _)| SIGNED.contains(name) || name.starts_with("response-"));
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| match value {
            "" => name.to_owned(),
            _ => format!("{name}={value}"),
        })
        .collect();
    match pairs.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{}", pairs.join("&")),
    }
}

/// RFC 2104 over SHA-1, for keys that fit into its block or are digested first.
fn hmac_sha1(key: &[u8], text: &[u8]) -> [u8; 20] {
    const BLOCK: usize = 64;
    let mut block = [0; BLOCK];
    match key.len() > BLOCK {
        true => block[..20].copy_from_slice(&Sha1::checksum(key)),
        false => block[..key.len()].copy_from_slice(key),
    }
    let keyed = |pad: u8, text: &[u8]| {
        let mut hasher = Sha1::new();
        hasher.update(&block.map(|byte| byte ^ pad));
        hasher.update(text);
        hasher.finalize()
    };
    keyed(0x5c, &keyed(0x36, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_amazons_documentation_verifies() {
        let credentials = Credentials {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
        };
        let code = |signature: &str, now| {
            let uri = format!(
                "/johnsmith/photos/puppy.jpg?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature={signature}&Expires=1175139620"
            );
            let parts = hyper::Request::get(uri).body(()).unwrap().into_parts().0;
            let query = Query::parse(parts.uri.query().unwrap());
            match verify(&parts, &query, &credentials, now) {
                Ok(()) => "ok".to_owned(),
                Err(error) => error.code().as_str().to_owned(),
            }
        };
        let signature = "NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D";
        assert_eq!(code(signature, 1_175_139_620), "ok");
        assert_eq!(code(signature, 1_175_139_621), "AccessDenied");
        assert_eq!(code("x", 0), "SignatureDoesNotMatch");
    }

    #[test]
    fn long_keys_are_digested() {
        // RFC 2202, cases 1 and 6.
        assert_eq!(
            hmac_sha1(&[0x0b; 20], b"Hi There")[..4],
            [0xb6, 0x17, 0x31, 0x86]
        );
        let long = hmac_sha1(
            &[0xaa; 80],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
        );
        assert_eq!(long[..4], [0xaa, 0x4a, 0xe5, 0xe1]);
    }
}
