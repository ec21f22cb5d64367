//! Instance types: a selection of AWS's types and their description in answers.

use super::call::Call;
use super::filters::{Filtered, Filters, page};
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::xml::Xml;

/// An instance type.
#[derive(Clone, Copy, Debug)]
pub(super) struct InstanceType {
    pub(super) name: &'static str,
    pub(super) architecture: &'static str,
    pub(super) vcpus: u32,
    pub(super) mebibytes: u32,
    pub(super) free_tier: bool,
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

/// A selection of AWS's types, with the sizes that AWS publishes. The free ones are
/// those of accounts that were created since July 2025.
const TYPES: [InstanceType; 30] = [
    xen(intel("t2.nano", 1, 512)),
    xen(intel("t2.micro", 1, 1024)),
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
    free(intel("m7i-flex.large", 2, 8192)),
    arm("m7g.medium", 1, 4096),
    arm("m7g.large", 2, 8192),
    intel("c5.large", 2, 4096),
    intel("c6i.large", 2, 4096),
    intel("c7i.large", 2, 4096),
    free(intel("c7i-flex.large", 2, 4096)),
    arm("c7g.large", 2, 4096),
    intel("r6i.large", 2, 16384),
];

/// Returns the type with this name.
pub(super) fn instance_type(name: &str) -> Option<InstanceType> {
    TYPES.into_iter().find(|known| known.name == name)
}

impl Filtered for InstanceType {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let one = match name {
            "instance-type" => self.name.to_owned(),
            "free-tier-eligible" => self.free_tier.to_string(),
            "processor-info.supported-architecture" => self.architecture.to_owned(),
            "vcpu-info.default-vcpus" => self.vcpus.to_string(),
            "vcpu-info.default-cores" => self.cores().to_string(),
            "memory-info.size-in-mib" => self.mebibytes.to_string(),
            "current-generation" => self.nitro.to_string(),
            "bare-metal" | "hibernation-supported" | "instance-storage-supported" => {
                "false".to_owned()
            }
            "burstable-performance-supported" => self.is_burstable().to_string(),
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
    pub(super) fn is_burstable(self) -> bool {
        self.name.starts_with('t')
    }

    /// Returns how many threads a core has.
    pub(super) fn threads(self) -> u32 {
        let one = self.architecture == "arm64" || self.name.starts_with("t2.");
        if one { 1 } else { 2 }
    }

    /// Returns how many cores the type has.
    pub(super) fn cores(self) -> u32 {
        self.vcpus / self.threads()
    }

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
            xml.text("defaultCores", self.cores());
            xml.text("defaultThreadsPerCore", self.threads());
        });
        xml.node("memoryInfo", |xml| xml.text("sizeInMiB", self.mebibytes));
        xml.text("instanceStorageSupported", false);
        xml.text("hibernationSupported", false);
        xml.text("burstablePerformanceSupported", self.is_burstable());
    }
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
        other => {
            return Err(Refusal::value(
                "LocationType",
                other,
                "Expected region or availability-zone.",
            ));
        }
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
