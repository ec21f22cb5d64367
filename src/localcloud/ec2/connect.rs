//! EC2 Instance Connect: brings a public key to an instance, which accepts it for 60
//! seconds.
//!
//! As on AWS, the request succeeds for every running instance, but only the images with
//! the package of EC2 Instance Connect look at the key. There, AWS's program asks the
//! metadata service for the keys. Here, the key is written into a file of the instance
//! that `sshd/authorized_keys` reads.

use std::time::Duration;

use hyper::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use ssh_key::{Algorithm, PublicKey};

use super::images;
use super::refusal::{Refusal, Result};
use super::service::Sender;
use super::state::{Instance, Phase};
use super::store::Store;
use super::{Machines, regions};
use crate::authorization::Need;

/// The name of the service in signatures.
pub(crate) const SERVICE: &str = "ec2-instance-connect";

const OPERATION: &str = "SendSSHPublicKey";

/// How long an instance accepts a key.
const VALID: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SendSshPublicKey {
    #[serde(rename = "InstanceId")]
    instance: String,
    #[serde(rename = "InstanceOSUser")]
    user: String,
    #[serde(rename = "SSHPublicKey")]
    key: String,
    #[serde(rename = "AvailabilityZone")]
    zone: Option<String>,
}

/// A key for an instance.
#[derive(Debug)]
pub(super) struct PushedKey {
    pub(super) user: String,
    /// The line for `authorized_keys`.
    pub(super) line: String,
}

/// Returns AWS's names of the operations.
pub(super) fn operations() -> [&'static str; 1] {
    [OPERATION]
}

/// Returns the operation that a request names in its header.
pub(crate) fn operation(headers: &HeaderMap) -> String {
    let target = headers.get("x-amz-target").and_then(|v| v.to_str().ok());
    let operation = target.and_then(|target| target.strip_prefix("AWSEC2InstanceConnectService."));
    operation.unwrap_or_default().to_owned()
}

/// Answers a request to a region.
pub(super) async fn answer(
    store: &Store,
    machines: Option<&Machines>,
    (region, operation): (&str, &str),
    body: &[u8],
    sender: Sender<'_>,
) -> Result<Value> {
    if !regions::has_region(region) {
        let message = format!("The local cloud does not have the region '{region}'");
        return Err(Refusal::new("UnrecognizedClientException", message));
    }
    if operation != OPERATION {
        return Err(Refusal::new("UnknownOperationException", ""));
    }
    let wanted: SendSshPublicKey = serde_json::from_slice(body)
        .map_err(|e| Refusal::new("SerializationException", e.to_string()))?;
    let arn = format!(
        "arn:aws:ec2:{region}:{}:instance/{}",
        store.facts.account, wanted.instance
    );
    let need = Need::new(format!("{SERVICE}:{OPERATION}"), arn);
    let allowed = sender.guard.map_or(Ok(()), |guard| guard.check([need]));
    allowed.map_err(|denial| Refusal::new("AccessDeniedException", denial.message(false)))?;
    check_user(&wanted.user)?;
    let key = public_key(&wanted.key)?;
    let instance = instance(store, region, &wanted)?;
    if has_package(region, &instance)
        && let Some(machines) = machines.filter(|_| !instance.is_record)
    {
        let pushed = PushedKey::new(wanted.user, &key);
        let sent = machines.push_key(&instance.id, pushed).await;
        sent.map_err(|e| {
            let message = format!("The instance does not take the key: {e}");
            Refusal::new("EC2InstanceUnavailableException", message)
        })?;
    }
    Ok(json!({ "RequestId": super::ids::new_request_id(), "Success": true }))
}

impl PushedKey {
    fn new(user: String, key: &str) -> Self {
        let end = jiff::Timestamp::now() + VALID;
        let end = end.strftime("%Y%m%d%H%M%SZ");
        Self {
            user,
            line: format!("expiry-time=\"{end}\" {key}"),
        }
    }
}

/// Finds the instance, which must run.
fn instance(store: &Store, region: &str, wanted: &SendSshPublicKey) -> Result<Instance> {
    let state = store.state();
    let known = state.regions.get(region);
    let found = known.and_then(|region| region.instances.get(&wanted.instance));
    let is_there = |one: &&Instance| wanted.zone.as_ref().is_none_or(|zone| *zone == one.zone);
    let Some(found) = found.filter(is_there) else {
        let message = "An error occurred because the instance was not found.";
        return Err(Refusal::new("EC2InstanceNotFoundException", message));
    };
    if found.phase != Phase::Running {
        let message = "Instance is not in a valid state for SSH: it must be running.";
        return Err(Refusal::new("EC2InstanceStateInvalidException", message));
    }
    Ok(found.clone())
}

/// Returns whether the image of an instance has the package of EC2 Instance Connect.
/// Images that are not in the catalogue, such as those of the account, have it.
fn has_package(region: &str, instance: &Instance) -> bool {
    let catalogue = images::images(region, "");
    let image = catalogue.iter().find(|image| image.id == instance.image);
    image.is_none_or(|image| {
        let system = image.publisher.system;
        system == "Ubuntu" || system.starts_with("Amazon Linux")
    })
}

/// Checks the name against the pattern of the service's model, as far as a shell might
/// understand it otherwise.
fn check_user(user: &str) -> Result<()> {
    let mut letters = user.chars();
    let first = letters.next();
    let begins = first.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    if begins
        && user.len() <= 32
        && letters.all(|c| c.is_ascii_alphanumeric() || "@._-".contains(c))
    {
        return Ok(());
    }
    let message = format!("The OS user '{user}' is not valid.");
    Err(Refusal::new("InvalidArgsException", message))
}

/// Returns algorithm and key without a comment.
fn public_key(text: &str) -> Result<String> {
    let invalid = |why: &str| Refusal::new("InvalidArgsException", why);
    let key = PublicKey::from_openssh(text.trim());
    let mut key = key.map_err(|_| invalid("The public key is not in the OpenSSH format."))?;
    if !matches!(key.algorithm(), Algorithm::Ed25519 | Algorithm::Rsa { .. }) {
        return Err(invalid("The public key must be an RSA or ED25519 key."));
    }
    key.set_comment("");
    key.to_openssh()
        .map_err(|_| invalid("The public key cannot be written."))
}
