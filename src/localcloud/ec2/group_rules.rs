//! Security group rules. Each rule has its own id.

use std::collections::{BTreeMap, BTreeSet};

use super::call::{Call, Effect};
use super::filters::{Filtered, Filters, page};
use super::groups::{find, named};
use super::ids::{GROUP_RULE, is_id, new_id};
use super::params::Part;
use super::permissions::{peer_text, permissions};
use super::refusal::{Refusal, Result};
use super::state::{Group, Peer, Permission, Rule, Tags};
use super::tags;
use super::xml::Xml;

/// AWS's default quota of rules per group and direction.
const MAX_RULES: usize = 60;

/// The two directions of a group's rules.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    pub(super) fn of(self, group: &mut Group) -> &mut Vec<Rule> {
        match self {
            Self::Ingress => &mut group.ingress,
            Self::Egress => &mut group.egress,
        }
    }
}

pub(super) fn authorize(
    call: &mut Call<'_>,
    request: &Part<'_>,
    direction: Direction,
) -> Result<Xml> {
    let id = named(call, request)?;
    let mut group = find(call, &id)?;
    let asked = permissions(call, request)?;
    let tags = tags::specified(request, &["security-group-rule"], "security-group-rule")?;
    call.read_all()?;
    for (permission, _) in &asked {
        if let Peer::Group(peer) = &permission.peer
            && find(call, peer)?.vpc != group.vpc
        {
            return Err(Refusal::new(
                "InvalidGroup.NotFound",
                "You have specified two resources that belong to different networks.",
            ));
        }
    }
    let rules = direction.of(&mut group);
    if rules.len() + asked.len() > MAX_RULES {
        return Err(Refusal::new(
            "RulesPerSecurityGroupLimitExceeded",
            "The maximum number of rules per security group has been reached.",
        ));
    }
    refuse_repeated(&asked)?;
    let mut added = Vec::new();
    for (permission, description) in asked {
        if rules.iter().any(|rule| rule.permission == permission) {
            return Err(Refusal::new(
                "InvalidPermission.Duplicate",
                format!(
                    "the specified rule \"peer: {}, {}, from port: {}, to port: {}, ALLOW\" \
                     already exists",
                    peer_text(&permission.peer),
                    permission.protocol.to_uppercase(),
                    permission.from.unwrap_or(-1),
                    permission.to.unwrap_or(-1),
                ),
            ));
        }
        let rule = Rule {
            id: new_id("sgr"),
            permission,
            description,
            tags: tags.clone(),
        };
        rules.push(rule.clone());
        added.push(rule);
    }
    call.region().groups.insert(id.clone(), group);
    call.effects.push(Effect::Groups);
    let mut xml = Xml::done();
    xml.list("securityGroupRuleSet", added, |xml, rule| {
        write_rule(xml, call, &id, &rule, direction);
        tags::write(xml, &rule.tags);
    });
    Ok(xml)
}

/// Refuses a request that contains a permission twice.
fn refuse_repeated(asked: &[(Permission, Option<String>)]) -> Result<()> {
    let repeated = asked
        .iter()
        .enumerate()
        .any(|(n, (one, _))| asked[..n].iter().any(|(other, _)| other == one));
    if !repeated {
        return Ok(());
    }
    Err(Refusal::new(
        "InvalidParameterValue",
        "The same permission must not appear multiple times",
    ))
}

pub(super) fn revoke(call: &mut Call<'_>, request: &Part<'_>, direction: Direction) -> Result<Xml> {
    let id = named(call, request)?;
    let mut group = find(call, &id)?;
    let ids = request.list("SecurityGroupRuleId");
    let asked = if ids.is_empty() {
        permissions(call, request)?
    } else {
        Vec::new()
    };
    call.read_all()?;
    let rules = direction.of(&mut group);
    GROUP_RULE.find_all(&ids, |id| rules.iter().any(|rule| rule.id == id))?;
    let missing = asked
        .iter()
        .any(|(permission, _)| !rules.iter().any(|rule| rule.permission == *permission));
    if missing {
        return Err(Refusal::new(
            "InvalidPermission.NotFound",
            "The specified rule does not exist in this security group.",
        ));
    }
    let (revoked, kept) = rules.drain(..).partition(|rule: &Rule| {
        ids.contains(&rule.id.as_str())
            || asked
                .iter()
                .any(|(permission, _)| *permission == rule.permission)
    });
    *rules = kept;
    let revoked: Vec<Rule> = revoked;
    let mut xml = Xml::done();
    xml.list("revokedSecurityGroupRuleSet", revoked, |xml, rule| {
        write_traffic(xml, &id, &rule, direction);
        if let Peer::Group(peer) = &rule.permission.peer {
            xml.text("referencedGroupId", peer);
        }
    });
    call.region().groups.insert(id, group);
    call.effects.push(Effect::Groups);
    Ok(xml)
}

