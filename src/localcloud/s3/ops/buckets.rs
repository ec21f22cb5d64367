//! Creating, finding and deleting buckets.

use std::fmt::Write as _;

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Response};
use s3s::dto::{
    self, CreateBucketInput, CreateBucketOutput, DeleteBucketInput, DeleteBucketOutput,
    GetBucketLocationInput, GetBucketLocationOutput, HeadBucketInput, HeadBucketOutput,
};
use s3s::{Body, S3ErrorCode, S3Response};

use super::super::access::is_taken;
use super::super::backend::Backend;
use super::super::call::Call;
use super::super::failure::{Naming as _, Result, document_response, fail, invalid_argument, xml};
use super::super::regions::is_region;
use super::super::store::{BucketRecord, Created, Encryption, PublicAccessBlock};
use super::listing::{from_token, to_token};
use super::settings::{ENFORCED, OWNERSHIPS};
use super::{Answer, done, tags};
use crate::clock;
use crate::query::Query;

/// The region without a location constraint, as on AWS.
const US_EAST_1: &str = "us-east-1";

/// Creates a bucket in the region that the request names, which must be that of
/// its signature except for us-east-1. As on AWS, creating an existing bucket again
/// is not an error in us-east-1.
pub(super) fn create_bucket(
    backend: &Backend,
    call: &Call,
    input: CreateBucketInput,
) -> Answer<CreateBucketOutput> {
    let name = &input.bucket;
    let signed_for = call.region()?;
    let configuration = input.create_bucket_configuration.as_ref();
    let constraint = configuration.and_then(|it| it.location_constraint.as_ref());
    let constraint = constraint.map(dto::BucketLocationConstraint::as_str);
    let constraint = constraint.filter(|name| !name.is_empty());
    let region = region_of(constraint, signed_for)?;
    let ownership = ownership(call.header("x-amz-object-ownership"))?;
    check_namespace(call, &backend.account, name)?;
    if is_taken(name, &call.account) {
        return Err(fail(
            S3ErrorCode::BucketAlreadyExists,
            "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.",
        ));
    }
    let tags = call.tags.clone().map(tags::of_bucket).transpose()?;
    let has_tags = tags.is_some();
    let record = BucketRecord {
        region: region.to_owned(),
        constraint: constraint.map(str::to_owned),
        created: clock::seconds(),
        tags,
        policy: None,
        public_access_block: Some(PublicAccessBlock::ALL),
        versioning: None,
        encryption: Encryption::default(),
        ownership: Some(ownership),
    };
    if let Created::Existing(bucket) = backend.store.create(name, record)?
        && (region != US_EAST_1 || has_tags || bucket.settings()?.region != US_EAST_1)
    {
        return Err(fail(
            S3ErrorCode::BucketAlreadyOwnedByYou,
            "Your previous request to create the named bucket succeeded and you already own it.",
        ));
    }
    let location = if signed_for == US_EAST_1 && region == US_EAST_1 {
        format!("/{name}")
    } else {
        format!("http://{name}.s3.amazonaws.com/")
    };
    let output = CreateBucketOutput {
        location: Some(location),
    };
    Ok(S3Response::with_headers(output, arn_header(name)))
}

/// Returns the header with the ARN of a bucket, which s3s 0.14.1 does not know.
fn arn_header(bucket: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(arn) = format!("arn:aws:s3:::{bucket}").parse() {
        headers.insert("x-amz-bucket-arn", arn);
    }
    headers
}

/// Returns the region of a new bucket. Only the endpoint of us-east-1 creates
/// buckets in other regions.
fn region_of<'a>(constraint: Option<&'a str>, signed_for: &'a str) -> Result<&'a str> {
    let region = match constraint {
        Some("EU") => "eu-west-1",
        Some(other) => other,
        None => US_EAST_1,
    };
    let from_us_east_1 = signed_for == US_EAST_1;
    if from_us_east_1 && (constraint == Some(US_EAST_1) || !is_region(region)) {
        return Err(fail(
            S3ErrorCode::InvalidLocationConstraint,
            "The specified location-constraint is not valid",
        )
        .naming("LocationConstraint", region));
    }
    if from_us_east_1 || (constraint.is_some() && region == signed_for) {
        return Ok(region);
    }
    Err(fail(
        S3ErrorCode::IllegalLocationConstraintException,
        format!(
            "The {} location constraint is incompatible for the region specific endpoint this request was sent to.",
            constraint.unwrap_or("unspecified")
        ),
    ))
}

fn ownership(named: Option<&str>) -> Result<String> {
    let named = named.unwrap_or(ENFORCED);
    if OWNERSHIPS.contains(&named) {
        return Ok(named.to_owned());
    }
    let message = format!("Invalid x-amz-object-ownership header: {named}");
    Err(invalid_argument(message).naming("ArgumentName", "x-amz-object-ownership"))
}

