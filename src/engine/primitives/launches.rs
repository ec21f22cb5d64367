//! Launches of one instance type: `RunInstances`, until EC2 knows what it names.

use super::network::{WithDefaultVpc, late_or};
use crate::clients::Pace;
use crate::clients::ec2::{Ec2, Instance, Launch, Launched};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::ledger::ResourceKind;
use crate::report::text;

/// Sends `RunInstances`. Retries within the retry window if this run has created
/// the key pair, a security group or the subnet, because EC2 may not know them
/// yet.
pub(super) async fn run_instances(
    cx: &Context,
    ec2: &Ec2<'_>,
    launch: &Launch,
) -> Result<Vec<Instance>> {
    repeated(cx, ec2, launch, async || ec2.launch(launch).await).await
}

/// Waits, as [`run_instances`] does, until EC2 knows what a launch names. Nothing is
/// launched.
pub(super) async fn settle(cx: &Context, ec2: &Ec2<'_>, launch: &Launch) -> Result<()> {
    let asked = repeated(cx, ec2, launch, async || ec2.would_launch(launch).await);
    asked.await.map(drop)
}

/// Sends a launch until EC2 knows what it names.
async fn repeated(
    cx: &Context,
    ec2: &Ec2<'_>,
    launch: &Launch,
    send: impl AsyncFn() -> Result<Launched>,
) -> Result<Vec<Instance>> {
    let what = "EC2 to know the key pair, the security groups and the subnet".to_owned();
    let mut pace = cx.pace(what, cx.clients.consistency());
    let fresh = launch
        .key_pair
        .iter()
        .any(|k| cx.ledger.made(ResourceKind::KeyPair, k))
        || launch
            .security_groups
            .iter()
            .any(|g| cx.ledger.made(ResourceKind::SecurityGroup, g))
        || launch
            .subnet
            .iter()
            .any(|subnet| cx.ledger.made(ResourceKind::Subnet, subnet));
    let mut network = WithDefaultVpc::default();
    let mut profile = WithProfile::default();
    loop {
        match send().await? {
            // An earlier attempt launched with this token, but with another image
            // or type. EC2 shows those instances soon.
            Launched::Before(error) => {
                let launched = ec2.launched(&launch.token).await;
                let launched = launched.map_err(Error::after_another)?;
                if !launched.is_empty() {
                    return Ok(launched);
                }
                let pause = pace.pause("already launched, not visible yet").await;
                pause.map_err(|late| late_or(late, error))?;
            }
            Launched::UnknownParts(_) if fresh => pace.pause("not visible yet").await?,
            Launched::UnknownParts(error) => return Err(error),
            Launched::NoDefaultVpc(error) => network.wait(cx, error).await?,
            Launched::InvalidValue(error) => profile.wait(cx, ec2, launch, error).await?,
            Launched::InvalidCombination(error) => {
                return Err(free_plan(cx, ec2, &launch.instance_type, error).await);
            }
            Launched::Instances(instances) => return Ok(instances),
        }
    }
}

/// The repetition of a launch whose instance profile EC2 does not know. It does not
/// know a new one for up to two minutes.
#[derive(Default)]
struct WithProfile(Option<Pace>);

impl WithProfile {
    /// Waits until the next attempt is due, if the launch would be accepted without
    /// the profile. Else another value is wrong, and `error` is final.
    async fn wait(
        &mut self,
        cx: &Context,
        ec2: &Ec2<'_>,
        launch: &Launch,
        error: Error,
    ) -> Result<()> {
        let Some(name) = &launch.iam_profile else {
            return Err(error);
        };
        // Two minutes on AWS.
        let window = cx.clients.consistency() * 2;
        if self.0.is_none() {
            if !ec2.accepts_without_profile(launch).await? {
                return Err(error);
            }
            cx.report.info(format!(
                "EC2 does not know the instance profile {name} yet; trying again for up to {}",
                text::duration(window)
            ));
        }
        let pace = self.0.get_or_insert_with(|| {
            let what = format!("EC2 to know the instance profile {name}");
            cx.pace(what, window)
        });
        let quoted = shell_words::quote(name);
        let hint = format!(
            "the instance profile may not exist: `aws iam get-instance-profile \
             --instance-profile-name {quoted}` shows it; a role is not an instance profile"
        );
        let paused = pace.pause("not known yet").await;
        paused.map_err(|late| late_or(late, error.hint(hint)))
    }
}

/// Adds a hint to a refused combination of parameters if the account may be on the
/// free plan, which has only some types.
async fn free_plan(cx: &Context, ec2: &Ec2<'_>, instance_type: &str, error: Error) -> Error {
    let eligible = match ec2.free_tier_types().await {
        Ok(eligible) => eligible,
        Err(e) => {
            cx.report.debug(e.to_string());
            return error;
        }
    };
    if eligible.is_empty() || eligible.iter().any(|known| known == instance_type) {
        return error;
    }
    error.hint(format!(
        "an account on the free plan can launch only free-tier eligible types: pass one of them \
         as `type` ({}), or upgrade the account to a paid plan",
        eligible.join(", ")
    ))
}
