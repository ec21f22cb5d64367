//! Spot instances: what a launch asks for, and how EC2 interrupts them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::call::Call;
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::state::{Instance, Millis};
use super::xml::Xml;
use crate::authorization::Need;

/// How long before the interruption of a spot instance EC2 announces it.
pub(super) const NOTICE: Duration = Duration::from_secs(120);

/// The code of the reason of an instance that EC2 has interrupted.
pub(super) const INTERRUPTED: &str = "Server.SpotInstanceTermination";

/// The action that creates the role with which EC2 runs an account's first spot
/// instances.
pub(super) const CREATE_ROLE: &str = "iam:CreateServiceLinkedRole";

/// What a spot instance has beyond other instances.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Spot {
    /// The id of its request, such as `sir-0abc1234`.
    pub(super) request: String,
    /// When EC2 terminates the instance, once it has announced that.
    #[serde(default)]
    pub(super) interruption: Option<Millis>,
}

impl Spot {
    /// Returns the request of a new instance.
    pub(super) fn new() -> Self {
        Self {
            request: format!("sir-{:08x}", rand::random::<u32>()),
            interruption: None,
        }
    }
}

/// Whether a launch asks for spot instances.
pub(super) fn is_wanted(request: &Part<'_>) -> Result<bool> {
    let market = request.part("InstanceMarketOptions");
    let options = market.part("SpotOptions");
    options.unsupported(&["BlockDurationMinutes", "ValidUntil"])?;
    let spot = match market.text("MarketType") {
        Some("spot") => true,
        Some("on-demand") => false,
        Some("capacity-block" | "interruptible-capacity-reservation") => {
            market.unsupported(&["MarketType"])?;
            false
        }
        Some(other) => {
            let why = "Expected spot or on-demand.";
            return Err(Refusal::value("MarketType", other, why));
        }
        None if market.has("SpotOptions") => {
            market.required("MarketType")?;
            false
        }
        None => false,
    };
    // Without prices, every price is high enough.
    if let Some(price) = options.text("MaxPrice") {
        check_price(price)?;
    }
    for (name, only, other) in [
        ("SpotInstanceType", "one-time", &["persistent"][..]),
        (
            "InstanceInterruptionBehavior",
            "terminate",
            &["stop", "hibernate"],
        ),
    ] {
        check_word(&options, name, only, other)?;
    }
    Ok(spot)
}

/// Refuses a price that is not a positive number.
pub(super) fn check_price(price: &str) -> Result<()> {
    match price.parse::<f64>() {
        Ok(number) if number > 0.0 => Ok(()),
        _ => Err(Refusal::value(
            "spotPrice",
            price,
            "Expected a positive number.",
        )),
    }
}

/// Refuses all values but the one that the local cloud has. `others` are those that
/// AWS has as well.
pub(super) fn check_word(part: &Part<'_>, name: &str, only: &str, others: &[&str]) -> Result<()> {
    match part.text(name) {
        None => Ok(()),
        Some(given) if given == only => Ok(()),
        Some(given) if others.contains(&given) => part.unsupported(&[name]),
        Some(given) => Err(Refusal::value(name, given, &format!("Expected {only}."))),
    }
}

/// Returns the need to create the role of the service, which an account that has
/// never had a spot instance lacks.
pub(super) fn role_need(call: &Call<'_>) -> Option<Need> {
    if *call.state.has_spot_role {
        return None;
    }
    let account = &call.facts.account;
    let mut need = Need::new(
        CREATE_ROLE,
        format!(
            "arn:aws:iam::{account}:role/aws-service-role/spot.amazonaws.com/\
             AWSServiceRoleForEC2Spot"
        ),
    );
    need.values.set("iam:AWSServiceName", "spot.amazonaws.com");
    Some(need)
}

/// Refuses to stop a spot instance: its request is for one launch.
pub(super) fn check_stop(instances: &[Instance]) -> Result<()> {
    let Some(spot) = instances.iter().find(|one| one.spot.is_some()) else {
        return Ok(());
    };
    Err(Refusal::new(
        "UnsupportedOperation",
        format!(
            "You can't stop the Spot Instance '{}' because it is associated with a one-time Spot \
             Instance request. You can only stop Spot Instances associated with persistent Spot \
             Instance requests.",
            spot.id
        ),
    ))
}

/// Writes what a spot instance has beyond other instances.
pub(super) fn write(xml: &mut Xml, instance: &Instance) {
    if let Some(spot) = &instance.spot {
        xml.text("instanceLifecycle", "spot");
        xml.text("spotInstanceRequestId", &spot.request);
    }
}
