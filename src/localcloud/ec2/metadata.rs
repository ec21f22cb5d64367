//! The metadata of an instance.

use serde_json::{Value, json};

use super::call::CloudInfo;
use super::iam::InstanceRole;
use super::instance_answer::mac;
use super::regions::zone_id;
use super::state::{Group, Instance, Region};
use super::user_data::decode;
use crate::clock::{iso, millis};
use crate::metadata::Metadata;
use crate::signature::Session;

/// How often the credentials of a role change, and how long they are valid, in
/// seconds.
const RENEWED: i64 = 3600;
const VALID: i64 = 6 * 3600;

pub(super) fn metadata_of(
    instance: &Instance,
    known: &Region,
    region: &str,
    role: Option<&InstanceRole>,
    facts: &CloudInfo,
) -> Metadata {
    let public = instance.outside.unwrap_or(instance.address);
    let elastic = instance.elastic_ip.as_ref().map(|own| own.address);
    let public = elastic.or_else(|| instance.public.then_some(public));
    let name = |id: &String| known.groups.get(id).map(|g: &Group| g.name.clone());
    let others = instance.attachments.iter();
    let others = others.filter(|one| one.device != instance.root_device);
    let networks = &known.networks;
    let subnet = networks.subnets.get(&instance.subnet);
    let vpc = networks.vpcs.get(&instance.vpc);
    Metadata {
        instance_id: instance.id.clone(),
        ami_id: instance.image.clone(),
        instance_type: instance.instance_type.clone(),
        launch_index: instance.launch_index,
        root_device: instance.root_device.clone(),
        other_devices: others.map(|one| one.device.clone()).collect(),
        monitoring: instance.options.monitoring,
        architecture: instance.architecture.clone(),
        local_ipv4: instance.address.to_string(),
        public_ipv4: public.map(|address| address.to_string()),
        local_hostname: instance.private_name(),
        public_hostname: None,
        mac: mac(instance),
        interface_id: instance.interface.clone(),
        subnet_id: instance.subnet.clone(),
        subnet_cidr: subnet
            .map(|subnet| subnet.cidr.to_string())
            .unwrap_or_default(),
        vpc_id: instance.vpc.clone(),
        vpc_cidr: vpc.map(|vpc| vpc.cidr.to_string()).unwrap_or_default(),
        region: region.to_owned(),
        availability_zone: instance.zone.clone(),
        availability_zone_id: zone_id(&instance.zone),
        account: facts.account.clone(),
        reservation_id: instance.reservation.clone(),
        pending_time: iso(instance.launched),
        key_name: instance
            .key_name
            .clone()
            .zip(instance.authorized_keys.first().cloned()),
        security_groups: instance.groups.iter().filter_map(name).collect(),
        security_group_ids: instance.groups.clone(),
        user_data: instance.user_data.as_deref().and_then(decode),
        iam_profile: instance
            .iam_profile
            .as_ref()
            .map(|profile| (profile.arn.clone(), profile.id.clone())),
        role: role.map(|role| (role.name.clone(), credentials(instance, role, facts))),
        spot: instance.spot.is_some(),
        interruption: (instance.spot.as_ref()).and_then(|spot| spot.interruption.map(iso)),
        tags: instance.tags.clone().into_iter().collect(),
        instance_metadata_tags: instance.metadata.tags,
        tokens_required: instance.metadata.tokens_required,
        enabled: instance.metadata.enabled,
    }
}

/// Returns what the metadata service shows of a role: its credentials, or why it
/// has none.
fn credentials(instance: &Instance, role: &InstanceRole, facts: &CloudInfo) -> Value {
    let now = i64::try_from(millis() / 1000).unwrap_or_default();
    let renewed = now - now % RENEWED;
    let expires = renewed + VALID;
    let time = |seconds: i64| iso(u64::try_from(seconds * 1000).unwrap_or_default());
    if !role.trusted {
        let message = format!(
            "EC2 cannot assume the role {}. Please see documentation at \
             https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_iam-ec2.html\
             #troubleshoot_iam-ec2_errors-info-doc.",
            role.name
        );
        return json!({
            "Code": "AssumeRoleUnauthorizedAccess",
            "Message": message,
            "LastUpdated": time(renewed),
        });
    }
    let temporary = facts.keys.temporary(&Session {
        role: role.name.clone(),
        role_id: role.id.clone(),
        name: instance.id.clone(),
        expires,
    });
    json!({
        "Code": "Success",
        "LastUpdated": time(renewed),
        "Type": "AWS-HMAC",
        "AccessKeyId": temporary.keys.access_key_id,
        "SecretAccessKey": temporary.keys.secret_access_key,
        "Token": temporary.token,
        "Expiration": time(expires),
    })
}
