//! Reads and checks the parameters of `RunInstances`. Actions that change an
//! instance later share the functions for some of them.

use std::net::Ipv4Addr;

use super::addresses::wanted_address;
use super::block_devices::{Mapping, mappings};
use super::call::Call;
use super::credits::credits;
use super::images::{Image, resolve_image_for};
use super::instance_types::{InstanceType, instance_type};
use super::network::{Sought, subnet_of, zone_of_launch};
use super::network_interfaces::MAX_GROUPS;
use super::options::{Options, read_interface};
use super::own_images::check_available;
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::regions::zones;
use super::state::{InstanceProfile, KeyPair, MetadataOptions, OnShutdown, Tags};
use super::user_data::user_data;
use super::vpc::state::Subnet;
use super::{groups, instance_profiles, spot, tags};

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
    /// The volumes, the root volume first.
    pub(super) volumes: Vec<Mapping>,
    /// The tags of each volume.
    pub(super) volume_tags: Tags,
    pub(super) options: Options,
    /// The private address that the request names.
    pub(super) address: Option<Ipv4Addr>,
    pub(super) on_shutdown: OnShutdown,
    pub(super) protected: bool,
    pub(super) metadata: MetadataOptions,
    pub(super) public: bool,
    pub(super) subnet: Subnet,
    pub(super) iam_profile: Option<InstanceProfile>,
    pub(super) cpu_credits: Option<String>,
    pub(super) spot: bool,
    pub(super) token: Option<String>,
}

