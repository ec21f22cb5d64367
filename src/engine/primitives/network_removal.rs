//! Removes the networks that `create_network` made.

use serde_json::Value;

use super::networks::NetworkMap;
use super::teardown;
use crate::clients::ec2::{Contents, NetworkPart};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{ResourceKind, Step};
use crate::script::{NameOr, Named as _};
use crate::teardown::kind_of;

/// The order in which the parts of a network are deleted. Each part is used by
/// those before it.
const ORDER: [NetworkPart; 6] = [
    NetworkPart::NatGateway,
    NetworkPart::ElasticIp,
    NetworkPart::Subnet,
    NetworkPart::RouteTable,
    NetworkPart::InternetGateway,
    NetworkPart::Vpc,
];

pub(super) async fn delete_network(
    cx: &Context,
    step: &mut Step,
    network: NameOr<NetworkMap>,
) -> Result<()> {
    let vpc = match network {
        NameOr::Map(map) => map.vpc_id,
        NameOr::Name(id) => id,
    };
    if !vpc.starts_with("vpc-") {
        let message = format!("argument `network`: `{vpc}` is not a VPC");
        return Err(Error::invalid(message).hint(format!("pass {}", NetworkMap::EXPECTED)));
    }
    if step.recorded::<Value>()?.is_some() {
        step.replay();
        return Ok(());
    }
    let ec2 = cx.clients.ec2().await?;
    let contents = if ec2.has_network_part(NetworkPart::Vpc, &vpc).await? {
        check_maker(cx, &vpc).await?;
        ec2.network_contents(&vpc).await?
    } else {
        Contents::default()
    };
    if !contents.others.is_empty() {
        return Err(still_used(&vpc, &contents.others));
    }
    step.begin_unwritten();
    let mut parts = contents.parts;
    parts.extend(recorded(cx, &vpc));
    parts.push((NetworkPart::Vpc, vpc));
    for part in ORDER {
        let mut ids: Vec<&String> = parts
            .iter()
            .filter(|(of, _)| *of == part)
            .map(|(_, id)| id)
            .collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            teardown(cx).release(kind_of(part), id).await?;
        }
    }
    Ok(())
}

/// Refuses a VPC that autorun did not create, before anything in it is deleted.
async fn check_maker(cx: &Context, vpc: &str) -> Result<()> {
    if cx.ledger.made(ResourceKind::Vpc, vpc) {
        return Ok(());
    }
    let ec2 = cx.clients.ec2().await?;
    let marks = ec2.network_part_marks(NetworkPart::Vpc, vpc).await?;
    if marks.is_some_and(|marks| marks.run.is_some()) {
        return Ok(());
    }
    let message = format!("VPC `{vpc}` was not created by autorun, so it is not deleted");
    Err(Error::new(ErrorKind::Denied, message).hint(
        "autorun deletes only resources with the tag autorun:run; delete others in the AWS console",
    ))
}

/// Returns the parts that this run has recorded together with the VPC. An
/// interrupted deletion leaves parts that the VPC no longer names: a detached
/// gateway, a released address.
fn recorded(cx: &Context, vpc: &str) -> Vec<(NetworkPart, String)> {
    let rows = cx.ledger.resources();
    let is_vpc = |kind, id: Option<&str>| kind == ResourceKind::Vpc && id == Some(vpc);
    let Some(own) = rows.iter().find(|row| is_vpc(row.kind, row.id.as_deref())) else {
        return Vec::new();
    };
    let of_network = rows
        .iter()
        .filter(|row| row.step == own.step && row.state.may_be_up());
    let parts = of_network.filter_map(|row| {
        let part = ORDER.into_iter().find(|part| kind_of(*part) == row.kind)?;
        Some((part, row.id.clone()?))
    });
    parts.collect()
}

fn still_used(vpc: &str, others: &[String]) -> Error {
    let message = format!(
        "the network `{vpc}` still has other resources: {}",
        others.join(", ")
    );
    Error::invalid(message).hint(
        "delete them first: terminate_instance deletes instances, delete_security_group \
         deletes security groups",
    )
}
