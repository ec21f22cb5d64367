//! The error codes of AWS that the program acts on.

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};

/// An error code of AWS, under AWS's own name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// The credentials or a policy do not allow it.
    AccessDenied,
    /// The account has a bucket of this name.
    BucketAlreadyOwnedByYou,
    /// Something still uses the thing.
    DependencyViolation,
    /// The client token was used with other parameters.
    IdempotentParameterMismatch,
    /// The state of the instance does not allow it.
    IncorrectInstanceState,
    /// There is no such security group.
    InvalidGroupNotFound,
    /// There is no such key pair.
    InvalidKeyPairNotFound,
    /// The security group has this rule already.
    InvalidPermissionDuplicate,
    /// The security group does not have this rule.
    InvalidPermissionNotFound,
    /// There is no such bucket.
    NoSuchBucket,
    /// The bucket has no policy.
    NoSuchBucketPolicy,
    /// The bucket has no Block Public Access settings.
    NoSuchPublicAccessBlockConfiguration,
    /// The bucket has no tags.
    NoSuchTagSet,
    /// S3 is busy with another request for the same thing.
    OperationAborted,
    /// This instance type or zone does not offer it.
    Unsupported,
    /// A code that only a person reads.
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
            "NoSuchPublicAccessBlockConfiguration" => Self::NoSuchPublicAccessBlockConfiguration,
            "NoSuchTagSet" => Self::NoSuchTagSet,
            "OperationAborted" => Self::OperationAborted,
            "Unsupported" | "UnsupportedOperation" => Self::Unsupported,
            _ => Self::Other,
        }
    }
}

/// The code of an answer.
pub(crate) fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Code {
    Code::parse(error.code().unwrap_or_default())
}
