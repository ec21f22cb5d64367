//! Launching instances.

use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, HttpTokensState, IamInstanceProfileSpecification,
    InstanceMetadataOptionsRequest, InstanceNetworkInterfaceSpecification, InstanceType,
    ResourceType, ShutdownBehavior, TagSpecification, VolumeType,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::Ec2;
use super::images::Image;
use super::instances::{Instance, instance};
use super::tags::aws_tags;
use crate::clients::aws_error::{Code, aws_error, code};
use crate::clients::marks::Tags;
use crate::error::{Error, Result};

/// EC2 refuses longer user data (before base64).
pub const LONGEST_USER_DATA: usize = 16 * 1024;

/// Everything that `RunInstances` is asked for.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Idempotency token: the same token never makes a second instance.
    pub token: String,
    /// The image.
    pub image: Image,
    /// Instance type.
    pub instance_type: String,
    /// How many.
    pub count: i32,
    /// Name of the key pair.
    pub key_pair: Option<String>,
    /// Ids of security groups.
    pub security_groups: Vec<String>,
    /// Id of the subnet; none is the default one.
    pub subnet: Option<String>,
    /// Whether it gets a public address; none is the subnet's choice.
    pub public_ip: Option<bool>,
    /// Size of the root volume in GiB; none is the image's.
    pub volume_size: Option<i32>,
    /// Name of an IAM instance profile.
    pub iam_profile: Option<String>,
    /// User data as it is, not yet base64.
    pub user_data: Option<String>,
    /// Whether it is terminated when it shuts itself down.
    pub ends_itself: bool,
    /// Tags of instances and volumes.
    pub tags: Tags,
}

/// What EC2 answers to [`Ec2::launch`].
#[derive(Debug)]
pub enum Launched {
    /// The instances of this token.
    Instances(Vec<Instance>),
    /// The token has launched already, with another image or type.
    Before(Error),
    /// EC2 does not know the key pair or a security group, or not yet.
    UnknownParts(Error),
}

impl Ec2<'_> {
    /// Launches instances: `IMDSv2` required, root volume encrypted.
    pub async fn launch(&self, launch: &Launch) -> Result<Launched> {
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
        let metadata = InstanceMetadataOptionsRequest::builder()
            .http_tokens(HttpTokensState::Required)
            .http_put_response_hop_limit(2)
            .build();
        let mut request = self
            .client
            .run_instances()
            .client_token(&launch.token)
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
            .block_device_mappings(root)
            .metadata_options(metadata)
            .tag_specifications(tags(ResourceType::Instance))
            .tag_specifications(tags(ResourceType::Volume))
            .set_iam_instance_profile(launch.iam_profile.as_ref().map(|name| {
                IamInstanceProfileSpecification::builder()
                    .name(name)
                    .build()
            }));
        // A wish for a public address goes with the interface, and then groups
        // and subnet must go there too.
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
        match request.send().await {
            Ok(answer) => Ok(Launched::Instances(
                answer.instances().iter().map(instance).collect(),
            )),
            Err(e) => {
                let attempt = format!("launch a {} instance", launch.instance_type);
                let error = aws_error(&attempt, &e);
                match code(&e) {
                    Code::IdempotentParameterMismatch => Ok(Launched::Before(error)),
                    Code::InvalidKeyPairNotFound | Code::InvalidGroupNotFound => {
                        Ok(Launched::UnknownParts(error))
                    }
                    _ => Err(error),
                }
            }
        }
    }
}

fn some(ids: &[String]) -> Option<Vec<String>> {
    (!ids.is_empty()).then(|| ids.to_vec())
}
