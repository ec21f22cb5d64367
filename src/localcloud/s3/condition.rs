//! Conditional requests: `If-Match` and related headers.

use hyper::HeaderMap;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use s3s::{S3Error, S3ErrorCode};

use super::failure::{Naming as _, Result, fail, no_such_key};
use crate::clock;

/// The outcome of a conditional read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Go,
    /// The condition in this header holds if the object is unchanged.
    NotModified(&'static str),
    /// The condition in this header does not hold.
    Failed(&'static str),
}

/// The names of the four headers of a conditional request.
struct Names {
    matches: &'static str,
    none_match: &'static str,
    modified_since: &'static str,
    unmodified_since: &'static str,
}

const READ: Names = Names {
    matches: "If-Match",
    none_match: "If-None-Match",
    modified_since: "If-Modified-Since",
    unmodified_since: "If-Unmodified-Since",
};

const COPY: Names = Names {
    matches: "x-amz-copy-source-If-Match",
    none_match: "x-amz-copy-source-If-None-Match",
    modified_since: "x-amz-copy-source-If-Modified-Since",
    unmodified_since: "x-amz-copy-source-If-Unmodified-Since",
};

/// Evaluates the conditions of a read.
pub(super) fn of_read(headers: &HeaderMap, etag: &str, modified: i64) -> Outcome {
    evaluate(&READ, headers, etag, modified)
}

/// Evaluates the conditions on the source of a copy.
pub(super) fn of_copy(headers: &HeaderMap, etag: &str, modified: i64) -> Result<()> {
    match evaluate(&COPY, headers, etag, modified) {
        Outcome::Go => Ok(()),
        Outcome::Failed(header) | Outcome::NotModified(header) => Err(precondition_failed(header)),
    }
}

fn evaluate(names: &Names, headers: &HeaderMap, etag: &str, modified: i64) -> Outcome {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let date = |name: &str| text(name).and_then(http_date);
    // As in RFC 9110, a date is ignored if there is an entity tag.
    match (text(names.matches), date(names.unmodified_since)) {
        (Some(tags), _) if !names_tag(tags, etag) => return Outcome::Failed(names.matches),
        (None, Some(date)) if modified > date => return Outcome::Failed(names.unmodified_since),
        _ => {}
    }
    // S3 ignores a time in the future.
    let since = date(names.modified_since).filter(|since| *since <= clock::seconds());
    match (text(names.none_match), since) {
        (Some(tags), _) if names_tag(tags, etag) => Outcome::NotModified(names.none_match),
        (None, Some(date)) if modified <= date => Outcome::NotModified(names.modified_since),
        _ => Outcome::Go,
    }
}

/// Evaluates the conditions of a write. `current` is the entity tag of the
/// existing object.
pub(super) fn of_write(headers: &HeaderMap, current: Option<&str>) -> Result<()> {
    let text = |name: &str| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or_default())
    };
    match (text(READ.matches), text(READ.none_match)) {
        (Some(_), Some(_)) => Err(unaccepted(
            "If-Match,If-None-Match",
            "Multiple conditional request headers present in the request",
        )),
        (None, Some("*")) if current.is_some() => Err(precondition_failed(READ.none_match)),
        (None, Some("*") | None) => Ok(()),
        (None, Some(_)) => Err(unaccepted(
            READ.none_match,
            "We don't accept the provided value of If-None-Match header for this API",
        )),
        (Some("*"), None) => Err(unaccepted(
            READ.matches,
            "We don't accept the provided value of If-Match header for this API",
        )),
        (Some(tags), None) => matching(tags, current),
    }
}

/// Evaluates the condition of a deletion, which also accepts any object.
pub(super) fn of_deletion(headers: &HeaderMap, current: Option<&str>) -> Result<()> {
    for name in ["x-amz-if-match-last-modified-time", "x-amz-if-match-size"] {
        if headers.contains_key(name) {
            return Err(unaccepted(name, ""));
        }
    }
    match headers.get(READ.matches).map(|value| value.to_str()) {
        None => Ok(()),
        Some(tags) => matching(tags.unwrap_or_default(), current),
    }
}

fn matching(tags: &str, current: Option<&str>) -> Result<()> {
    match current {
        None => Err(no_such_key()),
        Some(current) if names_tag(tags, current) => Ok(()),
        Some(_) => Err(precondition_failed(READ.matches)),
    }
}

