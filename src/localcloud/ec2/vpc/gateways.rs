//! Internet gateways: create, attach, detach, delete and describe.

use super::super::call::{Call, Effect};
use super::super::filters::{Filtered, Filters, page_after};
use super::super::ids::{INTERNET_GATEWAY, new_id};
use super::super::params::Part;
use super::super::refusal::{Refusal, Result};
use super::super::state::Tags;
use super::super::tags;
use super::super::xml::Xml;
use super::state::InternetGateway;
use super::{find_gateway, find_vpc, in_use, is_hidden};

/// An internet gateway and its owner.
struct Owned {
    gateway: InternetGateway,
    owner: String,
}

impl Filtered for Owned {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let vpc = || self.gateway.vpc.clone().into_iter();
        match name {
            "attachment.state" => Some(vpc().map(|_| "available".to_owned()).collect()),
            "attachment.vpc-id" => Some(vpc().collect()),
            "internet-gateway-id" => Some(vec![self.gateway.id.clone()]),
            "owner-id" => Some(vec![self.owner.clone()]),
            _ => None,
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.gateway.tags)
    }
}

fn write(xml: &mut Xml, gateway: &InternetGateway, owner: &str) {
    xml.list("attachmentSet", &gateway.vpc, |xml, vpc| {
        xml.text("state", "available");
        xml.text("vpcId", vpc);
    });
    xml.text("internetGatewayId", &gateway.id);
    xml.text("ownerId", owner);
    tags::write_list(xml, &gateway.tags);
}

pub(in super::super) fn create_internet_gateway(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let tags = tags::specified(request, &["internet-gateway"], "internet-gateway")?;
    call.read_all()?;
    let gateway = InternetGateway {
        id: new_id("igw"),
        vpc: None,
        tags,
    };
    let mut xml = Xml::default();
    xml.node("internetGateway", |xml| {
        write(xml, &gateway, &call.facts.account);
    });
    put(call, gateway);
    Ok(xml)
}

fn put(call: &mut Call<'_>, gateway: InternetGateway) {
    let gateways = &mut call.region().networks.internet_gateways;
    gateways.insert(gateway.id.clone(), gateway);
    call.effects.push(Effect::Groups);
}

pub(in super::super) fn attach_internet_gateway(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let id = request.required("InternetGatewayId")?;
    let vpc = request.required("VpcId")?;
    call.read_all()?;
    let mut gateway = find_gateway(call, id)?;
    find_vpc(call, vpc)?;
    if let Some(attached) = &gateway.vpc {
        return Err(Refusal::new(
            "Resource.AlreadyAssociated",
            format!("resource {id} is already attached to network {attached}"),
        ));
    }
    let mut others = call.region().networks.internet_gateways.values();
    if others.any(|other| other.vpc.as_deref() == Some(vpc)) {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!("Network {vpc} already has an internet gateway attached"),
        ));
    }
    gateway.vpc = Some(vpc.to_owned());
    put(call, gateway);
    Ok(Xml::done())
}

pub(in super::super) fn detach_internet_gateway(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let id = request.required("InternetGatewayId")?;
    let vpc = request.required("VpcId")?;
    call.read_all()?;
    let mut gateway = find_gateway(call, id)?;
    find_vpc(call, vpc)?;
    if gateway.vpc.as_deref() != Some(vpc) {
        return Err(Refusal::new(
            "Gateway.NotAttached",
            format!("resource {id} is not attached to network {vpc}"),
        ));
    }
    let now = call.now;
    let region = call.region();
    let mut instances = region.instances.values();
    let mut nats = region.networks.nat_gateways.values();
    if instances.any(|i| i.vpc == vpc && i.public_address().is_some())
        || nats.any(|nat| nat.vpc == vpc && nat.public.is_some() && nat.has_addresses(now))
    {
        return Err(Refusal::new(
            "DependencyViolation",
            format!(
                "Network {vpc} has some mapped public address(es). Please unmap those public \
                 address(es) before detaching the gateway."
            ),
        ));
    }
    gateway.vpc = None;
    put(call, gateway);
    Ok(Xml::done())
}

pub(in super::super) fn delete_internet_gateway(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let id = request.required("InternetGatewayId")?;
    call.read_all()?;
    if find_gateway(call, id)?.vpc.is_some() {
        return Err(in_use("internetGateway", id));
    }
    call.region().networks.internet_gateways.remove(id);
    Ok(Xml::done())
}

pub(in super::super) fn describe_internet_gateways(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let ids = request.list("InternetGatewayId");
    let owner = call.facts.account.clone();
    let gateways = call.region().networks.internet_gateways.values();
    let mut all: Vec<InternetGateway> = gateways.cloned().collect();
    all.retain(|gateway| gateway.vpc.iter().all(|vpc| !is_hidden(call, vpc)));
    INTERNET_GATEWAY.find_all(&ids, |id| all.iter().any(|gateway| gateway.id == id))?;
    let asked = all
        .into_iter()
        .filter(|gateway| ids.is_empty() || ids.contains(&gateway.id.as_str()))
        .map(|gateway| Owned {
            gateway,
            owner: owner.clone(),
        })
        .collect();
    let found = Filters::of(request)?.keep(asked)?;
    let (gateways, next) = page_after(request, found, 5, |one| one.gateway.id.clone())?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("internetGatewaySet", gateways, |xml, of| {
        write(xml, &of.gateway, &owner);
    });
    xml.option("nextToken", next);
    Ok(xml)
}
