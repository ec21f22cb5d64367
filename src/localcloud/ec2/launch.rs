//! `RunInstances`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::call::{Call, Effect, new_id};
use super::catalog::{self, IMAGE_SIZE, Image, InstanceType, ROOT_DEVICE};
use super::groups;
use super::instances::write_instance;
use super::network::{check_subnet, zone};
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::state::{Instance, KeyPair, MetadataOptions, OnShutdown, Phase, Tags, Token, Volume};
use super::tags;
use super::xml::Xml;

/// AWS's limit of user data, before base64.
const LONGEST_USER_DATA: usize = 16 * 1024;

/// How many vCPUs may run, unless the account is set up otherwise: more than
/// the subnet has addresses for of the smallest types.
const VCPUS: u32 = 1024;

/// A launch as it was asked for, checked.
struct Launch {
    least: u32,
    most: u32,
    image: Image,
    instance_type: InstanceType,
    key: Option<KeyPair>,
    groups: Vec<String>,
    user_data: Option<String>,
    tags: Tags,
    volume: Volume,
    on_shutdown: OnShutdown,
    protected: bool,
    metadata: MetadataOptions,
    public: bool,
    iam_profile: Option<String>,
    token: Option<String>,
}

pub(super) fn run_instances(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let token = token(request)?;
    let same = call.params.canonical_without("ClientToken");
    if let Some(known) = token
        .as_ref()
        .and_then(|t| call.region().tokens.get(t))
        .cloned()
    {
        if known.request == same {
            return Ok(reservation(call, &known.reservation));
        }
        return Err(Refusal::new(
            "IdempotentParameterMismatch",
            "The parameters of this request do not match those of the first request with this \
             client token",
        ));
    }
    let launch = read(call, request, token)?;
    call.read_all()?;
    if let Some(why) = &call.facts.cannot_boot {
        return Err(Refusal::new("OperationNotPermitted", why.clone()));
    }
    let count = room(call, &launch)?;
    let id = new_id("r");
    for index in 0..count {
        let instance = instance(call, &launch, &id, index)?;
        call.effects.push(Effect::Boot(instance.id.clone()));
        call.region()
            .instances
            .insert(instance.id.clone(), instance);
    }
    call.effects.push(Effect::Groups);
    if let Some(token) = launch.token {
        let known = Token {
            request: same,
            reservation: id.clone(),
        };
        call.region().tokens.insert(token, known);
    }
    Ok(reservation(call, &id))
}

fn token(request: &Part<'_>) -> Result<Option<String>> {
    let Some(token) = request.text("ClientToken") else {
        return Ok(None);
    };
    if token.len() > 64 || !token.is_ascii() {
        return Err(Refusal::value(
            "ClientToken",
            token,
            "At most 64 ASCII characters.",
        ));
    }
    Ok(Some(token.to_owned()))
}

fn read(call: &mut Call<'_>, request: &Part<'_>, token: Option<String>) -> Result<Launch> {
    let (least, most) = counts(request)?;
    let image = catalog::resolve_image(
        call.region_name,
        &call.facts.system,
        request.required("ImageId")?,
    )?;
    let name = request.text("InstanceType").unwrap_or("m1.small");
    let instance_type = catalog::instance_type(name).ok_or_else(|| {
        Refusal::new(
            "InvalidParameterValue",
            format!("Invalid value '{name}' for InstanceType."),
        )
    })?;
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
        return Err(Refusal::value(
            "AvailabilityZone",
            given,
            &format!(
                "The local cloud launches in {} only.",
                zone(call.region_name)
            ),
        ));
    }
    request.flag("EbsOptimized")?;
    request.part("Monitoring").flag("Enabled")?;
    request.part("CreditSpecification").text("CpuCredits");
    let profile = request.part("IamInstanceProfile");
    let iam_profile = profile.text("Name").or_else(|| profile.text("Arn"));
    let (public, groups) = network(call, request)?;
    Ok(Launch {
        least,
        most,
        key: key(call, request)?,
        groups,
        user_data: user_data(request)?,
        tags,
        volume: volume(request, volume_tags)?,
        on_shutdown: on_shutdown(request.text("InstanceInitiatedShutdownBehavior"))?,
        protected: request.flag("DisableApiTermination")?.unwrap_or(false),
        metadata: metadata(&request.part("MetadataOptions"), None)?,
        public,
        iam_profile: iam_profile.map(str::to_owned),
        image,
        instance_type,
        token,
    })
}

fn counts(request: &Part<'_>) -> Result<(u32, u32)> {
    request.required("MinCount")?;
    request.required("MaxCount")?;
    let least: u32 = request.number("MinCount")?.unwrap_or(1);
    let most: u32 = request.number("MaxCount")?.unwrap_or(1);
    if least == 0 || most < least {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!(
                "Invalid value '{least}' for minCount, '{most}' for maxCount: from 1, and not more than maxCount"
            ),
        ));
    }
    Ok((least, most))
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