/// Returns the error for a condition that holds now but did not hold since the
/// upload began, because another request wrote the object meanwhile.
pub(super) fn conflict(headers: &HeaderMap, key: &str) -> Option<S3Error> {
    let header = [READ.matches, READ.none_match]
        .into_iter()
        .find(|name| headers.contains_key(*name))?;
    let error = fail(
        S3ErrorCode::ConditionalRequestConflict,
        "The conditional request cannot succeed due to a conflicting operation against this resource.",
    );
    Some(error.naming("Condition", header).naming("Key", key))
}

/// Returns the error for a header that AWS does not accept for the operation.
fn unaccepted(header: &str, reason: &str) -> S3Error {
    let error = fail(
        S3ErrorCode::NotImplemented,
        "A header you provided implies functionality that is not implemented",
    )
    .naming("Header", header);
    if reason.is_empty() {
        error
    } else {
        error.naming("additionalMessage", reason)
    }
}

/// Whether a list of entity tags contains this tag. The tags may be unquoted.
pub(super) fn names_tag(list: &str, etag: &str) -> bool {
    list.split(',').map(str::trim).any(|tag| {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || tag.trim_matches('"') == etag
    })
}

/// Parses an HTTP date. Returns `None` for other texts, which are ignored.
fn http_date(text: &str) -> Option<i64> {
    let zoned = rfc2822::DateTimeParser::new().parse_zoned(text);
    let seconds = zoned.map(|zoned| zoned.timestamp().as_second());
    seconds
        .or_else(|_| text.parse::<Timestamp>().map(Timestamp::as_second))
        .ok()
}

pub(super) fn precondition_failed(header: &str) -> S3Error {
    let message = "At least one of the pre-conditions you specified did not hold";
    fail(S3ErrorCode::PreconditionFailed, message).naming("Condition", header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.insert(
                hyper::header::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        map
    }

    const THEN: &str = "Wed, 21 Oct 2015 07:28:00 GMT";
    const SECONDS: i64 = 1_445_412_480;

    #[test]
    fn entity_tags_take_precedence_over_dates() {
        let read = |pairs: &[(&'static str, &str)]| of_read(&headers(pairs), "abc", SECONDS);
        assert_eq!(read(&[]), Outcome::Go);
        let unchanged = Outcome::NotModified;
        assert_eq!(
            read(&[("If-None-Match", "\"abc\"")]),
            unchanged("If-None-Match")
        );
        assert_eq!(read(&[("If-None-Match", "\"x\", \"y\"")]), Outcome::Go);
        assert_eq!(read(&[("If-Match", "x")]), Outcome::Failed("If-Match"));
        assert_eq!(read(&[("If-Match", "*")]), Outcome::Go);
        assert_eq!(
            read(&[("If-Modified-Since", THEN)]),
            unchanged("If-Modified-Since")
        );
        let future = "Wed, 21 Oct 2115 07:28:00 GMT";
        assert_eq!(read(&[("If-Modified-Since", future)]), Outcome::Go);
        assert_eq!(read(&[("If-Unmodified-Since", THEN)]), Outcome::Go);
        assert_eq!(read(&[("If-Modified-Since", "yesterday")]), Outcome::Go);
        assert_eq!(
            read(&[("If-None-Match", "\"x\""), ("If-Modified-Since", THEN)]),
            Outcome::Go
        );
    }

    #[test]
    fn writes_can_require_a_missing_object_or_an_entity_tag() {
        let write = |pairs: &[(&'static str, &str)], current| {
            of_write(&headers(pairs), current).map_err(|error| error.code().as_str().to_owned())
        };
        assert!(write(&[("If-None-Match", "*")], None).is_ok());
        assert_eq!(
            write(&[("If-None-Match", "*")], Some("a")),
            Err("PreconditionFailed".into())
        );
        assert_eq!(
            write(&[("If-None-Match", "\"a\"")], Some("a")),
            Err("NotImplemented".into())
        );
        assert_eq!(
            write(&[("If-Match", "*")], Some("a")),
            Err("NotImplemented".into())
        );
        assert_eq!(
            write(&[("If-Match", "\"a\"")], None),
            Err("NoSuchKey".into())
        );
        assert!(write(&[("If-Match", "\"a\"")], Some("a")).is_ok());
        assert_eq!(
            write(&[("If-Match", "\"a\"")], Some("b")),
            Err("PreconditionFailed".into())
        );
    }
}
