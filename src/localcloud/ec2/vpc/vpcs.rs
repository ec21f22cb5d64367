//! VPCs: create, delete, describe, and their attributes.

use super::super::call::Call;
use super::super::filters::{Filtered, Filters, page_after};
use super::super::groups;
use super::super::ids::{VPC, new_id, stable_id};
use super::super::params::Part;
use super::super::refusal::{Refusal, Result};
use super::super::state::Tags;
use super::super::tags;
use super::super::xml::Xml;
use super::dhcp_options;
use super::state::{RouteTable, Vpc};
use super::{
    MAX_VPCS, cidr, find_vpc, has_valid_size, in_use, is_hidden, may_be_used, refuse, unsupported,
};

/// A VPC and its owner.
struct Owned {
    vpc: Vpc,
    owner: String,
}

impl Filtered for Owned {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let vpc = &self.vpc;
        let one = match name {
            "vpc-id" => vpc.id.clone(),
            "cidr" | "cidr-block" | "cidrBlock" | "cidr-block-association.cidr-block" => {
                vpc.cidr.to_string()
            }
            "cidr-block-association.association-id" => association(vpc),
            "cidr-block-association.state" => "associated".to_owned(),
            "dhcp-options-id" | "dhcpOptionsId" => dhcp_options::id(),
            "is-default" | "isDefault" => vpc.is_default.to_string(),
            "owner-id" => self.owner.clone(),
            "state" => "available".to_owned(),
            _ if name.starts_with("ipv6-cidr-block-association.") => return Some(Vec::new()),
            _ => return None,
        };
        Some(vec![one])
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.vpc.tags)
    }
}

fn association(vpc: &Vpc) -> String {
    stable_id("vpc-cidr-assoc", &[&vpc.id])
}

/// Writes a VPC as the create actions and `DescribeVpcs` return it.
pub(in super::super) fn write(xml: &mut Xml, vpc: &Vpc, owner: &str, state: &str) {
    xml.text("vpcId", &vpc.id);
    xml.text("ownerId", owner);
    xml.text("state", state);
    xml.text("cidrBlock", vpc.cidr);
    xml.list("cidrBlockAssociationSet", [vpc], |xml, vpc| {
        xml.text("cidrBlock", vpc.cidr);
        xml.text("associationId", association(vpc));
        xml.node("cidrBlockState", |xml| xml.text("state", "associated"));
    });
    xml.text("dhcpOptionsId", dhcp_options::id());
    xml.text("instanceTenancy", &vpc.tenancy);
    xml.text("isDefault", vpc.is_default);
    write_public_access(xml);
    tags::write(xml, &vpc.tags);
}

/// Writes that the account does not block public access to its VPCs.
pub(super) fn write_public_access(xml: &mut Xml) {
    xml.node("blockPublicAccessStates", |xml| {
        xml.text("internetGatewayBlockMode", "off");
    });
}

pub(in super::super) fn create_vpc(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    refuse(
        request,
        &[
            "Ipv4IpamPoolId",
            "Ipv4NetmaskLength",
            "Ipv6CidrBlock",
            "Ipv6CidrBlockNetworkBorderGroup",
            "Ipv6IpamPoolId",
            "Ipv6NetmaskLength",
            "Ipv6Pool",
        ],
    )?;
    if request.flag("AmazonProvidedIpv6CidrBlock")? == Some(true) {
        refuse(request, &["AmazonProvidedIpv6CidrBlock"])?;
    }
    if request.has("VpcEncryptionControl") {
        return Err(unsupported("VpcEncryptionControl"));
    }
    let block = cidr("cidrBlock", request.required("CidrBlock")?)?;
    let tenancy = request.text("InstanceTenancy").unwrap_or("default");
    let tags = tags::specified(request, &["vpc"], "vpc")?;
    call.read_all()?;
    if !["default", "dedicated"].contains(&tenancy) {
        let why = "Expected default or dedicated.";
        return Err(Refusal::value("instanceTenancy", tenancy, why));
    }
    if !has_valid_size(block) || !may_be_used(block) {
        return Err(Refusal::new(
            "InvalidVpc.Range",
            format!("The CIDR '{block}' is invalid."),
        ));
    }
    if call.region().networks.vpcs.len() >= MAX_VPCS {
        return Err(Refusal::new(
            "VpcLimitExceeded",
            "The maximum number of VPCs has been reached.",
        ));
    }
    let vpc = Vpc {
        id: new_id("vpc"),
        cidr: block,
        is_default: false,
        tenancy: tenancy.to_owned(),
        dns_support: true,
        dns_hostnames: false,
        address_metrics: false,
        tags,
    };
    let main = RouteTable {
        id: new_id("rtb"),
        vpc: vpc.id.clone(),
        main: Some(new_id("rtbassoc")),
        associations: std::collections::BTreeMap::new(),
        routes: Vec::new(),
        tags: Tags::new(),
    };
    let now = call.now;
    groups::add_default(call.region(), new_id("sg"), &vpc.id, now);
    let mut xml = Xml::default();
    xml.node("vpc", |xml| {
        write(xml, &vpc, &call.facts.account, "pending");
    });
    let networks = &mut call.region().networks;
    networks.route_tables.insert(main.id.clone(), main);
    networks.vpcs.insert(vpc.id.clone(), vpc);
    Ok(xml)
}

