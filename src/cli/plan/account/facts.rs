//! What a dry run does not show: zones, quotas, the default VPC.

use std::collections::BTreeSet;

use super::requests::Known;
use super::{Account, Question};
use crate::clients::ec2::Ec2;
use crate::error::{Error, ErrorKind};
use crate::report::text;

/// The operations that need the default VPC if they name no other one.
const NEED_VPC: [&str; 2] = ["RunInstances", "CreateSecurityGroup"];

pub(super) async fn ask(
    account: &mut Account,
    ec2: &Ec2<'_>,
    question: &Question<'_>,
    known: &Known,
) {
    default_vpc(account, ec2, question).await;
    types(account, ec2, question, known).await;
    addresses(account, ec2, question).await;
}

pub(super) fn not_enabled(region: &str) -> Error {
    Error::new(
        ErrorKind::Denied,
        format!("the account has not enabled the region {region}"),
    )
    .hint(format!(
        "enable it with `aws account enable-region --region-name {region}`, or pass another \
         `--region`"
    ))
}

/// Checks that the default VPC exists, if a request needs it and the playbook does
/// not create it.
async fn default_vpc(account: &mut Account, ec2: &Ec2<'_>, question: &Question<'_>) {
    let names_network = |name: &str| name.ends_with("SubnetId") || name == "VpcId";
    let mut needs = question.rehearsed.calls.iter().filter(|call| {
        NEED_VPC.contains(&call.operation.as_str())
            && !call.parameters.iter().any(|(name, _)| names_network(name))
    });
    let Some(first) = needs.next() else {
        return;
    };
    if question.calls_of("CreateDefaultVpc").next().is_some() {
        return;
    }
    let place = first.cause.place.clone();
    match account.check(ec2.default_vpc().await, Some(&place)) {
        None => {}
        Some(Some(_)) => account.checked.push("default VPC".to_owned()),
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
            account.explained.extend(NEED_VPC);
        }
    }
}

/// Checks that each type is offered, in the zone of its network if it has one.
async fn types(account: &mut Account, ec2: &Ec2<'_>, question: &Question<'_>, known: &Known) {
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
    for (name, zone, place) in wanted {
        let Some(zones) = account.check(ec2.zones_with(&name).await, Some(&place)) else {
            continue;
        };
        let region = &account.region;
        let fault = match &zone {
            _ if zones.is_empty() => format!("{region} does not offer the instance type {name}"),
            Some(zone) if !zones.contains(zone) => {
                format!("{zone} does not offer the instance type {name}")
            }
            _ => {
                account.checked.push(format!("type {name}"));
                continue;
            }
        };
        if zones.is_empty() {
            account.explained.insert("RunInstances");
        }
        let error = Error::new(ErrorKind::InvalidOption, fault);
        let error = error.hint(if zones.is_empty() {
            "pass another `type`: instance_types() returns those of the region".to_owned()
        } else {
            format!("choose one of its zones: {}", zones.join(", "))
        });
        account.fault(&error, Some(&place));
    }
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
