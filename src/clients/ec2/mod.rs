//! EC2: one method per request, in our own words.
//!
//! Nothing is waited for here, and nothing is retried but what the SDK retries
//! and what EC2's eventual consistency demands right after a create.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::primitives::Blob;
use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, Filter, HttpTokensState, IamInstanceProfileSpecification,
    InstanceMetadataOptionsRequest, InstanceNetworkInterfaceSpecification, InstanceType,
    IpPermission, IpRange, Ipv6Range, ResourceType, ShutdownBehavior, Tag, TagSpecification,
    UserIdGroupPair, VolumeType,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::aws_error::{aws_error, code};
use super::marks::{Marks, Tags};
use super::pace;
use crate::error::{Error, ErrorKind, Result};
pub use fleet::TypeInfo;
pub use marked::Marked;
use marked::marks;

mod fleet;
mod marked;

/// EC2 refuses longer user data (before base64).
pub const LONGEST_USER_DATA: usize = 16 * 1024;

/// A machine image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Image {
    /// AWS's id, as `ami-0abc`.
    pub id: String,
    /// AWS's name, as `al2023-ami-2023.9.20260930.0-kernel-6.12-x86_64`.
    pub name: String,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// Name of the root device, as `/dev/xvda`.
    pub root_device: String,
    /// Size of its root volume in GiB.
    #[serde(default)]
    pub volume_size: Option<i32>,
}

/// An instance as EC2 describes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Instance {
    /// AWS's id, as `i-0abc`.
    pub id: String,
    /// Value of its tag `Name`.
    pub name: String,
    /// `pending`, `running`, `shutting-down`, `terminated`, `stopping`, `stopped`.
    pub state: String,
    /// Instance type, as `t3.micro`.
    #[serde(rename = "type")]
    pub instance_type: String,
    /// The image's id.
    pub image: String,
    /// Public IPv4 address; `()` until it has one.
    pub public_ip: Option<String>,
    /// Private IPv4 address.
    pub private_ip: Option<String>,
    /// The page a web server on it would serve; `()` without a public address.
    pub url: Option<String>,
    /// Name of the key pair it was launched with.
    pub key_pair: Option<String>,
    /// Ids of its security groups.
    pub security_groups: Vec<String>,
    /// Why EC2 changed its state, if it says so.
    pub state_reason: Option<String>,
    /// When it was launched, as `2026-11-25T22:10:03Z`.
    pub launched_at: Option<String>,
    /// All its tags.
    pub tags: BTreeMap<String, String>,
    /// What its tags say of who made it.
    #[serde(skip)]
    pub marks: Marks,
}

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

/// One rule of a security group.
#[derive(Clone, Debug)]
pub struct Ingress {
    /// `tcp`, `udp`, `icmp` or `-1` for all.
    pub protocol: String,
    /// First port.
    pub port: i32,
    /// Last port.
    pub to_port: i32,
    /// Who may connect: a network, as `203.0.113.7/32`, or the instances of a
    /// security group, by its id.
    pub from: String,
    /// Shown in the console.
    pub description: Option<String>,
}

impl Ingress {
    /// `sg-0abc tcp 80-80 0.0.0.0/0`: a rule of a group, as the ledger calls it.
    #[must_use]
    pub fn in_words(&self, group: &str) -> String {
        format!(
            "{group} {} {}-{} {}",
            self.protocol, self.port, self.to_port, self.from
        )
    }

    /// The security group whose instances may connect.
    #[must_use]
    pub fn from_group(&self) -> Option<&str> {
        Some(self.from.as_str()).filter(|from| from.starts_with("sg-"))
    }

    /// The group and the rule that are meant by such words.
    #[must_use]
    pub fn of_words(words: &str) -> Option<(String, Self)> {
        let mut words = words.split(' ');
        let (group, protocol, ports, from) =
            (words.next()?, words.next()?, words.next()?, words.next()?);
        let (port, to_port) = ports.split_once('-')?;
        let rule = Self {
            protocol: protocol.to_owned(),
            port: port.parse().ok()?,
            to_port: to_port.parse().ok()?,
            from: from.to_owned(),
            description: None,
        };
        Some((group.to_owned(), rule))
    }
}

