//! What a request of a rehearsal searches for.

use std::collections::BTreeMap;

use super::loans::Kind;
use crate::clients::calls::Call;

/// Returns the kind of resource that a request looks for by filters, with the filter
/// that has their ids. Other parameters of such a request name what it is about.
pub(super) fn searched(call: &Call) -> Option<(Kind, &'static str)> {
    let (kind, id, parameter) = match call.operation.as_str() {
        "DescribeAddresses" => (Kind::ElasticIp, "allocation-id", "AllocationId"),
        "DescribeInstances" => (Kind::Instance, "instance-id", "InstanceId"),
        "DescribeSnapshots" => (Kind::Snapshot, "snapshot-id", "SnapshotId"),
        "DescribeVolumes" => (Kind::Volume, "volume-id", "VolumeId"),
        "DescribeImages" if call.parameter("Owner.1") == Some("self") => {
            (Kind::Image, "image-id", "ImageId")
        }
        _ => return None,
    };
    let mut parameters = call.parameters.iter();
    let is_named = parameters.any(|(known, _)| known.split('.').next() == Some(parameter));
    (!is_named).then_some((kind, id))
}

/// Returns whether a search has this filter.
pub(super) fn filters_by(call: &Call, name: &str) -> bool {
    let mut parameters = call.parameters.iter();
    parameters.any(|(key, value)| key.starts_with("Filter.") && value == name)
}

/// Returns the filters of a request.
pub(super) fn filters(call: &Call) -> Vec<(String, Vec<String>)> {
    let mut all: BTreeMap<&str, (String, Vec<String>)> = BTreeMap::new();
    for (key, value) in &call.parameters {
        let Some((number, part)) = key
            .strip_prefix("Filter.")
            .and_then(|rest| rest.split_once('.'))
        else {
            continue;
        };
        let filter = all.entry(number).or_default();
        match part {
            "Name" => filter.0.clone_from(value),
            _ => filter.1.push(value.clone()),
        }
    }
    all.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::calls::{Cause, Service};

    #[test]
    fn filters_are_read_from_a_request() {
        let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let call = Call {
            service: Service::Ec2,
            operation: "DescribeInstances".to_owned(),
            parameters: [
                ("Filter.1.Name", "tag:Name"),
                ("Filter.1.Value.1", "web"),
                ("Filter.2.Name", "instance-state-name"),
                ("Filter.2.Value.1", "running"),
                ("Filter.2.Value.2", "stopped"),
                ("MaxResults", "5"),
            ]
            .map(pair)
            .into(),
            cause: Cause::default(),
        };
        let one = |name: &str, values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned());
            (name.to_owned(), values.collect::<Vec<_>>())
        };
        let wanted = [
            one("tag:Name", &["web"]),
            one("instance-state-name", &["running", "stopped"]),
        ];
        assert_eq!(filters(&call), wanted);
    }
}
