//! The images and types of the account in the place of those of the rehearsal.

use std::collections::BTreeMap;

use super::{Account, Question};
use crate::clients::Clients;
use crate::clients::calls::{Call, Service};
use crate::clients::ec2::{Ec2, Image, Wanted};
use crate::error::Result;

/// Looks up again, in the account, each image that the rehearsal looked up. Returns
/// the ids of the account by those of the rehearsal.
pub(super) async fn translate(
    account: &mut Account,
    clients: &Clients,
    question: &Question<'_>,
) -> BTreeMap<String, String> {
    let mut images = BTreeMap::new();
    for call in &question.rehearsed.calls {
        let found = match (call.service, call.operation.as_str()) {
            (Service::Ssm, "GetParameter") => by_parameter(clients, question, call).await,
            (Service::Ec2, "DescribeImages") => by_name(clients, question, call).await,
            _ => continue,
        };
        let place = call.cause.place.as_str();
        images.extend(account.check(found, Some(place)).unwrap_or_default());
    }
    if !images.is_empty() {
        account.checked.push("images".to_owned());
    }
    images
}

type Pairs = Vec<(String, String)>;

async fn by_parameter(clients: &Clients, question: &Question<'_>, call: &Call) -> Result<Pairs> {
    let Some(name) = call.parameter("Name") else {
        return Ok(Vec::new());
    };
    // The playbook has another way if the parameter cannot be read.
    let (Ok(rehearsed), Ok(real)) = (
        question.stage.public_parameter(name).await,
        clients.public_parameter(name).await,
    ) else {
        return Ok(Vec::new());
    };
    Ok(vec![(rehearsed, real)])
}

/// Repeats a search by owner and name. The newest image counts, as in playbooks.
async fn by_name(clients: &Clients, question: &Question<'_>, call: &Call) -> Result<Pairs> {
    let (Some(owner), Some(name), Some(architecture)) = (
        call.parameter("Owner.1"),
        filter(call, "name"),
        filter(call, "architecture"),
    ) else {
        return Ok(Vec::new());
    };
    let wanted = Wanted {
        owner,
        name,
        architecture,
    };
    let rehearsed = question.stage.ec2().await?.images(wanted).await?;
    let real = clients.ec2().await?.images(wanted).await?;
    // The playbook has its own error if there is none.
    let Some(newest) = real.last() else {
        return Ok(Vec::new());
    };
    let pair = |image: Image| (image.id, newest.id.clone());
    Ok(rehearsed.into_iter().map(pair).collect())
}

/// Returns the first value of a filter of a request.
fn filter<'a>(call: &'a Call, name: &str) -> Option<&'a str> {
    let mut parameters = call.parameters.iter();
    let (key, _) = parameters.find(|(key, value)| {
        key.starts_with("Filter.") && key.ends_with(".Name") && value == name
    })?;
    call.parameter(&key.replace(".Name", ".Value.1"))
}

/// Returns the type that the account proposes, by the type that the rehearsal
/// proposed: the one that is free-tier eligible.
pub(super) async fn types(ec2: &Ec2<'_>, question: &Question<'_>) -> BTreeMap<String, String> {
    let mut types = BTreeMap::new();
    for call in question.calls_of("DescribeInstanceTypes") {
        let Some(architecture) = filter(call, "processor-info.supported-architecture") else {
            continue;
        };
        if filter(call, "free-tier-eligible").is_none() {
            continue;
        }
        if let Ok(stage) = question.stage.ec2().await
            && let (Ok(rehearsed), Ok(real)) = (
                stage.free_tier_type(architecture).await,
                ec2.free_tier_type(architecture).await,
            )
        {
            types.insert(rehearsed, real);
        }
    }
    types
}
