//! Tags of buckets and objects.

use std::collections::HashSet;

use hyper::StatusCode;
use s3s::dto::{Tag, Tagging};
use s3s::{S3Error, S3ErrorCode};

use super::super::failure::{Naming as _, Result, bad_argument, fail, malformed_xml, named};
use super::super::store::Tags;
use crate::query::Query;

// S3's limits.
const MAX_OF_BUCKET: usize = 50;
const MAX_OF_OBJECT: usize = 10;
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 256;

const RESERVED_OF_OBJECT: &str = "Your TagKey cannot be prefixed with aws:";

pub(super) fn of_bucket(tagging: Tagging) -> Result<Tags> {
    let reserved = "System tags cannot be added/updated by requester";
    let tags = collect(pairs(tagging)?, reserved)?;
    if tags.len() > MAX_OF_BUCKET {
        Err(too_many("Bucket tag count cannot be greater than 50"))
    } else {
        Ok(tags)
    }
}

pub(super) fn of_object(tagging: Tagging) -> Result<Tags> {
    limited(collect(pairs(tagging)?, RESERVED_OF_OBJECT)?)
}

/// Parses the header `x-amz-tagging`, which has the format of a query.
pub(super) fn of_header(header: Option<&str>) -> Result<Tags> {
    let Some(header) = header else {
        return Ok(Tags::new());
    };
    let invalid = || {
        bad_argument(
            "x-amz-tagging",
            header,
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
        )
    };
    // A signature does not cover the number of blanks.
    let has_form = |pair: &str| pair.matches('=').count() <= 1 && !pair.contains([' ', '\t']);
    let query = Query::parse(header).filter(|_| header.split('&').all(has_form));
    let query = query.ok_or_else(invalid)?;
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let pairs: Vec<(String, String)> = query.pairs().map(owned).collect();
    let distinct: HashSet<&String> = pairs.iter().map(|(key, _)| key).collect();
    if distinct.len() < pairs.len() {
        return Err(invalid());
    }
    limited(collect(pairs, RESERVED_OF_OBJECT)?)
}

pub(super) fn show(tags: &Tags) -> Vec<Tag> {
    let tags = tags.iter().map(|(key, value)| Tag {
        key: Some(key.clone()),
        value: Some(value.clone()),
    });
    tags.collect()
}

fn pairs(tagging: Tagging) -> Result<Vec<(String, String)>> {
    let tags = tagging.tag_set.into_iter();
    tags.map(|tag| Some((tag.key?, tag.value?)))
        .collect::<Option<_>>()
        .ok_or_else(malformed_xml)
}

/// Checks tags. `reserved` is the error for a key that only AWS may use.
fn collect(pairs: Vec<(String, String)>, reserved: &'static str) -> Result<Tags> {
    let mut tags = Tags::new();
    for (key, value) in pairs {
        let invalid =
            |what: &'static str| fail(S3ErrorCode::InvalidTag, what).naming("TagKey", key.as_str());
        if key.is_empty() || key.chars().count() > MAX_KEY || !key.chars().all(is_allowed) {
            return Err(invalid("The TagKey you have provided is invalid"));
        }
        if value.chars().count() > MAX_VALUE || !value.chars().all(is_allowed) {
            let error = invalid("The TagValue you have provided is invalid");
            return Err(error.naming("TagValue", value));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid(reserved));
        }
        if tags.contains_key(&key) {
            return Err(invalid("Cannot provide multiple Tags with the same key"));
        }
        tags.insert(key, value);
    }
    Ok(tags)
}

fn is_allowed(c: char) -> bool {
    c.is_alphanumeric() || c.is_whitespace() || "+-=._:/@".contains(c)
}

fn limited(tags: Tags) -> Result<Tags> {
    if tags.len() > MAX_OF_OBJECT {
        Err(too_many("Object tags cannot be greater than 10"))
    } else {
        Ok(tags)
    }
}

fn too_many(message: &'static str) -> S3Error {
    named("BadRequest", StatusCode::BAD_REQUEST, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_parsed_like_queries() {
        let tags = of_header(Some("autorun%3Arun=r1&empty=&with+space=a%2Bb")).unwrap();
        assert_eq!(tags["autorun:run"], "r1");
        assert_eq!(tags["with space"], "a+b");
        assert_eq!(tags["empty"], "");
        assert!(of_header(Some("a=1&a=2")).is_err());
        assert!(of_header(Some("aws:x=1")).is_err());
        assert!(of_header(Some("a=%00")).is_err());
        assert!(of_header(Some("a=x y")).is_err());
        assert!(of_header(Some("a=1,b=2")).is_err());
        assert!(of_header(Some("a=%zz")).is_err());
        let eleven: Vec<String> = (0..11).map(|n| format!("k{n}=v")).collect();
        assert!(of_header(Some(&eleven.join("&"))).is_err());
    }
}
