//! What a dry run does not show: zones, quotas, the default VPC.

use std::collections::{BTreeMap, BTreeSet};

use super::requests::Known;
use super::{Account, Question};
use crate::clients::Clients;
use crate::clients::ec2::Ec2;
use crate::error::{Error, ErrorKind};
use crate::report::text;

/// The operations that need the default VPC if they name no other one.
pub(super) const NEED_VPC: [&str; 2] = ["RunInstances", "CreateSecurityGroup"];

/// The public parameter with the image for an architecture, which follows.
const AMAZON_LINUX: &str = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-";

pub(super) async fn ask(
    account: &mut Account,
    clients: &Clients,
    ec2: &Ec2<'_>,
    (question, known): (&Question<'_>, &mut Known),
) {
    known.lacks_default_vpc = default_vpc(account, ec2, question).await;
    let wanted = wanted_types(question, known).await;
    let offered = types(account, ec2, wanted).await;
    known.unknown_types = offered.unknown;
    let refused = free_plan(account, clients, ec2, (&offered.places, known)).await;
    known.unknown_types.extend(refused);
    addresses(account, ec2, question).await;
}

/// Checks that the default VPC exists, if a request needs it and the playbook does
/// not create it. Returns whether the account lacks it.
async fn default_vpc(account: &mut Account, ec2: &Ec2<'_>, question: &Question<'_>) -> bool {
    let names_network = |name: &str| name.ends_with("SubnetId") || name == "VpcId";
    let mut needs = question.rehearsed.calls.iter().filter(|call| {
        NEED_VPC.contains(&call.operation.as_str())
            && !call.parameters.iter().any(|(name, _)| names_network(name))
    });
    let Some(first) = needs.next() else {
        return false;
    };
    if question.calls_of("CreateDefaultVpc").next().is_some() {
        return false;
    }
    let place = first.cause.place.clone();
    match account.check(ec2.default_vpc().await, Some(&place)) {
        None => false,
        Some(Some(_)) => {
            account.checked.push("default VPC".to_owned());
            false
        }
        Some(None) => {
            let error = Error::new(
                ErrorKind::NotFound,
                format!(
                    "the region has no default VPC, which {} needs",
                    first.operation
                ),
            );
            let error = error.hint(
                "create_default_vpc() creates it; or pass `vpc` to create_security_group and \
                 `subnet` to launch_instance",
            );
            account.fault(&error, Some(&place));
            true
        }
    }
}

/// A type, the zone of its network if it has one, and the place of the launch.
type Wanted = (String, Option<String>, String);

/// What the region offers of the wanted types.
#[derive(Default)]
struct Offered {
    /// The types that are offered, with the places of their launches.
    places: BTreeMap<String, String>,
    /// The types that no zone offers.
    unknown: BTreeSet<String>,
}

/// Returns the types of the launches.
async fn wanted_types(question: &Question<'_>, known: &Known) -> BTreeSet<Wanted> {
    let mut wanted = BTreeSet::new();
    for call in question.calls_of("RunInstances") {
        let Some(name) = call.parameter("InstanceType") else {
            continue;
        };
        let name = known.types.get(name).map_or(name, |real| real);
        let mut parameters = call.parameters.iter();
        let subnet = parameters.find(|(key, _)| key.ends_with("SubnetId"));
        let zone = match subnet {
            Some((_, subnet)) => zone_of(question, subnet).await,
            None => call
                .parameter("Placement.AvailabilityZone")
                .map(str::to_owned),
        };
        wanted.insert((name.to_owned(), zone, call.cause.place.clone()));
    }
    wanted
}

/// Checks that each type is offered, in the zone of its network if it has one.
async fn types(account: &mut Account, ec2: &Ec2<'_>, wanted: BTreeSet<Wanted>) -> Offered {
    let mut offered = Offered::default();
    for (name, zone, place) in wanted {
        let Some(zones) = account.check(ec2.zones_with(&name).await, Some(&place)) else {
            continue;
        };
        let region = &account.region;
        let (fault, hint) = match &zone {
            _ if zones.is_empty() => (
                format!("{region} does not offer the instance type {name}"),
                "pass another `type`: instance_types() returns those of the region".to_owned(),
            ),
            Some(zone) if !zones.contains(zone) => (
                format!("{zone} does not offer the instance type {name}"),
                format!("choose one of its zones: {}", zones.join(", ")),
            ),
            _ => {
                account.checked.push(format!("type {name}"));
                offered.places.entry(name).or_insert(place);
                continue;
            }
        };
        if zones.is_empty() {
            offered.unknown.insert(name);
        }
        let error = Error::new(ErrorKind::InvalidOption, fault).hint(hint);
        account.fault(&error, Some(&place));
    }
    offered
}

/// Checks that an account on the free plan may launch each type. Returns the types
/// that it may not launch.
async fn free_plan(
    account: &mut Account,
    clients: &Clients,
    ec2: &Ec2<'_>,
    (places, known): (&BTreeMap<String, String>, &Known),
) -> Vec<String> {
    let mut refused = Vec::new();
    let Ok(eligible) = ec2.free_tier_types().await else {
        return refused;
    };
    let other = |name: &String| !eligible.contains(name);
    for (name, place) in places.iter().filter(|(name, _)| other(name)) {
        let named = BTreeMap::from([("instance-type".to_owned(), name.clone())]);
        let architecture = match ec2.types(&named).await {
            Ok(types) => types
                .into_iter()
                .flat_map(|known| known.architectures)
                .last(),
            Err(_) => None,
        };
        let parameter = format!("{AMAZON_LINUX}{}", architecture.unwrap_or_default());
        // Without the image, the dry run of the whole launch shows what is wrong.
        let Ok(image) = clients.public_parameter(&parameter).await else {
            continue;
        };
        let subnet = known.subnet.as_deref();
        if ec2.is_refused_by_plan(name, &image, subnet).await {
            let error = Error::new(
                ErrorKind::Denied,
                format!("the account is on the free plan, which does not have the type {name}"),
            );
            let error = error.hint(format!(
                "pass a free-tier eligible `type` ({}), or upgrade the account to a paid plan",
                eligible.join(", ")
            ));
            account.fault(&error, Some(place));
            refused.push(name.clone());
        }
    }
    refused
}

async fn zone_of(question: &Question<'_>, subnet: &str) -> Option<String> {
    let stage = question.stage.ec2().await.ok()?;
    stage.zone_of_subnet(subnet).await.ok()?
}

/// Checks that the quota of Elastic IP addresses has room for the new ones.
async fn addresses(account: &mut Account, ec2: &Ec2<'_>, question: &Question<'_>) {
    let allocated = question.rehearsed.record.resources.iter();
    let allocated = allocated.filter(|row| row.kind == crate::ledger::ResourceKind::ElasticIp);
    let wanted = allocated.count();
    let Some(first) = question.calls_of("AllocateAddress").next() else {
        return;
    };
    let place = first.cause.place.clone();
    let Some((used, most)) = account.check(ec2.address_limit().await, Some(&place)) else {
        return;
    };
    match most {
        Some(most) if used + wanted.max(1) > most => {
            let wanted = text::count(wanted.max(1), "Elastic IP address");
            let error = Error::new(
                ErrorKind::QuotaExceeded,
                format!(
                    "the account has {used} of at most {most} addresses, and {wanted} would \
                         be added"
                ),
            );
            let error = error.hint(
                "`aws ec2 describe-addresses` lists them; release one with `aws ec2 \
                 release-address --allocation-id ID`, or request an increase in Service Quotas",
            );
            account.explained.insert("AllocateAddress");
            account.fault(&error, Some(&place));
        }
        Some(_) => account
            .checked
            .push("quota of Elastic IP addresses".to_owned()),
        None => account
            .unchecked
            .push("the quota of Elastic IP addresses is not known".to_owned()),
    }
}
