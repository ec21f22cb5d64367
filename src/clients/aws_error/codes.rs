//! The AWS error codes that change what the program does.

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};

/// An AWS error code, under AWS's own name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// The credentials or a policy do not allow the operation.
    AccessDenied,
    /// The credentials are wrong, or only AWS may change the resource.
    AuthFailure,
    /// The account already has a bucket of this name.
    BucketAlreadyOwnedByYou,
    /// The zone already has a default subnet.
    DefaultSubnetAlreadyExists,
    /// The region already has a default VPC.
    DefaultVpcAlreadyExists,
    /// Another resource still uses this one.
    DependencyViolation,
    /// A dry run would have succeeded.
    DryRunOperation,
    /// The internet gateway is not attached to the VPC.
    GatewayNotAttached,
    /// The client token was already used with other parameters.
    IdempotentParameterMismatch,
    /// The state of the instance does not allow the operation.
    IncorrectInstanceState,
    /// The state of the volume, or of its instance, does not allow the operation.
    IncorrectState,
    /// An Elastic IP address is in use.
    InvalidIpAddressInUse,
    /// The Elastic IP address does not exist.
    InvalidAllocationIdNotFound,
    /// The association of an Elastic IP address does not exist.
    InvalidAssociationIdNotFound,
    /// The image does not exist.
    InvalidAmiIdNotFound,
    /// The image was deregistered, or is not available yet.
    InvalidAmiIdUnavailable,
    /// The access key does not exist, or the account has not enabled the region.
    InvalidClientTokenId,
    /// The security group does not exist.
    InvalidGroupNotFound,
    /// The state of the instance does not allow an Elastic IP address.
    InvalidInstanceId,
    /// The key pair does not exist.
    InvalidKeyPairNotFound,
    /// Valid parameters that exclude each other, or that the account may not
    /// combine.
    InvalidParameterCombination,
    /// A parameter has a value that is not valid.
    InvalidParameterValue,
    /// The security group already has this rule.
    InvalidPermissionDuplicate,
    /// The security group does not have this rule.
    InvalidPermissionNotFound,
    /// An image uses the snapshot.
    InvalidSnapshotInUse,
    /// The launch template does not exist.
    InvalidLaunchTemplateIdNotFound,
    /// The snapshot does not exist.
    InvalidSnapshotNotFound,
    /// The subnet does not exist.
    InvalidSubnetIdNotFound,
    /// The volume does not exist.
    InvalidVolumeNotFound,
    /// Only the account that owns the bucket may do this.
    MethodNotAllowed,
    /// The request needs the MD5 sum of its content.
    MissingContentMd5,
    /// The region has no default VPC, or no default subnet.
    NoDefaultVpc,
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
    ServerSideEncryptionConfigurationNotFoundError,
    /// The upload in parts does not exist.
    NoSuchUpload,
    /// The server, which is not AWS's, does not have the operation.
    NotImplemented,
    /// S3 is busy with another request for the same resource.
    OperationAborted,
    /// A condition of the request is not met.
    PreconditionFailed,
    /// The resource is already associated with this one or another one.
    ResourceAlreadyAssociated,
    /// The route table already has a route to this destination.
    RouteAlreadyExists,
    /// The instance type or the zone does not support the operation.
    Unsupported,
    /// The volume is attached to an instance.
    VolumeInUse,
    /// Any other code: only people read it.
    Other,
}

impl Code {
    fn parse(code: &str) -> Self {
        match code {
            "AccessDenied" => Self::AccessDenied,
            "AuthFailure" => Self::AuthFailure,
            "BucketAlreadyOwnedByYou" => Self::BucketAlreadyOwnedByYou,
            "DefaultSubnetAlreadyExistsInAvailabilityZone" => Self::DefaultSubnetAlreadyExists,
            "DefaultVpcAlreadyExists" => Self::DefaultVpcAlreadyExists,
            "DependencyViolation" => Self::DependencyViolation,
            "DryRunOperation" => Self::DryRunOperation,
            "Gateway.NotAttached" => Self::GatewayNotAttached,
            "IdempotentParameterMismatch" => Self::IdempotentParameterMismatch,
            "IncorrectInstanceState" => Self::IncorrectInstanceState,
            "IncorrectState" => Self::IncorrectState,
            "InvalidAMIID.NotFound" => Self::InvalidAmiIdNotFound,
            "InvalidAMIID.Unavailable" => Self::InvalidAmiIdUnavailable,
            "InvalidSnapshot.InUse" => Self::InvalidSnapshotInUse,
            "InvalidSnapshot.NotFound" => Self::InvalidSnapshotNotFound,
            "InvalidAllocationID.NotFound" => Self::InvalidAllocationIdNotFound,
            "InvalidAssociationID.NotFound" => Self::InvalidAssociationIdNotFound,
            "InvalidIPAddress.InUse" => Self::InvalidIpAddressInUse,
            "InvalidClientTokenId" => Self::InvalidClientTokenId,
            "InvalidInstanceID" => Self::InvalidInstanceId,
            "InvalidGroup.NotFound" | "InvalidSecurityGroupID.NotFound" => {
                Self::InvalidGroupNotFound
            }
            "InvalidKeyPair.NotFound" => Self::InvalidKeyPairNotFound,
            "InvalidParameterCombination" => Self::InvalidParameterCombination,
            "InvalidLaunchTemplateId.NotFound" | "InvalidLaunchTemplateId.NotFoundException" => {
                Self::InvalidLaunchTemplateIdNotFound
            }
            "InvalidParameterValue" => Self::InvalidParameterValue,
            "InvalidPermission.Duplicate" => Self::InvalidPermissionDuplicate,
            "InvalidPermission.NotFound" => Self::InvalidPermissionNotFound,
            "InvalidSubnetID.NotFound" => Self::InvalidSubnetIdNotFound,
            "InvalidVolume.NotFound" => Self::InvalidVolumeNotFound,
            "MethodNotAllowed" => Self::MethodNotAllowed,
            "MissingContentMD5" => Self::MissingContentMd5,
            "VPCIdNotSpecified" | "MissingInput" => Self::NoDefaultVpc,
            "NoSuchBucket" => Self::NoSuchBucket,
            "NoSuchBucketPolicy" => Self::NoSuchBucketPolicy,
            "NoSuchKey" => Self::NoSuchKey,
            "NoSuchPublicAccessBlockConfiguration" => Self::NoSuchPublicAccessBlockConfiguration,
            "NoSuchTagSet" => Self::NoSuchTagSet,
            "ServerSideEncryptionConfigurationNotFoundError" => {
                Self::ServerSideEncryptionConfigurationNotFoundError
            }
            "NoSuchUpload" => Self::NoSuchUpload,
            "NotImplemented" => Self::NotImplemented,
            "OperationAborted" => Self::OperationAborted,
            "PreconditionFailed" => Self::PreconditionFailed,
            "Resource.AlreadyAssociated" => Self::ResourceAlreadyAssociated,
            "RouteAlreadyExists" => Self::RouteAlreadyExists,
            "Unsupported" | "UnsupportedOperation" => Self::Unsupported,
            "VolumeInUse" => Self::VolumeInUse,
            _ => Self::Other,
        }
    }
}

/// Returns the code of an error response.
pub(crate) fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Code {
    Code::parse(error.code().unwrap_or_default())
}
