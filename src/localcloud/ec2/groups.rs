//! Security groups: create, find, delete and describe.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::Ipv4Net;

use super::call::Call;
use super::filters::{Filtered, Filters, page_after};
use super::ids::{GROUP, new_id};
use super::network::vpc_of;
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::state::{Group, Millis, Peer, Permission, Phase, Region, Rule, Tags, group_name, peer};
use super::tags;
use super::xml::Xml;

/// AWS's default quota of security groups in a region.
const MAX_GROUPS: usize = 2500;

/// Creates the default group of a VPC.
pub(super) fn add_default(region: &mut Region, id: String, vpc: &str, now: Millis) {
    let all_from = |peer| Rule {
        id: new_id("sgr"),
        permission: Permission {
            protocol: "-1".to_owned(),
            from: None,
            to: None,
            peer,
        },
        description: None,
        tags: Tags::new(),
    };
    let group = Group {
        id: id.clone(),
        name: "default".to_owned(),
        description: "default VPC security group".to_owned(),
        vpc: vpc.to_owned(),
        ingress: vec![all_from(Peer::Group(id.clone()))],
        egress: vec![all_from(Peer::V4(Ipv4Net::default()))],
        tags: Tags::new(),
        // Older than the consistency delay, so that it can be found at once.
        created: now.saturating_sub(60_000),
    };
    region.groups.insert(id, group);
}

/// Returns the id of a VPC's default group.
pub(super) fn default_of(call: &mut Call<'_>, vpc: &str) -> Option<String> {
    let alias = group_name(vpc, "default");
    let found = call.region().groups.find(&alias).next();
    found.map(|group| group.id.clone())
}

/// Returns the group with this id. A group that was just created is not found.
pub(super) fn find(call: &mut Call<'_>, id: &str) -> Result<Group> {
    if id.is_empty() {
        return Err(Refusal::value("groupId", id, "The value cannot be empty"));
    }
    GROUP.check(id)?;
    let found = call.region().groups.get(id).cloned();
    found
        .filter(|group| call.visible(group.created))
        .ok_or_else(|| GROUP.not_found(&[id]))
}

/// Returns the id of the group with this name in the default VPC.
pub(super) fn id_by_name(call: &mut Call<'_>, name: &str) -> Result<String> {
    let vpc = vpc_of(call, None)?.id;
    let alias = group_name(&vpc, name);
    let found = call.region().groups.find(&alias).next();
    found.map(|group| group.id.clone()).ok_or_else(|| {
        Refusal::new(
            "InvalidGroup.NotFound",
            format!("The security group '{name}' does not exist in default VPC '{vpc}'"),
        )
    })
}

/// Returns the id of the group in `GroupId` or `GroupName`.
pub(super) fn named(call: &mut Call<'_>, request: &Part<'_>) -> Result<String> {
    let name = request.text("GroupName");
    match (request.text("GroupId"), name) {
        (Some(id), _) => Ok(id.to_owned()),
        (None, Some(name)) => id_by_name(call, name),
        (None, None) => Err(Refusal::new(
            "MissingParameter",
            "The request must contain the parameter groupName or groupId",
        )),
    }
}

/// The characters that EC2 allows in names and descriptions, as its messages
/// write them.
const CHARACTERS: &str = "a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*";

fn is_allowed(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-:/()#,@[]+=&;{}!$* ".contains(c);
    text.len() < 256 && text.chars().all(allowed)
}

/// Refuses a text with characters beyond ASCII.
fn check_ascii(parameter: &str, text: &str) -> Result<()> {
    if text.is_ascii() {
        return Ok(());
    }
    Err(Refusal::value(
        parameter,
        text,
        "Character sets beyond ASCII are not supported.",
    ))
}

/// Refuses a name that a security group cannot have.
fn check_name(name: &str) -> Result<()> {
    check_ascii("GroupName", name)?;
    let why = if name.starts_with("sg-") {
        "Group names may not be in the format sg-*."
    } else if name == "default" {
        return Err(Refusal::new(
            "InvalidParameterValue",
            "Cannot use reserved security group name: default",
        ));
    } else if name.len() > 255 {
        "Character length exceeds maximum length allowed."
    } else if !is_allowed(name) {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!(
                "Invalid security group name. Valid names are strings less than 256 characters \
                 from the following set:  {CHARACTERS}"
            ),
        ));
    } else {
        return Ok(());
    };
    Err(Refusal::value("GroupName", name, why))
}

