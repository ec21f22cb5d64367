//! Tags of buckets and objects.

use std::collections::HashSet;

use hyper::StatusCode;
use s3s::dto::{Tag, Tagging};
use s3s::{S3Error, S3ErrorCode};

use super::super::failure::{Result, fail, invalid_argument, named};
use super::super::store::Tags;
use crate::query::Query;

// S3's limits.
const MAX_OF_BUCKET: usize = 50;
const MAX_OF_OBJECT: usize = 10;
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 256;

pub(super) fn of_bucket(tagging: Tagging) -> Result<Tags> {
    let tags = collect(pairs(tagging))?;
    if tags.len() > MAX_OF_BUCKET {
        Err(too_many("Bucket tag count cannot be greater than 50"))
    } else {
        Ok(tags)
    }
}

pub(super) fn of_object(tagging: Tagging) -> Result<Tags> {
    limited(collect(pairs(tagging))?)
}

/// Parses the header `x-amz-tagging`, which has the format of a query.
pub(super) fn of_header(header: Option<&str>) -> Result<Tags> {
    let Some(header) = header else {
        return Ok(Tags::new());
    };
    let invalid = || {
        invalid_argument(
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
        )
    };
    // A signature does not cover the number of blanks.
    let query = Query::parse(header).filter(|_| !header.contains([' ', '\t']));
    let query = query.ok_or_else(invalid)?;
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let pairs: Vec<(String, String)> = query.pairs().map(owned).collect();
    let distinct: HashSet<&String> = pairs.iter().map(|(key, _)| key).collect();
    if distinct.len() < pairs.len() {
        return Err(invalid());
    }
    limited(collect(pairs.into_iter())?)
}

pub(super) fn show(tags: &Tags) -> Vec<Tag> {
    let tags = tags.iter().map(|(key, value)| Tag {
        key: Some(key.clone()),
        value: Some(value.clone()),
    });
    tags.collect()
}

fn pairs(tagging: Tagging) -> impl Iterator<Item = (String, String)> {
    let text = Option::unwrap_or_default;
    let tags = tagging.tag_set.into_iter();
    tags.map(move |tag| (text(tag.key), text(tag.value)))
}

fn collect(pairs: impl Iterator<Item = (String, String)>) -> Result<Tags> {
    let invalid = |what: &'static str| fail(S3ErrorCode::InvalidTag, what);
    let mut tags = Tags::new();
    for (key, value) in pairs {
        if key.is_empty() || key.chars().count() > MAX_KEY || !key.chars().all(is_allowed) {
            return Err(invalid("The TagKey you have provided is invalid"));
        }
        if value.chars().count() > MAX_VALUE || !value.chars().all(is_allowed) {
            return Err(invalid("The TagValue you have provided is invalid"));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid("System tags cannot be added/updated by requester"));
        }
        if tags.insert(key, value).is_some() {
            return Err(invalid("Cannot provide multiple Tags with the same key"));
        }
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
        assert!(of_header(Some("a=%zz")).is_err());
        let eleven: Vec<String> = (0..11).map(|n| format!("k{n}=v")).collect();
        assert!(of_header(Some(&eleven.join("&"))).is_err());
    }
}
