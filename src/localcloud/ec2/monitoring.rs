//! Detailed monitoring of instances. It is stored and returned: the local cloud has
//! no CloudWatch.

use super::call::Call;
use super::instances::named;
use super::params::Part;
use super::refusal::Result;
use super::xml::Xml;

/// Writes whether detailed monitoring is on.
pub(super) fn write_monitoring(xml: &mut Xml, state: &str) {
    xml.node("monitoring", |xml| xml.text("state", state));
}

pub(super) fn monitor_instances(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    set(call, request, true)
}

pub(super) fn unmonitor_instances(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    set(call, request, false)
}

fn set(call: &mut Call<'_>, request: &Part<'_>, on: bool) -> Result<Xml> {
    let instances = named(call, request)?;
    request.unsupported(&["MetricCategoryId"])?;
    call.read_all()?;
    for instance in &instances {
        if let Some(changed) = call.region().instances.get_mut(&instance.id) {
            changed.options.monitoring = on;
        }
    }
    let mut xml = Xml::default();
    xml.list("instancesSet", instances, |xml, instance| {
        xml.text("instanceId", &instance.id);
        write_monitoring(xml, if on { "pending" } else { "disabling" });
    });
    Ok(xml)
}