/// Refuses a description that a security group or a rule cannot have.
pub(super) fn check_description(what: &str, parameter: &str, text: &str) -> Result<()> {
    if what == "security group" {
        check_ascii(parameter, text)?;
    }
    if is_allowed(text) {
        return Ok(());
    }
    Err(Refusal::new(
        "InvalidParameterValue",
        format!(
            "Invalid {what} description. Valid descriptions are strings less than 256 characters \
             from the following set:  {CHARACTERS}"
        ),
    ))
}

pub(super) fn create_security_group(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let name = request.required("GroupName")?;
    let description = request.required("GroupDescription")?;
    let vpc = request.text("VpcId");
    let tags = tags::specified(request, &["security-group"], "security-group")?;
    call.read_all()?;
    let vpc = vpc_of(call, vpc)?.id;
    check_name(name)?;
    check_description("security group", "GroupDescription", description)?;
    let alias = group_name(&vpc, name);
    if call.region().groups.find(&alias).next().is_some() {
        return Err(Refusal::new(
            "InvalidGroup.Duplicate",
            format!("The security group '{name}' already exists for VPC '{vpc}'"),
        ));
    }
    if call.region().groups.len() >= MAX_GROUPS {
        return Err(Refusal::new(
            "SecurityGroupLimitExceeded",
            format!("The maximum number of security groups for VPC {vpc} has been reached."),
        ));
    }
    let egress = Rule {
        id: new_id("sgr"),
        permission: Permission {
            protocol: "-1".to_owned(),
            from: None,
            to: None,
            peer: Peer::V4(Ipv4Net::default()),
        },
        description: None,
        tags: Tags::new(),
    };
    let group = Group {
        id: new_id("sg"),
        name: name.to_owned(),
        description: description.to_owned(),
        vpc,
        ingress: Vec::new(),
        egress: vec![egress],
        tags,
        created: call.now,
    };
    let mut xml = Xml::done();
    xml.text("groupId", &group.id);
    xml.text("securityGroupArn", call.arn("security-group", &group.id));
    tags::write(&mut xml, &group.tags);
    call.region().groups.insert(group.id.clone(), group);
    Ok(xml)
}

pub(super) fn delete_security_group(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let id = named(call, request)?;
    call.read_all()?;
    let group = match call.region().groups.get(&id).cloned() {
        Some(group) => group,
        None => find(call, &id)?,
    };
    if group.name == "default" {
        return Err(Refusal::new(
            "CannotDelete",
            format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user"),
        ));
    }
    if is_used(call.region(), &id) {
        return Err(Refusal::new(
            "DependencyViolation",
            format!("resource {id} has a dependent object"),
        ));
    }
    call.region().groups.remove(&id);
    let mut xml = Xml::done();
    xml.text("groupId", &id);
    Ok(xml)
}

/// Whether the group is used by an instance that is not terminated or by a rule
/// of another group.
fn is_used(region: &Region, id: &str) -> bool {
    let mut members = region.instances.find(id);
    let alias = peer(id);
    let mut others = region.groups.find(&alias);
    members.any(|member| member.phase != Phase::Terminated) || others.any(|group| group.id != id)
}

