//! What the local cloud offers: regions, zones, instance types and images.

use sha2::{Digest as _, Sha256};

use super::call::Call;
use super::filters::{Filtered, Filters, page};
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::xml::Xml;
use crate::signature::hex;

/// The regions that every AWS account has switched on.
pub(super) const REGIONS: [&str; 17] = [
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ca-central-1",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
];

/// An id that is the same for the same words, as `ami-0123..`.
pub(super) fn stable_id(prefix: &str, words: &[&str]) -> String {
    let digest = hex(&Sha256::digest(words.join("/").as_bytes()));
    format!("{prefix}-{}", &digest[..17])
}

/// An instance type.
#[derive(Clone, Copy, Debug)]
pub(super) struct InstanceType {
    pub(super) name: &'static str,
    pub(super) architecture: &'static str,
    pub(super) vcpus: u32,
    pub(super) mebibytes: u32,
    free_tier: bool,
    pub(super) nitro: bool,
}

const fn intel(name: &'static str, vcpus: u32, mebibytes: u32) -> InstanceType {
    InstanceType {
        name,
        architecture: "x86_64",
        vcpus,
        mebibytes,
        free_tier: false,
        nitro: true,
    }
}

const fn arm(name: &'static str, vcpus: u32, mebibytes: u32) -> InstanceType {
    InstanceType {
        architecture: "arm64",
        ..intel(name, vcpus, mebibytes)
    }
}

const fn free(instance_type: InstanceType) -> InstanceType {
    InstanceType {
        free_tier: true,
        ..instance_type
    }
}

const fn xen(instance_type: InstanceType) -> InstanceType {
    InstanceType {
        nitro: false,
        ..instance_type
    }
}

/// A choice of AWS's types; sizes from their public descriptions.
const TYPES: [InstanceType; 28] = [
    xen(intel("t2.nano", 1, 512)),
    free(xen(intel("t2.micro", 1, 1024))),
    xen(intel("t2.small", 1, 2048)),
    xen(intel("t2.medium", 2, 4096)),
    intel("t3.nano", 2, 512),
    free(intel("t3.micro", 2, 1024)),
    free(intel("t3.small", 2, 2048)),
    intel("t3.medium", 2, 4096),
    intel("t3.large", 2, 8192),
    intel("t3.xlarge", 4, 16384),
    intel("t3.2xlarge", 8, 32768),
    intel("t3a.micro", 2, 1024),
    intel("t3a.small", 2, 2048),
    arm("t4g.nano", 2, 512),
    free(arm("t4g.micro", 2, 1024)),
    free(arm("t4g.small", 2, 2048)),
    arm("t4g.medium", 2, 4096),
    intel("m5.large", 2, 8192),
    intel("m5.xlarge", 4, 16384),
    intel("m6i.large", 2, 8192),
    intel("m7i.large", 2, 8192),
    arm("m7g.medium", 1, 4096),
    arm("m7g.large", 2, 8192),
    intel("c5.large", 2, 4096),
    intel("c6i.large", 2, 4096),
    intel("c7i.large", 2, 4096),
    arm("c7g.large", 2, 4096),
    intel("r6i.large", 2, 16384),
];

/// The type of this name.
pub(super) fn instance_type(name: &str) -> Option<InstanceType> {
    TYPES.into_iter().find(|known| known.name == name)
}

impl Filtered for InstanceType {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let one = match name {
            "instance-type" => self.name.to_owned(),
            "free-tier-eligible" => self.free_tier.to_string(),
            "processor-info.supported-architecture" => self.architecture.to_owned(),
            "vcpu-info.default-vcpus" | "vcpu-info.default-cores" => self.vcpus.to_string(),
            "memory-info.size-in-mib" => self.mebibytes.to_string(),
            "current-generation" => self.nitro.to_string(),
            "bare-metal" | "hibernation-supported" | "instance-storage-supported" => {
                "false".to_owned()
            }
            "burstable-performance-supported" => self.name.starts_with('t').to_string(),
            "hypervisor" => self.hypervisor().to_owned(),
            "supported-usage-class" => "on-demand".to_owned(),
            "supported-root-device-type" => "ebs".to_owned(),
            "supported-virtualization-type" => "hvm".to_owned(),
            _ => return None,
        };
        Some(vec![one])
    }
}

