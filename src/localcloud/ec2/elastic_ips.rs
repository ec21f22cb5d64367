//! Elastic IP addresses: public addresses that belong to the account until they
//! are released. An instance keeps its association while it is stopped.
//!
//! The switch translates an Elastic IP address to the private address of the
//! instance, as AWS's internet gateway does. Nothing answers at an address that is
//! not associated.

use std::net::Ipv4Addr;

use super::addresses::free_address;
use super::call::{Call, Effect};
use super::filters::{Filtered, Filters, page};
use super::ids::{ALLOCATION, NETWORK_INTERFACE, new_id};
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::state::{Association, ElasticIp, Instance, Phase, Tags};
use super::tags;
use super::xml::Xml;
use crate::faults::Account;

/// AWS's default quota of Elastic IP addresses in a region.
const QUOTA: usize = 5;

/// Returns the quota of an account.
pub(super) fn quota(account: &Account) -> usize {
    account.elastic_ips.unwrap_or(QUOTA)
}

/// An Elastic IP address with the interface that has it.
struct Address {
    own: ElasticIp,
    region: String,
    account: String,
    holder: Option<Holder>,
}

/// The interface that has an Elastic IP address.
struct Holder {
    association: String,
    interface: String,
    private: Ipv4Addr,
    /// Its instance. The interface of a NAT gateway has none.
    instance: Option<Instance>,
}

impl Filtered for Address {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let held = |value: fn(&Holder) -> String| Some(self.holder.iter().map(value).collect());
        let one = match name {
            "allocation-id" => self.own.id.clone(),
            "association-id" => return held(|holder| holder.association.clone()),
            "domain" => "vpc".to_owned(),
            "instance-id" => {
                let holder = self.holder.iter();
                let instances = holder.filter_map(|holder| holder.instance.as_ref());
                return Some(instances.map(|instance| instance.id.clone()).collect());
            }
            "network-border-group" => self.region.clone(),
            "network-interface-id" => return held(|holder| holder.interface.clone()),
            "network-interface-owner-id" => {
                return Some(self.holder.iter().map(|_| self.account.clone()).collect());
            }
            "private-ip-address" => return held(|holder| holder.private.to_string()),
            "public-ip" => self.own.address.to_string(),
            _ => return None,
        };
        Some(vec![one])
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.own.tags)
    }
}

impl Address {
    fn write(&self, xml: &mut Xml) {
        xml.text("publicIp", self.own.address);
        xml.text("allocationId", &self.own.id);
        xml.text("domain", "vpc");
        xml.text("publicIpv4Pool", "amazon");
        xml.text("networkBorderGroup", &self.region);
        if let Some(holder) = &self.holder {
            let instance = holder.instance.as_ref();
            xml.option("instanceId", instance.map(|instance| &instance.id));
            xml.text("associationId", &holder.association);
            xml.text("networkInterfaceId", &holder.interface);
            xml.text("networkInterfaceOwnerId", &self.account);
            xml.text("privateIpAddress", holder.private);
        }
        if !self.own.tags.is_empty() {
            tags::write(xml, &self.own.tags);
        }
    }
}

/// Returns what has an Elastic IP address.
fn holder(call: &mut Call<'_>, allocation: &str) -> Option<Holder> {
    let now = call.now;
    let region = call.region();
    let of_instance = region.instances.values().find_map(|instance| {
        let association = instance.elastic_ip.as_ref()?;
        (association.allocation == allocation).then(|| Holder {
            association: association.id.clone(),
            interface: instance.interface.clone(),
            private: instance.address,
            instance: Some(instance.clone()),
        })
    });
    let mut gateways = region.networks.nat_gateways.values();
    of_instance.or_else(|| {
        gateways.find_map(|nat| {
            let public = nat.public.as_ref()?;
            (public.allocation == allocation && nat.has_addresses(now)).then(|| Holder {
                association: public.id.clone(),
                interface: nat.interface.clone(),
                private: nat.address,
                instance: None,
            })
        })
    })
}

