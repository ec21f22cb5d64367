//! Roles and their policies.

use std::collections::{BTreeMap, BTreeSet};

use super::super::params::Part;
use super::super::refusal::{Refusal, Result};
use super::super::xml::Xml;
use super::list::{page, tag_page, write_end, write_page, write_tags};
use super::names::{add_tags, document, invalid, name, new_id, path, remove_tags, required, tags};
use super::state::Role;
use super::{Call, conflict, no_such_entity};
use crate::clock::{iso, millis};
use crate::query::{VALUE, encode};

/// The longest name of a role, and of a policy.
const LONGEST: usize = 64;
const LONGEST_POLICY: usize = 128;
/// The longest description of a role.
const LONGEST_DESCRIPTION: usize = 1000;
/// The longest session of a role that names none, in seconds.
const DEFAULT_SESSION: u32 = 3600;

pub(super) fn create(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let name = name(request, "RoleName", LONGEST)?;
    let session = session(request)?.unwrap_or(DEFAULT_SESSION);
    let role = Role {
        id: new_id("AROA"),
        path: path(request)?,
        name: name.to_owned(),
        description: description(request)?,
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

/// Replaces the description and the longest session. As on AWS, one that is not named
/// takes its default.
pub(super) fn update(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let (description, session) = (description(request)?, session(request)?);
    let role = call.role(request)?;
    role.description = description;
    role.session = session.unwrap_or(DEFAULT_SESSION);
    call.params.none_left()?;
    Ok(Xml::default())
}

pub(super) fn update_description(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let description = description(request)?;
    let account = call.account;
    let role = call.role(request)?;
    role.description = description;
    let mut xml = Xml::default();
    xml.node("Role", |xml| write(xml, account, role));
    call.params.none_left()?;
    Ok(xml)
}

/// Returns the longest session of a request, in seconds.
fn session(request: &Part<'_>) -> Result<Option<u32>> {
    let session: Option<u32> = request.number("MaxSessionDuration")?;
    let rule = match session {
        Some(..3600) => "Member must have value greater than or equal to 3600",
        Some(43_201..) => "Member must have value less than or equal to 43200",
        _ => return Ok(session),
    };
    let value = session.unwrap_or_default().to_string();
    Err(invalid(&value, "MaxSessionDuration", rule))
}

/// Returns the description of a request.
fn description(request: &Part<'_>) -> Result<Option<String>> {
    let Some(text) = request.text("Description") else {
        return Ok(None);
    };
    if text.chars().count() > LONGEST_DESCRIPTION {
        let rule = format!("Member must have length less than or equal to {LONGEST_DESCRIPTION}");
        return Err(invalid(text, "Description", &rule));
    }
    Ok(Some(text.to_owned()))
}

pub(super) fn list_tags(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let tags = call.role(request)?.tags.clone();
    let xml = tag_page(request, &tags)?;
    call.params.none_left()?;
    Ok(xml)
}

pub(super) fn tag(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    add_tags(request, &mut call.role(request)?.tags)?;
    call.params.none_left()?;
    Ok(Xml::default())
}

pub(super) fn untag(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    remove_tags(request, &mut call.role(request)?.tags);
    call.params.none_left()?;
    Ok(Xml::default())
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
