//! Changes of security group rules that keep their ids.

use super::call::{Call, Effect};
use super::group_rules::Direction;
use super::groups::{find, named};
use super::ids::GROUP_RULE;
use super::params::Part;
use super::permissions::{described, permission_of_rule, permissions};
use super::refusal::{Refusal, Result};
use super::state::{Group, Peer, Rule};
use super::xml::Xml;

const BOTH: [Direction; 2] = [Direction::Ingress, Direction::Egress];

/// Changes protocol, ports, source or destination, and description of rules.
pub(super) fn modify_rules(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let mut group = find(call, request.required("GroupId")?)?;
    let updates = request.parts("SecurityGroupRule");
    if updates.is_empty() {
        return Err(missing("SecurityGroupRules"));
    }
    for update in &updates {
        let id = update.required("SecurityGroupRuleId")?;
        let (permission, description) =
            permission_of_rule(call, &update.part("SecurityGroupRule"))?;
        let (direction, place) = place_of(&mut group, id)?;
        let rules = direction.of(&mut group);
        let known = &rules[place];
        if kind(&known.permission.peer) != kind(&permission.peer) {
            return Err(Refusal::new(
                "InvalidParameterValue",
                "You may not modify the source or destination type of a security group rule.",
            ));
        }
        let is_taken = rules
            .iter()
            .any(|rule| rule.id != id && rule.permission == permission);
        if is_taken {
            return Err(Refusal::new(
                "InvalidPermission.Duplicate",
                "The same permission must not appear multiple times",
            ));
        }
        rules[place].permission = permission;
        rules[place].description = description;
    }
    call.read_all()?;
    call.region().groups.insert(group.id.clone(), group);
    call.effects.push(Effect::Groups);
    Ok(Xml::done())
}

/// Changes the descriptions of rules, named by their permissions or by their ids. A
/// rule that is named without a description loses the one that it has.
pub(super) fn update_descriptions(
    call: &mut Call<'_>,
    request: &Part<'_>,
    direction: Direction,
) -> Result<Xml> {
    let id = named(call, request)?;
    let mut group = find(call, &id)?;
    let described_ids = request.parts("SecurityGroupRuleDescription");
    let asked = match (request.has("IpPermissions"), described_ids.is_empty()) {
        (true, true) => permissions(call, request)?,
        (false, false) => Vec::new(),
        (true, false) => {
            return Err(Refusal::new(
                "InvalidParameterCombination",
                "You may specify IpPermissions or SecurityGroupRuleDescriptions, but not both",
            ));
        }
        (false, true) => return Err(missing("ipPermissions")),
    };
    let rules = direction.of(&mut group);
    for (permission, description) in asked {
        let rule = rules.iter_mut().find(|rule| rule.permission == permission);
        rule.ok_or_else(no_rule)?.description = description;
    }
    for part in described_ids {
        let id = part.required("SecurityGroupRuleId")?;
        GROUP_RULE.find_all(&[id], |id| rules.iter().any(|rule| rule.id == id))?;
        let description = described(&part)?;
        for rule in rules.iter_mut().filter(|rule| rule.id == id) {
            rule.description.clone_from(&description);
        }
    }
    call.read_all()?;
    call.region().groups.insert(id, group);
    Ok(Xml::done())
}

/// Returns the direction and the index of the rule with this id.
fn place_of(group: &mut Group, id: &str) -> Result<(Direction, usize)> {
    let found = BOTH.into_iter().find_map(|direction| {
        let is_it = |rule: &Rule| rule.id == id;
        Some((direction, direction.of(group).iter().position(is_it)?))
    });
    GROUP_RULE.find_all(&[id], |_| found.is_some())?;
    found.ok_or_else(no_rule)
}

/// Returns a number that tells apart what a rule cannot change into.
fn kind(peer: &Peer) -> u8 {
    match peer {
        Peer::V4(_) => 4,
        Peer::V6(_) => 6,
        Peer::Group(_) => 0,
    }
}

fn no_rule() -> Refusal {
    Refusal::new(
        "InvalidPermission.NotFound",
        "The specified rule does not exist in this security group.",
    )
}

fn missing(parameter: &str) -> Refusal {
    Refusal::new(
        "MissingParameter",
        format!("The request must contain the parameter {parameter}"),
    )
}