impl InstanceType {
    fn hypervisor(self) -> &'static str {
        if self.nitro { "nitro" } else { "xen" }
    }

    fn write(self, xml: &mut Xml) {
        xml.text("instanceType", self.name);
        xml.text("currentGeneration", self.nitro);
        xml.text("freeTierEligible", self.free_tier);
        xml.texts("supportedUsageClasses", ["on-demand"]);
        xml.texts("supportedRootDeviceTypes", ["ebs"]);
        xml.texts("supportedVirtualizationTypes", ["hvm"]);
        xml.text("bareMetal", false);
        xml.text("hypervisor", self.hypervisor());
        xml.node("processorInfo", |xml| {
            xml.texts("supportedArchitectures", [self.architecture]);
        });
        xml.node("vCpuInfo", |xml| {
            xml.text("defaultVCpus", self.vcpus);
            xml.text("defaultCores", self.vcpus);
            xml.text("defaultThreadsPerCore", 1);
        });
        xml.node("memoryInfo", |xml| xml.text("sizeInMiB", self.mebibytes));
        xml.text("instanceStorageSupported", false);
        xml.text("hibernationSupported", false);
        xml.text("burstablePerformanceSupported", self.name.starts_with('t'));
    }
}

/// A machine image. All of them boot what this computer runs.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) id: String,
    name: String,
    description: String,
    owner: &'static str,
    pub(super) owner_alias: &'static str,
    pub(super) architecture: &'static str,
    created: &'static str,
    pub(super) platform: &'static str,
}

/// The root device of every image.
pub(super) const ROOT_DEVICE: &str = "/dev/xvda";
/// The size of every image in GiB.
pub(super) const IMAGE_SIZE: u32 = 8;

/// The images of a region: newest and older Amazon Linux, both architectures.
pub(super) fn images(region: &str, system: &str) -> Vec<Image> {
    let releases = [
        ("2023.11.20260825.0-kernel-6.12", "2026-08-25T00:00:00.000Z"),
        ("2023.12.20260930.0-kernel-6.12", "2026-09-30T00:00:00.000Z"),
    ];
    let image = |(release, created): (&str, &'static str), architecture: &'static str| {
        let name = format!("al2023-ami-{release}-{architecture}");
        Image {
            id: stable_id("ami", &[region, &name]),
            description: format!(
                "Amazon Linux 2023 on AWS; in this local cloud an instance of it runs {system}"
            ),
            name,
            owner: "137112412989",
            owner_alias: "amazon",
            architecture,
            created,
            platform: "Linux/UNIX",
        }
    };
    ["x86_64", "arm64"]
        .into_iter()
        .flat_map(|architecture| releases.map(|release| image(release, architecture)))
        .collect()
}

impl Filtered for Image {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let one = match name {
            "image-id" => self.id.clone(),
            "name" => self.name.clone(),
            "description" => self.description.clone(),
            "owner-id" => self.owner.to_owned(),
            "owner-alias" => self.owner_alias.to_owned(),
            "architecture" => self.architecture.to_owned(),
            "state" => "available".to_owned(),
            "is-public" | "ena-support" | "block-device-mapping.delete-on-termination" => {
                "true".to_owned()
            }
            "image-type" => "machine".to_owned(),
            "virtualization-type" => "hvm".to_owned(),
            "root-device-type" => "ebs".to_owned(),
            "root-device-name" | "block-device-mapping.device-name" => ROOT_DEVICE.to_owned(),
            "hypervisor" => "xen".to_owned(),
            "platform-details" => self.platform.to_owned(),
            "creation-date" => self.created.to_owned(),
            "block-device-mapping.volume-type" => "gp3".to_owned(),
            "imds-support" => "v2.0".to_owned(),
            _ => return None,
        };
        Some(vec![one])
    }
}

