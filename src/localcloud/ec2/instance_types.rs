//! Instance types: the usual families of AWS's types.
//!
//! `instance_types.json` has what AWS's `DescribeInstanceTypes` returned for them in
//! 2026, by the names on the wire. What the types of a family have in common is
//! written once. Only `freeTierEligible` depends on the account: it is that of
//! accounts created since July 2025.

use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::call::Call;
use super::filters::{Filtered, Filters, page};
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::regions::zones;
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
    /// All that AWS says about the type.
    pub(super) facts: &'static Value,
}

/// The types of a family: what they have in common, and the rest of each of them.
#[derive(Deserialize)]
struct Family {
    common: Map<String, Value>,
    sizes: Vec<Map<String, Value>>,
}

/// Returns all types.
fn types() -> &'static [InstanceType] {
    static TYPES: OnceLock<Vec<InstanceType>> = OnceLock::new();
    TYPES.get_or_init(|| {
        // A test parses the file.
        let families: Vec<Family> =
            serde_json::from_str(include_str!("instance_types.json")).unwrap_or_default();
        let mut all = Vec::new();
        for Family { common, sizes } in families {
            for size in sizes {
                let mut facts = common.clone();
                merge(&mut facts, size);
                all.push(Value::Object(facts));
            }
        }
        // The types live as long as the program.
        let all: &'static [Value] = all.leak();
        all.iter().map(InstanceType::of).collect()
    })
}

/// Adds the members of `other`, also inside of members that both have.
fn merge(into: &mut Map<String, Value>, other: Map<String, Value>) {
    for (name, value) in other {
        match (into.get_mut(&name), value) {
            (Some(Value::Object(inner)), Value::Object(value)) => merge(inner, value),
            (_, value) => {
                into.insert(name, value);
            }
        }
    }
}

/// Returns the type with this name.
pub(super) fn instance_type(name: &str) -> Option<InstanceType> {
    types().iter().find(|known| known.name == name).copied()
}

impl Filtered for InstanceType {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        Some(find(self.facts, name))
    }
}

/// Returns the values of the member with a filter's name, for example
/// `vcpu-info.valid-cores` for `vCpuInfo` and `validCores`. A filter has the
/// singular of a list's name.
fn find(value: &Value, name: &str) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(|item| find(item, name)).collect(),
        Value::Object(members) => {
            let (first, rest) = name.split_once('.').unwrap_or((name, ""));
            let wanted = first.replace('-', "");
            let found = members.iter().find(|(member, _)| {
                let member = member.to_ascii_lowercase();
                let plural = member.strip_prefix(&wanted);
                plural.is_some_and(|ending| matches!(ending, "" | "s" | "es"))
            });
            found.map_or_else(Vec::new, |(_, member)| find(member, rest))
        }
        _ if !name.is_empty() => Vec::new(),
        Value::String(text) => vec![text.clone()],
        other => vec![other.to_string()],
    }
}

impl InstanceType {
    fn of(facts: &'static Value) -> Self {
        let number = |pointer: &str| {
            let found = facts.pointer(pointer).and_then(Value::as_u64);
            u32::try_from(found.unwrap_or_default()).unwrap_or(u32::MAX)
        };
        let architectures = facts.pointer("/processorInfo/supportedArchitectures");
        let is_arm = architectures
            .and_then(Value::as_array)
            .is_some_and(|all| all.iter().any(|one| one == "arm64"));
        Self {
            name: facts["instanceType"].as_str().unwrap_or_default(),
            architecture: if is_arm { "arm64" } else { "x86_64" },
            vcpus: number("/vCpuInfo/defaultVCpus"),
            mebibytes: number("/memoryInfo/sizeInMiB"),
            free_tier: facts["freeTierEligible"] == true,
            nitro: facts["hypervisor"] != "xen",
            facts,
        }
    }

    pub(super) fn is_burstable(self) -> bool {
        self.facts["burstablePerformanceSupported"] == true
    }

