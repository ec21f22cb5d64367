//! `CreateFleet` of the type `instant`: launches instances of several types in several
//! places with one request, as many as there is capacity for, and reports what it could
//! not launch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::call::Call;
use super::fleet_request::{Choice, Demand, Order, Wanted, read};
use super::ids::new_request_id;
use super::journaled::Row;
use super::launch::{launch_some, token};
use super::launch_request;
use super::launch_templates::{VERSION, launch};
use super::network::default_subnets;
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::spot;
use super::state::{Millis, Tags};
use super::xml::Xml;

/// A fleet that was launched.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct InstantFleet {
    pub(super) id: String,
    pub(super) tags: Tags,
    pub(super) created: Millis,
    /// The client token, and the canonical request.
    pub(super) token: Option<(String, String)>,
    #[serde(default)]
    pub(super) demand: Demand,
    /// The templates with their overrides.
    #[serde(default)]
    pub(super) choices: Vec<Choice>,
    #[serde(default)]
    pub(super) is_deleted: bool,
    pub(super) launched: Vec<Launched>,
    pub(super) failed: Vec<Failed>,
}

/// A fleet is found by its client token.
impl Row for InstantFleet {
    fn aliases(&self) -> Vec<String> {
        self.token.iter().map(|(token, _)| token.clone()).collect()
    }
}

/// Instances of one type in one zone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Launched {
    choice: Choice,
    pub(super) spot: bool,
    pub(super) instances: Vec<String>,
    pub(super) instance_type: String,
    zone: String,
    subnet: String,
}

/// Why no more instances of one type were launched in one zone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Failed {
    choice: Choice,
    spot: bool,
    code: String,
    message: String,
}

pub(super) fn create_fleet(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let token = token(request)?;
    let same = call.params.canonical_without("ClientToken");
    if let Some(token) = &token {
        let known = call.region().fleets.find(token).next().cloned();
        if let Some(known) = known {
            if known.token.as_ref().is_some_and(|(_, of)| *of == same) {
                return Ok(answer(&known));
            }
            return Err(Refusal::new(
                "IdempotentParameterMismatch",
                "The parameters of this request do not match those of the first request with this \
                 client token",
            ));
        }
    }
    let wanted = read(call, request)?;
    call.read_all()?;
    if let Some(why) = &call.facts.cannot_boot {
        return Err(Refusal::new("OperationNotPermitted", why.clone()));
    }
    let mut fleet = InstantFleet {
        id: format!("fleet-{}", new_request_id()),
        tags: wanted.tags.clone(),
        created: call.now,
        token: token.map(|token| (token, same)),
        demand: wanted.demand.clone(),
        choices: wanted.choices.iter().map(Choice::as_answered).collect(),
        is_deleted: false,
        launched: Vec::new(),
        failed: Vec::new(),
    };
    if wanted.demand.spot > 0 {
        *call.state.has_spot_role.get_mut() = true;
    }
    fill(call, &wanted, false, &mut fleet);
    fill(call, &wanted, true, &mut fleet);
    let known = fleet.clone();
    call.region().fleets.insert(known.id.clone(), known);
    Ok(answer(&fleet))
}

/// Launches the spot instances, or the others, of a fleet.
fn fill(call: &mut Call<'_>, wanted: &Wanted, spot: bool, fleet: &mut InstantFleet) {
    let (mut missing, order) = if spot {
        (wanted.demand.spot, wanted.spot_order)
    } else {
        (wanted.demand.regular, wanted.on_demand_order)
    };
    let mut choices = wanted.choices.clone();
    if order == Order::ByPriority {
        choices.sort_by(|a, b| a.rank().total_cmp(&b.rank()));
    }
    let places: Vec<Choice> = choices.iter().flat_map(|one| places(call, one)).collect();
    let mut open = places.len();
    for choice in places {
        if missing == 0 {
            return;
        }
        let share = match order {
            Order::Spread => missing.div_ceil(u32::try_from(open).unwrap_or(1)),
            Order::ByPriority | Order::AsListed => missing,
        };
        open -= 1;
        missing -= launch_from(call, (choice, spot), share, fleet);
    }
}

