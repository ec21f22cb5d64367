//! A signature of Version 4 as it was presented, in the header or in the query.

use hyper::header::AUTHORIZATION;
use hyper::http::request::Parts;
use s3s::{S3Error, S3ErrorCode};

use super::failure::{Result, fail, invalid_argument, invalid_request, named};
use super::query::Query;
use super::sigv4::{ALGORITHM, CONTENT_SHA256, UNSIGNED};

const MAX_EXPIRY_SECONDS: i64 = 7 * 24 * 60 * 60;

/// A signature as it was presented.
pub(super) struct Claim<'a> {
    pub(super) access_key_id: &'a str,
    /// Date, region and service.
    pub(super) scope: [&'a str; 3],
    pub(super) signed_headers: Vec<&'a str>,
    pub(super) signature: &'a str,
    pub(super) date: &'a str,
    pub(super) payload: &'a str,
    pub(super) expires: Option<i64>,
}

/// Reads the claim of a request, if it makes one.
pub(super) fn read<'a>(parts: &'a Parts, query: &'a Query) -> Result<Option<Claim<'a>>> {
    let header = parts.headers.get(AUTHORIZATION);
    let in_query = query.has("X-Amz-Algorithm") || query.has("X-Amz-Signature");
    match (header, in_query) {
        (Some(_), true) => Err(invalid_argument(
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified",
        )),
        (Some(value), false) => header_claim(parts, value.to_str().unwrap_or_default()).map(Some),
        (None, true) => query_claim(parts, query).map(Some),
        (None, false) => Ok(None),
    }
}

fn header_claim<'a>(parts: &'a Parts, value: &'a str) -> Result<Claim<'a>> {
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let Some(fields) = value.strip_prefix(ALGORITHM) else {
        return Err(match value.starts_with("AWS ") {
            true => version_2(),
            false => invalid_argument("Unsupported Authorization Type"),
        });
    };
    let field = |name: &str| {
        let fields = fields.split(',').map(str::trim);
        let mut values = fields.filter_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        values.next().ok_or_else(|| {
            malformed(&format!("the authorization header requires three components: Credential, SignedHeaders, and Signature; {name} is missing."))
        })
    };
    let (access_key_id, scope) = credential(field("Credential")?, malformed)?;
    let date = header("x-amz-date").ok_or_else(|| {
        fail(
            S3ErrorCode::AccessDenied,
            "AWS authentication requires a valid Date or x-amz-date header",
        )
    })?;
    let payload = header(CONTENT_SHA256).ok_or_else(|| {
        invalid_request("Missing required header for this request: x-amz-content-sha256")
    })?;
    Ok(Claim {
        access_key_id,
        scope,
        signed_headers: field("SignedHeaders")?.split(';').collect(),
        signature: field("Signature")?,
        date,
        payload,
        expires: None,
    })
}

fn query_claim<'a>(parts: &'a Parts, query: &'a Query) -> Result<Claim<'a>> {
    let field = |name: &str| {
        query.get(name).ok_or_else(|| {
            parameters("Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.")
        })
    };
    if field("X-Amz-Algorithm")? != ALGORITHM {
        return Err(parameters(
            "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"",
        ));
    }
    let (access_key_id, scope) = credential(field("X-Amz-Credential")?, parameters)?;
    let expires = field("X-Amz-Expires")?
        .parse::<i64>()
        .map_err(|_| parameters("X-Amz-Expires should be a number"))?;
    if expires < 0 {
        return Err(parameters("X-Amz-Expires must be non-negative"));
    }
    if expires > MAX_EXPIRY_SECONDS {
        return Err(parameters(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds",
        ));
    }
    let header = parts.headers.get(CONTENT_SHA256);
    let payload = header
        .and_then(|value| value.to_str().ok())
        .or_else(|| query.get("X-Amz-Content-Sha256"))
        .unwrap_or(UNSIGNED);
    Ok(Claim {
        access_key_id,
        scope,
        signed_headers: field("X-Amz-SignedHeaders")?.split(';').collect(),
        signature: field("X-Amz-Signature")?,
        date: field("X-Amz-Date")?,
        payload,
        expires: Some(expires),
    })
}

/// Splits `KEY/day/region/s3/aws4_request`.
fn credential(text: &str, refuse: fn(&str) -> S3Error) -> Result<(&str, [&str; 3])> {
    let fields: Vec<&str> = text.split('/').collect();
    let [key, day, region, service, "aws4_request"] = fields[..] else {
        return Err(refuse(
            "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
        ));
    };
    if service != "s3" {
        return Err(refuse(&format!(
            "incorrect service \"{service}\". This endpoint belongs to \"s3\"."
        )));
    }
    Ok((key, [day, region, service]))
}

fn malformed(reason: &str) -> S3Error {
    named(
        "AuthorizationHeaderMalformed",
        hyper::StatusCode::BAD_REQUEST,
        format!("The authorization header is malformed; {reason}"),
    )
}

pub(super) fn parameters(reason: &str) -> S3Error {
    named(
        "AuthorizationQueryParametersError",
        hyper::StatusCode::BAD_REQUEST,
        match reason.starts_with("X-Amz") || reason.starts_with("Query") {
            true => reason.to_owned(),
            false => format!("Error parsing the X-Amz-Credential parameter; {reason}"),
        },
    )
}

fn version_2() -> S3Error {
    invalid_request(
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
    )
}
