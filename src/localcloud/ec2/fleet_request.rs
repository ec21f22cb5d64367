//! Reads and checks the parameters of `CreateFleet`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::call::Call;
use super::launch_templates;
use super::params::{Params, Part};
use super::refusal::{Refusal, Result};
use super::spot::{check_price, check_word};
use super::state::Tags;
use super::tags;
use super::xml::Xml;

/// AWS's limit of the overrides in a request.
const MOST_CHOICES: usize = 300;

/// Parameters whose effect the local cloud does not have.
const UNSUPPORTED: [&str; 6] = [
    "Context",
    "ReservedCapacityOptions",
    "SpotOptions.InstancePoolsToUseCount",
    "SpotOptions.MaintenanceStrategies",
    "OnDemandOptions.CapacityReservationOptions",
    "TargetCapacitySpecification.TargetCapacityUnitType",
];

/// Parameters of fleets of other types.
const OF_OTHER_TYPES: [&str; 5] = [
    "ExcessCapacityTerminationPolicy",
    "ReplaceUnhealthyInstances",
    "TerminateInstancesWithExpiration",
    "ValidFrom",
    "ValidUntil",
];

/// Conditions that the instances must meet together.
const CONDITIONS: [&str; 4] = [
    "MaxTotalPrice",
    "MinTargetCapacity",
    "SingleAvailabilityZone",
    "SingleInstanceType",
];

/// The order in which the choices are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Without prices, all are equally good.
    AsListed,
    ByPriority,
    /// All equally.
    Spread,
}

/// What a fleet is asked for, as descriptions of it have it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Demand {
    /// How many on-demand instances.
    pub(super) regular: u32,
    pub(super) spot: u32,
    pub(super) default_type: String,
    pub(super) on_demand_strategy: String,
    pub(super) spot_strategy: String,
}

/// The checked parameters of a fleet.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) choices: Vec<Choice>,
    pub(super) demand: Demand,
    pub(super) on_demand_order: Order,
    pub(super) spot_order: Order,
    /// The tags of the fleet. Those of its instances and volumes are in the choices.
    pub(super) tags: Tags,
}

/// A template with overrides: one instance type, and perhaps one place.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Choice {
    /// The id of the template, or its name if it does not exist.
    pub(super) template: String,
    /// The parameters of the launch: those of the template, with the overrides.
    pub(super) data: BTreeMap<String, String>,
    /// The overrides, by AWS's names in answers.
    overrides: BTreeMap<String, String>,
    /// Why it cannot be used: code and message.
    pub(super) refusal: Option<(String, String)>,
}

impl Choice {
    /// Returns the choice as answers have it, without the parameters of the launch,
    /// which may be long.
    pub(super) fn as_answered(&self) -> Self {
        Self {
            data: BTreeMap::new(),
            ..self.clone()
        }
    }

    /// Returns the priority. As on AWS, a choice without one is the last.
    pub(super) fn rank(&self) -> f64 {
        let priority = self.overrides.get("priority");
        let priority = priority.and_then(|text| text.parse().ok());
        priority.unwrap_or(f64::INFINITY)
    }

    /// Writes the overrides.
    pub(super) fn write(&self, xml: &mut Xml) {
        for (name, value) in &self.overrides {
            xml.text(name, value);
        }
    }
}

/// The overrides: their names in requests, in answers, and in launches.
const OVERRIDES: [(&str, &str, Option<&str>); 7] = [
    (
        "AvailabilityZone",
        "availabilityZone",
        Some("Placement.AvailabilityZone"),
    ),
    (
        "AvailabilityZoneId",
        "availabilityZoneId",
        Some("Placement.AvailabilityZoneId"),
    ),
    ("ImageId", "imageId", Some("ImageId")),
    ("InstanceType", "instanceType", Some("InstanceType")),
    ("MaxPrice", "maxPrice", None),
    ("Priority", "priority", None),
    ("SubnetId", "subnetId", Some("SubnetId")),
];