/// Whether an Elastic IP address is associated.
pub(super) fn is_associated(call: &mut Call<'_>, allocation: &str) -> bool {
    holder(call, allocation).is_some()
}

/// Refuses to change the association of a NAT gateway, which only its deletion
/// ends. These are AWS's words: https://github.com/genevieve/leftovers/issues/33
fn of_gateway() -> Refusal {
    Refusal::new(
        "AuthFailure",
        "You do not have permission to access the specified resource.",
    )
}

pub(super) fn allocate_address(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    // Every address is one of a VPC, whatever the request says.
    request.text("Domain");
    if let Some(group) = request.text("NetworkBorderGroup")
        && group != call.region_name
    {
        return Err(Refusal::value(
            "networkBorderGroup",
            group,
            &format!("The local cloud has {} only.", call.region_name),
        ));
    }
    if let Some(pool) = request.text("PublicIpv4Pool")
        && pool != "amazon"
    {
        return Err(Refusal::new(
            "InvalidPublicIpv4PoolID.NotFound",
            format!("The pool ID '{pool}' does not exist"),
        ));
    }
    for (parameter, code) in [
        ("CustomerOwnedIpv4Pool", "InvalidPoolID.NotFound"),
        ("IpamPoolId", "InvalidIpamPoolId.NotFound"),
    ] {
        if let Some(pool) = request.text(parameter) {
            let message = format!("The pool ID '{pool}' does not exist");
            return Err(Refusal::new(code, message));
        }
    }
    // AWS recovers a released address with this parameter, if no other account
    // has it. The local cloud does not remember released addresses.
    if let Some(address) = request.text("Address") {
        return Err(no_address(address));
    }
    let tags = tags::specified(request, &["elastic-ip"], "elastic-ip")?;
    call.read_all()?;
    let own = call.region().elastic_ips.values();
    if own.filter(|address| !address.is_lent).count() >= quota(call.account) {
        return Err(Refusal::new(
            "AddressLimitExceeded",
            "The maximum number of addresses has been reached.",
        ));
    }
    let new = ElasticIp {
        id: new_id("eipalloc"),
        address: free_address(call.state, call.facts.subnet)?,
        tags,
        created: call.now,
        is_lent: false,
    };
    let mut xml = Xml::default();
    xml.text("publicIp", new.address);
    xml.text("allocationId", &new.id);
    xml.text("domain", "vpc");
    xml.text("publicIpv4Pool", "amazon");
    xml.text("networkBorderGroup", call.region_name);
    call.region().elastic_ips.insert(new.id.clone(), new);
    Ok(xml)
}

/// Returns the address that a request names by its allocation id or by itself.
fn named(call: &mut Call<'_>, request: &Part<'_>) -> Result<ElasticIp> {
    let address = request.text("PublicIp");
    if let Some(id) = request.text("AllocationId") {
        return match address {
            Some(_) => Err(both("allocation id")),
            None => by_id(call, id),
        };
    }
    let Some(text) = address else {
        return Err(Refusal::new(
            "MissingParameter",
            "Either 'AllocationId' or 'PublicIp' must be specified.",
        ));
    };
    by_address(call, text)
}

/// Returns the error about an address that is named twice.
fn both(other: &str) -> Refusal {
    Refusal::new(
        "InvalidParameterCombination",
        format!("You may specify public IP or {other}, but not both in the same call"),
    )
}

pub(super) fn by_id(call: &mut Call<'_>, id: &str) -> Result<ElasticIp> {
    let found = call.region().elastic_ips.get(id).cloned();
    found
        .filter(|known| call.visible(known.created))
        .ok_or_else(|| ALLOCATION.not_found(&[id]))
}

fn by_address(call: &mut Call<'_>, text: &str) -> Result<ElasticIp> {
    let address: Option<Ipv4Addr> = text.parse().ok();
    let mut all = call.region().elastic_ips.values();
    let found = all.find(|known| Some(known.address) == address).cloned();
    found
        .filter(|known| call.visible(known.created))
        .ok_or_else(|| no_address(text))
}

