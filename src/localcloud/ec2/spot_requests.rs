//! The requests of spot instances, one for each instance.

use super::call::Call;
use super::filters::{Filtered, Filters, page_after};
use super::instance_answer::write_groups;
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::spot::{INTERRUPTED, Spot};
use super::state::Instance;
use super::xml::Xml;
use crate::clock::iso;

/// A request with its instance.
struct SpotRequest {
    spot: Spot,
    instance: Instance,
    /// Ids and names.
    groups: Vec<(String, String)>,
}

impl SpotRequest {
    /// Returns what determines its place in lists.
    fn place(&self) -> String {
        format!("{:020} {}", self.instance.created, self.spot.request)
    }

    fn state(&self) -> &'static str {
        if self.instance.phase.is_ending() {
            "closed"
        } else {
            "active"
        }
    }

    /// Returns code and message of the status.
    fn status(&self) -> (&'static str, &'static str) {
        let reason = self.instance.reason.as_ref();
        let is_interrupted = reason.is_some_and(|(code, _)| code == INTERRUPTED);
        match (self.state(), &self.spot.interruption) {
            ("active", None) => ("fulfilled", "Your spot request is fulfilled."),
            ("active", Some(_)) => (
                "marked-for-termination",
                "Your Spot Instance is marked for termination.",
            ),
            _ if is_interrupted => (
                "instance-terminated-no-capacity",
                "Your Spot Instance was terminated because there is no Spot capacity available.",
            ),
            _ => (
                "instance-terminated-by-user",
                "Spot Instance terminated due to user-initiated termination.",
            ),
        }
    }
}

impl Filtered for SpotRequest {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let instance = &self.instance;
        let one = match name {
            "create-time" => iso(instance.created),
            "instance-id" => instance.id.clone(),
            "launch.group-id" => return Some(instance.groups.clone()),
            "launch.image-id" => instance.image.clone(),
            "launch.instance-type" => instance.instance_type.clone(),
            "launch.key-name" => return Some(instance.key_name.iter().cloned().collect()),
            "launched-availability-zone" => instance.zone.clone(),
            "spot-instance-request-id" => self.spot.request.clone(),
            "state" => self.state().to_owned(),
            "status-code" => self.status().0.to_owned(),
            "status-message" => self.status().1.to_owned(),
            "type" => "one-time".to_owned(),
            _ => return None,
        };
        Some(vec![one])
    }
}

pub(super) fn describe_spot_instance_requests(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let all: Vec<SpotRequest> = all(call);
    let ids = request.list("SpotInstanceRequestId");
    let is_known = |id: &&&str| all.iter().any(|one| one.spot.request == **id);
    if let Some(missing) = ids.iter().find(|id| !is_known(id)) {
        let message = format!("The spot instance request ID '{missing}' does not exist");
        return Err(Refusal::new(
            "InvalidSpotInstanceRequestID.NotFound",
            message,
        ));
    }
    let asked = all.into_iter();
    let asked = asked.filter(|one| ids.is_empty() || ids.contains(&one.spot.request.as_str()));
    let found = Filters::of(request)?.keep_as(asked.collect(), write)?;
    let (found, next) = page_after(request, found, 5, SpotRequest::place)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("spotInstanceRequestSet", &found, write);
    xml.option("nextToken", next);
    Ok(xml)
}

/// Returns the requests of all spot instances that EC2 still knows, the oldest first.
fn all(call: &mut Call<'_>) -> Vec<SpotRequest> {
    let region = call.region();
    let request = |instance: &Instance| {
        let groups = instance.groups.iter().filter_map(|id| {
            let group = region.groups.get(id)?;
            Some((id.clone(), group.name.clone()))
        });
        Some(SpotRequest {
            spot: instance.spot.clone()?,
            groups: groups.collect(),
            instance: instance.clone(),
        })
    };
    let mut all: Vec<SpotRequest> = region.instances.values().filter_map(request).collect();
    all.sort_by_cached_key(SpotRequest::place);
    all
}

fn write(xml: &mut Xml, one: &SpotRequest) {
    let SpotRequest { spot, instance, .. } = one;
    xml.text("spotInstanceRequestId", &spot.request);
    xml.text("type", "one-time");
    xml.text("state", one.state());
    let (code, message) = one.status();
    xml.node("status", |xml| {
        xml.text("code", code);
        xml.text("message", message);
        xml.text("updateTime", iso(instance.since));
    });
    xml.text("createTime", iso(instance.created));
    xml.text("instanceId", &instance.id);
    xml.node("launchSpecification", |xml| {
        xml.text("imageId", &instance.image);
        xml.option("keyName", instance.key_name.as_ref());
        write_groups(xml, &one.groups);
        xml.text("instanceType", &instance.instance_type);
        xml.node("placement", |xml| {
            xml.text("availabilityZone", &instance.zone);
        });
        xml.node("monitoring", |xml| xml.text("enabled", false));
    });
    xml.text("launchedAvailabilityZone", &instance.zone);
    xml.text("productDescription", "Linux/UNIX");
    xml.text("instanceInterruptionBehavior", "terminate");
}