pub(super) fn read(call: &mut Call<'_>, request: &Part<'_>) -> Result<Wanted> {
    request.unsupported(&UNSUPPORTED)?;
    match request.text("Type").unwrap_or("maintain") {
        "instant" => {}
        "maintain" | "request" => {
            return Err(Refusal::new(
                "UnsupportedOperation",
                "The local cloud has fleets of the type instant only",
            ));
        }
        other => {
            let why = "Expected instant, request or maintain.";
            return Err(Refusal::value("Type", other, why));
        }
    }
    if let Some(name) = OF_OTHER_TYPES.iter().find(|name| request.has(name)) {
        return Err(Refusal::new(
            "InvalidParameterCombination",
            format!("The parameter {name} cannot be used with a fleet of the type instant"),
        ));
    }
    let spot = request.part("SpotOptions");
    let on_demand = request.part("OnDemandOptions");
    spot.unsupported(&CONDITIONS)?;
    on_demand.unsupported(&CONDITIONS)?;
    let others = ["stop", "hibernate"];
    check_word(&spot, "InstanceInterruptionBehavior", "terminate", &others)?;
    let target = request.part("TargetCapacitySpecification");
    let (wanted_on_demand, wanted_spot) = targets(&target)?;
    let strategy = |part: &Part<'_>| {
        let given = part.text("AllocationStrategy");
        given.unwrap_or("lowest-price").to_owned()
    };
    let default_type = target.text("DefaultTargetCapacityType");
    let kinds = ["fleet", "instance", "volume"];
    Ok(Wanted {
        demand: Demand {
            regular: wanted_on_demand,
            spot: wanted_spot,
            default_type: default_type.unwrap_or("on-demand").to_owned(),
            on_demand_strategy: strategy(&on_demand),
            spot_strategy: strategy(&spot),
        },
        on_demand_order: order(
            &on_demand,
            &[
                ("lowest-price", Order::AsListed),
                ("prioritized", Order::ByPriority),
            ],
        )?,
        spot_order: order(
            &spot,
            &[
                ("lowest-price", Order::AsListed),
                ("diversified", Order::Spread),
                ("capacity-optimized", Order::AsListed),
                ("capacity-optimized-prioritized", Order::ByPriority),
                ("price-capacity-optimized", Order::AsListed),
            ],
        )?,
        tags: tags::specified(request, &kinds, "fleet")?,
        choices: choices(call, request)?,
    })
}

/// Returns how many on-demand and spot instances are wanted.
fn targets(part: &Part<'_>) -> Result<(u32, u32)> {
    part.required("TotalTargetCapacity")?;
    let total: u32 = part.number("TotalTargetCapacity")?.unwrap_or(0);
    if total == 0 {
        let why = "It must be greater than 0.";
        return Err(Refusal::value("TotalTargetCapacity", "0", why));
    }
    let on_demand: u32 = part.number("OnDemandTargetCapacity")?.unwrap_or(0);
    let spot: u32 = part.number("SpotTargetCapacity")?.unwrap_or(0);
    let rest = total.checked_sub(on_demand.saturating_add(spot));
    let Some(rest) = rest else {
        return Err(Refusal::new(
            "InvalidParameterCombination",
            "The on-demand and spot target capacities exceed the total target capacity",
        ));
    };
    match part
        .text("DefaultTargetCapacityType")
        .unwrap_or("on-demand")
    {
        "on-demand" => Ok((on_demand + rest, spot)),
        "spot" => Ok((on_demand, spot + rest)),
        "capacity-block" | "reserved-capacity" => {
            part.unsupported(&["DefaultTargetCapacityType"])?;
            Ok((on_demand, spot))
        }
        other => {
            let why = "Expected on-demand or spot.";
            Err(Refusal::value("DefaultTargetCapacityType", other, why))
        }
    }
}

fn order(part: &Part<'_>, known: &[(&str, Order)]) -> Result<Order> {
    let Some(given) = part.text("AllocationStrategy") else {
        return Ok(Order::AsListed);
    };
    let found = known.iter().find(|(name, _)| *name == given);
    let names = || known.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    found.map(|(_, order)| *order).ok_or_else(|| {
        let why = format!("Expected one of {}.", names().join(", "));
        Refusal::value("AllocationStrategy", given, &why)
    })
}

/// Returns the choices of the request, in its order.
pub(super) fn choices(call: &mut Call<'_>, request: &Part<'_>) -> Result<Vec<Choice>> {
    let mut choices = Vec::new();
    let configurations = request.parts("LaunchTemplateConfigs");
    if configurations.is_empty() {
        request.required("LaunchTemplateConfigs")?;
    }
    for configuration in configurations {
        let mut template = template(call, &configuration.part("LaunchTemplateSpecification"))?;
        template.data.extend(launch_tags(request));
        let overrides = configuration.parts("Overrides");
        if overrides.is_empty() {
            choices.push(template.clone());
        }
        for part in overrides {
            choices.push(overridden(&template, &part)?);
        }
    }
    if choices.len() > MOST_CHOICES {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!("A request can have at most {MOST_CHOICES} launch template overrides"),
        ));
    }
    Ok(choices)
}

