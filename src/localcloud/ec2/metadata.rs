//! The metadata of an instance.

use super::call::CloudInfo;
use super::instance_answer::mac;
use super::network::{subnet_id, vpc_id};
use super::state::{Group, Instance, Region};
use super::user_data::decode;
use crate::clock::iso;
use crate::metadata::Metadata;

pub(super) fn metadata_of(
    instance: &Instance,
    known: &Region,
    region: &str,
    facts: &CloudInfo,
) -> Metadata {
    let name = |id: &String| known.groups.get(id).map(|g: &Group| g.name.clone());
    let subnet = facts.subnet.to_string();
    Metadata {
        instance_id: instance.id.clone(),
        ami_id: instance.image.clone(),
        instance_type: instance.instance_type.clone(),
        architecture: instance.architecture.clone(),
        local_ipv4: instance.address.to_string(),
        public_ipv4: instance
            .elastic_ip
            .as_ref()
            .map(|own| own.address)
            .or_else(|| instance.public.then_some(instance.address))
            .map(|address| address.to_string()),
        local_hostname: instance.private_name(),
        public_hostname: None,
        mac: mac(instance),
        interface_id: instance.interface.clone(),
        subnet_id: subnet_id(region),
        subnet_cidr: subnet.clone(),
        vpc_id: vpc_id(region),
        vpc_cidr: subnet,
        region: region.to_owned(),
        availability_zone: instance.zone.clone(),
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
        iam_profile: instance.iam_profile.clone(),
        tags: instance.tags.clone().into_iter().collect(),
        instance_metadata_tags: instance.metadata.tags,
        tokens_required: instance.metadata.tokens_required,
        enabled: instance.metadata.enabled,
    }
}
