//! Which instances can run a command: those whose agent has registered and has a
//! connection.

use std::collections::{BTreeMap, HashSet};

use super::targets::Target;
use super::{Ended, FleetResult};
use crate::clients::ec2::InstanceState;
use crate::clients::ssm::Managed;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::primitives::servers::not_running;

/// How often the retry window fits into the time that an agent takes to register after
/// the launch of its instance: five minutes on AWS.
const REGISTERS_WITHIN: u32 = 5;

/// Returns, for each instance that cannot run a command, the reason.
pub(super) async fn unready(cx: &Context, targets: &[Target]) -> Result<Vec<Option<Ended>>> {
    let ids = targets.iter().filter(|one| is_up(one));
    let ids: Vec<String> = ids.map(|one| one.id.clone()).collect();
    let managed = registered(cx, targets, &ids).await?;
    let reasons = targets
        .iter()
        .map(|target| reason(cx, target, managed.get(&target.id)));
    Ok(reasons.collect())
}

/// Returns the registered instances. Waits for those that were launched just now.
async fn registered(
    cx: &Context,
    targets: &[Target],
    ids: &[String],
) -> Result<BTreeMap<String, Managed>> {
    let ssm = cx.clients.ssm().await?;
    let limit = cx.clients.consistency() * REGISTERS_WITHIN;
    let youngest = jiff::Timestamp::now() - limit;
    let is_young = |target: &&Target| {
        let launched = target.instance.launched_at.as_deref();
        let launched = launched.and_then(|text| text.parse::<jiff::Timestamp>().ok());
        target.instance.has_profile && launched.is_some_and(|launched| launched > youngest)
    };
    let young = targets.iter().filter(|target| is_up(target));
    let young: HashSet<&str> = young.filter(is_young).map(|one| &*one.id).collect();
    let mut pace = cx.pace("the agents of new instances to register".to_owned(), limit);
    let mut managed = BTreeMap::new();
    let mut missing = ids.to_vec();
    loop {
        let found = ssm.managed(&missing).await?.into_iter();
        managed.extend(found.map(|one| (one.id.clone(), one)));
        missing.retain(|id| young.contains(&**id) && !managed.contains_key(id));
        let state = format!("{} have not registered", missing.len());
        if missing.is_empty() || !pace.pause_until_end(&state).await? {
            return Ok(managed);
        }
    }
}

fn is_up(target: &Target) -> bool {
    let state = target.instance.state;
    !target.is_assumed && matches!(state, InstanceState::Pending | InstanceState::Running)
}

/// Returns why an instance cannot run a command.
fn reason(cx: &Context, target: &Target, managed: Option<&Managed>) -> Option<Ended> {
    let lacks_role = managed.is_none() && is_up(target) && !target.instance.has_profile;
    // An account can allow every instance without a role, which a rehearsal does not know.
    if target.is_assumed || (cx.rehearsal.is_some() && lacks_role) {
        cx.assume(format!("run on {}", target.name), "status 0, no output");
        return Some(assumed(target));
    }
    let (message, hint) = explanation(target, managed)?;
    let error = Error::new(ErrorKind::Unreachable, &message).hint(hint);
    Some(Ended {
        result: FleetResult::silent(target, &message),
        error: Some(error),
    })
}

fn assumed(target: &Target) -> Ended {
    Ended {
        result: FleetResult {
            status: Some(0),
            answered: true,
            ..FleetResult::silent(target, "")
        },
        error: None,
    }
}

fn explanation(target: &Target, managed: Option<&Managed>) -> Option<(String, String)> {
    let Target { id, instance, .. } = target;
    if let Some(hint) = not_running(instance) {
        return Some((format!("{id} does not run"), hint));
    }
    match managed {
        None if !instance.has_profile => Some((
            format!("{id} has no role, so its agent cannot register with Systems Manager"),
            "launch it with `iam_profile: instance_role(..).profile`, or attach an instance \
             profile whose role has the policy AmazonSSMManagedInstanceCore"
                .to_owned(),
        )),
        None => Some((
            format!("the agent of {id} has not registered with Systems Manager"),
            "check that the role has the policy AmazonSSMManagedInstanceCore, that the image has \
             the agent (Amazon Linux and Ubuntu have it), and that the instance reaches the \
             internet or the VPC endpoints of Systems Manager"
                .to_owned(),
        )),
        Some(managed) if !managed.is_online => Some((
            format!("the agent of {id} has lost its connection to Systems Manager"),
            "look at console_output, or reboot the instance with reboot_instance".to_owned(),
        )),
        Some(managed) if managed.platform == "Windows" => Some((
            format!("{id} runs Windows"),
            "fleet_exec runs commands of a POSIX shell: select other instances".to_owned(),
        )),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::ec2::Instance;

    fn target(state: InstanceState, has_profile: bool) -> Target {
        Target {
            id: "i-1".to_owned(),
            name: "web".to_owned(),
            instance: Instance {
                id: "i-1".to_owned(),
                state,
                has_profile,
                ..Instance::default()
            },
            is_assumed: false,
        }
    }

    #[test]
    fn each_reason_says_what_to_do() {
        let managed = |is_online, platform: &str| Managed {
            id: "i-1".to_owned(),
            is_online,
            platform: platform.to_owned(),
        };
        let (online, offline) = (managed(true, "Linux"), managed(false, "Linux"));
        let windows = managed(true, "Windows");
        let running = |has_profile| target(InstanceState::Running, has_profile);
        for (target, managed, wanted) in [
            (target(InstanceState::Stopped, true), None, "start_instance"),
            (running(false), None, "instance_role"),
            (running(true), None, "AmazonSSMManagedInstanceCore"),
            (running(true), Some(&offline), "reboot_instance"),
            (running(true), Some(&windows), "other instances"),
        ] {
            let (message, hint) = explanation(&target, managed).unwrap();
            assert!(hint.contains(wanted), "{message}: {hint}");
        }
        assert_eq!(explanation(&running(false), Some(&online)), None);
    }
}