impl Image {
    fn write(&self, xml: &mut Xml) {
        xml.text("imageId", &self.id);
        xml.text("imageLocation", format!("amazon/{}", self.name));
        xml.text("imageState", "available");
        xml.text("imageOwnerId", self.owner);
        xml.text("imageOwnerAlias", self.owner_alias);
        xml.text("creationDate", self.created);
        xml.text("isPublic", true);
        xml.text("architecture", self.architecture);
        xml.text("imageType", "machine");
        xml.text("platformDetails", self.platform);
        xml.text("usageOperation", "RunInstances");
        xml.text("name", &self.name);
        xml.text("description", &self.description);
        xml.text("rootDeviceType", "ebs");
        xml.text("rootDeviceName", ROOT_DEVICE);
        xml.list("blockDeviceMapping", [()], |xml, ()| {
            xml.text("deviceName", ROOT_DEVICE);
            xml.node("ebs", |xml| {
                xml.text("snapshotId", stable_id("snap", &[&self.id]));
                xml.text("volumeSize", IMAGE_SIZE);
                xml.text("deleteOnTermination", true);
                xml.text("volumeType", "gp3");
                xml.text("encrypted", false);
            });
        });
        xml.text("virtualizationType", "hvm");
        xml.text("hypervisor", "xen");
        xml.text("enaSupport", true);
        xml.text("bootMode", "uefi-preferred");
        xml.text("imdsSupport", "v2.0");
    }
}

/// The image that an id or `resolve:ssm:PARAMETER` names.
pub(super) fn resolve_image(region: &str, system: &str, id: &str) -> Result<Image> {
    let images = images(region, system);
    if let Some(parameter) = id.strip_prefix("resolve:ssm:") {
        let architecture = parameter
            .strip_prefix("/aws/service/ami-amazon-linux-latest/al2023-ami-")
            .and_then(|rest| rest.rsplit('-').next());
        return images
            .into_iter()
            .rev()
            .find(|image| Some(image.architecture) == architecture)
            .ok_or_else(|| {
                Refusal::new(
                    "InvalidParameterValue",
                    format!(
                        "Invalid value '{parameter}' for SSM parameter: no such parameter here"
                    ),
                )
            });
    }
    if !is_id("ami", id) {
        return Err(Refusal::new(
            "InvalidAMIID.Malformed",
            format!("Invalid id: \"{id}\" (expecting \"ami-...\")"),
        ));
    }
    images
        .into_iter()
        .find(|image| image.id == id)
        .ok_or_else(|| {
            Refusal::new(
                "InvalidAMIID.NotFound",
                format!("The image id '[{id}]' does not exist"),
            )
        })
}

/// Whether a text is an id of this kind, as `i-0123abcd`.
pub(super) fn is_id(prefix: &str, id: &str) -> bool {
    id.strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|rest| {
            (8..=17).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_hexdigit())
        })
}

pub(super) fn describe_regions(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    struct Region(&'static str);
    impl Filtered for Region {
        fn values(&self, name: &str) -> Option<Vec<String>> {
            match name {
                "region-name" => Some(vec![self.0.to_owned()]),
                "endpoint" => Some(vec![format!("ec2.{}.amazonaws.com", self.0)]),
                "opt-in-status" => Some(vec!["opt-in-not-required".to_owned()]),
                _ => None,
            }
        }
    }
    let names = request.list("RegionName");
    request.flag("AllRegions")?;
    if let Some(name) = names.iter().find(|name| !REGIONS.contains(name)) {
        return Err(Refusal::value("region", name, "No such region."));
    }
    let wanted = REGIONS
        .into_iter()
        .filter(|region| names.is_empty() || names.contains(region));
    let regions = Filters::of(request)?.keep(wanted.map(Region).collect())?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("regionInfo", regions, |xml, Region(name)| {
        xml.text("regionName", name);
        xml.text("regionEndpoint", format!("ec2.{name}.amazonaws.com"));
        xml.text("optInStatus", "opt-in-not-required");
    });
    Ok(xml)
}

pub(super) fn describe_availability_zones(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    struct Zone<'a>(&'a str, String);
    impl Filtered for Zone<'_> {
        fn values(&self, name: &str) -> Option<Vec<String>> {
            match name {
                "zone-name" => Some(vec![self.1.clone()]),
                "region-name" | "group-name" => Some(vec![self.0.to_owned()]),
                "state" => Some(vec!["available".to_owned()]),
                "zone-type" => Some(vec!["availability-zone".to_owned()]),
                "opt-in-status" => Some(vec!["opt-in-not-required".to_owned()]),
                _ => None,
            }
        }
    }
    let names = request.list("ZoneName");
    request.flag("AllAvailabilityZones")?;
    let region = call.region_name;
    let zones = ["a", "b", "c"].map(|letter| Zone(region, format!("{region}{letter}")));
    let wanted = zones
        .into_iter()
        .filter(|zone| names.is_empty() || names.contains(&zone.1.as_str()));
    let zones = Filters::of(request)?.keep(wanted.collect())?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("availabilityZoneInfo", zones, |xml, Zone(region, name)| {
        xml.text("zoneName", &name);
        xml.text("zoneState", "available");
        xml.text("regionName", region);
        xml.text("zoneId", name.replace('-', ""));
        xml.text("groupName", region);
        xml.text("networkBorderGroup", region);
        xml.text("zoneType", "availability-zone");
        xml.text("optInStatus", "opt-in-not-required");
    });
    Ok(xml)
}

