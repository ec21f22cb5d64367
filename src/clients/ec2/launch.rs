//! Launching instances.

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::SdkError;
use aws_sdk_ec2::operation::run_instances::RunInstancesError;
use aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder;
use aws_sdk_ec2::types::{
    BlockDeviceMapping, CreditSpecificationRequest, EbsBlockDevice, HttpTokensState,
    IamInstanceProfileSpecification, InstanceMarketOptionsRequest, InstanceMetadataOptionsRequest,
    InstanceNetworkInterfaceSpecification, InstanceType, MarketType, ResourceType,
    ShutdownBehavior, TagSpecification, VolumeType,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Ec2;
use super::images::Image;
use super::instances::{Instance, instance};
use super::tags::aws_tags;
use crate::aws_error::{Code, aws_error, code};
use crate::error::{Error, Result};
use crate::marks::Tags;

/// The longest user data that EC2 accepts, in bytes before base64.
pub const LONGEST_USER_DATA: usize = 16 * 1024;

/// The parameters of `RunInstances`.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The idempotency token: EC2 launches only once for the same token.
    pub token: String,
    /// The image.
    pub image: Image,
    /// Instance type.
    pub instance_type: String,
    /// The number of instances.
    pub count: i32,
    /// The name of the key pair.
    pub key_pair: Option<String>,
    /// The ids of the security groups.
    pub security_groups: Vec<String>,
    /// The id of the subnet; the default is the default subnet.
    pub subnet: Option<String>,
    /// Whether the instance gets a public address; the default is the subnet's
    /// setting.
    pub public_ip: Option<bool>,
    /// The size of the root volume in GiB; the default is the image's.
    pub volume_size: Option<i32>,
    /// The volumes in addition to the root volume.
    pub volumes: Vec<DataVolume>,
    /// The name of an IAM instance profile.
    pub iam_profile: Option<String>,
    /// The credit option of a burstable type.
    pub credits: Option<Credits>,
    /// The user data, not encoded in base64.
    pub user_data: Option<String>,
    /// Whether the instance is terminated when it shuts itself down.
    pub ends_itself: bool,
    /// Whether the instances are spot instances.
    pub spot: bool,
    /// The tags of the instances and their volumes.
    pub tags: Tags,
}

/// A volume that a launch creates for each instance.
#[derive(Clone, Debug)]
pub struct DataVolume {
    /// The size in GiB.
    pub size: i32,
    /// The volume type.
    pub volume_type: String,
    /// The provisioned IOPS.
    pub iops: Option<i32>,
    /// The device name.
    pub device: String,
    /// Whether it is deleted when its instance is terminated.
    pub delete_on_termination: bool,
}

/// Returns the names of all volume types.
#[must_use]
pub fn volume_types() -> &'static [&'static str] {
    VolumeType::values()
}

/// How a burstable instance may use more CPU time than it has earned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Credits {
    /// Not at all: it slows down.
    Standard,
    /// Without a limit, for an additional charge.
    Unlimited,
}

impl Credits {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Unlimited => "unlimited",
        }
    }
}

/// EC2's response to [`Ec2::launch`].
#[derive(Debug)]
pub enum Launched {
    /// The instances launched with this token.
    Instances(Vec<Instance>),
    /// The token was already used, with another image or type.
    Before(Error),
    /// EC2 does not know the key pair, a security group or the subnet, or does
    /// not know it yet.
    UnknownParts(Error),
    /// The region has no default VPC, or no default subnet.
    NoDefaultVpc(Error),
    /// A value is not valid. A new instance profile looks the same, until EC2
    /// knows it.
    InvalidValue(Error),
    /// Parameters exclude each other. A type that the plan of the account does
    /// not include looks the same.
    InvalidCombination(Error),
}

