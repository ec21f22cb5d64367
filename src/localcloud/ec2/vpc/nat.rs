//! NAT gateways: create, delete and describe. Through a public one, instances in a
//! private subnet reach the internet, and nothing reaches them.

use std::net::Ipv4Addr;

use super::super::addresses::{free_private_address, wanted_address};
use super::super::call::{Call, Effect};
use super::super::elastic_ips;
use super::super::filters::{Filtered, Filters, page_after};
use super::super::ids::{NAT_GATEWAY, new_id};
use super::super::launch::token;
use super::super::params::Part;
use super::super::refusal::{Refusal, Result};
use super::super::state::{Association, ElasticIp, Millis, Tags};
use super::super::tags;
use super::super::xml::Xml;
use super::find_subnet;
use super::state::{NatGateway, NatState, Subnet};
use crate::clock::iso;

/// AWS's default quota of NAT gateways in an availability zone.
const QUOTA: usize = 5;

/// Parameters of regional NAT gateways and of further addresses, which the local
/// cloud does not have.
const UNSUPPORTED: &[&str] = &[
    "AvailabilityZoneAddress",
    "SecondaryAllocationId",
    "SecondaryPrivateIpAddress",
    "SecondaryPrivateIpAddressCount",
    "VpcId",
];

/// A NAT gateway at the time of a request.
struct View {
    nat: NatGateway,
    now: Millis,
}

impl View {
    fn state(&self) -> NatState {
        self.nat.state(self.now)
    }

    fn write(&self, xml: &mut Xml) {
        let (nat, state) = (&self.nat, self.state());
        xml.text("natGatewayId", &nat.id);
        xml.text("vpcId", &nat.vpc);
        xml.text("subnetId", &nat.subnet);
        xml.text("state", state.as_str());
        xml.text("createTime", iso(nat.created));
        xml.option("deleteTime", self.ended().map(iso));
        if let Some((code, message)) = nat.failure.as_ref().filter(|_| state != NatState::Pending) {
            xml.text("failureCode", code);
            xml.text("failureMessage", message);
        }
        let connectivity = if nat.public.is_some() {
            "public"
        } else {
            "private"
        };
        xml.text("connectivityType", connectivity);
        xml.text("availabilityMode", "zonal");
        xml.list("natGatewayAddressSet", [nat], |xml, nat| {
            self.write_address(xml, nat);
        });
        tags::write(xml, &nat.tags);
    }

    /// As on AWS, the addresses appear after the answer to the create request.
    fn write_address(&self, xml: &mut Xml, nat: &NatGateway) {
        let public = nat.public.as_ref();
        xml.option("allocationId", public.map(|public| &public.allocation));
        xml.text("isPrimary", true);
        if let Some((_, message)) = nat
            .failure
            .as_ref()
            .filter(|_| self.state() != NatState::Pending)
        {
            xml.text("failureMessage", message);
            xml.text("status", "failed");
            return;
        }
        let status = match (self.state(), public) {
            (NatState::Pending, Some(_)) => "associating",
            (NatState::Pending, None) => "assigning",
            (NatState::Deleting, Some(_)) => "disassociating",
            (NatState::Deleting, None) => "unassigning",
            _ => "succeeded",
        };
        xml.text("status", status);
        if self.now > nat.created && nat.failure.is_none() {
            xml.text("networkInterfaceId", &nat.interface);
            xml.text("privateIp", nat.address);
            xml.option("publicIp", public.map(|public| public.address));
            xml.option("associationId", public.map(|public| &public.id));
        }
    }

    fn ended(&self) -> Option<Millis> {
        match self.state() {
            NatState::Pending | NatState::Available => None,
            NatState::Failed => self.nat.ended(),
            NatState::Deleting | NatState::Deleted => self.nat.deleted,
        }
    }
}

impl Filtered for View {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let one = match name {
            "nat-gateway-id" => self.nat.id.clone(),
            "state" => self.state().as_str().to_owned(),
            "subnet-id" => self.nat.subnet.clone(),
            "vpc-id" => self.nat.vpc.clone(),
            _ => return None,
        };
        Some(vec![one])
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.nat.tags)
    }
}