pub(super) fn read(
    call: &mut Call<'_>,
    request: &Part<'_>,
    token: Option<String>,
) -> Result<Launch> {
    let (min_count, max_count) = counts(request)?;
    let name = request.text("InstanceType").unwrap_or("m1.small");
    let lent = || {
        let region = call.known()?;
        region.lent_types.get(name)?.instance_type()
    };
    let known = instance_type(name).or_else(lent);
    let architecture = known.map_or("x86_64", |known| known.architecture);
    let image = resolve_image_for(call, request.required("ImageId")?, architecture)?;
    check_available(&image)?;
    let instance_type = known.ok_or_else(|| {
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
    if image.virtualization() != "hvm" {
        return Err(Refusal::new(
            "InvalidParameterCombination",
            format!(
                "Virtualization type 'hvm' is required for instances of type '{name}'. Ensure \
                 that you are using an AMI with virtualization type 'hvm'."
            ),
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
    let zone = zone_of_launch(call, &request.part("Placement"))?;
    let mut options = Options::read(request, instance_type)?;
    if let Some(interface) = request.parts("NetworkInterface").first() {
        options.interface = read_interface(interface)?;
    }
    options.interface_tags = tags::specified(request, &kinds, "network-interface")?;
    let cpu_credits = credits(request, instance_type)?;
    let iam_profile = instance_profiles::of_launch(call, request)?;
    let spot = spot::is_wanted(request)?;
    let sought = Sought {
        instance_type: name,
        count: min_count,
        spot,
    };
    let (public, subnet, groups) = network(call, request, zone.as_deref(), sought)?;
    if let Some(zone) = zone.filter(|zone| *zone != subnet.zone) {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!("Invalid availability zone: [{zone}]"),
        ));
    }
    check_offered(call, name, &subnet.zone)?;
    Ok(Launch {
        min_count,
        max_count,
        key: key(call, request)?,
        groups,
        user_data: user_data(request)?,
        tags,
        volumes: mappings(call, request, &image)?,
        volume_tags,
        address: address(call, request, &subnet, max_count)?,
        on_shutdown: on_shutdown(request.text("InstanceInitiatedShutdownBehavior"))?,
        protected: request.flag("DisableApiTermination")?.unwrap_or(false),
        metadata: metadata(&request.part("MetadataOptions"), default_metadata(&image))?,
        options,
        public,
        subnet,
        iam_profile,
        cpu_credits,
        spot,
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

/// Refuses an instance type that the zone of the launch does not offer.
fn check_offered(call: &Call<'_>, name: &str, zone: &str) -> Result<()> {
    if call.account.offers(name, zone) {
        return Ok(());
    }
    let others = zones(call.region_name).into_iter().map(|zone| zone.name);
    let others = others.filter(|other| call.account.offers(name, other));
    let others: Vec<String> = others.collect();
    let mut message = format!(
        "Your requested instance type ({name}) is not supported in your requested Availability \
         Zone ({zone})."
    );
    if !others.is_empty() {
        message.push_str(
            " Please retry your request by not specifying an Availability Zone or choosing ",
        );
        message.push_str(&others.join(", "));
        message.push('.');
    }
    Err(Refusal::new("Unsupported", message))
}

/// Returns whether the instance has a public address, its subnet, and the ids of
/// its groups.
/// A request contains the groups either at the top level or in its network
/// interface, not in both places.
fn network(
    call: &mut Call<'_>,
    request: &Part<'_>,
    zone: Option<&str>,
    sought: Sought<'_>,
) -> Result<(bool, Subnet, Vec<String>)> {
    let interfaces = request.parts("NetworkInterface");
    if interfaces.len() > 1 {
        return Err(Refusal::new(
            "UnsupportedOperation",
            "Instances of the local cloud have one network interface",
        ));
    }
    let mut ids: Vec<String> = Vec::new();
    let mut public = None;
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
        subnet = interface.text("SubnetId");
        public = interface.flag("AssociatePublicIpAddress")?;
        ids.extend(
            interface
                .list("SecurityGroupId")
                .into_iter()
                .map(str::to_owned),
        );
    }
    let subnet = subnet_of(call, subnet, zone, sought)?;
    if ids.is_empty() {
        ids.extend(groups::default_of(call, &subnet.vpc));
    }
    for id in &ids {
        if groups::find(call, id)?.vpc != subnet.vpc {
            return Err(Refusal::new(
                "InvalidParameter",
                format!(
                    "Security group {id} and subnet {} belong to different networks.",
                    subnet.id
                ),
            ));
        }
    }
    if ids.len() > MAX_GROUPS {
        return Err(Refusal::new(
            "SecurityGroupsPerInterfaceLimitExceeded",
            "The maximum number of security groups per interface has been reached.",
        ));
    }
    Ok((public.unwrap_or(subnet.map_public_ip), subnet, ids))
}

/// Returns the private address that a request names, if it names one.
fn address(
    call: &Call<'_>,
    request: &Part<'_>,
    subnet: &Subnet,
    max_count: u32,
) -> Result<Option<Ipv4Addr>> {
    let interfaces = request.parts("NetworkInterface");
    let interface = interfaces.first();
    let mut named = vec![request.text("PrivateIpAddress")];
    named.push(interface.and_then(|interface| interface.text("PrivateIpAddress")));
    for one in interface.map_or_else(Vec::new, |i| i.parts("PrivateIpAddresses")) {
        if !one.flag("Primary")?.unwrap_or(false) {
            return Err(Refusal::new(
                "UnsupportedOperation",
                "Network interfaces of the local cloud have no secondary private addresses",
            ));
        }
        named.push(one.text("PrivateIpAddress"));
    }
    let mut named = named.into_iter().flatten();
    let Some(text) = named.next() else {
        return Ok(None);
    };
    if max_count > 1 || named.next().is_some() {
        return Err(Refusal::new(
            "InvalidParameterCombination",
            "A launch with a private IP address is a launch of one instance with one such \
             address",
        ));
    }
    wanted_address(call.state, call.facts.subnet, subnet, text).map(Some)
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

/// Returns the options of the metadata service without options in the launch.
fn default_metadata(image: &Image) -> MetadataOptions {
    let tokens_required = image.imds().is_some();
    MetadataOptions {
        tokens_required,
        enabled: true,
        tags: false,
        hop_limit: if tokens_required { 2 } else { 1 },
        ipv6: false,
    }
}

/// Returns these options of the metadata service, changed by the request.
pub(super) fn metadata(part: &Part<'_>, mut options: MetadataOptions) -> Result<MetadataOptions> {
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
    if !(1..=64).contains(&options.hop_limit) {
        return Err(Refusal::value(
            "HttpPutResponseHopLimit",
            &options.hop_limit.to_string(),
            "Expected a value from 1 to 64.",
        ));
    }
    options.ipv6 = choice("HttpProtocolIpv6", "enabled", "disabled")?.unwrap_or(options.ipv6);
    Ok(options)
}
