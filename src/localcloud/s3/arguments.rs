//! Checks the arguments of a request that s3s would parse: numbers in the query,
//! the expected owner, and the source of a copy. The errors of s3s do not have the
//! texts of AWS.

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use s3s::S3Error;

use super::failure::{Result, bad_argument, fail_as, invalid_argument};
use super::operation::Operation;
use super::ops::wrong_number;
use crate::query::{self, Query};

/// A number in the query: its name, its name in the error about its size, and its
/// limits.
struct Number {
    name: &'static str,
    shown: &'static str,
    min: i64,
    max: i64,
}

const fn number(name: &'static str, shown: &'static str) -> Number {
    Number {
        name,
        shown,
        min: 0,
        max: i32::MAX as i64,
    }
}

const NUMBERS: [Number; 5] = [
    number("max-keys", "maxKeys"),
    number("max-parts", "max-parts"),
    number("max-uploads", "max-uploads"),
    number("part-number-marker", "part-number-marker"),
    Number {
        name: "max-buckets",
        shown: "max-buckets",
        min: 1,
        max: 10_000,
    },
];

/// Whether this parameter of the query is a number, which S3 takes for missing if
/// it is empty.
pub(super) fn is_number(name: &str) -> bool {
    NUMBERS.iter().any(|number| number.name == name)
}

/// Checks the arguments of a request.
pub(super) fn check(operation: Operation, query: &Query, headers: &HeaderMap) -> Result<()> {
    for number in &NUMBERS {
        if let Some(text) = query.get(number.name).filter(|text| !text.is_empty()) {
            number.check(text)?;
        }
    }
    if let Some(text) = query.get("partNumber")
        && text.parse::<i32>().is_err()
    {
        return Err(wrong_number(text));
    }
    check_owners(headers)?;
    match headers.get("x-amz-copy-source") {
        Some(source) if matches!(operation.name, "CopyObject" | "UploadPartCopy") => {
            check_source(source)
        }
        _ => Ok(()),
    }
}

impl Number {
    fn check(&self, text: &str) -> Result<()> {
        let Self { name, shown, .. } = self;
        let Some(value) = text
            .parse()
            .ok()
            .filter(|value| i32::try_from(*value).is_ok())
        else {
            let message = format!("Provided {name} not an integer or within integer range");
            return Err(bad_argument(name, text, message));
        };
        let (min, max): (i64, i64) = (self.min, self.max);
        if (min..=max).contains(&value) {
            return Ok(());
        }
        let message = format!("Argument {shown} must be an integer between {min} and {max}");
        Err(bad_argument(shown, text, message))
    }
}

fn check_owners(headers: &HeaderMap) -> Result<()> {
    for name in [
        "x-amz-expected-bucket-owner",
        "x-amz-source-expected-bucket-owner",
    ] {
        let owner = headers
            .get(name)
            .map(|value| value.to_str().unwrap_or_default());
        let is_account = |id: &str| id.len() == 12 && id.bytes().all(|b| b.is_ascii_digit());
        if let Some(owner) = owner.filter(|owner| !is_account(owner)) {
            return Err(fail_as(
                "InvalidBucketOwnerAWSAccountID",
                400,
                format!(
                    "The value of the expected bucket owner parameter must be an AWS Account ID... [{owner}]"
                ),
            ));
        }
    }
    Ok(())
}

/// Returns the source of a copy in the form that s3s parses. S3 also accepts a URL,
/// and takes `+` for a blank.
pub(super) fn copy_source(header: &HeaderValue) -> Option<String> {
    let text = header.to_str().ok()?;
    let url = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let text = match url {
        Some(url) => url.split_once('/')?.1,
        None => text,
    };
    Some(text.replace('+', "%20"))
}

fn check_source(header: &HeaderValue) -> Result<()> {
    // A signature does not cover the number of blanks.
    if header
        .as_bytes()
        .iter()
        .any(|byte| matches!(byte, b' ' | b'\t'))
    {
        return Err(invalid_argument("Invalid copy source encoding."));
    }
    let text = copy_source(header).ok_or_else(wrong_source)?;
    let path = text.split_once('?').map_or(&*text, |(path, _)| path);
    let path = query::decode(path, query::Plus::Literal).ok_or_else(wrong_source)?;
    let path = String::from_utf8(path).map_err(|_| wrong_source())?;
    let path = path.strip_prefix('/').unwrap_or(&path);
    match path.split_once('/') {
        Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => Ok(()),
        _ => Err(wrong_source()),
    }
}

fn wrong_source() -> S3Error {
    let name = "x-amz-copy-source";
    bad_argument(name, name, "Invalid copy source object key")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::operation::UNKNOWN;

    fn code(query: &str) -> String {
        let query = Query::parse(query).unwrap();
        match check(UNKNOWN, &query, &HeaderMap::new()) {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.message().unwrap_or_default().to_owned(),
        }
    }

    #[test]
    fn numbers_have_the_limits_of_aws() {
        for good in [
            "max-keys=0",
            "max-keys=",
            "max-keys=5000",
            "max-parts=",
            "max-buckets=1",
        ] {
            assert_eq!(code(good), "ok", "{good}");
        }
        assert_eq!(
            code("max-keys=-1"),
            "Argument maxKeys must be an integer between 0 and 2147483647"
        );
        for wrong in ["max-keys=x", "max-keys=2147483648", "max-keys=1.5"] {
            assert_eq!(
                code(wrong),
                "Provided max-keys not an integer or within integer range"
            );
        }
        assert_eq!(
            code("max-buckets=0"),
            "Argument max-buckets must be an integer between 1 and 10000"
        );
        assert!(code("partNumber=x").contains("between 1 and 10000"));
    }

    #[test]
    fn the_source_of_a_copy_is_a_bucket_and_a_key() {
        let source = |text| check_source(&HeaderValue::from_static(text)).is_ok();
        assert!(source("/b/k"));
        assert!(source("b/k/l?versionId=1"));
        assert!(source("b%2Fk"));
        assert!(source("http://10.0.0.1:80/b/k"));
        let form = |text| copy_source(&HeaderValue::from_static(text)).unwrap();
        assert_eq!(form("b/a+b%2Bc"), "b/a%20b%2Bc");
        assert_eq!(form("https://s3.amazonaws.com/b/k"), "b/k");
        for wrong in ["b", "/b", "b/", "/", "b/a b", "b/%zz"] {
            assert!(!source(wrong), "{wrong}");
        }
    }
}
