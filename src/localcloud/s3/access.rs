//! Who may do what: the holder of the key everything, everybody else what a
//! bucket policy allows to everyone, while nothing blocks that.

use hyper::http::request::Parts;

use super::backend::Backend;
use super::call::Caller;
use super::failure::{Result, access_denied, invalid_request};
use super::operation::{Operation, Target};
use super::policy::Policy;
use super::query::Query;
use super::sigv4::Signed;
use super::store::Bucket;

/// What a policy can open to everyone here. AWS also lets it open settings of
/// the bucket and operations on several objects; those stay with the key.
const FOR_EVERYONE: [&str; 9] = [
    "GetObject",
    "HeadObject",
    "GetObjectTagging",
    "PutObject",
    "DeleteObject",
    "HeadBucket",
    "ListObjects",
    "ListObjectsV2",
    "ListObjectVersions",
];

/// Lets a request in or refuses it.
pub(super) fn authorize(
    backend: &Backend,
    signed: Option<&Signed>,
    operation: Operation,
    target: &Target,
    (parts, query): (&Parts, &Query),
) -> Result<Caller> {
    if let Some(signed) = signed {
        check_owner(backend, parts)?;
        return Ok(Caller::Owner {
            region: signed.region.clone(),
        });
    }
    let bucket = backend
        .store
        .bucket(target.bucket().ok_or_else(access_denied)?)?;
    let policy = open_policy(&bucket)?.ok_or_else(access_denied)?;
    let allowed = FOR_EVERYONE.contains(&operation.name)
        && policy.allows_everyone(operation.action, &target.arn());
    if !allowed {
        return Err(access_denied());
    }
    if query.pairs().any(|(name, _)| name.starts_with("response-")) {
        return Err(invalid_request(
            "Request specific response headers cannot be used for anonymous GET requests.",
        ));
    }
    let arn = Target::Bucket(bucket.name.clone()).arn();
    Ok(Caller::Anonymous {
        may_list: policy.allows_everyone("s3:ListBucket", &arn),
    })
}

/// The policy of a bucket, unless public access to it is restricted.
fn open_policy(bucket: &Bucket) -> Result<Option<Policy>> {
    let settings = bucket.settings()?;
    let block = settings.public_access_block.unwrap_or_default();
    if block.restricted {
        return Ok(None);
    }
    let policy = settings
        .policy
        .map(|text| Policy::parse(&text, &bucket.name));
    policy.transpose()
}

/// A request can name the account it expects.
fn check_owner(backend: &Backend, parts: &Parts) -> Result<()> {
    let expected = [
        "x-amz-expected-bucket-owner",
        "x-amz-source-expected-bucket-owner",
    ];
    let mut expected = expected.iter().filter_map(|name| parts.headers.get(*name));
    match expected.all(|account| account.as_bytes() == backend.account.as_bytes()) {
        true => Ok(()),
        false => Err(access_denied()),
    }
}
