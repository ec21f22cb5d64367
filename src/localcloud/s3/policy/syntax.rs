//! Functions that the parsers of all parts of a policy share.

use hyper::StatusCode;
use s3s::S3Error;
use serde_json::Value;

use crate::s3::failure::named;

pub(super) fn malformed(message: &str) -> S3Error {
    named(
        "MalformedPolicy",
        StatusCode::BAD_REQUEST,
        message.to_owned(),
    )
}

/// Returns the strings in a string or a list of strings.
pub(super) fn strings(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(values) => values
            .iter()
            .map(|value| value.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    }
}
