//! The default VPC and its subnet, one of each in every region of the account.

use super::call::Call;
use super::elastic_ips;
use super::ids::stable_id;
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::vpc;
use super::vpc::state::{Subnet, Vpc};
use super::xml::Xml;

/// Returns the id of a region's default VPC.
pub(super) fn vpc_id(region: &str) -> String {
    stable_id("vpc", &[region])
}

/// Returns the id of a region's default subnet. The local cloud has one subnet,
/// in the first zone.
pub(super) fn subnet_id(region: &str) -> String {
    stable_id("subnet", &[region])
}

/// Returns the zone of a region's default subnet.
pub(super) fn zone(region: &str) -> String {
    format!("{region}a")
}

/// Whether the account of the run has a default VPC.
pub(super) fn has_default_vpc(call: &Call<'_>) -> bool {
    !call.account.no_default_vpc || has_created(call)
}

/// Whether the default VPC exists and has its default subnet.
pub(super) fn has_default_subnet(call: &Call<'_>) -> bool {
    has_default_vpc(call) && (!call.account.no_default_subnet || has_created(call))
}

/// Whether the run has created what its account lacked.
fn has_created(call: &Call<'_>) -> bool {
    let region = call.state.regions.get(call.region_name);
    let run = call.run.unwrap_or_default();
    region.is_some_and(|region| region.default_vpcs.contains(run))
}

/// Returns the VPC of a request. Without a VPC in the request, the account must
/// have a default VPC.
pub(super) fn vpc_of(call: &mut Call<'_>, vpc: Option<&str>) -> Result<Vpc> {
    match vpc {
        None if !has_default_vpc(call) => Err(Refusal::new(
            "VPCIdNotSpecified",
            "No default VPC for this user",
        )),
        None => vpc::find_vpc(call, &vpc_id(call.region_name)),
        Some(id) => vpc::find_vpc(call, id),
    }
}

/// Returns the subnet of a request. Without a subnet in the request, the account
/// must have a default VPC.
pub(super) fn subnet_of(call: &mut Call<'_>, subnet: Option<&str>) -> Result<Subnet> {
    match subnet {
        None if !has_default_vpc(call) => Err(Refusal::new(
            "VPCIdNotSpecified",
            "No default VPC for this user. GroupName is only supported for EC2-Classic and \
             default VPC.",
        )),
        None if !has_default_subnet(call) => Err(Refusal::new(
            "MissingInput",
            format!(
                "No subnets found for the default VPC '{}'. Please specify a subnet.",
                vpc_id(call.region_name)
            ),
        )),
        None => vpc::find_subnet(call, &subnet_id(call.region_name)),
        Some(id) => vpc::find_subnet(call, id),
    }
}

pub(super) fn create_default_vpc(call: &mut Call<'_>, _request: &Part<'_>) -> Result<Xml> {
    call.read_all()?;
    if has_default_vpc(call) {
        return Err(Refusal::new(
            "DefaultVpcAlreadyExists",
            "A Default VPC already exists for this account in this region.",
        ));
    }
    create_missing(call);
    let vpc = vpc_of(call, None)?;
    let mut xml = Xml::default();
    xml.node("vpc", |xml| {
        vpc::vpcs::write(xml, &vpc, &call.facts.account, "pending");
    });
    Ok(xml)
}

/// Creates the default VPC, with its subnet, in the account of the run.
fn create_missing(call: &mut Call<'_>) {
    let run = call.run.unwrap_or_default().to_owned();
    call.region().default_vpcs.get_mut().insert(run);
}

pub(super) fn create_default_subnet(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let given = request.required("AvailabilityZone")?;
    request.flag("Ipv6Native")?;
    call.read_all()?;
    let zone = zone(call.region_name);
    if given != zone {
        return Err(Refusal::value(
            "availabilityZone",
            given,
            &format!("The local cloud has a subnet in {zone} only."),
        ));
    }
    if !has_default_vpc(call) {
        return Err(Refusal::new(
            "DefaultVpcDoesNotExist",
            "No default VPC exists for this account in this region.",
        ));
    }
    if has_default_subnet(call) {
        let subnet = subnet_id(call.region_name);
        return Err(Refusal::new(
            "DefaultSubnetAlreadyExistsInAvailabilityZone",
            format!("'{subnet}' is already the default subnet in {zone}."),
        ));
    }
    create_missing(call);
    let subnet = subnet_of(call, None)?;
    let mut xml = Xml::default();
    xml.node("subnet", |xml| vpc::subnets::write(xml, call, &subnet));
    Ok(xml)
}

pub(super) fn describe_account_attributes(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let names = request.list("AttributeName");
    call.read_all()?;
    let default_vpc = if has_default_vpc(call) {
        vpc_id(call.region_name)
    } else {
        "none".to_owned()
    };
    let all = [
        ("supported-platforms", "VPC".to_owned()),
        ("default-vpc", default_vpc),
        (
            "max-instances",
            call.facts.subnet.hosts().count().to_string(),
        ),
        ("vpc-max-security-groups-per-interface", "5".to_owned()),
        ("max-elastic-ips", elastic_ips::QUOTA.to_string()),
        ("vpc-max-elastic-ips", elastic_ips::QUOTA.to_string()),
    ];
    let wanted = all
        .into_iter()
        .filter(|(name, _)| names.is_empty() || names.contains(name));
    let mut xml = Xml::default();
    xml.list("accountAttributeSet", wanted, |xml, (name, value)| {
        xml.text("attributeName", name);
        xml.list("attributeValueSet", [value], |xml, value| {
            xml.text("attributeValue", value);
        });
    });
    Ok(xml)
}
