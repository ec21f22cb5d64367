//! AWS's capacity: how many instances of a type fit into a zone, as `shortages` of
//! `--faults` say.

use super::call::Call;
use super::refusal::Refusal;
use super::regions::zones;
use crate::faults::Shortage;

/// Instances of one type in one zone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pool<'a> {
    pub(super) instance_type: &'a str,
    pub(super) zone: &'a str,
    pub(super) spot: bool,
}

/// Returns how many more instances fit into a pool.
pub(super) fn left(call: &Call<'_>, pool: Pool<'_>) -> u32 {
    let shortages = call.account.shortages.iter();
    let shortages = shortages.filter(|shortage| is_of(shortage, pool));
    let left = shortages.map(|shortage| shortage.available.saturating_sub(used(call, shortage)));
    left.min().unwrap_or(u32::MAX)
}

fn is_of(shortage: &Shortage, pool: Pool<'_>) -> bool {
    let fits = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|one| one == is);
    fits(&shortage.instance_type, pool.instance_type)
        && fits(&shortage.zone, pool.zone)
        && shortage.spot.is_none_or(|spot| spot == pool.spot)
}

/// Returns how many instances use the capacity that is short.
fn used(call: &Call<'_>, shortage: &Shortage) -> u32 {
    let instances = call.known().into_iter().flat_map(|r| r.instances.values());
    let up = instances.filter(|instance| instance.phase.is_up());
    let using = up.filter(|instance| {
        let pool = Pool {
            instance_type: &instance.instance_type,
            zone: &instance.zone,
            spot: instance.spot.is_some(),
        };
        is_of(shortage, pool)
    });
    u32::try_from(using.count()).unwrap_or(u32::MAX)
}

/// Returns the error about a pool without capacity.
pub(super) fn insufficient(call: &Call<'_>, pool: Pool<'_>) -> Refusal {
    let code = "InsufficientInstanceCapacity";
    if pool.spot {
        let message = "There is no Spot capacity available that matches your request.";
        return Refusal::new(code, message).status(500);
    }
    let (name, zone) = (pool.instance_type, pool.zone);
    let mut message = format!(
        "We currently do not have sufficient {name} capacity in the Availability Zone you \
         requested ({zone}). Our system will be working on provisioning additional capacity."
    );
    let others = zones(call.region_name).into_iter().map(|zone| zone.name);
    let others = others.filter(|zone| call.account.offers(name, zone));
    let others = others.filter(|zone| left(call, Pool { zone, ..pool }) > 0);
    let others: Vec<String> = others.collect();
    if !others.is_empty() {
        message += " You can currently get ";
        message += name;
        message += " capacity by not specifying an Availability Zone in your request or choosing ";
        message += &others.join(", ");
        message.push('.');
    }
    Refusal::new(code, message).status(500)
}