/// Returns the tags that the request gives to instances and volumes, as parameters of
/// launches. They follow those of the template, and replace them.
fn launch_tags(request: &Part<'_>) -> Vec<(String, String)> {
    const AFTER_THOSE_OF_TEMPLATES: usize = 1000;
    let specifications = request.parts("TagSpecification").into_iter();
    let of_launches = specifications.filter(|one| {
        let kind = one.text("ResourceType");
        kind.is_some_and(|kind| ["instance", "volume"].contains(&kind))
    });
    let mut pairs = Vec::new();
    for (index, one) in of_launches.enumerate() {
        let place = format!("TagSpecification.{}", AFTER_THOSE_OF_TEMPLATES + index);
        let kind = one.text("ResourceType").unwrap_or_default();
        pairs.push((format!("{place}.ResourceType"), kind.to_owned()));
        for (number, tag) in one.parts("Tag").iter().enumerate() {
            for name in ["Key", "Value"] {
                let value = tag.given(name).unwrap_or_default();
                pairs.push((
                    format!("{place}.Tag.{}.{name}", number + 1),
                    value.to_owned(),
                ));
            }
        }
    }
    pairs
}

/// Returns the choice of a template without overrides. As on AWS, a template that does
/// not exist fails the launches from it, not the request.
fn template(call: &mut Call<'_>, part: &Part<'_>) -> Result<Choice> {
    part.unsupported(&["LaunchTemplateSpecificationUserData"])?;
    let version = part.required("Version")?;
    let given = part
        .text("LaunchTemplateId")
        .or(part.text("LaunchTemplateName"));
    let given = given.unwrap_or_default().to_owned();
    match launch_templates::named(call, part) {
        Ok(known) if launch_templates::is_version(version) => Ok(Choice {
            template: known.id,
            data: known.data,
            ..Choice::default()
        }),
        Ok(known) => {
            let refusal = launch_templates::no_version(&known.id, version);
            Ok(unusable(known.id, refusal))
        }
        Err(refusal) if refusal.code.contains(".NotFound") => Ok(unusable(given, refusal)),
        Err(refusal) => Err(refusal),
    }
}

fn unusable(template: String, refusal: Refusal) -> Choice {
    Choice {
        template,
        refusal: Some((refusal.code.into_owned(), refusal.message)),
        ..Choice::default()
    }
}

fn overridden(template: &Choice, part: &Part<'_>) -> Result<Choice> {
    part.unsupported(&[
        "BlockDeviceMapping",
        "IamInstanceProfile",
        "InstanceRequirements",
        "KeyName",
        "MetadataOptions",
        "Placement",
        "WeightedCapacity",
    ])?;
    let mut choice = template.clone();
    for (name, answered, launched) in OVERRIDES {
        let Some(value) = part.text(name) else {
            continue;
        };
        match name {
            "MaxPrice" => check_price(value)?,
            "Priority" => {
                part.number::<f64>(name)?;
            }
            _ => {}
        }
        choice
            .overrides
            .insert(answered.to_owned(), value.to_owned());
        let interface = choice
            .data
            .keys()
            .any(|key| key.starts_with("NetworkInterface.1."));
        let launched = match launched {
            // The subnet of a launch with network interfaces is that of the first one.
            Some("SubnetId") if interface => Some("NetworkInterface.1.SubnetId"),
            other => other,
        };
        if let Some(launched) = launched {
            choice.data.insert(launched.to_owned(), value.to_owned());
        }
    }
    Ok(choice)
}

/// Returns the launches that a fleet makes, each with its template, for the check of
/// what they need.
pub(super) fn launches(call: &mut Call<'_>, request: &Part<'_>) -> Vec<(String, Params)> {
    let target = request.part("TargetCapacitySpecification");
    let (_, spot) = targets(&target).unwrap_or_default();
    let choices = choices(call, request).unwrap_or_default();
    let usable = choices.into_iter().filter(|one| one.refusal.is_none());
    let params = usable.map(|mut choice| {
        if spot > 0 {
            let market = "InstanceMarketOptions.MarketType".to_owned();
            choice.data.insert(market, "spot".to_owned());
        }
        (choice.template, Params::of(choice.data))
    });
    params.collect()
}
