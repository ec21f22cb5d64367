//! Authorization. The owner of the access key may do everything that the bucket
//! policy does not deny, unless a policy holds the owner: then that policy or the
//! bucket's has to allow it. Anonymous callers may do what the bucket policy allows to
//! everyone, unless Block Public Access forbids it.

use hyper::http::request::Parts;
use s3s::{S3Error, S3ErrorCode};

use super::backend::Backend;
use super::call::Caller;
use super::failure::{Result, access_denied, fail, invalid_request};
use super::names;
use super::operation::{Operation, Target};
use super::policy::{Context, Policy, Verdict};
use super::store::Bucket;
use crate::authorization::{Denial, Need};
use crate::faults::Account;
use crate::query::Query;
use crate::signature::Signed;

/// The operations that a policy can allow to anonymous callers. On AWS a policy
/// can also allow access to a bucket's settings and operations on several
/// objects; here these always require the access key.
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

/// The actions that no policy denies to the owner of the access key; see
/// [`super::policy`].
const ALWAYS: [&str; 3] = [
    "s3:GetBucketPolicy",
    "s3:PutBucketPolicy",
    "s3:DeleteBucketPolicy",
];

/// The permission to list the objects of a bucket.
const LIST: &str = "s3:ListBucket";

/// Authorizes a request or refuses it.
pub(super) fn authorize(
    backend: &Backend,
    signed: Option<&Signed>,
    (operation, target): (Operation, &Target),
    (parts, query): (&Parts, &Query),
    context: &Context,
    account: &Account,
) -> Result<Caller> {
    check_owner(backend, parts)?;
    if operation.name != "CreateBucket" && target.bucket().is_some_and(|it| is_taken(it, account)) {
        return Err(access_denied());
    }
    let needed = needed(operation, parts, query);
    match signed {
        Some(signed) => Ok(Caller::Owner {
            region: signed.scope.region.clone(),
            may_list: authorize_owner(backend, &needed, operation, target, context)?,
        }),
        None => authorize_everyone(backend, &needed, (operation, target), query, context),
    }
}

/// Checks a further action that an operation executes for the owner of the
/// access key, for example reading the source of a copy.
pub(super) fn permit(
    backend: &Backend,
    context: &Context,
    action: &str,
    target: &Target,
) -> Result<()> {
    let bucket = target.bucket().map(|name| backend.store.bucket(name));
    let policy = match bucket {
        Some(Ok(bucket)) => policy(backend, &bucket)?,
        // The operation reports that the bucket is missing.
        _ => return Ok(()),
    };
    may(backend, policy.as_ref(), context, action, &target.arn())
}

/// Checks the policies for the owner. Returns whether the caller may list the
/// bucket, and may therefore know that a key is missing.
fn authorize_owner(
    backend: &Backend,
    needed: &[&str],
    operation: Operation,
    target: &Target,
    context: &Context,
) -> Result<bool> {
    let bucket = match target.bucket().map(|name| backend.store.bucket(name)) {
        Some(Ok(bucket)) => Some(bucket),
        // The operation reports that the bucket is missing.
        Some(Err(_)) if operation.name != "CreateBucket" => return Ok(true),
        Some(Err(_)) | None => None,
    };
    let policy = match &bucket {
        // No policy of a bucket locks the owner out of the policy.
        Some(bucket) if !ALWAYS.contains(&operation.action) => policy(backend, bucket)?,
        _ => None,
    };
    for action in needed {
        may(backend, policy.as_ref(), context, action, &target.arn())?;
    }
    let Some(bucket) = bucket else {
        return Ok(true);
    };
    let arn = Target::Bucket(bucket.name.clone()).arn();
    Ok(may(backend, policy.as_ref(), context, LIST, &arn).is_ok())
}

/// Checks whether the owner may do an action: no policy denies it, and one of them
/// allows it if a policy holds the owner.
fn may(
    backend: &Backend,
    policy: Option<&Policy>,
    context: &Context,
    action: &str,
    arn: &str,
) -> Result<()> {
    let of_bucket = policy.map_or(Verdict::Silent, |it| it.verdict(context, action, arn));
    if of_bucket == Verdict::Denied {
        return Err(explicitly_denied(backend, action, arn));
    }
    let Some(guard) = context.guard() else {
        return Ok(());
    };
    let need = Need {
        action: action.to_owned(),
        resource: arn.to_owned(),
        values: context.values().clone(),
    };
    match guard.check([need]) {
        Err(denial) if denial.is_explicit() || of_bucket != Verdict::Allowed => {
            Err(denied(&denial))
        }
        _ => Ok(()),
    }
}

fn denied(denial: &Denial) -> S3Error {
    fail(S3ErrorCode::AccessDenied, denial.message(true))
}

fn authorize_everyone(
    backend: &Backend,
    needed: &[&str],
    (operation, target): (Operation, &Target),
    query: &Query,
    context: &Context,
) -> Result<Caller> {
    let bucket = target.bucket().ok_or_else(access_denied)?;
    let bucket = backend.store.bucket(bucket)?;
    let policy = policy(backend, &bucket)?.ok_or_else(access_denied)?;
    let block = bucket.settings()?.public_access_block.unwrap_or_default();
    let may = |action: &str, arn: &str| policy.verdict(context, action, arn) == Verdict::Allowed;
    let allowed = FOR_EVERYONE.contains(&operation.name)
        && !(block.restricted && policy.is_public())
        && needed.iter().all(|action| may(action, &target.arn()));
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
        may_list: may(LIST, &arn),
    })
}