pub(in super::super) fn delete_vpc(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let id = request.required("VpcId")?;
    call.read_all()?;
    find_vpc(call, id)?;
    let region = call.region();
    let networks = &region.networks;
    let is_used = networks.subnets.values().any(|subnet| subnet.vpc == id)
        || networks
            .internet_gateways
            .values()
            .any(|gateway| gateway.vpc.as_deref() == Some(id))
        || networks
            .route_tables
            .values()
            .any(|table| table.vpc == id && table.main.is_none())
        || region
            .groups
            .values()
            .any(|group| group.vpc == id && group.name != "default");
    if is_used {
        return Err(in_use("vpc", id));
    }
    region.groups.retain(|_, group| group.vpc != id);
    region.networks.route_tables.retain(|_, t| t.vpc != id);
    region.networks.vpcs.remove(id);
    Ok(Xml::done())
}

pub(in super::super) fn describe_vpcs(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let ids = request.list("VpcId");
    let mut all: Vec<Vpc> = call.region().networks.vpcs.values().cloned().collect();
    all.retain(|vpc| !is_hidden(call, &vpc.id));
    let owner = call.facts.account.clone();
    let asked = VPC.select(&ids, all, |vpc| &vpc.id)?;
    let asked = asked
        .into_iter()
        .map(|vpc| Owned {
            vpc,
            owner: owner.clone(),
        })
        .collect();
    let found = Filters::of(request)?.keep(asked)?;
    let (vpcs, next) = page_after(request, found, 5, |one| one.vpc.id.clone())?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("vpcSet", vpcs, |xml, of| {
        write(xml, &of.vpc, &owner, "available");
    });
    xml.option("nextToken", next);
    Ok(xml)
}

pub(in super::super) fn describe_vpc_attribute(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let attribute = request.required("Attribute")?;
    let id = request.required("VpcId")?;
    call.read_all()?;
    let vpc = find_vpc(call, id)?;
    let value = match attribute {
        "enableDnsSupport" => vpc.dns_support,
        "enableDnsHostnames" => vpc.dns_hostnames,
        "enableNetworkAddressUsageMetrics" => vpc.address_metrics,
        other => {
            let why = "Unknown attribute.";
            return Err(Refusal::value("attribute", other, why));
        }
    };
    let mut xml = Xml::default();
    xml.text("vpcId", id);
    xml.node(attribute, |xml| xml.text("value", value));
    Ok(xml)
}

pub(in super::super) fn modify_vpc_attribute(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let id = request.required("VpcId")?;
    let value = |name: &str| request.part(name).flag("Value");
    let support = value("EnableDnsSupport")?;
    let hostnames = value("EnableDnsHostnames")?;
    let metrics = value("EnableNetworkAddressUsageMetrics")?;
    call.read_all()?;
    let mut vpc = find_vpc(call, id)?;
    let given = [support, hostnames, metrics];
    match given.iter().flatten().count() {
        1 => {}
        0 => {
            return Err(Refusal::new(
                "InvalidParameterCombination",
                "No attributes specified.",
            ));
        }
        _ => {
            return Err(Refusal::new(
                "InvalidParameterCombination",
                "Fields for multiple attribute types specified",
            ));
        }
    }
    vpc.dns_support = support.unwrap_or(vpc.dns_support);
    vpc.dns_hostnames = hostnames.unwrap_or(vpc.dns_hostnames);
    vpc.address_metrics = metrics.unwrap_or(vpc.address_metrics);
    call.region().networks.vpcs.insert(vpc.id.clone(), vpc);
    Ok(Xml::done())
}