/// The EC2 client of a run.
#[derive(Clone, Copy, Debug)]
pub struct Ec2<'a> {
    client: &'a Client,
    cancel: &'a CancellationToken,
}

impl<'a> Ec2<'a> {
    pub(super) fn new(client: &'a Client, cancel: &'a CancellationToken) -> Self {
        Self { client, cancel }
    }

    /// The newest standard Amazon Linux 2023 image of an architecture.
    ///
    /// Amazon's own images only; newest by creation date, then by name.
    pub async fn newest_amazon_linux(&self, architecture: &str) -> Result<Image> {
        let answer = self
            .client
            .describe_images()
            .owners("amazon")
            .filters(filter("name", "al2023-ami-2023.*"))
            .filters(filter("architecture", architecture))
            .filters(filter("state", "available"))
            .send()
            .await
            .map_err(|e| aws_error("look up the Amazon Linux image", &e))?;
        let newest = answer.images().iter().max_by_key(|i| {
            (
                i.creation_date().unwrap_or_default(),
                i.name().unwrap_or_default(),
            )
        });
        newest.map(image).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("this region has no Amazon Linux 2023 image for {architecture}"),
            )
            .hint("pass the id of another image")
        })
    }

    /// The image with this id.
    pub async fn image(&self, id: &str) -> Result<Image> {
        let answer = self
            .client
            .describe_images()
            .image_ids(id)
            .send()
            .await
            .map_err(|e| aws_error(&format!("look up image `{id}`"), &e))?;
        answer.images().first().map(image).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("image `{id}` does not exist in this region"),
            )
            .hint("an AMI's id holds in one region only: use latest_amazon_linux()")
        })
    }

    /// The micro type that is free-tier eligible here: `t3.micro`, else
    /// `t2.micro`, else the smallest name AWS offers for the architecture.
    pub async fn free_tier_type(&self, architecture: &str) -> Result<String> {
        let answer = self
            .client
            .describe_instance_types()
            .filters(filter("free-tier-eligible", "true"))
            .filters(filter(
                "processor-info.supported-architecture",
                architecture,
            ))
            .send()
            .await
            .map_err(|e| aws_error("look up the free-tier instance types", &e))?;
        let mut types: Vec<&str> = answer
            .instance_types()
            .iter()
            .filter_map(|t| t.instance_type().map(InstanceType::as_str))
            .collect();
        types.sort_unstable();
        ["t3.micro", "t2.micro", "t4g.micro"]
            .into_iter()
            .find(|preferred| types.contains(preferred))
            .or_else(|| {
                types
                    .iter()
                    .copied()
                    .find(|t| t.split('.').nth(1) == Some("micro"))
            })
            .map(str::to_owned)
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::NotFound,
                    format!("this region offers no free-tier micro type for {architecture}"),
                )
                .hint("pass `type`, as \"t3.micro\"")
            })
    }

    /// Launches instances: `IMDSv2` required, root volume encrypted.
    pub async fn launch(&self, launch: &Launch) -> Result<Vec<Instance>> {
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
        let answer = request
            .send()
            .await
            .map_err(|e| aws_error(&format!("launch a {} instance", launch.instance_type), &e))?;
        Ok(answer.instances().iter().map(instance).collect())
    }

    /// Describes instances, in the order of the ids.
    ///
    /// Throws `not_found`, also for a moment after a launch.
    pub async fn instances(&self, ids: &[String]) -> Result<Vec<Instance>> {
        let answer = self
            .client
            .describe_instances()
            .set_instance_ids(Some(ids.to_vec()))
            .send()
            .await
            .map_err(|e| aws_error(&format!("describe {}", ids.join(", ")), &e))?;
        let seen: Vec<Instance> = answer
            .reservations()
            .iter()
            .flat_map(aws_sdk_ec2::types::Reservation::instances)
            .map(instance)
            .collect();
        ids.iter()
            .map(|id| {
                let named = seen.iter().find(|i| i.id == *id);
                named.cloned().ok_or_else(|| no_instance(id))
            })
            .collect()
    }

    /// Describes one instance; nothing when EC2 does not know it.
    pub async fn instance(&self, id: &str) -> Result<Option<Instance>> {
        match self.instances(&[id.to_owned()]).await {
            Ok(mut seen) => Ok(seen.pop()),
            Err(e) if e.kind == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Asks for the end of an instance; asking twice is no error.
    pub async fn terminate(&self, id: &str) -> Result<()> {
        self.client
            .terminate_instances()
            .instance_ids(id)
            .send()
            .await
            .map_err(|e| aws_error(&format!("terminate `{id}`"), &e))?;
        Ok(())
    }

    /// What the instance wrote to its console, newest if AWS can tell.
    pub async fn console(&self, id: &str) -> Result<Console> {
        let attempt = format!("read the console of `{id}`");
        let request = self.client.get_console_output().instance_id(id);
        let (answer, live) = match request.clone().latest(true).send().await {
            Ok(answer) => (answer, true),
            // Only Nitro types can tell at any time.
            Err(e) if code(&e).starts_with("Unsupported") => {
                let answer = request.send().await;
                (answer.map_err(|e| aws_error(&attempt, &e))?, false)
            }
            Err(e) => return Err(aws_error(&attempt, &e)),
        };
        let bytes = BASE64_STANDARD
            .decode(answer.output().unwrap_or_default())
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Console { text, live })
    }

    /// Imports a public key; gives the key pair's id.
    ///
    /// Throws `already_exists`.
    pub async fn import_key_pair(&self, name: &str, public: &str, tags: &Tags) -> Result<String> {
        let answer = self
            .client
            .import_key_pair()
            .key_name(name)
            .public_key_material(Blob::new(public.as_bytes()))
            .tag_specifications(tag_specification(ResourceType::KeyPair, tags))
            .send()
            .await
            .map_err(|e| aws_error(&format!("import key pair `{name}`"), &e))?;
        Ok(answer.key_pair_id().unwrap_or_default().to_owned())
    }

    /// Deletes a key pair; one that is gone is no error.
    pub async fn delete_key_pair(&self, name: &str) -> Result<()> {
        self.client
            .delete_key_pair()
            .key_name(name)
            .send()
            .await
            .map_err(|e| aws_error(&format!("delete key pair `{name}`"), &e))?;
        Ok(())
    }

    /// Makes a security group without rules; gives its id.
    ///
    /// Throws `already_exists`; `invalid_option` where there is no default VPC.
    pub async fn create_security_group(
        &self,
        name: &str,
        description: &str,
        vpc: Option<&str>,
        tags: &Tags,
    ) -> Result<String> {
        let answer = self
            .client
            .create_security_group()
            .group_name(name)
            .description(description)
            .set_vpc_id(vpc.map(str::to_owned))
            .tag_specifications(tag_specification(ResourceType::SecurityGroup, tags))
            .send()
            .await
            .map_err(|e| aws_error(&format!("create security group `{name}`"), &e))?;
        Ok(answer.group_id().unwrap_or_default().to_owned())
    }

    /// Adds rules to a group that was just made; EC2 may not know it yet.
    pub async fn authorize(&self, group: &str, rules: &[Ingress]) -> Result<()> {
        let request = self
            .client
            .authorize_security_group_ingress()
            .group_id(group)
            .set_ip_permissions(Some(rules.iter().map(permission).collect()));
        let mut pause = Duration::from_millis(50);
        loop {
            match request.clone().send().await {
                Ok(_) => return Ok(()),
                Err(e)
                    if code(&e) == "InvalidGroup.NotFound" && pause < Duration::from_secs(10) =>
                {
                    pace::sleep(pause, self.cancel).await?;
                    pause *= 2;
                }
                // A repeated request whose first answer was lost.
                Err(e) if code(&e) == "InvalidPermission.Duplicate" => return Ok(()),
                Err(e) => return Err(aws_error(&format!("open ports of `{group}`"), &e)),
            }
        }
    }

    /// Deletes a security group. While something uses it, EC2 refuses:
    /// `still_used` is then true.
    pub async fn delete_security_group(&self, id: &str) -> Result<StillUsed> {
        match self
            .client
            .delete_security_group()
            .group_id(id)
            .send()
            .await
        {
            Ok(_) => Ok(StillUsed(false)),
            Err(e) if code(&e) == "InvalidGroup.NotFound" => Ok(StillUsed(false)),
            Err(e) if code(&e) == "DependencyViolation" => Ok(StillUsed(true)),
            Err(e) => Err(aws_error(&format!("delete security group `{id}`"), &e)),
        }
    }
}

