//! Roles and their policies.

use std::collections::{BTreeMap, BTreeSet};

use super::super::params::Part;
use super::super::refusal::{Refusal, Result};
use super::super::xml::Xml;
use super::list::{page, write_end, write_page, write_tags};
use super::names::{document, invalid, name, new_id, path, required, tags};
use super::state::Role;
use super::{Call, conflict, no_such_entity};
use crate::clock::{iso, millis};
use crate::query::{VALUE, encode};

/// The longest name of a role, and of a policy.
const LONGEST: usize = 64;
const LONGEST_POLICY: usize = 128;

pub(super) fn create(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let name = name(request, "RoleName", LONGEST)?;
    let session = request.number("MaxSessionDuration")?.unwrap_or(3600);
    if !(3600..=43_200).contains(&session) {
        let rule = "Member must have value between 3600 and 43200";
        return Err(invalid(&session.to_string(), "MaxSessionDuration", rule));
    }
    let role = Role {
        id: new_id("AROA"),
        path: path(request)?,
        name: name.to_owned(),
        description: request.text("Description").map(str::to_owned),
        trust: document(request, "AssumeRolePolicyDocument")?,
        session,
        policies: BTreeMap::new(),
        attached: BTreeSet::new(),
        tags: tags(request)?,
        created: millis(),
        used: None,
    };
    call.params.none_left()?;
    if call
        .iam
        .roles
        .keys()
        .any(|known| known.eq_ignore_ascii_case(name))
    {
        let message = format!("Role with name {name} already exists.");
        return Err(conflict("EntityAlreadyExists", message));
    }
    let mut xml = Xml::default();
    xml.node("Role", |xml| write(xml, call.account, &role));
    call.iam.roles.insert(name.to_owned(), role);
    Ok(xml)
}

pub(super) fn get(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let role = call.role(request)?.clone();
    call.params.none_left()?;
    let mut xml = Xml::default();
    xml.node("Role", |xml| {
        write(xml, call.account, &role);
        // As on AWS, lists do not have it, and it is empty for an unused role.
        xml.node("RoleLastUsed", |xml| {
            if let Some((when, region)) = &role.used {
                xml.text("LastUsedDate", iso(*when));
                xml.text("Region", region);
            }
        });
    });
    Ok(xml)
}

pub(super) fn list(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let prefix = request.text("PathPrefix").unwrap_or("/");
    let roles = call.iam.roles.values();
    let roles = roles.filter(|role| role.path.starts_with(prefix));
    let roles = roles.map(|role| (role.name.clone(), role));
    let mut xml = Xml::default();
    write_page(&mut xml, request, "Roles", roles, |xml, role| {
        write(xml, call.account, role);
    })?;
    call.params.none_left()?;
    Ok(xml)
}

pub(super) fn delete(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let role = call.role(request)?.clone();
    call.params.none_left()?;
    let is_used = call
        .iam
        .profiles
        .values()
        .any(|profile| profile.role.as_ref() == Some(&role.name));
    let why = match (role.attached.is_empty(), role.policies.is_empty(), is_used) {
        (false, ..) => "must detach all policies first.",
        (_, false, _) => "must delete policies first.",
        (.., true) => "must remove roles from instance profile first.",
        _ => {
            call.iam.roles.remove(&role.name);
            return Ok(Xml::default());
        }
    };
    Err(conflict(
        "DeleteConflict",
        format!("Cannot delete entity, {why}"),
    ))
}

pub(super) fn update_trust(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let trust = document(request, "PolicyDocument")?;
    call.role(request)?.trust = trust;
    call.params.none_left()?;
    Ok(Xml::default())
}

pub(super) fn list_tags(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let tags = call.role(request)?.tags.clone();
    let tags = tags
        .into_iter()
        .map(|(key, value)| (key.clone(), (key, value)));
    let mut xml = Xml::default();
    write_page(&mut xml, request, "Tags", tags, |xml, (key, value)| {
        xml.text("Key", key);
        xml.text("Value", value);
    })?;
    call.params.none_left()?;
    Ok(xml)
}

