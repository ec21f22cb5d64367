//! The AWS error codes that change what the program does.

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};

/// An AWS error code, under AWS's own name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// The credentials or a policy do not allow the operation.
    AccessDenied,
    /// The account already has a bucket of this name.
    BucketAlreadyOwnedByYou,
    /// Another resource still uses this one.
    DependencyViolation,
    /// The client token was already used with other parameters.
    IdempotentParameterMismatch,
    /// The state of the instance does not allow the operation.
    IncorrectInstanceState,
    /// The security group does not exist.
    InvalidGroupNotFound,
    /// The key pair does not exist.
    InvalidKeyPairNotFound,
    /// The security group already has this rule.
    InvalidPermissionDuplicate,
    /// The security group does not have this rule.
    InvalidPermissionNotFound,
    /// The bucket does not exist.
    NoSuchBucket,
    /// The bucket has no policy.
    NoSuchBucketPolicy,
    /// The object does not exist.
    NoSuchKey,
    /// The bucket has no Block Public Access settings.
    NoSuchPublicAccessBlockConfiguration,
    /// The bucket has no tags.
    NoSuchTagSet,
    /// S3 is busy with another request for the same resource.
    OperationAborted,
    /// The instance type or the zone does not support the operation.
    Unsupported,
    /// Any other code: only people read it.
    Other,
}

impl Code {
    fn parse(code: &str) -> Self {
        match code {
            "AccessDenied" => Self::AccessDenied,
            "BucketAlreadyOwnedByYou" => Self::BucketAlreadyOwnedByYou,
            "DependencyViolation" => Self::DependencyViolation,
            "IdempotentParameterMismatch" => Self::IdempotentParameterMismatch,
            "IncorrectInstanceState" => Self::IncorrectInstanceState,
            "InvalidGroup.NotFound" | "InvalidSecurityGroupID.NotFound" => {
                Self::InvalidGroupNotFound
            }
            "InvalidKeyPair.NotFound" => Self::InvalidKeyPairNotFound,
            "InvalidPermission.Duplicate" => Self::InvalidPermissionDuplicate,
            "InvalidPermission.NotFound" => Self::InvalidPermissionNotFound,
            "NoSuchBucket" => Self::NoSuchBucket,
            "NoSuchBucketPolicy" => Self::NoSuchBucketPolicy,
            "NoSuchKey" => Self::NoSuchKey,
            "NoSuchPublicAccessBlockConfiguration" => Self::NoSuchPublicAccessBlockConfiguration,
            "NoSuchTagSet" => Self::NoSuchTagSet,
            "OperationAborted" => Self::OperationAborted,
            "Unsupported" | "UnsupportedOperation" => Self::Unsupported,
            _ => Self::Other,
        }
    }
}

/// Returns the code of an error response.
pub(crate) fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Code {
    Code::parse(error.code().unwrap_or_default())
}