fn no_address(text: &str) -> Refusal {
    Refusal::new(
        "InvalidAddress.NotFound",
        format!("Address '{text}' not found."),
    )
}

pub(super) fn associate_address(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let address = named(call, request)?;
    let instance = target(call, request)?;
    let again = request.flag("AllowReassociation")?.unwrap_or(true);
    if let Some(private) = request.text("PrivateIpAddress")
        && private != instance.address.to_string()
    {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!(
                "You must specify a valid private IP address for interface {}",
                instance.interface
            ),
        ));
    }
    call.read_all()?;
    if !matches!(
        instance.phase,
        Phase::Running | Phase::Stopping | Phase::Stopped
    ) {
        return Err(wrong_state(request, &instance));
    }
    check_gateway(call, &instance)?;
    let current = holder(call, &address.id);
    if let Some(holder) = &current {
        match &holder.instance {
            None => return Err(of_gateway()),
            Some(known) if known.id == instance.id => {
                return Ok(associated(&holder.association));
            }
            Some(_) if !again => return Err(taken(&address.id, &holder.association)),
            Some(_) => {}
        }
    }
    if let Some(association) = instance.elastic_ip.as_ref().filter(|_| !again) {
        return Err(taken(&instance.interface, &association.id));
    }
    let association = Association {
        id: new_id("eipassoc"),
        allocation: address.id,
        address: address.address,
    };
    let xml = associated(&association.id);
    if let Some(holder) = current.and_then(|holder| holder.instance) {
        set(call, &holder.id, None);
    }
    set(call, &instance.id, Some(association));
    Ok(xml)
}

/// Refuses an instance in a VPC without an internet gateway.
fn check_gateway(call: &mut Call<'_>, instance: &Instance) -> Result<()> {
    let vpc = &instance.vpc;
    let mut gateways = call.region().networks.internet_gateways.values();
    let attached = gateways.any(|gateway| gateway.vpc.as_ref() == Some(vpc));
    if attached || call.region().networks.is_default(vpc) {
        return Ok(());
    }
    Err(Refusal::new(
        "Gateway.NotAttached",
        format!("Network {vpc} is not attached to any internet gateway"),
    ))
}

/// Returns the instance that a request names, or the one of the interface that it
/// names.
fn target(call: &mut Call<'_>, request: &Part<'_>) -> Result<Instance> {
    let interface = request.text("NetworkInterfaceId");
    if let Some(id) = request.text("InstanceId") {
        if interface.is_some() {
            return Err(Refusal::new(
                "InvalidParameterCombination",
                "You may specify either an instance ID or a network interface ID, but not both",
            ));
        }
        return Ok(call.instances(&[id])?.swap_remove(0));
    }
    let Some(interface) = interface else {
        return Err(Refusal::new(
            "MissingParameter",
            "Either 'InstanceId' or 'NetworkInterfaceId' must be specified.",
        ));
    };
    NETWORK_INTERFACE.check(interface)?;
    let mut owners = call.region().instances.find(interface);
    let found = owners.find(|owner| !owner.phase.is_ending()).cloned();
    found.ok_or_else(|| NETWORK_INTERFACE.not_found(&[interface]))
}

fn wrong_state(request: &Part<'_>, instance: &Instance) -> Refusal {
    let (_, state) = instance.phase.code_and_name();
    if request.text("NetworkInterfaceId").is_some() {
        return Refusal::new(
            "IncorrectInstanceState",
            format!(
                "The {state} instance to which '{}' is attached is not in a valid state for this \
                 operation",
                instance.interface
            ),
        );
    }
    Refusal::new(
        "InvalidInstanceID",
        format!(
            "The {state} instance '{}' is not in a valid state for this operation.",
            instance.id
        ),
    )
}

fn taken(resource: &str, association: &str) -> Refusal {
    Refusal::new(
        "Resource.AlreadyAssociated",
        format!("resource {resource} is already associated with associate-id {association}"),
    )
}

fn associated(association: &str) -> Xml {
    let mut xml = Xml::done();
    xml.text("associationId", association);
    xml
}