/// What an instance wrote to its console.
#[derive(Clone, Debug)]
pub struct Console {
    /// The end of it.
    pub text: String,
    /// Whether this is what it shows now: AWS tells that of Nitro types alone.
    /// Of others it is what was there some minutes after a start or a stop.
    pub live: bool,
}

/// Whether a deletion was refused because something still uses the thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StillUsed(pub bool);

/// An instance that EC2 does not know, or not any more.
#[must_use]
pub fn no_instance(id: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("instance `{id}` does not exist"),
    )
    .hint(
        "an instance's id holds in one region of one account: check `--region` and `--profile`; \
         `aws ec2 describe-instances` lists those there",
    )
}

fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

fn some(ids: &[String]) -> Option<Vec<String>> {
    (!ids.is_empty()).then(|| ids.to_vec())
}

fn aws_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect()
}

fn tag_specification(kind: ResourceType, tags: &Tags) -> TagSpecification {
    TagSpecification::builder()
        .resource_type(kind)
        .set_tags(Some(aws_tags(tags)))
        .build()
}

fn image(image: &aws_sdk_ec2::types::Image) -> Image {
    let root_device = image.root_device_name().unwrap_or("/dev/xvda");
    let root = image
        .block_device_mappings()
        .iter()
        .find(|m| m.device_name() == Some(root_device));
    Image {
        volume_size: root
            .and_then(|m| m.ebs())
            .and_then(EbsBlockDevice::volume_size),
        id: image.image_id().unwrap_or_default().to_owned(),
        name: image.name().unwrap_or_default().to_owned(),
        architecture: image
            .architecture()
            .map_or("x86_64", |a| a.as_str())
            .to_owned(),
        root_device: root_device.to_owned(),
    }
}