fn write_rule(xml: &mut Xml, call: &Call<'_>, group: &str, rule: &Rule, direction: Direction) {
    let owner = &call.facts.account;
    write_traffic(xml, group, rule, direction);
    xml.text("groupOwnerId", owner);
    if let Peer::Group(peer) = &rule.permission.peer {
        xml.node("referencedGroupInfo", |xml| {
            xml.text("groupId", peer);
            xml.text("userId", owner);
        });
    }
    xml.text(
        "securityGroupRuleArn",
        call.arn("security-group-rule", &rule.id),
    );
}

/// Writes what rules and revoked rules have in common.
fn write_traffic(xml: &mut Xml, group: &str, rule: &Rule, direction: Direction) {
    xml.text("securityGroupRuleId", &rule.id);
    xml.text("groupId", group);
    xml.text("isEgress", direction == Direction::Egress);
    xml.text("ipProtocol", &rule.permission.protocol);
    xml.text("fromPort", rule.permission.from.unwrap_or(-1));
    xml.text("toPort", rule.permission.to.unwrap_or(-1));
    match &rule.permission.peer {
        Peer::V4(net) => xml.text("cidrIpv4", net),
        Peer::V6(net) => xml.text("cidrIpv6", net),
        Peer::Group(_) => {}
    }
    xml.option("description", rule.description.as_ref());
}

/// A rule and the id of its group.
struct InGroup {
    rule: Rule,
    group: String,
    direction: Direction,
}

impl Filtered for InGroup {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        match name {
            "group-id" => Some(vec![self.group.clone()]),
            "security-group-rule-id" => Some(vec![self.rule.id.clone()]),
            _ => None,
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.rule.tags)
    }
}

pub(super) fn describe_security_group_rules(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let ids = request.list("SecurityGroupRuleId");
    let filters = Filters::of(request)?;
    for id in filters.patterns("group-id") {
        if !is_id("sg", id) && !id.contains(['*', '?']) {
            return Err(Refusal::new(
                "InvalidGroupId.Malformed",
                format!("The security group ID '{id}' is malformed"),
            ));
        }
    }
    let groups = &call.region().groups;
    GROUP_RULE.find_all(&ids, |id| groups.find(id).next().is_some())?;
    let ids: BTreeSet<&str> = ids.into_iter().collect();
    let of_ids = ids.iter().flat_map(|id| groups.find(id));
    let mut asked: BTreeMap<&str, &Group> = of_ids.map(|group| (&*group.id, group)).collect();
    if ids.is_empty() {
        asked = groups.values().map(|group| (&*group.id, group)).collect();
    }
    let mut all = Vec::new();
    for group in asked.into_values() {
        let both = [
            (Direction::Ingress, &group.ingress),
            (Direction::Egress, &group.egress),
        ];
        for (direction, rules) in both {
            let rules = rules
                .iter()
                .filter(|rule| ids.is_empty() || ids.contains(&*rule.id));
            all.extend(rules.map(|rule| InGroup {
                rule: rule.clone(),
                group: group.id.clone(),
                direction,
            }));
        }
    }
    let (rules, next) = page(request, filters.keep(all)?, 5)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("securityGroupRuleSet", rules, |xml, each| {
        write_rule(xml, call, &each.group, &each.rule, each.direction);
        tags::write_list(xml, &each.rule.tags);
    });
    xml.option("nextToken", next);
    Ok(xml)
}
