//! Describes and deletes fleets, all of which have the type `instant`. As on AWS, an
//! answer has such a fleet only if the request names it.

use super::call::Call;
use super::create_fleet::{Failed, InstantFleet, write_template};
use super::filters::{Filtered, Filters, page};
use super::instances::terminate;
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::state::{Instance, Phase};
use super::tags;
use super::xml::Xml;
use crate::clock::iso;

/// A fleet with its state.
struct View {
    fleet: InstantFleet,
    state: &'static str,
}

impl View {
    fn of(call: &mut Call<'_>, fleet: InstantFleet) -> Self {
        let is_over = |one: &Instance| one.phase == Phase::Terminated;
        let state = match fleet.is_deleted {
            false => "active",
            true if instances(call, &fleet).iter().all(is_over) => "deleted",
            true => "deleted_terminating",
        };
        Self { fleet, state }
    }

    /// Returns the numbers of launched instances: all, and those on demand.
    fn fulfilled(&self) -> (usize, usize) {
        let count = |counts: fn(bool) -> bool| {
            let groups = self.fleet.launched.iter();
            let groups = groups.filter(|group| counts(group.spot));
            groups.map(|group| group.instances.len()).sum()
        };
        (count(|_| true), count(|spot| !spot))
    }

    fn wanted(&self) -> u32 {
        self.fleet.demand.regular + self.fleet.demand.spot
    }

    fn activity(&self) -> &'static str {
        let (fulfilled, _) = self.fulfilled();
        match self.state {
            "deleted_terminating" => "pending_termination",
            _ if fulfilled >= self.wanted() as usize => "fulfilled",
            _ => "error",
        }
    }
}

impl Filtered for View {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let one = match name {
            "activity-status" => self.activity(),
            "fleet-state" => self.state,
            "replace-unhealthy-instances" => "false",
            "type" => "instant",
            // Fleets of this type have none.
            "excess-capacity-termination-policy" => return Some(Vec::new()),
            _ => return None,
        };
        Some(vec![one.to_owned()])
    }
}

/// Returns the instances of a fleet that EC2 still knows.
fn instances(call: &mut Call<'_>, fleet: &InstantFleet) -> Vec<Instance> {
    let ids = fleet.launched.iter().flat_map(|group| &group.instances);
    let known = &call.region().instances;
    ids.filter_map(|id| known.get(id).cloned()).collect()
}

fn unknown(id: &str) -> Refusal {
    let message = format!("The fleet ID '{id}' does not exist");
    Refusal::new("InvalidFleetId.NotFound", message)
}

pub(super) fn describe_fleets(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let mut named = Vec::new();
    for id in request.list("FleetId") {
        let fleet = call.region().fleets.get(id).cloned();
        let fleet = fleet.ok_or_else(|| unknown(id))?;
        named.push(View::of(call, fleet));
    }
    let (found, next) = page(request, Filters::of(request)?.keep(named)?, 1)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("fleetSet", &found, write);
    xml.option("nextToken", next);
    Ok(xml)
}

