//! Access control lists: what requests may set, by the ownership of a bucket's
//! objects.

use hyper::HeaderMap;
use hyper::header::HeaderName;
use s3s::{S3Error, S3ErrorCode};

use super::backend::Backend;
use super::failure::{Result, bad_argument, fail, invalid_request, not_implemented};
use super::operation::{Operation, Target};
use super::ops::ENFORCED;

/// The access control lists that have a name.
const CANNED_ACLS: [&str; 8] = [
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
    "log-delivery-write",
];

/// Checks the access control list that a request sets. Only a list that gives the
/// owner everything is supported, and on a bucket that has no lists only the one
/// that says so.
pub(super) fn check(
    backend: &Backend,
    operation: Operation,
    target: &Target,
    headers: &HeaderMap,
) -> Result<()> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // Clients send an empty one for none.
    let acl = text("x-amz-acl").filter(|acl| !acl.is_empty());
    let mut names = headers.keys().map(HeaderName::as_str);
    let granted = names.any(|name| name.starts_with("x-amz-grant-"));
    if let Some(unknown) = acl.filter(|acl| !CANNED_ACLS.contains(acl)) {
        return Err(bad_argument("x-amz-acl", unknown, ""));
    }
    if acl.is_some() && granted {
        return Err(invalid_request(
            "Specifying both Canned ACLs and Header Grants is not allowed",
        ));
    }
    let creates = operation.name == "CreateBucket";
    let sets = matches!(operation.name, "PutBucketAcl" | "PutObjectAcl");
    let bucket = target.bucket().map(|name| backend.store.bucket(name));
    let enforced = match bucket {
        _ if creates => text("x-amz-object-ownership").is_none_or(|it| it == ENFORCED),
        Some(Ok(bucket)) => bucket.settings()?.ownership.as_deref() == Some(ENFORCED),
        // The operation reports that the bucket is missing.
        Some(Err(error)) if sets => return Err(error),
        _ => return Ok(()),
    };
    match acl {
        None if !granted && !sets => Ok(()),
        // It gives the owner everything, as the owner of the bucket has it anyway.
        // Ansible sends it with every upload.
        Some("private") if !sets => Ok(()),
        Some("bucket-owner-full-control") if !creates && !sets => Ok(()),
        _ if !enforced => Err(not_implemented("access control lists")),
        _ if creates => Err(fail(
            S3ErrorCode::InvalidBucketAclWithObjectOwnership,
            "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
        )),
        _ => Err(acls_not_supported()),
    }
}

fn acls_not_supported() -> S3Error {
    fail(
        S3ErrorCode::AccessControlListNotSupported,
        "The bucket does not allow ACLs",
    )
}