impl Ec2<'_> {
    /// Launches instances. `IMDSv2` is required and the root volume is
    /// encrypted.
    pub async fn launch(&self, launch: &Launch) -> Result<Launched> {
        let request = self.launch_request(launch).client_token(&launch.token);
        match request.send().await {
            Ok(answer) => Ok(Launched::Instances(
                answer.instances().iter().map(instance).collect(),
            )),
            Err(e) => self.refusal(launch, &e),
        }
    }

    /// Asks whether EC2 would launch instances. Returns no instances then. This is a
    /// dry run, which launches nothing.
    pub async fn would_launch(&self, launch: &Launch) -> Result<Launched> {
        match self.launch_request(launch).dry_run(true).send().await {
            Err(e) if code(&e) == Code::DryRunOperation => Ok(Launched::Instances(Vec::new())),
            Err(e) => self.refusal(launch, &e),
            Ok(_) => Err(launched_in_dry_run()),
        }
    }

    /// Sorts the error of a launch by what a caller does about it.
    fn refusal(
        &self,
        launch: &Launch,
        e: &SdkError<RunInstancesError, HttpResponse>,
    ) -> Result<Launched> {
        let attempt = format!(
            "launch an instance of type {} in {}",
            launch.instance_type,
            self.region()
        );
        let error = aws_error(&attempt, e);
        match code(e) {
            Code::IdempotentParameterMismatch => Ok(Launched::Before(error)),
            Code::InvalidKeyPairNotFound
            | Code::InvalidGroupNotFound
            | Code::InvalidSubnetIdNotFound => Ok(Launched::UnknownParts(error)),
            Code::NoDefaultVpc => Ok(Launched::NoDefaultVpc(error)),
            Code::InvalidParameterValue => Ok(Launched::InvalidValue(error)),
            Code::InvalidParameterCombination => Ok(Launched::InvalidCombination(error)),
            _ => Err(error),
        }
    }

    /// Returns whether EC2 would accept the launch without its instance profile.
    /// This is a dry run, which launches nothing.
    pub async fn accepts_without_profile(&self, launch: &Launch) -> Result<bool> {
        let mut without = launch.clone();
        without.iam_profile = None;
        match self.launch_request(&without).dry_run(true).send().await {
            Err(e) => Ok(code(&e) == Code::DryRunOperation),
            Ok(_) => Err(launched_in_dry_run()),
        }
    }

    /// Returns the request of a launch, without its token.
    fn launch_request(&self, launch: &Launch) -> RunInstancesFluentBuilder {
        let tags = |kind| {
            TagSpecification::builder()
                .resource_type(kind)
                .set_tags(Some(aws_tags(&launch.tags)))
                .build()
        };
        let root = BlockDeviceMapping::builder()
            .device_name(&launch.image.root_device)
            .ebs(
                EbsBlockDevice::builder()
                    .encrypted(true)
                    .delete_on_termination(true)
                    .volume_type(VolumeType::Gp3)
                    .set_volume_size(launch.volume_size.or(launch.image.volume_size))
                    .build(),
            )
            .build();
        let data = launch.volumes.iter().map(|volume| {
            BlockDeviceMapping::builder()
                .device_name(&volume.device)
                .ebs(
                    EbsBlockDevice::builder()
                        .encrypted(true)
                        .delete_on_termination(volume.delete_on_termination)
                        .volume_type(VolumeType::from(volume.volume_type.as_str()))
                        .volume_size(volume.size)
                        .set_iops(volume.iops)
                        .build(),
                )
                .build()
        });
        let mappings = std::iter::once(root).chain(data).collect();
        // With IMDSv2, a hop limit of 2 lets containers reach the metadata
        // service.
        let metadata = InstanceMetadataOptionsRequest::builder()
            .http_tokens(HttpTokensState::Required)
            .http_put_response_hop_limit(2)
            .build();
        let mut request = self
            .client
            .run_instances()
            .image_id(&launch.image.id)
            .instance_type(InstanceType::from(launch.instance_type.as_str()))
            .min_count(launch.count)
            .max_count(launch.count)
            .set_key_name(launch.key_pair.clone())
            .set_instance_initiated_shutdown_behavior(
                launch.ends_itself.then_some(ShutdownBehavior::Terminate),
            )
            .set_user_data(
                launch
                    .user_data
                    .as_ref()
                    .map(|text| BASE64_STANDARD.encode(text)),
            )
            .set_block_device_mappings(Some(mappings))
            .metadata_options(metadata)
            .tag_specifications(tags(ResourceType::Instance))
            .tag_specifications(tags(ResourceType::Volume))
            .set_credit_specification(launch.credits.map(|credits| {
                CreditSpecificationRequest::builder()
                    .cpu_credits(credits.as_str())
                    .build()
            }))
            .set_iam_instance_profile(launch.iam_profile.as_ref().map(|name| {
                IamInstanceProfileSpecification::builder()
                    .name(name)
                    .build()
            }))
            // One type in one place needs no fleet, and so no launch template.
            .set_instance_market_options(launch.spot.then(|| {
                InstanceMarketOptionsRequest::builder()
                    .market_type(MarketType::Spot)
                    .build()
            }));
        // EC2 accepts the public address setting only as part of a network
        // interface, and then requires the groups and the subnet there too.
        if let Some(public) = launch.public_ip {
            request = request.network_interfaces(
                InstanceNetworkInterfaceSpecification::builder()
                    .device_index(0)
                    .associate_public_ip_address(public)
                    .set_subnet_id(launch.subnet.clone())
                    .set_groups(some(&launch.security_groups))
                    .build(),
            );
        } else {
            request = request
                .set_subnet_id(launch.subnet.clone())
                .set_security_group_ids(some(&launch.security_groups));
        }
        request
    }
}

fn launched_in_dry_run() -> Error {
    Error::internal("the server launched instances in a dry run, which EC2 does not")
        .hint("check which server is behind `--endpoint-url`")
}

pub(super) fn some(ids: &[String]) -> Option<Vec<String>> {
    (!ids.is_empty()).then(|| ids.to_vec())
}
