//! Instance profiles of instances: their associations.

use super::call::Call;
use super::filters::{Filtered, Filters, page};
use super::iam::{Profile, usable};
use super::ids::{is_id, new_id};
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::state::{Instance, InstanceProfile, Phase};
use super::xml::Xml;
use crate::clock::iso;

/// The association of a profile with an instance.
struct Association {
    instance: String,
    profile: InstanceProfile,
}

impl Filtered for Association {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let one = match name {
            "instance-id" => self.instance.clone(),
            "state" => "associated".to_owned(),
            _ => return None,
        };
        Some(vec![one])
    }
}

/// Returns the profile that a launch names.
pub(super) fn of_launch(call: &Call<'_>, request: &Part<'_>) -> Result<Option<InstanceProfile>> {
    let part = request.part("IamInstanceProfile");
    let found = usable(&call.state.iam, &call.facts.account, &part)?;
    Ok(found.map(|profile| associated(call, &profile)))
}

fn associated(call: &Call<'_>, profile: &Profile) -> InstanceProfile {
    InstanceProfile {
        association: new_id("iip-assoc"),
        name: profile.name.clone(),
        id: profile.id.clone(),
        arn: profile.arn(&call.facts.account),
        since: call.now,
    }
}

pub(super) fn associate(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let instance = instance(call, request.required("InstanceId")?)?;
    let profile = required(call, request)?;
    call.read_all()?;
    if instance.iam_profile.is_some() {
        let message = format!(
            "There is an existing association for instance {}",
            instance.id
        );
        return Err(Refusal::new("IncorrectState", message));
    }
    set(call, &instance.id, Some(profile.clone()));
    Ok(answer(&instance.id, &profile, "associating"))
}

pub(super) fn replace(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let id = request.required("AssociationId")?;
    let old = association(call, id)?;
    let profile = required(call, request)?;
    call.read_all()?;
    set(call, &old.instance, Some(profile.clone()));
    Ok(answer(&old.instance, &profile, "associating"))
}

pub(super) fn disassociate(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let id = request.required("AssociationId")?;
    call.read_all()?;
    let Association { instance, profile } = association(call, id)?;
    set(call, &instance, None);
    Ok(answer(&instance, &profile, "disassociating"))
}

pub(super) fn describe(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let ids = request.list("AssociationId");
    let asked = if ids.is_empty() {
        associations(call)
    } else {
        let found = ids.iter().map(|id| association(call, id));
        found.collect::<Result<_>>()?
    };
    let (found, next) = page(request, Filters::of(request)?.keep(asked)?, 5)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("iamInstanceProfileAssociationSet", found, |xml, found| {
        write(xml, &found.instance, &found.profile, "associated");
    });
    xml.option("nextToken", next);
    Ok(xml)
}

fn associations(call: &mut Call<'_>) -> Vec<Association> {
    let instances = call.region().instances.values();
    let found = instances.filter(|instance| !instance.phase.is_ending());
    let found = found.filter_map(|instance| {
        Some(Association {
            instance: instance.id.clone(),
            profile: instance.iam_profile.clone()?,
        })
    });
    found.collect()
}

fn association(call: &mut Call<'_>, id: &str) -> Result<Association> {
    let mut all = associations(call).into_iter();
    let found = all.find(|known| known.profile.association == id);
    found.filter(|_| is_id("iip-assoc", id)).ok_or_else(|| {
        let message = format!("An invalid association-id of '{id}' was given");
        Refusal::new("InvalidAssociationID.NotFound", message)
    })
}

fn instance(call: &mut Call<'_>, id: &str) -> Result<Instance> {
    let mut found = call.instances(&[id])?;
    let is_usable = |instance: &Instance| {
        matches!(
            instance.phase,
            Phase::Pending | Phase::Running | Phase::Stopping | Phase::Stopped
        )
    };
    found.pop().filter(is_usable).ok_or_else(|| {
        let message = format!("The instance '{id}' is not in the 'running' or 'stopped' states.");
        Refusal::new("IncorrectInstanceState", message)
    })
}

fn required(call: &Call<'_>, request: &Part<'_>) -> Result<InstanceProfile> {
    of_launch(call, request)?.ok_or_else(|| {
        let message = "The request must contain the parameter iamInstanceProfile";
        Refusal::new("MissingParameter", message)
    })
}

fn set(call: &mut Call<'_>, instance: &str, profile: Option<InstanceProfile>) {
    if let Some(instance) = call.region().instances.get_mut(instance) {
        instance.iam_profile = profile;
    }
}

fn answer(instance: &str, profile: &InstanceProfile, state: &str) -> Xml {
    let mut xml = Xml::default();
    xml.node("iamInstanceProfileAssociation", |xml| {
        write(xml, instance, profile, state);
    });
    xml
}

fn write(xml: &mut Xml, instance: &str, profile: &InstanceProfile, state: &str) {
    xml.text("associationId", &profile.association);
    xml.text("instanceId", instance);
    write_profile(xml, profile);
    xml.text("state", state);
    xml.text("timestamp", iso(profile.since));
}

/// Writes the profile of an instance.
pub(super) fn write_profile(xml: &mut Xml, profile: &InstanceProfile) {
    xml.node("iamInstanceProfile", |xml| {
        xml.text("arn", &profile.arn);
        xml.text("id", &profile.id);
    });
}
