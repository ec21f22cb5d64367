//! The regions and their availability zones, with AWS's names and ids.

use super::call::Call;
use super::filters::{Filtered, Filters};
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::xml::Xml;

/// A region: its name, the beginning of its zones' ids, its long name, and for each
/// zone the letter and the number of the id. On AWS, each account has its own
/// numbers for the letters; these are the numbers of one account.
type Row = (&'static str, &'static str, &'static str, &'static str);

/// The regions that are enabled in every AWS account.
#[rustfmt::skip]
const ROWS: [Row; 17] = [
    ("ap-northeast-1", "apne1", "Asia Pacific (Tokyo)", "a4 c1 d2"),
    ("ap-northeast-2", "apne2", "Asia Pacific (Seoul)", "a1 b2 c3 d4"),
    ("ap-northeast-3", "apne3", "Asia Pacific (Osaka)", "a1 b2 c3"),
    ("ap-south-1", "aps1", "Asia Pacific (Mumbai)", "a1 b3 c2"),
    ("ap-southeast-1", "apse1", "Asia Pacific (Singapore)", "a1 b2 c3"),
    ("ap-southeast-2", "apse2", "Asia Pacific (Sydney)", "a1 b3 c2"),
    ("ca-central-1", "cac1", "Canada (Central)", "a1 b2 d4"),
    ("eu-central-1", "euc1", "Europe (Frankfurt)", "a2 b3 c1"),
    ("eu-north-1", "eun1", "Europe (Stockholm)", "a1 b2 c3"),
    ("eu-west-1", "euw1", "Europe (Ireland)", "a3 b1 c2"),
    ("eu-west-2", "euw2", "Europe (London)", "a2 b3 c1"),
    ("eu-west-3", "euw3", "Europe (Paris)", "a1 b2 c3"),
    ("sa-east-1", "sae1", "South America (Sao Paulo)", "a1 b2 c3"),
    ("us-east-1", "use1", "US East (N. Virginia)", "a6 b1 c2 d4 e3 f5"),
    ("us-east-2", "use2", "US East (Ohio)", "a1 b2 c3"),
    ("us-west-1", "usw1", "US West (N. California)", "a3 b1"),
    ("us-west-2", "usw2", "US West (Oregon)", "a2 b1 c3 d4"),
];

/// The regions that an account has to enable. The local cloud's has not.
const NOT_OPTED_IN: [&str; 17] = [
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-south-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-west-1",
    "eu-central-2",
    "eu-south-1",
    "eu-south-2",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
];

/// Whether the local cloud has a region.
pub(super) fn has_region(name: &str) -> bool {
    ROWS.iter().any(|(known, ..)| *known == name)
}

/// An availability zone.
#[derive(Clone, Debug)]
pub(super) struct Zone {
    pub(super) name: String,
    pub(super) id: String,
    region: &'static str,
    long_name: &'static str,
}

/// Returns the zones of a region.
pub(super) fn zones(region: &str) -> Vec<Zone> {
    let Some((region, prefix, long_name, zones)) = ROWS.iter().find(|(name, ..)| *name == region)
    else {
        return Vec::new();
    };
    let zone = |text: &str| {
        let (letter, number) = text.split_at(1);
        Zone {
            name: format!("{region}{letter}"),
            id: format!("{prefix}-az{number}"),
            region,
            long_name,
        }
    };
    zones.split(' ').map(zone).collect()
}

/// Returns the id of a zone.
pub(super) fn zone_id(name: &str) -> String {
    let region = name.get(..name.len().saturating_sub(1)).unwrap_or_default();
    let zone = zones(region).into_iter().find(|zone| zone.name == name);
    zone.map(|zone| zone.id).unwrap_or_default()
}

/// Returns the name of the zone with this name or id.
pub(super) fn zone_named(call: &Call<'_>, given: &str) -> Result<String> {
    let zone = zones(call.region_name)
        .into_iter()
        .find(|zone| zone.name == given || zone.id == given);
    zone.map(|zone| zone.name).ok_or_else(|| {
        Refusal::new(
            "InvalidZone.NotFound",
            format!("The zone '{given}' does not exist."),
        )
    })
}

pub(super) fn describe_regions(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    struct Region(&'static str, &'static str);
    impl Filtered for Region {
        fn values(&self, name: &str) -> Option<Vec<String>> {
            match name {
                "region-name" => Some(vec![self.0.to_owned()]),
                "endpoint" => Some(vec![format!("ec2.{}.amazonaws.com", self.0)]),
                "opt-in-status" => Some(vec![self.1.to_owned()]),
                _ => None,
            }
        }
    }
    let names = request.list("RegionName");
    let all = request.flag("AllRegions")?.unwrap_or(false);
    let is_enabled = |name: &str| has_region(name) && !call.account.disables(name);
    let regions = ROWS.iter().map(|row| row.0).chain(NOT_OPTED_IN);
    let mut known: Vec<Region> = regions
        .map(|name| {
            let status = if is_enabled(name) {
                "opt-in-not-required"
            } else {
                "not-opted-in"
            };
            Region(name, status)
        })
        .collect();
    known.sort_by_key(|region| region.0);
    if let Some(name) = names
        .iter()
        .find(|name| !known.iter().any(|region| region.0 == **name))
    {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!("Invalid region provided: [{name}]"),
        ));
    }
    known.retain(|region| {
        let asked = names.contains(&region.0);
        asked || (names.is_empty() && (all || is_enabled(region.0)))
    });
    let regions = Filters::of(request)?.keep(known)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("regionInfo", regions, |xml, Region(name, status)| {
        xml.text("regionName", name);
        xml.text("regionEndpoint", format!("ec2.{name}.amazonaws.com"));
        xml.text("optInStatus", status);
        write_geography(xml, "geographySet", geography(name));
    });
    Ok(xml)
}