/// Writes rules as `DescribeSecurityGroups` shows them: one entry for all peers
/// with the same protocol and ports.
fn write_permissions(xml: &mut Xml, name: &str, rules: &[Rule], owner: &str) {
    type Entry<'a> = (&'a str, Option<i32>, Option<i32>);
    let mut entries: BTreeMap<Entry<'_>, Vec<&Rule>> = BTreeMap::new();
    for rule in rules {
        let permission = &rule.permission;
        let key = (permission.protocol.as_str(), permission.from, permission.to);
        entries.entry(key).or_default().push(rule);
    }
    xml.list(name, entries, |xml, ((protocol, from, to), rules)| {
        xml.text("ipProtocol", protocol);
        xml.option("fromPort", from);
        xml.option("toPort", to);
        xml.node("groups", |xml| {
            for rule in &rules {
                if let Peer::Group(id) = &rule.permission.peer {
                    xml.node("item", |xml| {
                        xml.text("userId", owner);
                        xml.text("groupId", id);
                        xml.option("description", rule.description.as_ref());
                    });
                }
            }
        });
        xml.node("ipRanges", |xml| {
            for rule in &rules {
                if let Peer::V4(net) = &rule.permission.peer {
                    xml.node("item", |xml| {
                        xml.text("cidrIp", net);
                        xml.option("description", rule.description.as_ref());
                    });
                }
            }
        });
        xml.node("ipv6Ranges", |xml| {
            for rule in &rules {
                if let Peer::V6(net) = &rule.permission.peer {
                    xml.node("item", |xml| {
                        xml.text("cidrIpv6", net);
                        xml.option("description", rule.description.as_ref());
                    });
                }
            }
        });
        xml.texts("prefixListIds", [] as [&str; 0]);
    });
}

/// A group and its owner.
struct InVpc {
    group: Group,
    owner: String,
}

impl Filtered for InVpc {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let group = &self.group;
        let of_rules = |rules: &[Rule], what: &str| -> Option<Vec<String>> {
            let value = |rule: &Rule| match (what, &rule.permission.peer) {
                ("protocol", _) => Some(rule.permission.protocol.clone()),
                ("from-port", _) => rule.permission.from.map(|port| port.to_string()),
                ("to-port", _) => rule.permission.to.map(|port| port.to_string()),
                ("cidr", Peer::V4(net)) => Some(net.to_string()),
                ("ipv6-cidr", Peer::V6(net)) => Some(net.to_string()),
                ("group-id", Peer::Group(id)) => Some(id.clone()),
                _ => None,
            };
            let known = [
                "protocol",
                "from-port",
                "to-port",
                "cidr",
                "ipv6-cidr",
                "group-id",
            ];
            known
                .contains(&what)
                .then(|| rules.iter().filter_map(value).collect())
        };
        let one = match name {
            "group-id" => &group.id,
            "group-name" => &group.name,
            "description" => &group.description,
            "vpc-id" => &group.vpc,
            "owner-id" => &self.owner,
            _ => {
                return match (
                    name.strip_prefix("ip-permission."),
                    name.strip_prefix("egress.ip-permission."),
                ) {
                    (Some(what), _) => of_rules(&group.ingress, what),
                    (_, Some(what)) => of_rules(&group.egress, what),
                    _ => None,
                };
            }
        };
        Some(vec![one.clone()])
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.group.tags)
    }
}

pub(super) fn describe_security_groups(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let ids = request.list("GroupId");
    let names = request.list("GroupName");
    let mut asked = BTreeSet::new();
    for id in ids {
        asked.insert(find(call, id)?.id);
    }
    for name in names {
        asked.insert(id_by_name(call, name)?);
    }
    let owner = call.facts.account.clone();
    let groups = &call.region().groups;
    let groups: Vec<&Group> = if asked.is_empty() {
        groups.values().collect()
    } else {
        asked.iter().filter_map(|id| groups.get(id)).collect()
    };
    let in_vpc = |group: &Group| InVpc {
        group: group.clone(),
        owner: owner.clone(),
    };
    let all = groups.into_iter().map(in_vpc).collect();
    let found = Filters::of(request)?.keep(all)?;
    let (groups, next) = page_after(request, found, 5, |one| one.group.id.clone())?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("securityGroupInfo", groups, |xml, in_vpc| {
        let group = &in_vpc.group;
        xml.text("ownerId", &in_vpc.owner);
        xml.text("groupId", &group.id);
        xml.text("groupName", &group.name);
        xml.text("groupDescription", &group.description);
        xml.text("securityGroupArn", call.arn("security-group", &group.id));
        xml.text("vpcId", &group.vpc);
        write_permissions(xml, "ipPermissions", &group.ingress, &in_vpc.owner);
        write_permissions(xml, "ipPermissionsEgress", &group.egress, &in_vpc.owner);
        tags::write(xml, &group.tags);
    });
    xml.option("nextToken", next);
    Ok(xml)
}
