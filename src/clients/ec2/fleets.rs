//! Launches of several instance types in several subnets: EC2 Fleet, of the type
//! `instant`.
//!
//! EC2 keeps a record of such a fleet, which costs nothing and ends with its instances.
//! It is not deleted: that would terminate the instances.

use aws_sdk_ec2::types::{
    CreateFleetError, CreateFleetInstance, DefaultTargetCapacityType,
    FleetLaunchTemplateConfigRequest, FleetLaunchTemplateOverrides,
    FleetLaunchTemplateOverridesRequest, FleetLaunchTemplateSpecificationRequest,
    FleetOnDemandAllocationStrategy, FleetType, InstanceType, OnDemandOptionsRequest, ResourceType,
    SpotAllocationStrategy, SpotOptionsRequest, TargetCapacitySpecificationRequest,
};

use super::Ec2;
use super::instances::Instance;
use super::launch::Launch;
use super::tags::{filter, tag_specification};
use crate::aws_error::{Code, aws_error, code, refused};
use crate::error::{Error, Result};

/// AWS's limit of the choices in a request: types times subnets.
pub const MOST_CHOICES: usize = 300;

/// A subnet in which a fleet may launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its id.
    pub subnet: String,
    /// Its availability zone.
    pub zone: String,
}

/// The parameters of `CreateFleet`, in addition to those of the launch.
#[derive(Debug)]
pub struct Fleet<'a> {
    /// The settings of the instances. Its token is that of the fleet.
    pub launch: &'a Launch,
    /// The id of the launch template that has these settings.
    pub template: &'a str,
    /// The instance types, the preferred one first.
    pub types: &'a [String],
    /// The subnets.
    pub places: &'a [Place],
}

/// What EC2 launched of a fleet, and why it did not launch the rest.
#[derive(Debug, Default)]
pub struct Filled {
    /// The instances, of which EC2 returned the id, the type and the zone.
    pub instances: Vec<Instance>,
    /// What was lacking, for each type and zone.
    pub shortfalls: Vec<Shortfall>,
}

/// Why EC2 launched no more instances of a type in a zone.
#[derive(Clone, Debug)]
pub struct Shortfall {
    /// EC2's error code.
    pub code: String,
    /// The type and the zone, such as `t3.micro in us-east-1a`.
    pub place: String,
    /// The error, which names both.
    pub error: Error,
}

/// EC2's response to [`Ec2::create_fleet`].
#[derive(Debug)]
pub enum FleetAnswer {
    /// As many instances as there was capacity for.
    Filled(Filled),
    /// The token was already used, with other parameters.
    Before(Error),
}

impl Ec2<'_> {
    /// Launches the instances of a fleet, as many as there is capacity for.
    pub async fn create_fleet(&self, fleet: &Fleet<'_>) -> Result<FleetAnswer> {
        let launch = fleet.launch;
        let specification = FleetLaunchTemplateSpecificationRequest::builder()
            .launch_template_id(fleet.template)
            .version("$Latest");
        let configuration = FleetLaunchTemplateConfigRequest::builder()
            .launch_template_specification(specification.build())
            .set_overrides(Some(choices(fleet)));
        let market = if launch.spot {
            DefaultTargetCapacityType::Spot
        } else {
            DefaultTargetCapacityType::OnDemand
        };
        let capacity = TargetCapacitySpecificationRequest::builder()
            .total_target_capacity(launch.count)
            .default_target_capacity_type(market);
        let mut request = self
            .client
            .create_fleet()
            .client_token(&launch.token)
            .r#type(FleetType::Instant)
            .launch_template_configs(configuration.build())
            .target_capacity_specification(capacity.build());
        // On-demand instances cost the same wherever they are, so the playbook's order
        // decides. Spot instances are interrupted the less, the more capacity there is.
        request = if launch.spot {
            request.spot_options(
                SpotOptionsRequest::builder()
                    .allocation_strategy(SpotAllocationStrategy::PriceCapacityOptimized)
                    .build(),
            )
        } else {
            request.on_demand_options(
                OnDemandOptionsRequest::builder()
                    .allocation_strategy(FleetOnDemandAllocationStrategy::Prioritized)
                    .build(),
            )
        };
        for kind in [
            ResourceType::Fleet,
            ResourceType::Instance,
            ResourceType::Volume,
        ] {
            request = request.tag_specifications(tag_specification(kind, &launch.tags));
        }
        match request.send().await {
            Ok(answer) => Ok(FleetAnswer::Filled(Filled {
                instances: answer
                    .instances()
                    .iter()
                    .flat_map(|group| instances(fleet, group))
                    .collect(),
                shortfalls: answer
                    .errors()
                    .iter()
                    .map(|e| shortfall(fleet, e))
                    .collect(),
            })),
            Err(e) => {
                let attempt = format!("launch a fleet in {}", self.region());
                let error = aws_error(&attempt, &e);
                match code(&e) {
                    Code::IdempotentParameterMismatch => Ok(FleetAnswer::Before(error)),
                    _ => Err(error),
                }
            }
        }
    }

    /// Returns the zones of subnets, in the order of their ids.
    ///
    /// Throws `not_found`, also for a moment after a subnet was created.
    pub async fn places(&self, subnets: &[String]) -> Result<Vec<Place>> {
        let request = self.client.describe_subnets();
        let answer = request
            .set_subnet_ids(Some(subnets.to_vec()))
            .send()
            .await
            .map_err(|e| aws_error("look up the subnets", &e))?;
        let found: Vec<Place> = answer.subnets().iter().map(place).collect();
        let named = |id: &String| found.iter().find(|place| place.subnet == *id).cloned();
        Ok(subnets.iter().filter_map(named).collect())
    }

    /// Returns the default subnets of the region, in the order of their zones.
    pub async fn default_places(&self) -> Result<Vec<Place>> {
        let request = self.client.describe_subnets();
        let answer = request
            .filters(filter("default-for-az", "true"))
            .send()
            .await
            .map_err(|e| aws_error("look up the default subnets", &e))?;
        let mut found: Vec<Place> = answer.subnets().iter().map(place).collect();
        found.sort_by(|a, b| a.zone.cmp(&b.zone));
        Ok(found)
    }
}

