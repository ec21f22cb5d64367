//! Settings of a bucket: tags, policy, Block Public Access, and the settings that
//! every new bucket has.

use hyper::StatusCode;
use s3s::dto::{
    self, DeleteBucketOwnershipControlsInput, DeleteBucketOwnershipControlsOutput,
    DeleteBucketPolicyInput, DeleteBucketPolicyOutput, DeleteBucketTaggingInput,
    DeleteBucketTaggingOutput, DeletePublicAccessBlockInput, DeletePublicAccessBlockOutput,
    GetBucketAclInput, GetBucketAclOutput, GetBucketOwnershipControlsInput,
    GetBucketOwnershipControlsOutput, GetBucketPolicyInput, GetBucketPolicyOutput,
    GetBucketPolicyStatusInput, GetBucketPolicyStatusOutput, GetBucketTaggingInput,
    GetBucketTaggingOutput, GetPublicAccessBlockInput, GetPublicAccessBlockOutput,
    PutBucketOwnershipControlsInput, PutBucketOwnershipControlsOutput, PutBucketPolicyInput,
    PutBucketPolicyOutput, PutBucketTaggingInput, PutBucketTaggingOutput,
    PutPublicAccessBlockInput, PutPublicAccessBlockOutput,
};
use s3s::{S3Error, S3ErrorCode, S3Response};

use super::super::backend::Backend;
use super::super::call::Call;
use super::super::failure::{Result, fail, malformed_xml, named};
use super::super::policy::Policy;
use super::super::store::{BucketRecord, PublicAccessBlock};
use super::{Answer, done, tags, with_status};

/// The ownership of objects that disables access control lists.
pub(in super::super) const ENFORCED: &str = "BucketOwnerEnforced";
pub(super) const OWNERSHIPS: [&str; 3] = [ENFORCED, "BucketOwnerPreferred", "ObjectWriter"];

fn settings(backend: &Backend, bucket: &str) -> Result<BucketRecord> {
    backend.store.bucket(bucket)?.settings()
}

fn change(backend: &Backend, bucket: &str, edit: impl FnOnce(&mut BucketRecord)) -> Result<()> {
    backend.store.bucket(bucket)?.change(|record| {
        edit(record);
        Ok(())
    })
}

/// Replaces the tags of a bucket.
pub(super) fn put_bucket_tagging(
    backend: &Backend,
    _call: &Call,
    input: PutBucketTaggingInput,
) -> Answer<PutBucketTaggingOutput> {
    let tags = tags::of_bucket(input.tagging)?;
    change(backend, &input.bucket, |record| record.tags = Some(tags))?;
    let response = S3Response::new(PutBucketTaggingOutput::default());
    Ok(with_status(response, StatusCode::NO_CONTENT))
}

pub(super) fn get_bucket_tagging(
    backend: &Backend,
    _call: &Call,
    input: GetBucketTaggingInput,
) -> Answer<GetBucketTaggingOutput> {
    let tags = settings(backend, &input.bucket)?.tags;
    let tags = tags
        .filter(|tags| !tags.is_empty())
        .ok_or_else(|| fail(S3ErrorCode::NoSuchTagSet, "The TagSet does not exist"))?;
    done(GetBucketTaggingOutput {
        tag_set: tags::show(&tags),
    })
}

pub(super) fn delete_bucket_tagging(
    backend: &Backend,
    _call: &Call,
    input: DeleteBucketTaggingInput,
) -> Answer<DeleteBucketTaggingOutput> {
    change(backend, &input.bucket, |record| record.tags = None)?;
    done(DeleteBucketTaggingOutput::default())
}

/// Sets the policy. Fails if the policy is public and Block Public Access blocks
/// public policies.
pub(super) fn put_bucket_policy(
    backend: &Backend,
    call: &Call,
    input: PutBucketPolicyInput,
) -> Answer<PutBucketPolicyOutput> {
    let bucket = backend.store.bucket(&input.bucket)?;
    let public = Policy::parse(&input.policy, &input.bucket, backend)?.is_public();
    bucket.change(|record| {
        let blocked =
            record.public_access_block.unwrap_or_default().policy || call.account.blocks_public;
        if public && blocked {
            return Err(public_policy_blocked(&backend.user_arn(), &input.bucket));
        }
        record.policy = Some(input.policy);
        Ok(())
    })?;
    done(PutBucketPolicyOutput::default())
}

fn public_policy_blocked(user: &str, bucket: &str) -> S3Error {
    fail(
        S3ErrorCode::AccessDenied,
        format!(
            "User: {user} is not authorized to perform: s3:PutBucketPolicy on resource: \"arn:aws:s3:::{bucket}\" because public policies are blocked by the BlockPublicPolicy block public access setting."
        ),
    )
}

fn policy(backend: &Backend, bucket: &str) -> Result<String> {
    settings(backend, bucket)?.policy.ok_or_else(|| {
        fail(
            S3ErrorCode::NoSuchBucketPolicy,
            "The bucket policy does not exist",
        )
    })
}

pub(super) fn get_bucket_policy(
    backend: &Backend,
    _call: &Call,
    input: GetBucketPolicyInput,
) -> Answer<GetBucketPolicyOutput> {
    done(GetBucketPolicyOutput {
        policy: Some(policy(backend, &input.bucket)?),
    })
}