/// Checks the namespace of a name. A name in the account's regional namespace
/// ends with the account id and the region.
fn check_namespace(call: &Call, account: &str, name: &str) -> Result<()> {
    match call.header("x-amz-bucket-namespace") {
        None | Some("global") => Ok(()),
        Some("account-regional")
            if name.ends_with(&format!("-{account}-{}-an", call.region()?)) =>
        {
            Ok(())
        }
        Some("account-regional") => Err(fail(
            S3ErrorCode::InvalidBucketName,
            "The specified bucket is not valid.",
        )),
        Some(_) => Err(invalid_argument("Invalid x-amz-bucket-namespace header")),
    }
}

/// Deletes an empty bucket.
pub(super) fn delete_bucket(
    backend: &Backend,
    _call: &Call,
    input: DeleteBucketInput,
) -> Answer<DeleteBucketOutput> {
    backend.store.remove(&input.bucket)?;
    done(DeleteBucketOutput::default())
}

/// Returns the region of a bucket.
pub(super) fn head_bucket(
    backend: &Backend,
    _call: &Call,
    input: HeadBucketInput,
) -> Answer<HeadBucketOutput> {
    let settings = backend.store.bucket(&input.bucket)?.settings()?;
    let output = HeadBucketOutput {
        access_point_alias: Some(false),
        bucket_region: Some(settings.region),
        ..HeadBucketOutput::default()
    };
    let mut headers = arn_header(&input.bucket);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    Ok(S3Response::with_headers(output, headers))
}

/// Returns the location constraint of a bucket, which is empty for us-east-1.
pub(super) fn get_bucket_location(
    backend: &Backend,
    _call: &Call,
    input: GetBucketLocationInput,
) -> Answer<GetBucketLocationOutput> {
    let settings = backend.store.bucket(&input.bucket)?.settings()?;
    done(GetBucketLocationOutput {
        location_constraint: settings.constraint.map(dto::BucketLocationConstraint::from),
    })
}

/// Lists the account's buckets by name. The document is written here because that
/// of s3s 0.14.1 does not contain `BucketArn`.
pub(in super::super) fn list_buckets(backend: &Backend, query: &Query) -> Result<Response<Body>> {
    let asked = |name: &str| query.get(name).filter(|text| !text.is_empty());
    let limit = asked("max-buckets").and_then(|limit| limit.parse().ok());
    let limit = limit.unwrap_or(usize::MAX);
    let (prefix, region) = (asked("prefix").unwrap_or_default(), asked("bucket-region"));
    if let Some(region) = region.filter(|region| !is_region(region)) {
        let message = format!("Argument value {region} is not a valid AWS Region");
        return Err(invalid_argument(message).naming("ArgumentName", "bucket-region"));
    }
    let after = asked("continuation-token").map(from_token).transpose()?;
    let mut buckets = backend.store.all()?;
    buckets.retain(|(name, settings)| {
        name.starts_with(prefix)
            && after.as_ref().is_none_or(|after| name > after)
            && region.is_none_or(|region| settings.region == region)
    });
    let more = buckets.len() > limit;
    buckets.truncate(limit);
    let owner = xml(&[("ID", &backend.owner_id())]);
    let mut document = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListAllMyBucketsResult \
         xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Owner>{owner}</Owner><Buckets>"
    );
    for (name, settings) in &buckets {
        let created = u64::try_from(settings.created).unwrap_or_default();
        let bucket = xml(&[
            ("Name", name),
            ("CreationDate", &clock::iso(created * 1000)),
            ("BucketRegion", &settings.region),
            ("BucketArn", &format!("arn:aws:s3:::{name}")),
        ]);
        let _ = write!(document, "<Bucket>{bucket}</Bucket>");
    }
    document.push_str("</Buckets>");
    if let Some((name, _)) = buckets.last().filter(|_| more) {
        document.push_str(&xml(&[("ContinuationToken", &to_token(name))]));
    }
    if !prefix.is_empty() {
        document.push_str(&xml(&[("Prefix", prefix)]));
    }
    document.push_str("</ListAllMyBucketsResult>");
    Ok(document_response(document))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_location_constraint_must_match_the_region_of_the_signature() {
        let code = |constraint, region| match region_of(constraint, region) {
            Ok(region) => region.to_owned(),
            Err(error) => error.code().as_str().to_owned(),
        };
        let invalid = "InvalidLocationConstraint";
        let illegal = "IllegalLocationConstraintException";
        for (constraint, signed_for, expected) in [
            (None, "us-east-1", "us-east-1"),
            (Some("us-east-1"), "us-east-1", invalid),
            (Some("mars"), "us-east-1", invalid),
            (Some("eu-west-2"), "us-east-1", "eu-west-2"),
            (Some("EU"), "us-east-1", "eu-west-1"),
            (Some("eu-west-1"), "eu-west-1", "eu-west-1"),
            (Some("EU"), "eu-west-1", "eu-west-1"),
            (None, "eu-west-1", illegal),
            (Some("eu-west-2"), "eu-west-1", illegal),
            (Some("mars"), "eu-west-1", illegal),
            (Some("us-gov-west-1"), "us-gov-west-1", "us-gov-west-1"),
        ] {
            assert_eq!(code(constraint, signed_for), expected, "{constraint:?}");
        }
    }
}