/// Returns the places of a choice: its own one, or every zone with a default subnet.
fn places(call: &Call<'_>, choice: &Choice) -> Vec<Choice> {
    let is_placed = |name: &&str| choice.data.contains_key(*name);
    let names = ["SubnetId", "NetworkInterface.1.SubnetId"];
    let zones = ["Placement.AvailabilityZone", "Placement.AvailabilityZoneId"];
    if choice.refusal.is_some() || names.iter().chain(&zones).any(is_placed) {
        return vec![choice.clone()];
    }
    let subnets = default_subnets(call);
    if subnets.is_empty() {
        return vec![choice.clone()];
    }
    let in_zone = |zone: String| {
        let mut choice = choice.clone();
        let name = "Placement.AvailabilityZone".to_owned();
        choice.data.insert(name, zone);
        choice
    };
    subnets.into_iter().map(|one| in_zone(one.zone)).collect()
}

/// Launches at most so many instances of one type in one place. Records why there are
/// not more. Returns how many were launched.
fn launch_from(
    call: &mut Call<'_>,
    (choice, spot): (Choice, bool),
    share: u32,
    fleet: &mut InstantFleet,
) -> u32 {
    let mut ids = Vec::new();
    let done = launch_into(call, (&choice, spot), share, &fleet.id, &mut ids);
    let count = u32::try_from(ids.len()).unwrap_or(share);
    if let Err(refusal) = done {
        fleet.failed.push(Failed {
            choice: choice.as_answered(),
            spot,
            code: refusal.code.into_owned(),
            message: refusal.message,
        });
    }
    let first = ids.first().and_then(|id| call.region().instances.get(id));
    if let Some(first) = first {
        fleet.launched.push(Launched {
            choice: choice.as_answered(),
            spot,
            instance_type: first.instance_type.clone(),
            zone: first.zone.clone(),
            subnet: first.subnet.clone(),
            instances: ids,
        });
    }
    count
}

/// Adds the ids of the launched instances to `ids`. Fails if there are fewer.
fn launch_into(
    call: &mut Call<'_>,
    (choice, spot): (&Choice, bool),
    share: u32,
    fleet: &str,
    ids: &mut Vec<String>,
) -> Result<()> {
    if let Some(refusal) = &choice.refusal {
        let (code, message) = refusal.clone();
        return Err(Refusal::new(code, message));
    }
    let params = launch(&choice.data, share);
    let request = params.all();
    if spot::is_wanted(&request)? {
        return Err(Refusal::new(
            "InvalidParameterCombination",
            "A fleet cannot use a launch template with InstanceMarketOptions",
        ));
    }
    let mut plan = launch_request::read(call, &request, None)?;
    params.none_left()?;
    plan.spot = spot;
    let of_fleet = [
        ("aws:ec2:fleet-id", fleet),
        ("aws:ec2launchtemplate:id", &choice.template),
        ("aws:ec2launchtemplate:version", VERSION),
    ];
    let of_fleet = of_fleet.map(|(key, value)| (key.to_owned(), value.to_owned()));
    plan.tags.extend(BTreeMap::from(of_fleet));
    launch_some(call, &plan, share, ids)
}

fn answer(fleet: &InstantFleet) -> Xml {
    let mut xml = Xml::default();
    xml.text("fleetId", &fleet.id);
    xml.list("errorSet", &fleet.failed, Failed::write);
    xml.list("fleetInstanceSet", &fleet.launched, |xml, launched| {
        launched.write(xml);
        xml.text("availabilityZone", &launched.zone);
        xml.text("subnetId", &launched.subnet);
    });
    xml
}

impl Failed {
    pub(super) fn write(xml: &mut Xml, failed: &Self) {
        write_choice(xml, &failed.choice);
        write_lifecycle(xml, failed.spot);
        xml.text("errorCode", &failed.code);
        xml.text("errorMessage", &failed.message);
    }
}

impl Launched {
    /// Writes what all answers have.
    pub(super) fn write(&self, xml: &mut Xml) {
        write_choice(xml, &self.choice);
        write_lifecycle(xml, self.spot);
        xml.texts("instanceIds", &self.instances);
        xml.text("instanceType", &self.instance_type);
    }
}

fn write_lifecycle(xml: &mut Xml, spot: bool) {
    xml.text("lifecycle", if spot { "spot" } else { "on-demand" });
}

fn write_choice(xml: &mut Xml, choice: &Choice) {
    xml.node("launchTemplateAndOverrides", |xml| {
        write_template(xml, &choice.template);
        xml.node("overrides", |xml| choice.write(xml));
    });
}

/// Writes which version of a template a fleet uses.
pub(super) fn write_template(xml: &mut Xml, template: &str) {
    xml.node("launchTemplateSpecification", |xml| {
        xml.text("launchTemplateId", template);
        xml.text("version", VERSION);
    });
}