fn set(call: &mut Call<'_>, instance: &str, association: Option<Association>) {
    if let Some(instance) = call.region().instances.get_mut(instance) {
        instance.elastic_ip = association;
    }
    call.effects.push(Effect::Groups);
}

pub(super) fn disassociate_address(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let address = request.text("PublicIp");
    let holder = if let Some(id) = request.text("AssociationId") {
        if address.is_some() {
            return Err(both("association id"));
        }
        Some(holder_of(call, id)?)
    } else if let Some(text) = address {
        let address = by_address(call, text)?;
        holder(call, &address.id)
    } else {
        return Err(Refusal::new(
            "MissingParameter",
            "Either 'AssociationId' or 'PublicIp' must be specified.",
        ));
    };
    call.read_all()?;
    if let Some(holder) = holder {
        let instance = holder.instance.ok_or_else(of_gateway)?;
        set(call, &instance.id, None);
    }
    Ok(Xml::done())
}

/// Returns what has an association.
fn holder_of(call: &mut Call<'_>, association: &str) -> Result<Holder> {
    let allocations: Vec<String> = call.region().elastic_ips.keys().cloned().collect();
    let mut holders = allocations.iter().filter_map(|id| holder(call, id));
    let found = holders.find(|holder| holder.association == association);
    found.ok_or_else(|| {
        Refusal::new(
            "InvalidAssociationID.NotFound",
            format!("The association ID '{association}' does not exist"),
        )
    })
}

/// Releases an address. As on AWS, an instance in the default VPC loses it, and
/// one in another VPC must lose it before.
pub(super) fn release_address(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let address = named(call, request)?;
    request.text("NetworkBorderGroup");
    call.read_all()?;
    if let Some(holder) = holder(call, &address.id) {
        let holder = holder.instance.ok_or_else(of_gateway)?;
        if !call.region().networks.is_default(&holder.vpc) {
            return Err(Refusal::new(
                "InvalidIPAddress.InUse",
                format!("Address {} is in use.", address.address),
            ));
        }
        set(call, &holder.id, None);
    }
    call.region().elastic_ips.remove(&address.id);
    Ok(Xml::done())
}

/// Returns the addresses that a request names, or all, the oldest first.
fn asked(call: &mut Call<'_>, ids: &[&str], addresses: &[&str]) -> Result<Vec<ElasticIp>> {
    let mut asked = Vec::new();
    let mut missing = Vec::new();
    for id in ids {
        match by_id(call, id) {
            Ok(found) => asked.push(found),
            Err(_) => missing.push(*id),
        }
    }
    if !missing.is_empty() {
        return Err(ALLOCATION.not_found(&missing));
    }
    for text in addresses {
        asked.push(by_address(call, text)?);
    }
    if ids.is_empty() && addresses.is_empty() {
        asked = call.region().elastic_ips.values().cloned().collect();
        asked.retain(|known| call.visible(known.created));
    }
    asked.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    asked.dedup_by(|a, b| a.id == b.id);
    Ok(asked)
}

/// Describes the names of addresses in DNS, which the local cloud does not have.
pub(super) fn describe_addresses_attribute(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    if let Some(other) = request.text("Attribute").filter(|a| *a != "domain-name") {
        return Err(Refusal::value("attribute", other, "Expected domain-name."));
    }
    let asked = asked(call, &request.list("AllocationId"), &[])?;
    let (asked, next) = page(request, asked, 1)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("addressSet", asked, |xml, own| {
        xml.text("publicIp", own.address);
        xml.text("allocationId", own.id);
    });
    xml.option("nextToken", next);
    Ok(xml)
}

pub(super) fn describe_addresses(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let asked = asked(
        call,
        &request.list("AllocationId"),
        &request.list("PublicIp"),
    )?;
    let described = asked.into_iter().map(|own| Address {
        holder: holder(call, &own.id),
        region: call.region_name.to_owned(),
        account: call.facts.account.clone(),
        own,
    });
    let described = described.collect();
    let described = Filters::of(request)?.keep(described)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("addressesSet", described, |xml, address| address.write(xml));
    Ok(xml)
}
