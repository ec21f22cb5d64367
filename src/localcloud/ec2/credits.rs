//! The credit options of burstable instances.

use super::call::Call;
use super::filters::{Filters, page};
use super::instance_types::InstanceType;
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::state::Instance;
use super::xml::Xml;

/// Returns the credit option of a launch. Other types than burstable ones have no
/// such option.
pub(super) fn credits(request: &Part<'_>, instance_type: InstanceType) -> Result<Option<String>> {
    let wanted = request.part("CreditSpecification").text("CpuCredits");
    match wanted {
        Some(_) if !instance_type.is_burstable() => Err(Refusal::new(
            "InstanceCreditSpecification.NotSupported",
            format!(
                "The {} instance type does not support T2 Unlimited.",
                instance_type.name
            ),
        )),
        Some(wanted) if !["standard", "unlimited"].contains(&wanted) => Err(Refusal::value(
            "CpuCredits",
            wanted,
            "Expected standard or unlimited.",
        )),
        Some(wanted) => Ok(Some(wanted.to_owned())),
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
    let (seen, next) = page(request, found, 5)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("instanceCreditSpecificationSet", seen, |xml, instance| {
        xml.text("instanceId", &instance.id);
        xml.option("cpuCredits", instance.cpu_credits.as_ref());
    });
    xml.option("nextToken", next);
    Ok(xml)
}
