//! The checks of a request that need neither its body nor the caller: names, the
//! operation, and headers of features that are missing.

use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};
use s3s::S3Error;

use super::backend::Backend;
use super::failure::{
    self, Naming as _, Result, invalid_argument, method_not_allowed, not_implemented,
};
use super::names;
use super::operation::{self, Operation, Target};
use super::ops::wrong_number;
use crate::query::Query;

/// The checksum algorithms that the local cloud does not have.
const MISSING_CHECKSUMS: [&str; 5] = ["MD5", "SHA512", "XXHASH128", "XXHASH3", "XXHASH64"];

/// Refuses names that no bucket and no object can have, and operations that the
/// local cloud does not have.
pub(super) fn check_target(
    backend: &Backend,
    operation: Operation,
    target: &Target,
    parts: &Parts,
) -> Result<()> {
    if let Some(bucket) = target.bucket() {
        names::check_bucket(bucket)?;
    }
    if let Target::Object(_, key) = target {
        names::check_key(key)?;
    }
    if operation.offered() {
        return Ok(());
    }
    if operation != operation::UNKNOWN {
        return Err(not_implemented(operation.name));
    }
    if parts.method == Method::OPTIONS
        && let Some(bucket) = target.bucket()
    {
        backend.store.bucket(bucket)?;
        return Err(preflight_refused(target, &parts.headers));
    }
    Err(method_not_allowed(
        parts.method.as_str(),
        target.resource_type(),
    ))
}

/// Returns the answer to the preflight request of a browser: no bucket has a CORS
/// configuration.
fn preflight_refused(target: &Target, headers: &HeaderMap) -> S3Error {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bad = |message: &'static str| failure::fail_as("BadRequest", 400, message);
    if text("origin").is_none() {
        return bad("Insufficient information. Origin request header needed.");
    }
    let Some(method) = text("access-control-request-method") else {
        return bad("Invalid Access-Control-Request-Method: null");
    };
    let message = "CORSResponse: CORS is not enabled for this bucket.";
    failure::fail_as("AccessForbidden", 403, message)
        .naming("Method", method)
        .naming("ResourceType", target.resource_type())
}

/// Refuses a query in which s3s could find another operation than `operation`.
pub(super) fn check_query(operation: Operation, query: &Query) -> Result<()> {
    if operation.ambiguous {
        return Err(invalid_argument("Conflicting query string parameters"));
    }
    let part = matches!(operation.name, "UploadPart" | "UploadPartCopy");
    if part && !query.has("partNumber") {
        return Err(wrong_number(""));
    }
    Ok(())
}

/// Refuses headers that ask for features that the local cloud does not have.
pub(super) fn check_features(headers: &HeaderMap) -> Result<()> {
    let unsupported = [
        "x-amz-server-side-encryption-customer-",
        "x-amz-server-side-encryption-context",
        "x-amz-copy-source-server-side-encryption-customer-",
        "x-amz-object-lock-",
        "x-amz-bucket-object-lock-enabled",
        "x-amz-write-offset-bytes",
        "x-amz-if-match-initiated-time",
        "x-amz-checksum-md5",
        "x-amz-checksum-sha512",
        "x-amz-checksum-xxhash",
    ];
    let names = || headers.keys().map(hyper::header::HeaderName::as_str);
    let off = |name: &str| headers.get(name).is_some_and(|value| value == "false");
    if let Some(name) =
        names().find(|name| unsupported.iter().any(|head| name.starts_with(head)) && !off(name))
    {
        return Err(not_implemented(name));
    }
    for name in ["x-amz-checksum-algorithm", "x-amz-sdk-checksum-algorithm"] {
        let algorithm = headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(algorithm) = algorithm.filter(|name| MISSING_CHECKSUMS.contains(name)) {
            return Err(not_implemented(algorithm));
        }
    }
    if headers.contains_key("x-amz-bypass-governance-retention") {
        let message =
            "x-amz-bypass-governance-retention is only applicable to Object Lock enabled buckets.";
        let name = "x-amz-bypass-governance-retention";
        return Err(invalid_argument(message).naming("ArgumentName", name));
    }
    Ok(())
}