/// Whether a bucket name belongs to another account.
pub(super) fn is_taken(name: &str, account: &Account) -> bool {
    name.starts_with(names::TAKEN) || account.taken_buckets.iter().any(|taken| taken == name)
}

/// Returns the permissions that a request needs on its target.
fn needed(operation: Operation, parts: &Parts, query: &Query) -> Vec<&'static str> {
    let version = query.has("versionId");
    let mut needed = vec![match operation.action {
        "s3:DeleteObject" if version => "s3:DeleteObjectVersion",
        "s3:DeleteObjectTagging" if version => "s3:DeleteObjectVersionTagging",
        "s3:GetObject" if version => "s3:GetObjectVersion",
        "s3:GetObjectAcl" if version => "s3:GetObjectVersionAcl",
        "s3:GetObjectAttributes" if version => "s3:GetObjectVersionAttributes",
        "s3:GetObjectTagging" if version => "s3:GetObjectVersionTagging",
        "s3:PutObjectTagging" if version => "s3:PutObjectVersionTagging",
        action => action,
    }];
    match operation.name {
        // The operation checks each key, see `ops::writing`.
        "DeleteObjects" => needed.clear(),
        "GetObjectAttributes" if version => needed.push("s3:GetObjectVersion"),
        "GetObjectAttributes" => needed.push("s3:GetObject"),
        "PutObject" | "CopyObject" | "CreateMultipartUpload"
            if parts.headers.contains_key("x-amz-tagging") =>
        {
            needed.push("s3:PutObjectTagging");
        }
        _ => {}
    }
    needed
}

fn explicitly_denied(backend: &Backend, action: &str, arn: &str) -> S3Error {
    fail(
        S3ErrorCode::AccessDenied,
        format!(
            "User: {} is not authorized to perform: {action} on resource: \"{arn}\" with an explicit deny in a resource-based policy",
            backend.user_arn()
        ),
    )
}

/// Returns the policy of a bucket. A policy that an earlier version of the local
/// cloud accepted but this version cannot fully evaluate denies all access.
fn policy(backend: &Backend, bucket: &Bucket) -> Result<Option<Policy>> {
    let policy = bucket
        .settings()?
        .policy
        .map(|text| Policy::parse(&text, &bucket.name, backend));
    policy.transpose().map_err(|error| {
        let reason = error.message().unwrap_or_default();
        fail(
            S3ErrorCode::AccessDenied,
            format!("The policy of the bucket cannot be evaluated: {reason}"),
        )
    })
}

/// Checks the account id that a request expects to own the bucket.
fn check_owner(backend: &Backend, parts: &Parts) -> Result<()> {
    let expected = [
        "x-amz-expected-bucket-owner",
        "x-amz-source-expected-bucket-owner",
    ];
    let mut expected = expected.iter().filter_map(|name| parts.headers.get(*name));
    if expected.all(|account| account.as_bytes() == backend.account.as_bytes()) {
        Ok(())
    } else {
        Err(access_denied())
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::authorization::recorded::{self, ACCOUNT, Request};
    use crate::s3::operation;
    use crate::signature::{Place, Scope, UNSIGNED};

    /// Returns a signature without a time, so that its age is unknown.
    fn signed(region: &str) -> Signed {
        Signed {
            scope: Scope {
                region: region.to_owned(),
                service: "s3".to_owned(),
            },
            place: Place::Header,
            version: "AWS4-HMAC-SHA256",
            time: None,
            covers_type: true,
            payload: UNSIGNED.to_owned(),
            session: None,
            chain: None,
        }
    }

    #[test]
    fn requests_are_judged_as_by_another_simulator() {
        let directory = tempfile::tempdir().unwrap();
        let backend = Backend::for_tests(directory.path(), ACCOUNT);
        recorded::check(|row| {
            let Request::S3 {
                method,
                uri,
                headers,
            } = &row.request
            else {
                return None;
            };
            let request = hyper::Request::builder().method(method.as_str()).uri(uri);
            let request = headers.iter().fold(request, |request, (name, value)| {
                request.header(name, value)
            });
            let parts = request.body(()).unwrap().into_parts().0;
            let query = Query::parse(parts.uri.query().unwrap_or_default()).unwrap();
            let target = Target::parse(parts.uri.path()).unwrap();
            let operation = operation::resolve(&parts, &target, &query);
            let address: IpAddr = "192.0.2.7".parse().unwrap();
            let context = Context::new(
                &backend,
                (&parts, &query),
                Some(&signed(&row.region)),
                (address, jiff::Timestamp::constant(1_800_000_000, 0)),
                operation.lists(),
            );
            let needs = needed(operation, &parts, &query).into_iter();
            let needs = needs.map(|action| Need {
                action: action.to_owned(),
                resource: target.arn(),
                values: context.values().clone(),
            });
            Some(needs.collect())
        });
    }
}