pub(super) fn put_policy(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let policy = name(request, "PolicyName", LONGEST_POLICY)?.to_owned();
    let text = document(request, "PolicyDocument")?;
    call.role(request)?.policies.insert(policy, text);
    call.params.none_left()?;
    Ok(Xml::default())
}

pub(super) fn get_policy(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let policy = name(request, "PolicyName", LONGEST_POLICY)?;
    let role = call.role(request)?;
    let text = role.policies.get(policy).ok_or_else(|| no_policy(policy))?;
    let mut xml = Xml::default();
    xml.text("RoleName", &role.name);
    xml.text("PolicyName", policy);
    xml.text("PolicyDocument", encode(text, VALUE));
    call.params.none_left()?;
    Ok(xml)
}

pub(super) fn list_policies(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let names: Vec<_> = call.role(request)?.policies.keys().cloned().collect();
    let mut xml = Xml::default();
    let (entries, next) = page(request, names.into_iter().map(|name| (name.clone(), name)))?;
    xml.node("PolicyNames", |xml| {
        for (_, name) in entries {
            xml.text("member", name);
        }
    });
    write_end(&mut xml, next);
    call.params.none_left()?;
    Ok(xml)
}

pub(super) fn delete_policy(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let policy = name(request, "PolicyName", LONGEST_POLICY)?;
    let removed = call.role(request)?.policies.remove(policy);
    call.params.none_left()?;
    removed
        .map(|_| Xml::default())
        .ok_or_else(|| no_policy(policy))
}

pub(super) fn attach_policy(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let arn = required(request, "PolicyArn")?.to_owned();
    // Only AWS's own policies exist.
    let is_known = arn
        .strip_prefix("arn:aws:iam::aws:policy/")
        .is_some_and(|rest| !rest.is_empty());
    let role = call.role(request)?;
    if !is_known {
        let message = format!("Policy {arn} does not exist or is not attachable.");
        return Err(no_such_entity(message));
    }
    role.attached.insert(arn);
    call.params.none_left()?;
    Ok(Xml::default())
}

pub(super) fn detach_policy(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let arn = required(request, "PolicyArn")?;
    let removed = call.role(request)?.attached.remove(arn);
    call.params.none_left()?;
    if removed {
        return Ok(Xml::default());
    }
    Err(no_such_entity(format!("Policy {arn} was not found.")))
}

pub(super) fn list_attached(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let prefix = request.text("PathPrefix").unwrap_or("/");
    let mut attached = call.role(request)?.attached.clone();
    attached.retain(|arn| {
        arn.split_once(":policy")
            .is_some_and(|(_, path)| path.starts_with(prefix))
    });
    let mut xml = Xml::default();
    let entries = attached.into_iter().map(|arn| (arn.clone(), arn));
    write_page(
        &mut xml,
        request,
        "AttachedPolicies",
        entries,
        |xml, arn| {
            xml.text("PolicyName", arn.rsplit('/').next().unwrap_or_default());
            xml.text("PolicyArn", arn);
        },
    )?;
    call.params.none_left()?;
    Ok(xml)
}

impl Call<'_> {
    /// Returns the role that a request names.
    pub(super) fn role(&mut self, request: &Part<'_>) -> Result<&mut Role> {
        let name = name(request, "RoleName", LONGEST)?;
        let missing = || no_such_entity(format!("The role with name {name} cannot be found."));
        self.iam.roles.get_mut(name).ok_or_else(missing)
    }
}

fn no_policy(name: &str) -> Refusal {
    no_such_entity(format!("The role policy with name {name} cannot be found."))
}

/// Writes a role.
pub(super) fn write(xml: &mut Xml, account: &str, role: &Role) {
    xml.text("Path", &role.path);
    xml.text("RoleName", &role.name);
    xml.text("RoleId", &role.id);
    xml.text("Arn", role.arn(account));
    xml.text("CreateDate", iso(role.created));
    xml.text("AssumeRolePolicyDocument", encode(&role.trust, VALUE));
    xml.option("Description", role.description.as_ref());
    xml.text("MaxSessionDuration", role.session);
    write_tags(xml, &role.tags);
}