impl Zone {
    /// Returns the name of the zone group. The zones of a region are one group.
    fn group(&self) -> String {
        format!("{}-zg-1", self.region)
    }

    fn group_long_name(&self) -> String {
        format!("{} 1", self.long_name)
    }
}

impl Filtered for Zone {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let one = match name {
            "zone-name" => self.name.clone(),
            "zone-id" => self.id.clone(),
            "region-name" => self.region.to_owned(),
            "group-name" => self.group(),
            "group-long-name" => self.group_long_name(),
            "state" => "available".to_owned(),
            "zone-type" => "availability-zone".to_owned(),
            "opt-in-status" => "opt-in-not-required".to_owned(),
            _ => return None,
        };
        Some(vec![one])
    }
}

pub(super) fn describe_availability_zones(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let (names, ids) = (request.list("ZoneName"), request.list("ZoneId"));
    request.flag("AllAvailabilityZones")?;
    let mut known = zones(call.region_name);
    let has = |given: &str| {
        known
            .iter()
            .any(|zone| zone.name == given || zone.id == given)
    };
    if let Some(given) = names.iter().chain(&ids).find(|given| !has(given)) {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!("Invalid availability zone: [{given}]"),
        ));
    }
    known.retain(|zone| {
        (names.is_empty() || names.contains(&zone.name.as_str()))
            && (ids.is_empty() || ids.contains(&zone.id.as_str()))
    });
    let zones = Filters::of(request)?.keep(known)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("availabilityZoneInfo", zones, |xml, zone| {
        xml.text("zoneName", &zone.name);
        xml.text("zoneState", "available");
        xml.text("regionName", zone.region);
        xml.texts("messageSet", [] as [&str; 0]);
        xml.text("zoneId", &zone.id);
        xml.text("groupName", zone.group());
        xml.text("groupLongName", zone.group_long_name());
        xml.text("networkBorderGroup", zone.region);
        xml.text("zoneType", "availability-zone");
        xml.text("optInStatus", "opt-in-not-required");
        write_geography(xml, "geographySet", geography(zone.region));
        write_geography(xml, "subGeographySet", sub_geography(zone.region));
    });
    Ok(xml)
}

/// Writes the names of places.
fn write_geography(xml: &mut Xml, name: &str, place: Option<&str>) {
    if place.is_some() {
        xml.list(name, place, |xml, place| xml.text("name", place));
    }
}

/// Returns the country of a region, as AWS's list of regions names it.
fn geography(region: &str) -> Option<&'static str> {
    Some(match region {
        "af-south-1" => "South Africa",
        "ap-east-1" => "Hong Kong",
        "ap-east-2" => "Taiwan",
        "ap-northeast-1" | "ap-northeast-3" => "Japan",
        "ap-northeast-2" => "South Korea",
        "ap-south-1" | "ap-south-2" => "India",
        "ap-southeast-1" => "Singapore",
        "ap-southeast-2" | "ap-southeast-4" => "Australia",
        "ap-southeast-3" => "Indonesia",
        "ap-southeast-5" => "Malaysia",
        "ap-southeast-6" => "New Zealand",
        "ap-southeast-7" => "Thailand",
        "ca-central-1" | "ca-west-1" => "Canada",
        "eu-central-1" => "Germany",
        "eu-central-2" => "Switzerland",
        "eu-north-1" => "Sweden",
        "eu-south-1" => "Italy",
        "eu-south-2" => "Spain",
        "eu-west-1" => "Ireland",
        "eu-west-2" => "United Kingdom",
        "eu-west-3" => "France",
        "il-central-1" => "Israel",
        "me-central-1" => "United Arab Emirates",
        "me-south-1" => "Bahrain",
        "mx-central-1" => "Mexico",
        "sa-east-1" => "Brazil",
        _ if region.starts_with("us-") => "United States of America",
        _ => return None,
    })
}

/// Returns the state of a region in the United States.
fn sub_geography(region: &str) -> Option<&'static str> {
    Some(match region {
        "us-east-1" => "Virginia",
        "us-east-2" => "Ohio",
        "us-west-1" => "California",
        "us-west-2" => "Oregon",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_have_the_ids_of_aws() {
        let all = zones("us-east-1");
        assert_eq!((&*all[0].name, &*all[0].id), ("us-east-1a", "use1-az6"));
        assert_eq!(all.len(), 6);
        assert_eq!(zone_id("ap-northeast-1c"), "apne1-az1");
        assert_eq!(zone_id("eu-west-1z"), "");
        for (region, ..) in ROWS {
            assert!(zones(region).len() >= 2, "{region}");
            assert_eq!(zones(region)[0].name, format!("{region}a"));
        }
        for region in ROWS.iter().map(|row| row.0).chain(NOT_OPTED_IN) {
            assert!(geography(region).is_some(), "{region}");
        }
    }
}
