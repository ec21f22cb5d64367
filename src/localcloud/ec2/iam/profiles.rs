//! Instance profiles, which give instances a role.

use super::super::params::Part;
use super::super::refusal::{Refusal, Result};
use super::super::xml::Xml;
use super::list::{tag_page, write_page, write_tags};
use super::names::{add_tags, name, new_id, path, remove_tags, tags};
use super::state::{Iam, Profile};
use super::{Call, conflict, no_such_entity, roles};
use crate::clock::{iso, millis};

/// The longest name of a profile.
const LONGEST: usize = 128;

pub(super) fn create(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let name = name(request, "InstanceProfileName", LONGEST)?;
    let profile = Profile {
        id: new_id("AIPA"),
        path: path(request)?,
        name: name.to_owned(),
        role: None,
        tags: tags(request)?,
        created: millis(),
    };
    call.params.none_left()?;
    if call
        .iam
        .profiles
        .keys()
        .any(|known| known.eq_ignore_ascii_case(name))
    {
        let message = format!("Instance Profile {name} already exists.");
        return Err(conflict("EntityAlreadyExists", message));
    }
    call.iam.profiles.insert(name.to_owned(), profile);
    Ok(shown(call, name))
}

pub(super) fn get(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let name = call.profile(request)?.name.clone();
    call.params.none_left()?;
    Ok(shown(call, &name))
}

pub(super) fn list(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let prefix = request.text("PathPrefix").unwrap_or("/");
    write_all(call, request, |profile| profile.path.starts_with(prefix))
}

pub(super) fn list_for_role(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let role = call.role(request)?.name.clone();
    write_all(call, request, |profile| {
        profile.role.as_ref() == Some(&role)
    })
}

pub(super) fn delete(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let profile = call.profile(request)?.clone();
    call.params.none_left()?;
    if profile.role.is_some() {
        let message = "Cannot delete entity, must remove roles from instance profile first.";
        return Err(conflict("DeleteConflict", message));
    }
    call.iam.profiles.remove(&profile.name);
    Ok(Xml::default())
}

pub(super) fn add_role(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let role = call.role(request)?.name.clone();
    let profile = call.profile(request)?;
    if profile.role.is_some() {
        let message = "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1";
        return Err(conflict("LimitExceeded", message));
    }
    profile.role = Some(role);
    call.params.none_left()?;
    Ok(Xml::default())
}

pub(super) fn remove_role(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let role = call.role(request)?.name.clone();
    let profile = call.profile(request)?;
    if profile.role.as_ref() != Some(&role) {
        let message = format!("The role with name {role} cannot be found.");
        return Err(no_such_entity(message));
    }
    profile.role = None;
    call.params.none_left()?;
    Ok(Xml::default())
}

pub(super) fn list_tags(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let tags = call.profile(request)?.tags.clone();
    let xml = tag_page(request, &tags)?;
    call.params.none_left()?;
    Ok(xml)
}

pub(super) fn tag(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    add_tags(request, &mut call.profile(request)?.tags)?;
    call.params.none_left()?;
    Ok(Xml::default())
}

pub(super) fn untag(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    remove_tags(request, &mut call.profile(request)?.tags);
    call.params.none_left()?;
    Ok(Xml::default())
}

impl Call<'_> {
    /// Returns the profile that a request names.
    fn profile(&mut self, request: &Part<'_>) -> Result<&mut Profile> {
        let name = name(request, "InstanceProfileName", LONGEST)?;
        let missing = || no_such_entity(format!("Instance Profile {name} cannot be found."));
        self.iam.profiles.get_mut(name).ok_or_else(missing)
    }
}

/// Returns the profile that a launch names by its name or ARN, if the request
/// has one. Fails unless the profile exists and has a role.
pub(in super::super) fn usable(
    iam: &Iam,
    account: &str,
    part: &Part<'_>,
) -> Result<Option<Profile>> {
    let (found, parameter, value, what) = match (part.text("Name"), part.text("Arn")) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(Refusal::new(
                "InvalidParameterCombination",
                "The parameter 'iamInstanceProfile.name' may not be used in combination with \
                 'iamInstanceProfile.arn'",
            ));
        }
        (Some(name), None) => (iam.profiles.get(name), "name", name, "name"),
        (None, Some(arn)) => {
            let found = iam
                .profiles
                .values()
                .find(|profile| profile.arn(account) == arn);
            (found, "arn", arn, "ARN")
        }
    };
    let Some(profile) = found else {
        let why = format!("Invalid IAM Instance Profile {what}");
        return Err(Refusal::value(
            &format!("iamInstanceProfile.{parameter}"),
            value,
            &why,
        ));
    };
    if profile.role.is_none() {
        let message = format!("IAM Instance Profile \"{value}\" has no associated IAM Roles");
        return Err(Refusal::new("InvalidParameterValue", message));
    }
    Ok(Some(profile.clone()))
}

fn write_all(
    call: &mut Call<'_>,
    request: &Part<'_>,
    is_wanted: impl Fn(&Profile) -> bool,
) -> Result<Xml> {
    let profiles = call
        .iam
        .profiles
        .values()
        .filter(|profile| is_wanted(profile));
    let profiles = profiles.map(|profile| (profile.name.clone(), profile));
    let mut xml = Xml::default();
    write_page(
        &mut xml,
        request,
        "InstanceProfiles",
        profiles,
        |xml, profile| {
            write(xml, call, profile);
        },
    )?;
    call.params.none_left()?;
    Ok(xml)
}

fn shown(call: &Call<'_>, name: &str) -> Xml {
    let mut xml = Xml::default();
    if let Some(profile) = call.iam.profiles.get(name) {
        xml.node("InstanceProfile", |xml| write(xml, call, profile));
    }
    xml
}

fn write(xml: &mut Xml, call: &Call<'_>, profile: &Profile) {
    let role = profile
        .role
        .as_ref()
        .and_then(|name| call.iam.roles.get(name));
    xml.text("Path", &profile.path);
    xml.text("InstanceProfileName", &profile.name);
    xml.text("InstanceProfileId", &profile.id);
    xml.text("Arn", profile.arn(call.account));
    xml.text("CreateDate", iso(profile.created));
    xml.node("Roles", |xml| {
        if let Some(role) = role {
            xml.node("member", |xml| roles::write(xml, call.account, role));
        }
    });
    write_tags(xml, &profile.tags);
}
