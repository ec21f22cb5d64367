//! The AWS operations that the program calls.

use aws_sdk_ec2::error::ProvideErrorMetadata;

/// The error type of an AWS operation.
pub(crate) trait OperationError:
    ProvideErrorMetadata + std::error::Error + Send + Sync + 'static
{
    /// AWS's name of the operation, for example `RunInstances`.
    const OPERATION: &'static str;
}

/// Implements [`OperationError`] for the operations whose errors reach a
/// person: `module Error = "Name"`.
macro_rules! operations {
    ($($sdk:ident { $($module:ident $error:ident = $name:literal,)* })*) => {$($(
        impl OperationError for $sdk::operation::$module::$error {
            const OPERATION: &'static str = $name;
        }
    )*)*};
}

operations! {
    aws_sdk_ec2 {
        allocate_address AllocateAddressError = "AllocateAddress",
        associate_address AssociateAddressError = "AssociateAddress",
        associate_route_table AssociateRouteTableError = "AssociateRouteTable",
        attach_internet_gateway AttachInternetGatewayError = "AttachInternetGateway",
        attach_volume AttachVolumeError = "AttachVolume",
        authorize_security_group_ingress AuthorizeSecurityGroupIngressError = "AuthorizeSecurityGroupIngress",
        create_default_subnet CreateDefaultSubnetError = "CreateDefaultSubnet",
        create_default_vpc CreateDefaultVpcError = "CreateDefaultVpc",
        create_fleet CreateFleetError = "CreateFleet",
        create_image CreateImageError = "CreateImage",
        create_internet_gateway CreateInternetGatewayError = "CreateInternetGateway",
        create_launch_template CreateLaunchTemplateError = "CreateLaunchTemplate",
        create_nat_gateway CreateNatGatewayError = "CreateNatGateway",
        create_route CreateRouteError = "CreateRoute",
        create_route_table CreateRouteTableError = "CreateRouteTable",
        create_security_group CreateSecurityGroupError = "CreateSecurityGroup",
        create_snapshot CreateSnapshotError = "CreateSnapshot",
        create_subnet CreateSubnetError = "CreateSubnet",
        create_tags CreateTagsError = "CreateTags",
        create_volume CreateVolumeError = "CreateVolume",
        create_vpc CreateVpcError = "CreateVpc",
        delete_internet_gateway DeleteInternetGatewayError = "DeleteInternetGateway",
        delete_key_pair DeleteKeyPairError = "DeleteKeyPair",
        delete_launch_template DeleteLaunchTemplateError = "DeleteLaunchTemplate",
        delete_nat_gateway DeleteNatGatewayError = "DeleteNatGateway",
        delete_route_table DeleteRouteTableError = "DeleteRouteTable",
        delete_security_group DeleteSecurityGroupError = "DeleteSecurityGroup",
        delete_snapshot DeleteSnapshotError = "DeleteSnapshot",
        delete_subnet DeleteSubnetError = "DeleteSubnet",
        delete_volume DeleteVolumeError = "DeleteVolume",
        delete_vpc DeleteVpcError = "DeleteVpc",
        deregister_image DeregisterImageError = "DeregisterImage",
        describe_account_attributes DescribeAccountAttributesError = "DescribeAccountAttributes",
        describe_addresses DescribeAddressesError = "DescribeAddresses",
        describe_availability_zones DescribeAvailabilityZonesError = "DescribeAvailabilityZones",
        describe_images DescribeImagesError = "DescribeImages",
        describe_instance_type_offerings DescribeInstanceTypeOfferingsError = "DescribeInstanceTypeOfferings",
        describe_instance_types DescribeInstanceTypesError = "DescribeInstanceTypes",
        describe_instances DescribeInstancesError = "DescribeInstances",
        describe_internet_gateways DescribeInternetGatewaysError = "DescribeInternetGateways",
        describe_key_pairs DescribeKeyPairsError = "DescribeKeyPairs",
        describe_launch_templates DescribeLaunchTemplatesError = "DescribeLaunchTemplates",
        describe_nat_gateways DescribeNatGatewaysError = "DescribeNatGateways",
        describe_network_interfaces DescribeNetworkInterfacesError = "DescribeNetworkInterfaces",
        describe_regions DescribeRegionsError = "DescribeRegions",
        describe_route_tables DescribeRouteTablesError = "DescribeRouteTables",
        describe_security_groups DescribeSecurityGroupsError = "DescribeSecurityGroups",
        describe_snapshots DescribeSnapshotsError = "DescribeSnapshots",
        describe_subnets DescribeSubnetsError = "DescribeSubnets",
        describe_tags DescribeTagsError = "DescribeTags",
        describe_volumes DescribeVolumesError = "DescribeVolumes",
        describe_vpcs DescribeVpcsError = "DescribeVpcs",
        detach_internet_gateway DetachInternetGatewayError = "DetachInternetGateway",
        detach_volume DetachVolumeError = "DetachVolume",
        disassociate_address DisassociateAddressError = "DisassociateAddress",
        disassociate_route_table DisassociateRouteTableError = "DisassociateRouteTable",
        get_console_output GetConsoleOutputError = "GetConsoleOutput",
        import_key_pair ImportKeyPairError = "ImportKeyPair",
        modify_subnet_attribute ModifySubnetAttributeError = "ModifySubnetAttribute",
        reboot_instances RebootInstancesError = "RebootInstances",
        release_address ReleaseAddressError = "ReleaseAddress",
        replace_route ReplaceRouteError = "ReplaceRoute",
        revoke_security_group_ingress RevokeSecurityGroupIngressError = "RevokeSecurityGroupIngress",
        run_instances RunInstancesError = "RunInstances",
        start_instances StartInstancesError = "StartInstances",
        stop_instances StopInstancesError = "StopInstances",
        terminate_instances TerminateInstancesError = "TerminateInstances",
    }
    aws_sdk_s3 {
        abort_multipart_upload AbortMultipartUploadError = "AbortMultipartUpload",
        complete_multipart_upload CompleteMultipartUploadError = "CompleteMultipartUpload",
        copy_object CopyObjectError = "CopyObject",
        create_bucket CreateBucketError = "CreateBucket",
        create_multipart_upload CreateMultipartUploadError = "CreateMultipartUpload",
        delete_bucket DeleteBucketError = "DeleteBucket",
        delete_bucket_policy DeleteBucketPolicyError = "DeleteBucketPolicy",
        delete_object DeleteObjectError = "DeleteObject",
        delete_objects DeleteObjectsError = "DeleteObjects",
        get_bucket_encryption GetBucketEncryptionError = "GetBucketEncryption",
        get_bucket_policy GetBucketPolicyError = "GetBucketPolicy",
        get_bucket_tagging GetBucketTaggingError = "GetBucketTagging",
        get_bucket_versioning GetBucketVersioningError = "GetBucketVersioning",
        get_object GetObjectError = "GetObject",
        get_public_access_block GetPublicAccessBlockError = "GetPublicAccessBlock",
        head_bucket HeadBucketError = "HeadBucket",
        head_object HeadObjectError = "HeadObject",
        list_buckets ListBucketsError = "ListBuckets",
        list_multipart_uploads ListMultipartUploadsError = "ListMultipartUploads",
        list_object_versions ListObjectVersionsError = "ListObjectVersions",
        list_objects_v2 ListObjectsV2Error = "ListObjectsV2",
        list_parts ListPartsError = "ListParts",
        put_bucket_encryption PutBucketEncryptionError = "PutBucketEncryption",
        put_bucket_policy PutBucketPolicyError = "PutBucketPolicy",
        put_bucket_tagging PutBucketTaggingError = "PutBucketTagging",
        put_bucket_versioning PutBucketVersioningError = "PutBucketVersioning",
        put_object PutObjectError = "PutObject",
        put_public_access_block PutPublicAccessBlockError = "PutPublicAccessBlock",
        upload_part UploadPartError = "UploadPart",
        upload_part_copy UploadPartCopyError = "UploadPartCopy",
    }
    aws_sdk_sts {
        assume_role AssumeRoleError = "AssumeRole",
        assume_role_with_web_identity AssumeRoleWithWebIdentityError = "AssumeRoleWithWebIdentity",
        get_caller_identity GetCallerIdentityError = "GetCallerIdentity",
    }
}