/// Whether the instance has a public address, and the ids of its groups: they
/// stand beside the interface or in it, never both.
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
        if subnet.is_some() || !ids.is_empty() {
            return Err(Refusal::new(
                "InvalidParameterCombination",
                "Network interfaces and an instance-level subnet ID or security groups may not \
                 be specified on the same request",
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

fn user_data(request: &Part<'_>) -> Result<Option<String>> {
    let Some(encoded) = request.text("UserData") else {
        return Ok(None);
    };
    let decoded = decode(encoded).ok_or_else(|| {
        Refusal::new(
            "InvalidUserData.Malformed",
            "Invalid BASE64 encoding of user data.",
        )
    })?;
    if decoded.len() > LONGEST_USER_DATA {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!("User data is limited to {LONGEST_USER_DATA} bytes"),
        ));
    }
    Ok(Some(encoded.to_owned()))
}

/// Base64, broken into lines or not.
pub(super) fn decode(encoded: &str) -> Option<Vec<u8>> {
    let joined: String = encoded.split_whitespace().collect();
    BASE64_STANDARD.decode(joined).ok()
}

fn volume(request: &Part<'_>, tags: Tags) -> Result<Volume> {
    let mut volume = Volume {
        id: String::new(),
        device: ROOT_DEVICE.to_owned(),
        size: IMAGE_SIZE,
        kind: "gp3".to_owned(),
        encrypted: false,
        delete_on_termination: true,
        tags,
    };
    for mapping in request.parts("BlockDeviceMapping") {
        let device = mapping.required("DeviceName")?;
        if device != ROOT_DEVICE {
            return Err(Refusal::new(
                "UnsupportedOperation",
                format!(
                    "Instances of the local cloud have the root device {ROOT_DEVICE} only, not {device}"
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
    if !(IMAGE_SIZE..=16384).contains(&volume.size) {
        return Err(Refusal::new(
            "InvalidBlockDeviceMapping",
            format!(
                "Volume of size {}GB is smaller than snapshot, expect size >= {IMAGE_SIZE}GB",
                volume.size
            ),
        ));
    }
    Ok(volume)
}

/// What an operating system's shutdown does.
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

/// Options of the metadata service, over those that hold now. An image of
/// Amazon Linux 2023 requires tokens unless the launch says otherwise.
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

/// How many instances there is room for.
fn room(call: &mut Call<'_>, launch: &Launch) -> Result<u32> {
    let quota = call.account.vcpus.unwrap_or(VCPUS);
    let in_use: u32 = call
        .region()
        .instances
        .values()
        .filter(|instance| instance.phase.is_up())
        .filter_map(|instance| catalog::instance_type(&instance.instance_type))
        .map(|known| known.vcpus)
        .sum();
    let room = quota.saturating_sub(in_use) / launch.instance_type.vcpus;
    if room < launch.least {
        return Err(Refusal::new(
            "VcpuLimitExceeded",
            format!(
                "You have requested more vCPU capacity than your current vCPU limit of {quota} \
                 allows for the instance bucket that the specified instance type belongs to."
            ),
        ));
    }
    Ok(room.min(launch.most))
}

fn instance(
    call: &mut Call<'_>,
    launch: &Launch,
    reservation: &str,
    index: u32,
) -> Result<Instance> {
    Ok(Instance {
        id: new_id("i"),
        reservation: reservation.to_owned(),
        launch_index: index,
        phase: Phase::Pending,
        since: call.now,
        reason: None,
        instance_type: launch.instance_type.name.to_owned(),
        image: launch.image.id.clone(),
        architecture: launch.image.architecture.to_owned(),
        address: call.free_address()?,
        public: launch.public,
        zone: zone(call.region_name),
        key_name: launch.key.as_ref().map(|pair| pair.name.clone()),
        authorized_keys: launch
            .key
            .iter()
            .map(|pair| pair.public_key.clone())
            .collect(),
        groups: launch.groups.clone(),
        user_data: launch.user_data.clone(),
        tags: launch.tags.clone(),
        launched: call.now,
        token: launch.token.clone(),
        on_shutdown: launch.on_shutdown,
        protected: launch.protected,
        metadata: launch.metadata.clone(),
        volume: Volume {
            id: new_id("vol"),
            ..launch.volume.clone()
        },
        interface: new_id("eni"),
        iam_profile: launch.iam_profile.clone(),
        run: call.run.map(str::to_owned),
    })
}

/// The answer to a launch, the first time and again.
fn reservation(call: &mut Call<'_>, id: &str) -> Xml {
    let mut launched: Vec<Instance> = call
        .region()
        .instances
        .values()
        .filter(|instance| instance.reservation == id)
        .cloned()
        .collect();
    launched.sort_by_key(|instance| instance.launch_index);
    let mut xml = Xml::default();
    xml.text("reservationId", id);
    xml.text("ownerId", &call.facts.account);
    xml.texts("groupSet", [] as [&str; 0]);
    xml.list("instancesSet", launched, |xml, instance| {
        write_instance(xml, call, &instance);
    });
    xml
}
