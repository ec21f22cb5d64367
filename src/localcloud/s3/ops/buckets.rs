//! Creating, finding and deleting buckets.

use s3s::dto::{
    self, CreateBucketInput, CreateBucketOutput, DeleteBucketInput, DeleteBucketOutput,
    GetBucketLocationInput, GetBucketLocationOutput, HeadBucketInput, HeadBucketOutput,
    ListBucketsInput, ListBucketsOutput,
};
use s3s::{S3Error, S3ErrorCode};

use super::super::backend::{Backend, timestamp};
use super::super::call::Call;
use super::super::failure::{Result, fail, invalid_argument, not_implemented};
use super::super::names;
use super::super::store::{BucketRecord, Created, Encryption, PublicAccessBlock};
use super::{Answer, done, tags};
use crate::clock;

/// The region without a location constraint, as on AWS.
const US_EAST_1: &str = "us-east-1";

/// Creates a bucket in the region of the request's signature. As on AWS,
/// creating an existing bucket again is not an error in us-east-1.
pub(super) fn create_bucket(
    backend: &Backend,
    call: &Call,
    input: CreateBucketInput,
) -> Answer<CreateBucketOutput> {
    let name = &input.bucket;
    let region = call.region()?;
    let configuration = input.create_bucket_configuration.as_ref();
    let constraint = configuration.and_then(|it| it.location_constraint.as_ref());
    check_location(
        constraint.map(dto::BucketLocationConstraint::as_str),
        region,
    )?;
    check_ownership(input.object_ownership.as_ref())?;
    check_namespace(call, &backend.account, name)?;
    if name.starts_with(names::TAKEN) {
        return Err(fail(
            S3ErrorCode::BucketAlreadyExists,
            "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.",
        ));
    }
    let tags = call.tags.clone().map(tags::of_bucket).transpose()?;
    let has_tags = tags.is_some();
    let record = BucketRecord {
        region: region.to_owned(),
        created: clock::seconds(),
        tags,
        policy: None,
        public_access_block: Some(PublicAccessBlock::ALL),
        versioning: None,
        encryption: Encryption::default(),
    };
    if let Created::Existing(bucket) = backend.store.create(name, record)?
        && (region != US_EAST_1 || has_tags || bucket.settings()?.region != US_EAST_1)
    {
        return Err(fail(
            S3ErrorCode::BucketAlreadyOwnedByYou,
            "Your previous request to create the named bucket succeeded and you already own it.",
        ));
    }
    done(CreateBucketOutput {
        location: Some(format!("/{name}")),
    })
}

fn check_location(constraint: Option<&str>, region: &str) -> Result<()> {
    let constraint = match constraint {
        Some("EU") => Some("eu-west-1"),
        Some("") | None => None,
        other => other,
    };
    match constraint {
        None if region == US_EAST_1 => Ok(()),
        Some(name) if name == region && region != US_EAST_1 => Ok(()),
        None => Err(illegal_location("unspecified")),
        Some(name) if name == US_EAST_1 || !looks_like_region(name) => Err(fail(
            S3ErrorCode::InvalidLocationConstraint,
            "The specified location-constraint is not valid",
        )),
        Some(name) => Err(illegal_location(name)),
    }
}

fn looks_like_region(name: &str) -> bool {
    let parts: Vec<&str> = name.split('-').collect();
    let letters = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    match parts.split_last() {
        Some((number, words)) => {
            words.len() >= 2 && words.iter().all(letters) && number.parse::<u8>().is_ok()
        }
        None => false,
    }
}

fn illegal_location(name: &str) -> S3Error {
    fail(
        S3ErrorCode::IllegalLocationConstraintException,
        format!(
            "The {name} location constraint is incompatible for the region specific endpoint this request was sent to."
        ),
    )
}

fn check_ownership(ownership: Option<&dto::ObjectOwnership>) -> Result<()> {
    match ownership.map(dto::ObjectOwnership::as_str) {
        None | Some("BucketOwnerEnforced") => Ok(()),
        Some("BucketOwnerPreferred" | "ObjectWriter") => Err(not_implemented(
            "access control lists (x-amz-object-ownership)",
        )),
        Some(_) => Err(invalid_argument("Invalid x-amz-object-ownership header")),
    }
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
    done(HeadBucketOutput {
        bucket_region: Some(settings.region),
        ..HeadBucketOutput::default()
    })
}

/// Returns the location constraint of a bucket, which is empty for us-east-1.
pub(super) fn get_bucket_location(
    backend: &Backend,
    _call: &Call,
    input: GetBucketLocationInput,
) -> Answer<GetBucketLocationOutput> {
    let settings = backend.store.bucket(&input.bucket)?.settings()?;
    let named = Some(settings.region).filter(|region| region != US_EAST_1);
    done(GetBucketLocationOutput {
        location_constraint: named.map(dto::BucketLocationConstraint::from),
    })
}

/// Lists the account's buckets by name.
pub(super) fn list_buckets(
    backend: &Backend,
    _call: &Call,
    input: ListBucketsInput,
) -> Answer<ListBucketsOutput> {
    let limit = match input.max_buckets {
        None => usize::MAX,
        Some(limit) => usize::try_from(limit)
            .ok()
            .filter(|limit| (1..=10_000).contains(limit))
            .ok_or_else(|| {
                invalid_argument("Argument max-buckets must be an integer between 1 and 10000")
            })?,
    };
    let prefix = input.prefix.clone().unwrap_or_default();
    let after = input.continuation_token.unwrap_or_default();
    let mut buckets = Vec::new();
    for (name, settings) in backend.store.all()? {
        let elsewhere = input
            .bucket_region
            .as_ref()
            .is_some_and(|it| *it != settings.region);
        if name.starts_with(&prefix) && name > after && !elsewhere {
            buckets.push(dto::Bucket {
                bucket_region: Some(settings.region),
                creation_date: Some(timestamp(settings.created)),
                name: Some(name),
            });
        }
    }
    let more = buckets.len() > limit;
    buckets.truncate(limit);
    let last = buckets.last().and_then(|bucket| bucket.name.clone());
    done(ListBucketsOutput {
        continuation_token: last.filter(|_| more),
        owner: Some(backend.owner()),
        prefix: input.prefix,
        buckets: Some(buckets),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_location_constraint_must_match_the_region_of_the_signature() {
        let code = |constraint, region| match check_location(constraint, region) {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.code().as_str().to_owned(),
        };
        assert_eq!(code(None, "us-east-1"), "ok");
        assert_eq!(
            code(Some("us-east-1"), "us-east-1"),
            "InvalidLocationConstraint"
        );
        assert_eq!(code(Some("eu-west-1"), "eu-west-1"), "ok");
        assert_eq!(code(Some("EU"), "eu-west-1"), "ok");
        assert_eq!(
            code(None, "eu-west-1"),
            "IllegalLocationConstraintException"
        );
        assert_eq!(
            code(Some("eu-west-2"), "eu-west-1"),
            "IllegalLocationConstraintException"
        );
        assert_eq!(code(Some("mars"), "eu-west-1"), "InvalidLocationConstraint");
        assert_eq!(code(Some("us-gov-west-1"), "us-gov-west-1"), "ok");
    }
}