fn write(xml: &mut Xml, view: &View) {
    let fleet = &view.fleet;
    let demand = &fleet.demand;
    let (fulfilled, on_demand) = view.fulfilled();
    xml.text("activityStatus", view.activity());
    xml.text("createTime", iso(fleet.created));
    xml.text("fleetId", &fleet.id);
    xml.text("fleetState", view.state);
    xml.option("clientToken", fleet.token.as_ref().map(|(token, _)| token));
    xml.text("fulfilledCapacity", fulfilled);
    xml.text("fulfilledOnDemandCapacity", on_demand);
    let same_template = fleet.choices.chunk_by(|a, b| a.template == b.template);
    xml.list("launchTemplateConfigs", same_template, |xml, choices| {
        write_template(xml, &choices[0].template);
        xml.list("overrides", choices, |xml, choice| choice.write(xml));
    });
    xml.node("targetCapacitySpecification", |xml| {
        xml.text("totalTargetCapacity", view.wanted());
        xml.text("onDemandTargetCapacity", demand.regular);
        xml.text("spotTargetCapacity", demand.spot);
        xml.text("defaultTargetCapacityType", &demand.default_type);
    });
    xml.text("terminateInstancesWithExpiration", false);
    xml.text("type", "instant");
    xml.text("replaceUnhealthyInstances", false);
    xml.node("spotOptions", |xml| {
        xml.text("allocationStrategy", &demand.spot_strategy);
        xml.text("instanceInterruptionBehavior", "terminate");
    });
    xml.node("onDemandOptions", |xml| {
        xml.text("allocationStrategy", &demand.on_demand_strategy);
    });
    tags::write(xml, &fleet.tags);
    xml.list("errorSet", &fleet.failed, Failed::write);
    xml.list("fleetInstanceSet", &fleet.launched, |xml, launched| {
        launched.write(xml);
    });
}

/// Refuses fleets of the type `instant`, which are all.
pub(super) fn describe_fleet_instances(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let id = request.required("FleetId")?;
    call.region().fleets.get(id).ok_or_else(|| unknown(id))?;
    Filters::of(request)?;
    page(request, Vec::<()>::new(), 1)?;
    call.read_all()?;
    // https://github.com/boto/boto3/issues/4005
    Err(Refusal::new(
        "Unsupported",
        format!(
            "Fleet {id} is instant fleet. Describe fleet instances is not supported by this type \
             of fleet"
        ),
    ))
}

/// What became of the deletion of a fleet.
enum Deletion {
    /// The states before and after it.
    Done(&'static str, &'static str),
    /// Code and message.
    Failed(&'static str, String),
}

pub(super) fn delete_fleets(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let ids = request.list("FleetId");
    if ids.is_empty() {
        request.required("FleetId")?;
    }
    request.required("TerminateInstances")?;
    let terminates = request.flag("TerminateInstances")?.unwrap_or_default();
    call.read_all()?;
    if !terminates {
        return Err(Refusal::new(
            "InvalidParameterValue",
            "The instances of a fleet of the type instant cannot outlive it",
        ));
    }
    let mut deletions = Vec::new();
    for id in ids {
        deletions.push((id, delete(call, id)));
    }
    let (done, failed): (Vec<_>, Vec<_>) = deletions
        .into_iter()
        .partition(|(_, deletion)| matches!(deletion, Deletion::Done(..)));
    let mut xml = Xml::default();
    xml.list("successfulFleetDeletionSet", done, write_deletion);
    xml.list("unsuccessfulFleetDeletionSet", failed, write_deletion);
    Ok(xml)
}

fn write_deletion(xml: &mut Xml, (id, deletion): (&str, Deletion)) {
    match deletion {
        Deletion::Done(before, after) => {
            xml.text("currentFleetState", after);
            xml.text("previousFleetState", before);
        }
        Deletion::Failed(code, message) => xml.node("error", |xml| {
            xml.text("code", code);
            xml.text("message", message);
        }),
    }
    xml.text("fleetId", id);
}

fn delete(call: &mut Call<'_>, id: &str) -> Deletion {
    let Some(fleet) = call.region().fleets.get(id).cloned() else {
        return Deletion::Failed("fleetIdDoesNotExist", unknown(id).message);
    };
    let view = View::of(call, fleet);
    if view.fleet.is_deleted {
        let message = format!("The fleet '{id}' is in the state {}", view.state);
        return Deletion::Failed("fleetNotInDeletableState", message);
    }
    let instances = instances(call, &view.fleet);
    if let Err(refusal) = terminate(call, instances) {
        return Deletion::Failed("unexpectedError", refusal.message);
    }
    if let Some(fleet) = call.region().fleets.get_mut(id) {
        fleet.is_deleted = true;
    }
    Deletion::Done(view.state, "deleted_terminating")
}