fn place(subnet: &aws_sdk_ec2::types::Subnet) -> Place {
    Place {
        subnet: subnet.subnet_id().unwrap_or_default().to_owned(),
        zone: subnet.availability_zone().unwrap_or_default().to_owned(),
    }
}

/// Returns the choices of a fleet: each type in each place, the preferred type first.
fn choices(fleet: &Fleet<'_>) -> Vec<FleetLaunchTemplateOverridesRequest> {
    let mut all = Vec::new();
    let mut priority = 0.0;
    for name in fleet.types {
        for place in fleet.places {
            let choice = FleetLaunchTemplateOverridesRequest::builder()
                .instance_type(InstanceType::from(name.as_str()))
                .subnet_id(&place.subnet);
            let ranked = (!fleet.launch.spot).then_some(priority);
            all.push(choice.set_priority(ranked).build());
        }
        priority += 1.0;
    }
    all
}

fn instances(fleet: &Fleet<'_>, group: &CreateFleetInstance) -> Vec<Instance> {
    let choice = group
        .launch_template_and_overrides()
        .and_then(|used| used.overrides());
    let zone = group.availability_zone().map(str::to_owned);
    let instance = |id: &String| Instance {
        id: id.clone(),
        instance_type: group
            .instance_type()
            .map(|name| name.as_str().to_owned())
            .unwrap_or_default(),
        image: fleet.launch.image.id.clone(),
        zone: zone.clone().unwrap_or_else(|| zone_of(fleet, choice)),
        ..Instance::default()
    };
    group.instance_ids().iter().map(instance).collect()
}

fn zone_of(fleet: &Fleet<'_>, choice: Option<&FleetLaunchTemplateOverrides>) -> String {
    let subnet = choice.and_then(FleetLaunchTemplateOverrides::subnet_id);
    let place = fleet
        .places
        .iter()
        .find(|one| Some(one.subnet.as_str()) == subnet);
    place.map_or_else(String::new, |place| place.zone.clone())
}

/// Returns what was lacking for one type in one zone.
fn shortfall(fleet: &Fleet<'_>, failed: &CreateFleetError) -> Shortfall {
    let choice = failed
        .launch_template_and_overrides()
        .and_then(|used| used.overrides());
    let name = choice.and_then(FleetLaunchTemplateOverrides::instance_type);
    let name = name.map_or("an instance", |name| name.as_str());
    let place = match zone_of(fleet, choice).as_str() {
        "" => name.to_owned(),
        zone => format!("{name} in {zone}"),
    };
    let attempt = format!("launch {place}");
    let code = failed.error_code().unwrap_or_default();
    let message = failed.error_message().unwrap_or_default();
    Shortfall {
        code: code.to_owned(),
        place,
        error: refused(("CreateFleet", &attempt), (code, message), 400),
    }
}