pub(super) fn describe_instance_types(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let names = request.list("InstanceType");
    if let Some(name) = names.iter().find(|name| instance_type(name).is_none()) {
        return Err(Refusal::new(
            "InvalidInstanceType",
            format!("The following supplied instance types do not exist: [{name}]"),
        ));
    }
    let wanted = TYPES
        .into_iter()
        .filter(|known| names.is_empty() || names.contains(&known.name));
    let types = Filters::of(request)?.keep(wanted.collect())?;
    let (types, next) = page(request, types, 5)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("instanceTypeSet", types, |xml, known| known.write(xml));
    xml.option("nextToken", next);
    Ok(xml)
}

pub(super) fn describe_instance_type_offerings(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    struct Offering(&'static str, String);
    impl Filtered for Offering {
        fn values(&self, name: &str) -> Option<Vec<String>> {
            match name {
                "instance-type" => Some(vec![self.0.to_owned()]),
                "location" => Some(vec![self.1.clone()]),
                _ => None,
            }
        }
    }
    let kind = request.text("LocationType").unwrap_or("region");
    let region = call.region_name;
    let locations = match kind {
        "region" => vec![region.to_owned()],
        "availability-zone" => ["a", "b", "c"].map(|z| format!("{region}{z}")).to_vec(),
        other => return Err(Refusal::value("LocationType", other, "Not known here.")),
    };
    let all = locations
        .iter()
        .flat_map(|place| TYPES.map(|known| Offering(known.name, place.clone())));
    let offerings = Filters::of(request)?.keep(all.collect())?;
    let (offerings, next) = page(request, offerings, 5)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("instanceTypeOfferingSet", offerings, |xml, offering| {
        xml.text("instanceType", offering.0);
        xml.text("locationType", kind);
        xml.text("location", &offering.1);
    });
    xml.option("nextToken", next);
    Ok(xml)
}

pub(super) fn describe_images(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let ids = request.list("ImageId");
    let owners = request.list("Owner");
    request.list("ExecutableBy");
    request.flag("IncludeDeprecated")?;
    request.flag("IncludeDisabled")?;
    for id in &ids {
        resolve_image(call.region_name, &call.facts.system, id)?;
    }
    let wanted = images(call.region_name, &call.facts.system)
        .into_iter()
        .filter(|image| ids.is_empty() || ids.contains(&image.id.as_str()))
        .filter(|image| {
            owners.is_empty()
                || owners.contains(&image.owner)
                || owners.contains(&image.owner_alias)
        });
    let images = Filters::of(request)?.keep(wanted.collect())?;
    let (images, next) = page(request, images, 1)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("imagesSet", images, |xml, image| image.write(xml));
    xml.option("nextToken", next);
    Ok(xml)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_names_the_newest_image() {
        let newest = resolve_image(
            "eu-central-1",
            "Debian",
            "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64",
        )
        .unwrap();
        assert!(newest.name.contains("20260930"), "{newest:?}");
        assert_eq!(newest.architecture, "x86_64");
        let again = resolve_image("eu-central-1", "Debian", &newest.id).unwrap();
        assert_eq!(again.name, newest.name);
        assert_ne!(
            resolve_image("us-east-1", "Debian", &newest.id)
                .unwrap_err()
                .code,
            "",
            "an image's id holds in one region"
        );
    }

    #[test]
    fn ids_have_their_form() {
        assert!(is_id("i", "i-0123456789abcdef0"));
        assert!(!is_id("i", "i-xyz"));
        assert!(!is_id("ami", "i-0123456789abcdef0"));
    }
}
