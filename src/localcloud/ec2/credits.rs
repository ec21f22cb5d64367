//! The credit options of burstable instances.

use super::call::Call;
use super::filters::{Filters, page_after};
use super::instance_types::InstanceType;
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::state::{Instance, Phase};
use super::xml::Xml;

/// Returns the credit option of a launch. Other types than burstable ones have no
/// such option.
pub(super) fn credits(request: &Part<'_>, instance_type: InstanceType) -> Result<Option<String>> {
    let wanted = request.part("CreditSpecification").text("CpuCredits");
    match wanted {
        Some(_) if !instance_type.is_burstable() => Err(not_supported(instance_type.name)),
        Some(wanted) => {
            check(wanted)?;
            Ok(Some(wanted.to_owned()))
        }
        None if instance_type.name.starts_with("t2.") => Ok(Some("standard".to_owned())),
        None => Ok(instance_type.is_burstable().then(|| "unlimited".to_owned())),
    }
}

pub(super) fn describe_instance_credit_specifications(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let ids = request.list("InstanceId");
    let seen: Vec<Instance> = if ids.is_empty() {
        // As on AWS, only the instances that can cause a charge.
        let all = call.region().instances.values().cloned();
        all.filter(|i| i.cpu_credits.as_deref() == Some("unlimited"))
            .collect()
    } else {
        call.instances(&ids)?
    };
    let with_credits = seen.into_iter().filter(|i| i.cpu_credits.is_some());
    let found = Filters::of(request)?.keep(with_credits.collect())?;
    let (seen, next) = page_after(request, found, 5, |one| one.id.clone())?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("instanceCreditSpecificationSet", seen, |xml, instance| {
        xml.text("instanceId", &instance.id);
        xml.option("cpuCredits", instance.cpu_credits.as_ref());
    });
    xml.option("nextToken", next);
    Ok(xml)
}

pub(super) fn modify_instance_credit_specification(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    // A repeated request has the same effect.
    request.text("ClientToken");
    let mut wanted = Vec::new();
    for part in request.parts("InstanceCreditSpecification") {
        let (id, credits) = (part.required("InstanceId")?, part.required("CpuCredits")?);
        check(credits)?;
        wanted.push((id, credits));
    }
    if wanted.is_empty() {
        request.required("InstanceCreditSpecification")?;
    }
    call.read_all()?;
    let mut done = Vec::new();
    let mut refused = Vec::new();
    for (id, credits) in wanted {
        match set(call, id, credits) {
            Ok(()) => done.push(id),
            Err(refusal) => refused.push((id, refusal)),
        }
    }
    let mut xml = Xml::default();
    xml.list(
        "successfulInstanceCreditSpecificationSet",
        done,
        |xml, id| {
            xml.text("instanceId", id);
        },
    );
    let name = "unsuccessfulInstanceCreditSpecificationSet";
    xml.list(name, refused, |xml, (id, refusal)| {
        xml.text("instanceId", id);
        xml.node("error", |xml| {
            xml.text("code", &refusal.code);
            xml.text("message", &refusal.message);
        });
    });
    Ok(xml)
}

fn set(call: &mut Call<'_>, id: &str, credits: &str) -> Result<()> {
    let mut instance = call.instances(&[id])?.swap_remove(0);
    if instance.cpu_credits.is_none() {
        return Err(not_supported(&instance.instance_type));
    }
    if !matches!(instance.phase, Phase::Running | Phase::Stopped) {
        return Err(Refusal::new(
            "IncorrectInstanceState",
            format!("The instance '{id}' is not in the 'running' or 'stopped' state."),
        ));
    }
    instance.cpu_credits = Some(credits.to_owned());
    call.region().instances.insert(id.to_owned(), instance);
    Ok(())
}

fn check(credits: &str) -> Result<()> {
    if ["standard", "unlimited"].contains(&credits) {
        return Ok(());
    }
    Err(Refusal::value(
        "CpuCredits",
        credits,
        "Expected standard or unlimited.",
    ))
}

fn not_supported(instance_type: &str) -> Refusal {
    Refusal::new(
        "InstanceCreditSpecification.NotSupported",
        format!("The {instance_type} instance type does not support T2 Unlimited."),
    )
}