    /// Returns how many threads a core has.
    pub(super) fn threads(self) -> u32 {
        self.vcpus / self.cores()
    }

    /// Returns how many cores the type has.
    pub(super) fn cores(self) -> u32 {
        let cores = self.facts.pointer("/vCpuInfo/defaultCores");
        let cores = cores.and_then(Value::as_u64).unwrap_or_default();
        u32::try_from(cores).unwrap_or_default().max(1)
    }

    fn write(self, xml: &mut Xml) {
        if let Value::Object(members) = self.facts {
            for (name, value) in members {
                xml.json(name, value);
            }
        }
    }
}

pub(super) fn describe_instance_types(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let names = request.list("InstanceType");
    // Each region has all types.
    request.flag("IncludeUnsupportedInRegion")?;
    let missing: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| instance_type(name).is_none())
        .collect();
    if !missing.is_empty() {
        return Err(Refusal::new(
            "InvalidInstanceType",
            format!(
                "The following supplied instance types do not exist: [{}]",
                missing.join(", ")
            ),
        ));
    }
    let wanted = types()
        .iter()
        .copied()
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
    let locations: Vec<String> = match kind {
        "region" => vec![region.to_owned()],
        "availability-zone" => zones(region).into_iter().map(|zone| zone.name).collect(),
        "availability-zone-id" => zones(region).into_iter().map(|zone| zone.id).collect(),
        "outpost" => Vec::new(),
        other => {
            return Err(Refusal::value(
                "LocationType",
                other,
                "Expected region, availability-zone, availability-zone-id or outpost.",
            ));
        }
    };
    let account = call.account;
    let zones = zones(region);
    let offers = |name: &str, place: &str| {
        let mut here = zones
            .iter()
            .filter(|zone| [region, &*zone.name, &*zone.id].contains(&place));
        here.any(|zone| account.offers(name, &zone.name))
    };
    let all = locations.iter().flat_map(|place| {
        let offered = |known: &&InstanceType| offers(known.name, place);
        let offering = |known: &InstanceType| Offering(known.name, place.clone());
        types().iter().filter(offered).map(offering)
    });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_are_complete() {
        let families: Vec<Family> =
            serde_json::from_str(include_str!("instance_types.json")).unwrap();
        let sizes: usize = families.iter().map(|family| family.sizes.len()).sum();
        assert_eq!(types().len(), sizes);
        for known in types() {
            assert!(known.name.contains('.'), "{known:?}");
            assert!(known.vcpus >= 1 && known.mebibytes >= 512, "{known:?}");
            assert!(known.cores() * known.threads() <= known.vcpus, "{known:?}");
        }
        let burstable = instance_type("t3.micro").unwrap();
        assert!(burstable.is_burstable() && burstable.nitro && burstable.free_tier);
        assert_eq!((burstable.cores(), burstable.threads()), (1, 2));
        let old = instance_type("m1.small").unwrap();
        assert!(!old.nitro && !old.is_burstable() && old.architecture == "x86_64");
        assert_eq!(instance_type("t4g.nano").unwrap().architecture, "arm64");
    }

    #[test]
    fn a_filter_finds_the_member_that_it_names() {
        let known = instance_type("t3.nano").unwrap();
        for (name, values) in [
            ("instance-type", &["t3.nano"][..]),
            ("vcpu-info.default-vcpus", &["2"]),
            ("vcpu-info.valid-threads-per-core", &["1", "2"]),
            ("memory-info.size-in-mib", &["512"]),
            ("supported-usage-class", &["on-demand", "spot"]),
            ("processor-info.supported-architecture", &["x86_64"]),
            ("processor-info.sustained-clock-speed-in-ghz", &["2.5"]),
            ("network-info.ena-support", &["required"]),
            ("bare-metal", &["false"]),
            ("network-info", &[]),
            ("instance-storage-info.disk.count", &[]),
        ] {
            assert_eq!(known.values(name).unwrap(), values, "{name}");
        }
    }
}
