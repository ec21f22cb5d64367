//! The kinds of returned maps, and the identity of a call by its arguments.

use rhai::{Dynamic, Map};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::options::to_json;

/// The `kind` of a map that a function returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResultKind {
    /// Returned by `latest_image`.
    Image,
    /// Returned by `launch_instance`.
    Instance,
    /// Returned by `create_key_pair`.
    KeyPair,
    /// Returned by `create_security_group`.
    SecurityGroup,
    /// Returned by `create_network`.
    Network,
    /// Returned by `create_bucket`.
    Bucket,
    /// Returned by `find_elastic_ip`.
    ElasticIp,
    /// Returned by `create_volume`.
    Volume,
    /// Returned by `create_snapshot`.
    Snapshot,
    /// Returned by `host`.
    Host,
}

impl ResultKind {
    /// Returns the kind of a map, if it has one.
    #[must_use]
    pub fn of(value: &Dynamic) -> Option<Self> {
        let map = value.read_lock::<Map>()?;
        let kind = map.get("kind")?.read_lock::<rhai::ImmutableString>()?;
        Self::parse(&kind)
    }

    fn parse(name: &str) -> Option<Self> {
        serde_json::from_value(name.into()).ok()
    }
}

/// Returns the arguments in a form that identifies the call in another attempt. The
/// map of an AWS resource is reduced to its id, because its state changes; a key
/// pair is reduced to its name and its fingerprint.
pub(super) fn identity(arguments: &[&Dynamic]) -> Value {
    let one = |argument: &&Dynamic| match to_json(argument) {
        Ok(value) => identity_of(value),
        // The called function refuses this argument.
        Err(_) => Value::from(argument.type_name()),
    };
    arguments.iter().map(one).collect()
}

fn identity_of(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(identity_of).collect(),
        Value::Object(map) => {
            match map
                .get("kind")
                .and_then(Value::as_str)
                .and_then(ResultKind::parse)
            {
                Some(ResultKind::KeyPair) => {
                    return json!({ "key_pair": map.get("fingerprint"), "name": map.get("name") });
                }
                Some(
                    ResultKind::Instance
                    | ResultKind::SecurityGroup
                    | ResultKind::Image
                    | ResultKind::Volume
                    | ResultKind::Snapshot,
                ) => {
                    return json!({ "id": map.get("id"), "user": map.get("user") });
                }
                Some(ResultKind::Network) => return json!({ "network": map.get("vpc_id") }),
                Some(ResultKind::Bucket) => return json!({ "bucket": map.get("name") }),
                Some(ResultKind::ElasticIp) => {
                    return json!({ "elastic_ip": map.get("allocation_id") });
                }
                Some(ResultKind::Host) | None => {}
            }
            let entries = map
                .into_iter()
                .map(|(key, value)| (key, identity_of(value)));
            Value::Object(entries.collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::to_dynamic;

    #[test]
    fn the_state_of_a_server_does_not_change_its_identity() {
        let server = |state: &str| {
            let map = json!({ "kind": "instance", "id": "i-0a", "state": state, "user": "admin" });
            to_dynamic(&map).unwrap()
        };
        let identity = |state: &str| identity(&[&server(state), &"uptime".into()]);
        assert_eq!(identity("pending"), identity("running"));
        assert_eq!(identity("pending")[0]["id"], "i-0a");
    }

    #[test]
    fn a_map_that_the_playbook_wrote_is_compared_in_full() {
        for map in [
            json!({ "id": "i-0a", "size": 1 }),
            json!({ "kind": "fish", "id": "i-0a" }),
            json!({ "name": "x", "made": true }),
        ] {
            let value = to_dynamic(&map).unwrap();
            assert_eq!(identity(&[&value])[0], map);
        }
    }
}
