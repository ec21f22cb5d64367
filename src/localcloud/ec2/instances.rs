//! Instances: describe, start, stop, reboot and terminate.

use super::call::{Call, Effect};
use super::filters::{Filters, page_after};
use super::instance_answer::{write_instance, write_state};
use super::instance_types::instance_type;
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::regions::zone_id;
use super::spot::check_stop;
use super::state::{Instance, Phase};
use super::volume_answer::write_operator;
use super::xml::Xml;

pub(super) fn describe_instances(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let ids = request.list("InstanceId");
    // The local cloud has no instances that an AWS service manages.
    request.flag("IncludeManagedResources")?;
    let asked = if ids.is_empty() {
        let mut all: Vec<Instance> = call.region().instances.values().cloned().collect();
        all.retain(|instance| call.visible(instance.created));
        all
    } else {
        call.instances(&ids)?
    };
    let mut found = Filters::of(request)?.keep_as(asked, |xml, instance| {
        write_instance(xml, call, instance);
    })?;
    // The instances of a launch are listed together, the oldest launch first.
    let key = |instance: &Instance| {
        let Instance {
            created,
            reservation,
            launch_index,
            ..
        } = instance;
        format!("{created:020} {reservation} {launch_index:05}")
    };
    found.sort_by_cached_key(key);
    let (found, next) = page_after(request, found, 5, key)?;
    call.read_all()?;
    let owner = call.facts.account.clone();
    let mut xml = Xml::default();
    let reservations = found.chunk_by(|a, b| a.reservation == b.reservation);
    xml.list("reservationSet", reservations, |xml, together| {
        xml.text("reservationId", &together[0].reservation);
        xml.text("ownerId", &owner);
        xml.texts("groupSet", [] as [&str; 0]);
        xml.list("instancesSet", together, |xml, instance| {
            write_instance(xml, call, instance);
        });
    });
    xml.option("nextToken", next);
    Ok(xml)
}

pub(super) fn describe_instance_status(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let ids = request.list("InstanceId");
    request.flag("IncludeManagedResources")?;
    let all = request.flag("IncludeAllInstances")?.unwrap_or(false);
    let asked = if ids.is_empty() {
        call.region().instances.values().cloned().collect()
    } else {
        call.instances(&ids)?
    };
    let mut found = Filters::of(request)?.keep_as(asked, write_status)?;
    found.retain(|instance| all || instance.phase == Phase::Running);
    let (found, next) = page_after(request, found, 5, |one| one.id.clone())?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("instanceStatusSet", &found, write_status);
    xml.option("nextToken", next);
    Ok(xml)
}

fn write_status(xml: &mut Xml, instance: &Instance) {
    xml.text("instanceId", &instance.id);
    xml.text("availabilityZone", &instance.zone);
    xml.text("availabilityZoneId", zone_id(&instance.zone));
    write_operator(xml);
    write_state(xml, "instanceState", instance.phase);
    let word = match instance.phase {
        Phase::Running => "ok",
        Phase::Pending => "initializing",
        _ => "not-applicable",
    };
    let nitro = instance_type(&instance.instance_type).is_some_and(|known| known.nitro);
    let attached = nitro.then_some("attachedEbsStatus");
    for name in ["systemStatus", "instanceStatus"]
        .into_iter()
        .chain(attached)
    {
        xml.node(name, |xml| {
            xml.text("status", word);
            if instance.phase == Phase::Running {
                xml.list("details", [()], |xml, ()| {
                    xml.text("name", "reachability");
                    xml.text("status", "passed");
                });
            }
        });
    }
}

/// Returns the instances that a request names, in the order of the request.
pub(super) fn named(call: &mut Call<'_>, request: &Part<'_>) -> Result<Vec<Instance>> {
    let ids = request.list("InstanceId");
    if ids.is_empty() {
        return Err(Refusal::new(
            "InvalidParameterCombination",
            "No instances specified",
        ));
    }
    call.instances(&ids)
}

fn changes(xml: &mut Xml, changes: Vec<(Instance, Phase)>) {
    xml.list("instancesSet", changes, |xml, (before, now)| {
        xml.text("instanceId", &before.id);
        write_state(xml, "currentState", now);
        write_state(xml, "previousState", before.phase);
    });
}