/// Returns whether the policy is public, regardless of Block Public Access.
pub(super) fn get_bucket_policy_status(
    backend: &Backend,
    _call: &Call,
    input: GetBucketPolicyStatusInput,
) -> Answer<GetBucketPolicyStatusOutput> {
    let text = policy(backend, &input.bucket)?;
    let is_public = Policy::parse(&text, &input.bucket, backend)?.is_public();
    done(GetBucketPolicyStatusOutput {
        policy_status: Some(dto::PolicyStatus {
            is_public: Some(is_public),
        }),
    })
}

pub(super) fn delete_bucket_policy(
    backend: &Backend,
    _call: &Call,
    input: DeleteBucketPolicyInput,
) -> Answer<DeleteBucketPolicyOutput> {
    change(backend, &input.bucket, |record| record.policy = None)?;
    done(DeleteBucketPolicyOutput::default())
}

/// Sets the four settings of Block Public Access. A setting that the request does
/// not contain is off.
pub(super) fn put_public_access_block(
    backend: &Backend,
    _call: &Call,
    input: PutPublicAccessBlockInput,
) -> Answer<PutPublicAccessBlockOutput> {
    let switches = input.public_access_block_configuration;
    let block = PublicAccessBlock {
        acls: switches.block_public_acls.unwrap_or(false),
        ignored_acls: switches.ignore_public_acls.unwrap_or(false),
        policy: switches.block_public_policy.unwrap_or(false),
        restricted: switches.restrict_public_buckets.unwrap_or(false),
    };
    change(backend, &input.bucket, |record| {
        record.public_access_block = Some(block);
    })?;
    done(PutPublicAccessBlockOutput::default())
}

pub(super) fn get_public_access_block(
    backend: &Backend,
    _call: &Call,
    input: GetPublicAccessBlockInput,
) -> Answer<GetPublicAccessBlockOutput> {
    let block = settings(backend, &input.bucket)?.public_access_block;
    let block = block.ok_or_else(|| {
        named(
            "NoSuchPublicAccessBlockConfiguration",
            StatusCode::NOT_FOUND,
            "The public access block configuration was not found",
        )
    })?;
    done(GetPublicAccessBlockOutput {
        public_access_block_configuration: Some(dto::PublicAccessBlockConfiguration {
            block_public_acls: Some(block.acls),
            block_public_policy: Some(block.policy),
            ignore_public_acls: Some(block.ignored_acls),
            restrict_public_buckets: Some(block.restricted),
        }),
    })
}

pub(super) fn delete_public_access_block(
    backend: &Backend,
    _call: &Call,
    input: DeletePublicAccessBlockInput,
) -> Answer<DeletePublicAccessBlockOutput> {
    change(backend, &input.bucket, |record| {
        record.public_access_block = None;
    })?;
    done(DeletePublicAccessBlockOutput::default())
}

/// Sets who owns the objects. Access control lists other than those of the owner
/// are not supported in any case.
pub(super) fn put_bucket_ownership_controls(
    backend: &Backend,
    _call: &Call,
    input: PutBucketOwnershipControlsInput,
) -> Answer<PutBucketOwnershipControlsOutput> {
    let rules = input.ownership_controls.rules;
    let [rule] = &rules[..] else {
        return Err(malformed_xml());
    };
    let ownership = rule.object_ownership.as_str();
    if !OWNERSHIPS.contains(&ownership) {
        return Err(malformed_xml());
    }
    let ownership = Some(ownership.to_owned());
    change(backend, &input.bucket, |record| {
        record.ownership = ownership;
    })?;
    done(PutBucketOwnershipControlsOutput::default())
}

pub(super) fn get_bucket_ownership_controls(
    backend: &Backend,
    _call: &Call,
    input: GetBucketOwnershipControlsInput,
) -> Answer<GetBucketOwnershipControlsOutput> {
    let ownership = settings(backend, &input.bucket)?.ownership;
    let ownership = ownership.ok_or_else(|| {
        named(
            "OwnershipControlsNotFoundError",
            StatusCode::NOT_FOUND,
            "The bucket ownership controls were not found",
        )
    })?;
    done(GetBucketOwnershipControlsOutput {
        ownership_controls: Some(dto::OwnershipControls {
            rules: vec![dto::OwnershipControlsRule {
                object_ownership: dto::ObjectOwnership::from(ownership),
            }],
        }),
    })
}

pub(super) fn delete_bucket_ownership_controls(
    backend: &Backend,
    _call: &Call,
    input: DeleteBucketOwnershipControlsInput,
) -> Answer<DeleteBucketOwnershipControlsOutput> {
    change(backend, &input.bucket, |record| record.ownership = None)?;
    done(DeleteBucketOwnershipControlsOutput::default())
}

/// Returns the access control list of every bucket: full control for its owner.
pub(super) fn get_bucket_acl(
    backend: &Backend,
    _call: &Call,
    input: GetBucketAclInput,
) -> Answer<GetBucketAclOutput> {
    settings(backend, &input.bucket)?;
    done(GetBucketAclOutput {
        grants: Some(vec![owners_grant(backend)]),
        owner: Some(backend.owner()),
    })
}

pub(super) fn owners_grant(backend: &Backend) -> dto::Grant {
    dto::Grant {
        grantee: Some(dto::Grantee {
            display_name: None,
            email_address: None,
            id: Some(backend.owner_id()),
            type_: dto::Type::from_static(dto::Type::CANONICAL_USER),
            uri: None,
        }),
        permission: Some(dto::Permission::from_static(dto::Permission::FULL_CONTROL)),
    }
}