/// The request for a NAT gateway.
struct Wanted {
    subnet: Subnet,
    /// The Elastic IP address of a public one.
    public: Option<ElasticIp>,
    private_address: Option<String>,
    token: Option<String>,
    tags: Tags,
}

fn read(call: &mut Call<'_>, request: &Part<'_>) -> Result<Wanted> {
    request.unsupported(UNSUPPORTED)?;
    match request.text("AvailabilityMode").unwrap_or("zonal") {
        "zonal" => {}
        "regional" => request.unsupported(&["AvailabilityMode"])?,
        other => {
            let why = "Expected zonal or regional.";
            return Err(Refusal::value("availabilityMode", other, why));
        }
    }
    let is_public = match request.text("ConnectivityType").unwrap_or("public") {
        "public" => true,
        "private" => false,
        other => {
            let why = "Expected public or private.";
            return Err(Refusal::value("connectivityType", other, why));
        }
    };
    let subnet = request.required("SubnetId")?;
    let allocation = request.text("AllocationId");
    let private_address = request.text("PrivateIpAddress").map(str::to_owned);
    let token = token(request)?;
    let tags = tags::specified(request, &["natgateway"], "natgateway")?;
    call.read_all()?;
    let subnet = find_subnet(call, subnet)?;
    let public = match (is_public, allocation) {
        (true, Some(id)) => Some(elastic_ips::by_id(call, id).map_err(|_| no_allocation(id))?),
        (false, None) => None,
        (true, None) => {
            return Err(Refusal::new(
                "MissingParameter",
                "The request must include the AllocationId parameter. Add the required parameter \
                 and retry the request.",
            ));
        }
        (false, Some(_)) => {
            return Err(Refusal::new(
                "InvalidParameterCombination",
                "The parameter AllocationId cannot be used with the connectivity type private",
            ));
        }
    };
    Ok(Wanted {
        subnet,
        public,
        private_address,
        token,
        tags,
    })
}

/// AWS has other words here than for other actions:
/// https://github.com/hashicorp/terraform-provider-aws/issues/27087
fn no_allocation(id: &str) -> Refusal {
    Refusal::new(
        "InvalidElasticIpID.NotFound",
        format!("The elasticIp ID '{id}' does not exist"),
    )
}

pub(in super::super) fn create_nat_gateway(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let same = call.params.canonical_without("ClientToken");
    if let Some(token) = token(request)? {
        let mut known = call.region().networks.nat_gateways.values();
        let known = known.find(|nat| nat.token.as_ref().is_some_and(|(of, _)| *of == token));
        if let Some(known) = known.cloned() {
            if known.token.as_ref().is_some_and(|(_, of)| *of == same) {
                return Ok(answer(call, known));
            }
            return Err(Refusal::new(
                "IdempotentParameterMismatch",
                "The parameters of this request do not match those of the first request with this \
                 client token",
            ));
        }
    }
    let wanted = read(call, request)?;
    check_quota(call, &wanted.subnet)?;
    let (subnet, shared) = (&wanted.subnet, call.facts.subnet);
    let mut failure = failure(call, &wanted);
    let address = match &wanted.private_address {
        Some(text) => Some(wanted_address(call.state, shared, subnet, text)?),
        None if failure.is_some() => None,
        None => free_private_address(call.state, shared, subnet).ok(),
    };
    if failure.is_none() && address.is_none() {
        let message = "Subnet has insufficient free addresses to create this NAT gateway";
        let code = "InsufficientFreeAddressesInSubnet";
        failure = Some((code.to_owned(), message.to_owned()));
    }
    let nat = NatGateway {
        id: new_id("nat"),
        vpc: subnet.vpc.clone(),
        subnet: subnet.id.clone(),
        interface: new_id("eni"),
        address: address.unwrap_or(Ipv4Addr::UNSPECIFIED),
        public: wanted.public.map(|own| Association {
            id: new_id("eipassoc"),
            allocation: own.id,
            address: own.address,
        }),
        failure,
        token: wanted.token.map(|token| (token, same)),
        created: call.now,
        deleted: None,
        tags: wanted.tags,
    };
    let gateways = &mut call.region().networks.nat_gateways;
    gateways.insert(nat.id.clone(), nat.clone());
    call.effects.push(Effect::Groups);
    Ok(answer(call, nat))
}

