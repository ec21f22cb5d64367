//! Reads and checks the parameters of `RunInstances`. Actions that change an
//! instance later share the functions for some of them.

use super::call::Call;
use super::credits::credits;
use super::groups;
use super::images::{Image, resolve_image};
use super::instance_types::{InstanceType, instance_type};
use super::network::{check_subnet, zone};
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::state::{KeyPair, MetadataOptions, OnShutdown, Tags, Volume};
use super::tags;
use super::user_data::user_data;

/// The checked parameters of a launch.
pub(super) struct Launch {
    pub(super) min_count: u32,
    pub(super) max_count: u32,
    pub(super) image: Image,
    pub(super) instance_type: InstanceType,
    pub(super) key: Option<KeyPair>,
    pub(super) groups: Vec<String>,
    pub(super) user_data: Option<String>,
    pub(super) tags: Tags,
    pub(super) volume: Volume,
    pub(super) on_shutdown: OnShutdown,
    pub(super) protected: bool,
    pub(super) metadata: MetadataOptions,
    pub(super) public: bool,
    pub(super) iam_profile: Option<String>,
    pub(super) cpu_credits: Option<String>,
    pub(super) token: Option<String>,
}

pub(super) fn read(
    call: &mut Call<'_>,
    request: &Part<'_>,
    token: Option<String>,
) -> Result<Launch> {
    let (min_count, max_count) = counts(request)?;
    let image = resolve_image(
        call.region_name,
        &call.facts.system,
        request.required("ImageId")?,
    )?;
    let name = request.text("InstanceType").unwrap_or("m1.small");
    let instance_type = instance_type(name).ok_or_else(|| {
        Refusal::new(
            "InvalidParameterValue",
            format!("Invalid value '{name}' for InstanceType."),
        )
    })?;
    if call.account.free_plan && !instance_type.free_tier {
        return Err(Refusal::new(
            "InvalidParameterCombination",
            "The specified instance type is not eligible for Free Tier. For a list of Free Tier \
             instance types, run 'describe-instance-types' with the filter \
             'free-tier-eligible=true'.",
        ));
    }
    if instance_type.architecture != image.architecture {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!(
                "The architecture '{}' of the specified instance type does not match the \
                 architecture '{}' of the specified AMI. Specify an instance type and an AMI \
                 that have matching architectures, and try again.",
                instance_type.architecture, image.architecture
            ),
        ));
    }
    let kinds = ["instance", "volume", "network-interface"];
    let tags = tags::specified(request, &kinds, "instance")?;
    let volume_tags = tags::specified(request, &kinds, "volume")?;
    let placement = request.part("Placement");
    placement.text("Tenancy");
    if let Some(given) = placement.text("AvailabilityZone")
        && given != zone(call.region_name)
    {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!("Invalid availability zone: [{given}]"),
        ));
    }
    request.flag("EbsOptimized")?;
    request.part("Monitoring").flag("Enabled")?;
    let cpu_credits = credits(request, instance_type)?;
    let profile = request.part("IamInstanceProfile");
    let iam_profile = profile.text("Name").or_else(|| profile.text("Arn"));
    let (public, groups) = network(call, request)?;
    Ok(Launch {
        min_count,
        max_count,
        key: key(call, request)?,
        groups,
        user_data: user_data(request)?,
        tags,
        volume: volume(request, &image, volume_tags)?,
        on_shutdown: on_shutdown(request.text("InstanceInitiatedShutdownBehavior"))?,
        protected: request.flag("DisableApiTermination")?.unwrap_or(false),
        metadata: metadata(&request.part("MetadataOptions"), None)?,
        public,
        iam_profile: iam_profile.map(str::to_owned),
        cpu_credits,
        image,
        instance_type,
        token,
    })
}

fn counts(request: &Part<'_>) -> Result<(u32, u32)> {
    request.required("MinCount")?;
    request.required("MaxCount")?;
    let min_count: u32 = request.number("MinCount")?.unwrap_or(1);
    let max_count: u32 = request.number("MaxCount")?.unwrap_or(1);
    for (name, count) in [("minCount", min_count), ("maxCount", max_count)] {
        if count == 0 {
            return Err(Refusal::new(
                "InvalidParameterValue",
                format!("Invalid value '{count}' for {name}. Must be greater than 0."),
            ));
        }
    }
    if max_count < min_count {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!(
                "Invalid value '{min_count}' for minCount. Must be less than or equal to \
                 maxCount."
            ),
        ));
    }
    Ok((min_count, max_count))
}

fn key(call: &mut Call<'_>, request: &Part<'_>) -> Result<Option<KeyPair>> {
    let Some(name) = request.text("KeyName") else {
        return Ok(None);
    };
    let found = call.region().key_pairs.get(name).cloned();
    let found = found.filter(|pair| call.visible(pair.created));
    found.map(Some).ok_or_else(|| {
        Refusal::new(
            "InvalidKeyPair.NotFound",
            format!("The key pair '{name}' does not exist"),
        )
    })
}

