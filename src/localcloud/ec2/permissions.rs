//! The permissions in a request that adds or removes security group rules.

use ipnet::IpNet;

use super::call::Call;
use super::groups::{check_description, find, id_by_name};
use super::ids::GROUP;
use super::network::vpc_of;
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::state::{Peer, Permission};

/// Returns the permissions of a request, each with its description. A request
/// contains `IpPermissions.N`, or the short form for one permission.
pub(super) fn permissions(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Vec<(Permission, Option<String>)>> {
    request.unsupported(&["SourceSecurityGroupName", "SourceSecurityGroupOwnerId"])?;
    let mut found = Vec::new();
    for part in request.parts("IpPermissions") {
        found.extend(permissions_of(call, &part)?);
    }
    let peers: Vec<Peer> = request
        .text("CidrIp")
        .map(cidr)
        .transpose()?
        .into_iter()
        .collect();
    if let Some(protocol) = request.text("IpProtocol") {
        let (protocol, from, to) = ports(protocol, request)?;
        found.extend(peers.into_iter().map(|peer| {
            let permission = Permission {
                protocol: protocol.clone(),
                from,
                to,
                peer,
            };
            (permission, None)
        }));
    }
    if found.is_empty() {
        return Err(Refusal::new(
            "MissingParameter",
            "The request must contain the parameter ipPermissions",
        ));
    }
    Ok(found)
}

fn permissions_of(
    call: &mut Call<'_>,
    part: &Part<'_>,
) -> Result<Vec<(Permission, Option<String>)>> {
    let (protocol, from, to) = ports(part.text("IpProtocol").unwrap_or("null"), part)?;
    part.unsupported(&["PrefixListIds"])?;
    let mut peers: Vec<(Peer, Option<String>)> = Vec::new();
    for range in part.parts("IpRanges") {
        peers.push((cidr(range.required("CidrIp")?)?, described(&range)?));
    }
    for range in part.parts("Ipv6Ranges") {
        peers.push((cidr(range.required("CidrIpv6")?)?, described(&range)?));
    }
    for group in part.parts("Groups") {
        group.unsupported(&["PeeringStatus", "VpcPeeringConnectionId"])?;
        check_owner(call, &group)?;
        let name = group.text("GroupName");
        let id = match group.text("GroupId") {
            Some(id) => find(call, id)?.id,
            None => id_by_name(call, name.unwrap_or_default())?,
        };
        peers.push((Peer::Group(id), described(&group)?));
    }
    if peers.is_empty() {
        return Err(Refusal::new(
            "InvalidParameterValue",
            "Invalid value 'null' for ipRanges: a permission needs a source or destination",
        ));
    }
    let permission = |(peer, description)| {
        let permission = Permission {
            protocol: protocol.clone(),
            from,
            to,
            peer,
        };
        (permission, description)
    };
    Ok(peers.into_iter().map(permission).collect())
}

/// Returns the permission of `ModifySecurityGroupRules`, which names one source or
/// destination.
pub(super) fn permission_of_rule(
    call: &mut Call<'_>,
    part: &Part<'_>,
) -> Result<(Permission, Option<String>)> {
    part.unsupported(&["PrefixListId"])?;
    let (protocol, from, to) = ports(part.text("IpProtocol").unwrap_or("null"), part)?;
    let mut peers = Vec::new();
    for name in ["CidrIpv4", "CidrIpv6"] {
        if let Some(text) = part.text(name) {
            peers.push(cidr(text)?);
        }
    }
    if let Some(id) = part.text("ReferencedGroupId") {
        peers.push(Peer::Group(find(call, id)?.id));
    }
    let description = described(part)?;
    let [peer] = <[Peer; 1]>::try_from(peers).map_err(|_| {
        Refusal::new(
            "InvalidParameterValue",
            "A security group rule must have exactly one of CidrIpv4, CidrIpv6, PrefixListId and \
             ReferencedGroupId",
        )
    })?;
    let permission = Permission {
        protocol,
        from,
        to,
        peer,
    };
    Ok((permission, description))
}

/// Refuses a group of another account or VPC: the local cloud has none.
fn check_owner(call: &mut Call<'_>, group: &Part<'_>) -> Result<()> {
    if let Some(vpc) = group.text("VpcId") {
        vpc_of(call, Some(vpc))?;
    }
    match group.text("UserId") {
        Some(user) if user != call.facts.account => {
            let id = group.text("GroupId").or(group.text("GroupName"));
            Err(GROUP.not_found(&[id.unwrap_or_default()]))
        }
        _ => Ok(()),
    }
}

/// Returns the description of a rule.
pub(super) fn described(part: &Part<'_>) -> Result<Option<String>> {
    let Some(text) = part.text("Description") else {
        return Ok(None);
    };
    check_description("rule", "Description", text)?;
    Ok(Some(text.to_owned()))
}

type Ports = (String, Option<i32>, Option<i32>);

fn ports(protocol: &str, part: &Part<'_>) -> Result<Ports> {
    let (from, to): (Option<i32>, Option<i32>) = (part.number("FromPort")?, part.number("ToPort")?);
    let protocol = match protocol.to_lowercase().as_str() {
        "6" => "tcp".to_owned(),
        "17" => "udp".to_owned(),
        "1" => "icmp".to_owned(),
        "58" => "icmpv6".to_owned(),
        "all" => "-1".to_owned(),
        known @ ("tcp" | "udp" | "icmp" | "icmpv6" | "-1") => known.to_owned(),
        number if number.parse::<u8>().is_ok() => number.to_owned(),
        other => {
            return Err(Refusal::new(
                "InvalidParameterValue",
                format!(
                    "Invalid value '{other}' for protocol. VPC security group rules must specify \
                     protocols explicitly."
                ),
            ));
        }
    };
    match protocol.as_str() {
        "tcp" | "udp" => {
            let (Some(from), Some(to)) = (from, to) else {
                return Err(Refusal::new(
                    "InvalidParameterValue",
                    "Invalid value for portRange. Must specify both from and to ports with \
                     TCP/UDP.",
                ));
            };
            if !(0..=65535).contains(&from) || !(0..=65535).contains(&to) || from > to {
                return Err(Refusal::new(
                    "InvalidParameterValue",
                    format!(
                        "Invalid value '{from}-{to}' for portRange. It must be between 0 and 65535"
                    ),
                ));
            }
            Ok((protocol, Some(from), Some(to)))
        }
        "icmp" | "icmpv6" => Ok((protocol, from.or(Some(-1)), to.or(Some(-1)))),
        // As on AWS, such a rule covers all ports, and given ports are ignored.
        _ => Ok((protocol, None, None)),
    }
}

fn cidr(text: &str) -> Result<Peer> {
    match text.parse::<IpNet>() {
        // AWS stores the canonical form, too.
        Ok(IpNet::V4(net)) => Ok(Peer::V4(net.trunc())),
        Ok(IpNet::V6(net)) => Ok(Peer::V6(net.trunc())),
        Err(_) => Err(Refusal::new(
            "InvalidParameterValue",
            format!("CIDR block {text} is malformed"),
        )),
    }
}

pub(super) fn peer_text(peer: &Peer) -> String {
    match peer {
        Peer::V4(net) => net.to_string(),
        Peer::V6(net) => net.to_string(),
        Peer::Group(id) => id.clone(),
    }
}