fn instance(instance: &aws_sdk_ec2::types::Instance) -> Instance {
    let tag = |key| {
        instance
            .tags()
            .iter()
            .find(|t| t.key() == Some(key))
            .and_then(Tag::value)
    };
    let known = |text: Option<&str>| text.filter(|t| !t.is_empty()).map(str::to_owned);
    let public_ip = known(instance.public_ip_address());
    Instance {
        id: instance.instance_id().unwrap_or_default().to_owned(),
        name: tag("Name").unwrap_or_default().to_owned(),
        state: instance
            .state()
            .and_then(|s| s.name())
            .map_or("pending", |name| name.as_str())
            .to_owned(),
        instance_type: instance
            .instance_type()
            .map_or("", InstanceType::as_str)
            .to_owned(),
        image: instance.image_id().unwrap_or_default().to_owned(),
        url: public_ip.as_ref().map(|ip| format!("http://{ip}/")),
        public_ip,
        private_ip: known(instance.private_ip_address()),
        key_pair: known(instance.key_name()),
        security_groups: instance
            .security_groups()
            .iter()
            .filter_map(|g| g.group_id().map(str::to_owned))
            .collect(),
        state_reason: instance.state_reason().and_then(|r| known(r.message())),
        launched_at: instance.launch_time().map(ToString::to_string),
        tags: instance
            .tags()
            .iter()
            .filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())))
            .collect(),
        marks: marks(instance.tags()),
    }
}

fn permission(rule: &Ingress) -> IpPermission {
    let permission = IpPermission::builder()
        .ip_protocol(&rule.protocol)
        .from_port(rule.port)
        .to_port(rule.to_port);
    let text = rule.description.clone();
    if let Some(group) = rule.from_group() {
        let group = UserIdGroupPair::builder()
            .group_id(group)
            .set_description(text);
        return permission.user_id_group_pairs(group.build()).build();
    }
    let address = rule.from.split('/').next();
    if address.is_some_and(|ip| matches!(ip.parse(), Ok(IpAddr::V6(_)))) {
        let range = Ipv6Range::builder()
            .cidr_ipv6(&rule.from)
            .set_description(text);
        permission.ipv6_ranges(range.build()).build()
    } else {
        let range = IpRange::builder().cidr_ip(&rule.from).set_description(text);
        permission.ip_ranges(range.build()).build()
    }
}