/// Returns whether the instance has a public address, and the ids of its groups.
/// A request contains the groups either at the top level or in its network
/// interface, not in both places.
fn network(call: &mut Call<'_>, request: &Part<'_>) -> Result<(bool, Vec<String>)> {
    let interfaces = request.parts("NetworkInterface");
    if interfaces.len() > 1 {
        return Err(Refusal::new(
            "UnsupportedOperation",
            "Instances of the local cloud have one network interface",
        ));
    }
    let mut ids: Vec<String> = Vec::new();
    let mut public = true;
    let mut subnet = request.text("SubnetId");
    for name in request.list("SecurityGroup") {
        ids.push(groups::id_by_name(call, name)?);
    }
    ids.extend(
        request
            .list("SecurityGroupId")
            .into_iter()
            .map(str::to_owned),
    );
    if let Some(interface) = interfaces.first() {
        let level = match (subnet, ids.is_empty()) {
            (Some(_), _) => Some("an instance-level subnet ID"),
            (None, false) => Some("an instance-level security groups"),
            (None, true) => None,
        };
        if let Some(level) = level {
            return Err(Refusal::new(
                "InvalidParameterCombination",
                format!("Network interfaces and {level} may not be specified on the same request"),
            ));
        }
        interface.text("DeviceIndex");
        interface.text("Description");
        interface.flag("DeleteOnTermination")?;
        subnet = interface.text("SubnetId");
        public = interface.flag("AssociatePublicIpAddress")?.unwrap_or(true);
        ids.extend(
            interface
                .list("SecurityGroupId")
                .into_iter()
                .map(str::to_owned),
        );
    }
    check_subnet(call, subnet)?;
    groups::ensure_default(call);
    if ids.is_empty() {
        ids.push(groups::default_id(call.region_name));
    }
    for id in &ids {
        groups::find(call, id)?;
    }
    if ids.len() > 5 {
        return Err(Refusal::new(
            "SecurityGroupsPerInterfaceLimitExceeded",
            "The maximum number of security groups per interface has been reached.",
        ));
    }
    Ok((public, ids))
}

fn volume(request: &Part<'_>, image: &Image, tags: Tags) -> Result<Volume> {
    let root_device = image.publisher.root_device;
    let smallest = image.publisher.size;
    let mut volume = Volume {
        id: String::new(),
        device: root_device.to_owned(),
        size: smallest,
        kind: "gp3".to_owned(),
        encrypted: false,
        delete_on_termination: true,
        tags,
    };
    for mapping in request.parts("BlockDeviceMapping") {
        let device = mapping.required("DeviceName")?;
        if device != root_device {
            return Err(Refusal::new(
                "UnsupportedOperation",
                format!(
                    "Instances of this image have the root device {root_device} only, not {device}"
                ),
            ));
        }
        let ebs = mapping.part("Ebs");
        volume.size = ebs.number("VolumeSize")?.unwrap_or(volume.size);
        volume.encrypted = ebs.flag("Encrypted")?.unwrap_or(false);
        volume.delete_on_termination = ebs.flag("DeleteOnTermination")?.unwrap_or(true);
        if let Some(kind) = ebs.text("VolumeType") {
            kind.clone_into(&mut volume.kind);
        }
        ebs.text("Iops");
        ebs.text("Throughput");
        ebs.text("KmsKeyId");
    }
    if !(smallest..=16384).contains(&volume.size) {
        return Err(Refusal::new(
            "InvalidBlockDeviceMapping",
            format!(
                "Volume of size {}GB is smaller than snapshot, expect size >= {smallest}GB",
                volume.size
            ),
        ));
    }
    Ok(volume)
}

/// Parses the effect of a shutdown by the instance's own operating system.
pub(super) fn on_shutdown(text: Option<&str>) -> Result<OnShutdown> {
    match text {
        None | Some("stop") => Ok(OnShutdown::Stop),
        Some("terminate") => Ok(OnShutdown::Terminate),
        Some(other) => Err(Refusal::value(
            "instanceInitiatedShutdownBehavior",
            other,
            "Expected stop or terminate.",
        )),
    }
}

/// Returns the options of the metadata service: the current options, changed by
/// the request. Without current options, tokens are required, which is the
/// default of Amazon Linux 2023's images.
pub(super) fn metadata(part: &Part<'_>, now: Option<MetadataOptions>) -> Result<MetadataOptions> {
    let mut options = now.unwrap_or(MetadataOptions {
        tokens_required: true,
        enabled: true,
        tags: false,
        hop_limit: 2,
    });
    let choice = |name: &str, yes: &str, no: &str| match part.text(name) {
        None => Ok(None),
        Some(text) if text == yes => Ok(Some(true)),
        Some(text) if text == no => Ok(Some(false)),
        Some(text) => Err(Refusal::value(
            name,
            text,
            &format!("Expected {yes} or {no}."),
        )),
    };
    options.tokens_required =
        choice("HttpTokens", "required", "optional")?.unwrap_or(options.tokens_required);
    options.enabled = choice("HttpEndpoint", "enabled", "disabled")?.unwrap_or(options.enabled);
    options.tags = choice("InstanceMetadataTags", "enabled", "disabled")?.unwrap_or(options.tags);
    options.hop_limit = part
        .number("HttpPutResponseHopLimit")?
        .unwrap_or(options.hop_limit);
    part.text("HttpProtocolIpv6");
    Ok(options)
}