/// Returns the error about an instance that cannot be `what` in its state. AWS's
/// message about a stop begins with another word.
fn wrong_state(instance: &Instance, what: &str) -> Refusal {
    let which = if what == "stopped" { "This" } else { "The" };
    Refusal::new(
        "IncorrectInstanceState",
        format!(
            "{which} instance '{}' is not in a state from which it can be {what}.",
            instance.id
        ),
    )
}

pub(super) fn terminate_instances(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let instances = named(call, request)?;
    request.flag("Force")?;
    request.flag("SkipOsShutdown")?;
    call.read_all()?;
    let done = terminate(call, instances)?;
    let mut xml = Xml::default();
    changes(&mut xml, done);
    Ok(xml)
}

/// Terminates instances. Returns each as it was before, with its new phase.
pub(super) fn terminate(
    call: &mut Call<'_>,
    instances: Vec<Instance>,
) -> Result<Vec<(Instance, Phase)>> {
    if let Some(protected) = instances.iter().find(|instance| instance.protected) {
        return Err(Refusal::new(
            "OperationNotPermitted",
            format!(
                "The instance '{}' may not be terminated. Modify its 'disableApiTermination' \
                 instance attribute and try again.",
                protected.id
            ),
        ));
    }
    let now = call.now;
    let mut done = Vec::new();
    for instance in instances {
        if instance.phase.is_ending() {
            let phase = instance.phase;
            done.push((instance, phase));
            continue;
        }
        let reason = (
            "Client.UserInitiatedShutdown",
            "Client.UserInitiatedShutdown: User initiated shutdown",
        );
        call.region()
            .set_phase(&instance.id, Phase::ShuttingDown, Some(reason), now);
        call.effects.push(Effect::Terminate(instance.id.clone()));
        done.push((instance, Phase::ShuttingDown));
    }
    Ok(done)
}

pub(super) fn stop_instances(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let instances = named(call, request)?;
    let force = request.flag("Force")?.unwrap_or(false);
    request.flag("SkipOsShutdown")?;
    if request.flag("Hibernate")?.unwrap_or(false) {
        return Err(Refusal::new(
            "UnsupportedHibernationConfiguration",
            "Instances of the local cloud cannot hibernate",
        ));
    }
    call.read_all()?;
    if let Some(protected) = instances.iter().find(|i| i.options.stop_protected) {
        return Err(Refusal::new(
            "OperationNotPermitted",
            format!(
                "The instance '{}' may not be stopped. Modify its 'disableApiStop' instance \
                 attribute and try again.",
                protected.id
            ),
        ));
    }
    check_stop(&instances)?;
    let now = call.now;
    let mut done = Vec::new();
    for instance in instances {
        match instance.phase {
            Phase::Pending | Phase::Running => {
                let reason = (
                    "Client.UserInitiatedShutdown",
                    "Client.UserInitiatedShutdown: User initiated shutdown",
                );
                call.region()
                    .set_phase(&instance.id, Phase::Stopping, Some(reason), now);
                let id = instance.id.clone();
                call.effects.push(Effect::Stop { id, force });
                done.push((instance, Phase::Stopping));
            }
            Phase::Stopping | Phase::Stopped => {
                let phase = instance.phase;
                done.push((instance, phase));
            }
            _ => return Err(wrong_state(&instance, "stopped")),
        }
    }
    let mut xml = Xml::default();
    changes(&mut xml, done);
    Ok(xml)
}

pub(super) fn start_instances(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let instances = named(call, request)?;
    request.unsupported(&["AdditionalInfo"])?;
    call.read_all()?;
    let now = call.now;
    let mut done = Vec::new();
    for instance in instances {
        match instance.phase {
            Phase::Stopped => {
                call.region()
                    .set_phase(&instance.id, Phase::Pending, None, now);
                if let Some(started) = call.region().instances.get_mut(&instance.id) {
                    started.launched = now;
                }
                call.effects.push(Effect::Boot(instance.id.clone()));
                done.push((instance, Phase::Pending));
            }
            phase @ (Phase::Pending | Phase::Running) => done.push((instance, phase)),
            _ => return Err(wrong_state(&instance, "started")),
        }
    }
    let mut xml = Xml::default();
    changes(&mut xml, done);
    Ok(xml)
}

pub(super) fn reboot_instances(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let instances = named(call, request)?;
    call.read_all()?;
    for instance in instances {
        if instance.phase != Phase::Running {
            return Err(wrong_state(&instance, "rebooted"));
        }
        call.effects.push(Effect::Reboot(instance.id));
    }
    Ok(Xml::done())
}
