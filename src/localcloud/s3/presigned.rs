//! Presigned URLs whose query contains headers.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

use crate::query::Query;

/// Adds the headers that a presigned URL has in its query, such as metadata and
/// conditions. The signature covers them there.
pub(super) fn add_headers(headers: &mut HeaderMap, query: &Query) {
    for (name, value) in query.pairs() {
        let name = name.to_ascii_lowercase();
        let is_header = name.starts_with("x-amz-") || name.starts_with("if-");
        let header = HeaderName::from_bytes(name.as_bytes()).ok();
        let value = HeaderValue::from_bytes(value.as_bytes()).ok();
        if let (true, Some(header), Some(value)) = (is_header, header, value)
            && !OTHERS.contains(&name.as_str())
            && !IGNORED.iter().any(|head| name.starts_with(head))
            && !headers.contains_key(&header)
        {
            headers.insert(header, value);
        }
    }
}

/// The heads of parameters without an effect. S3 does not compare the content with a
/// checksum in the query: the SDK for JavaScript puts there that of an empty body.
/// Neither can the query turn an upload into a copy.
const IGNORED: [&str; 3] = [
    "x-amz-checksum-",
    "x-amz-copy-source",
    "x-amz-sdk-checksum-algorithm",
];

/// The parameters that belong to the signature, or that would change how the body
/// is read.
const OTHERS: [&str; 10] = [
    "x-amz-algorithm",
    "x-amz-content-sha256",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-expires",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
    "x-amz-trailer",
];