fn answer(call: &Call<'_>, nat: NatGateway) -> Xml {
    let token = nat.token.as_ref().map(|(token, _)| token.clone());
    let view = View { nat, now: call.now };
    let mut xml = Xml::default();
    xml.option("clientToken", token);
    xml.node("natGateway", |xml| view.write(xml));
    xml
}

fn check_quota(call: &mut Call<'_>, subnet: &Subnet) -> Result<()> {
    let now = call.now;
    let networks = &call.region().networks;
    let in_zone = |id: &str| {
        networks
            .subnets
            .get(id)
            .is_some_and(|s| s.zone == subnet.zone)
    };
    let up = networks
        .nat_gateways
        .values()
        .filter(|nat| nat.has_addresses(now));
    if up.filter(|nat| in_zone(&nat.subnet)).count() < QUOTA {
        return Ok(());
    }
    Err(Refusal::new(
        "NatGatewayLimitExceeded",
        format!("Performing this operation would exceed the limit of {QUOTA} NAT gateways"),
    ))
}

/// Returns why a NAT gateway cannot be created. AWS finds these reasons after its
/// answer. "Troubleshoot NAT gateways" in its guide has them.
fn failure(call: &mut Call<'_>, wanted: &Wanted) -> Option<(String, String)> {
    let public = wanted.public.as_ref()?;
    let vpc = &wanted.subnet.vpc;
    let mut gateways = call.region().networks.internet_gateways.values();
    if !gateways.any(|gateway| gateway.vpc.as_ref() == Some(vpc)) {
        let message = format!("Network {vpc} has no Internet gateway attached");
        return Some(("Gateway.NotAttached".to_owned(), message));
    }
    let id = &public.id;
    elastic_ips::is_associated(call, id).then(|| {
        let message = format!("Elastic IP address [{id}] is already associated");
        ("Resource.AlreadyAssociated".to_owned(), message)
    })
}

pub(in super::super) fn delete_nat_gateway(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let id = request.required("NatGatewayId")?;
    call.read_all()?;
    NAT_GATEWAY.check(id)?;
    let now = call.now;
    let known = visible(call).into_iter().any(|nat| nat.id == id);
    let gateways = &mut call.region().networks.nat_gateways;
    let Some(nat) = gateways.get_mut(id).filter(|_| known) else {
        return Err(NAT_GATEWAY.not_found(&[id]));
    };
    // Deleting it again changes nothing.
    nat.deleted.get_or_insert(now);
    call.effects.push(Effect::Groups);
    let mut xml = Xml::default();
    xml.text("natGatewayId", id);
    Ok(xml)
}

/// Returns the NAT gateways that requests can find.
fn visible(call: &mut Call<'_>) -> Vec<NatGateway> {
    let gateways = call.region().networks.nat_gateways.values();
    let mut all: Vec<NatGateway> = gateways.cloned().collect();
    all.retain(|nat| call.visible(nat.created) && !super::is_hidden(call, &nat.vpc));
    all
}

pub(in super::super) fn describe_nat_gateways(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let ids = request.list("NatGatewayId");
    let all = visible(call);
    NAT_GATEWAY.find_all(&ids, |id| all.iter().any(|nat| nat.id == id))?;
    let now = call.now;
    let asked = all
        .into_iter()
        .filter(|nat| ids.is_empty() || ids.contains(&nat.id.as_str()))
        .map(|nat| View { nat, now })
        .collect();
    let found = Filters::of(request)?.keep(asked)?;
    let (gateways, next) = page_after(request, found, 5, |one| one.nat.id.clone())?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("natGatewaySet", gateways, |xml, view| view.write(xml));
    xml.option("nextToken", next);
    Ok(xml)
}
