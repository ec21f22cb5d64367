//! The regions and their availability zones.

use super::call::Call;
use super::filters::{Filtered, Filters};
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::xml::Xml;

/// The regions that are enabled in every AWS account.
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

/// Returns the names of a region's zones.
fn zone_names(region: &str) -> [String; 3] {
    ["a", "b", "c"].map(|letter| format!("{region}{letter}"))
}

/// Returns the id of a zone.
pub(super) fn zone_id(name: &str) -> String {
    name.replace('-', "")
}

/// Returns the name of the zone with this name or id.
pub(super) fn zone_named(call: &Call<'_>, given: &str) -> Result<String> {
    zone_names(call.region_name)
        .into_iter()
        .find(|name| name == given || zone_id(name) == given)
        .ok_or_else(|| {
            Refusal::new(
                "InvalidZone.NotFound",
                format!("The zone '{given}' does not exist."),
            )
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
        return Err(Refusal::value(
            "region",
            name,
            "The local cloud does not have this region.",
        ));
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
    let zones = zone_names(region).map(|name| Zone(region, name));
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
        xml.text("zoneId", zone_id(&name));
        xml.text("groupName", region);
        xml.text("networkBorderGroup", region);
        xml.text("zoneType", "availability-zone");
        xml.texts("messageSet", [] as [&str; 0]);
        xml.text("optInStatus", "opt-in-not-required");
    });
    Ok(xml)
}
