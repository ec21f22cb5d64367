//! Instances that are there: finding them, stopping, starting, tagging.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{
    Filter, InstanceType, InstanceTypeInfo, MemoryInfo, ProcessorInfo, Reservation, SecurityGroup,
    VCpuInfo,
};
use serde::Serialize;

use super::{Ec2, Ingress, Instance, aws_tags, filter, instance, permission};
use crate::clients::aws_error::{aws_error, code};
use crate::clients::marks::Tags;
use crate::error::Result;

/// What EC2 offers under the name of an instance type.
#[derive(Clone, Debug, Serialize)]
pub struct TypeInfo {
    /// As `t3.micro`.
    pub name: String,
    /// How many virtual CPUs.
    pub vcpus: i32,
    /// Memory in GiB.
    pub memory: f64,
    /// `x86_64`, `arm64`.
    pub architectures: Vec<String>,
    /// Whether it is free-tier eligible here.
    pub free_tier: bool,
}

impl Ec2<'_> {
    /// The instances that match every filter, oldest launch first.
    pub async fn find_instances(&self, wanted: &[(String, Vec<String>)]) -> Result<Vec<Instance>> {
        let mut request = self.client.describe_instances();
        for (name, values) in wanted {
            let one_of = Filter::builder()
                .name(name)
                .set_values(Some(values.clone()));
            request = request.filters(one_of.build());
        }
        let mut pages = request.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| aws_error("look for instances", &e))?;
            let seen = page.reservations().iter().flat_map(Reservation::instances);
            found.extend(seen.map(instance));
        }
        found.sort_by(|a, b| (&a.launched_at, &a.id).cmp(&(&b.launched_at, &b.id)));
        Ok(found)
    }

    /// Asks an instance to stop; one that is stopped is no error.
    pub async fn stop(&self, id: &str) -> Result<()> {
        let request = self.client.stop_instances().instance_ids(id);
        let asked = request.send().await;
        asked
            .map(drop)
            .map_err(|e| aws_error(&format!("stop `{id}`"), &e))
    }

    /// Asks an instance to start; one that runs is no error.
    pub async fn start(&self, id: &str) -> Result<()> {
        let request = self.client.start_instances().instance_ids(id);
        let asked = request.send().await;
        asked
            .map(drop)
            .map_err(|e| aws_error(&format!("start `{id}`"), &e))
    }

    /// Asks an instance to reboot.
    pub async fn reboot(&self, id: &str) -> Result<()> {
        let request = self.client.reboot_instances().instance_ids(id);
        let asked = request.send().await;
        asked
            .map(drop)
            .map_err(|e| aws_error(&format!("reboot `{id}`"), &e))
    }

    /// Sets tags of anything in EC2.
    pub async fn tag(&self, id: &str, tags: &Tags) -> Result<()> {
        let request = self.client.create_tags().resources(id);
        let asked = request.set_tags(Some(aws_tags(tags))).send().await;
        asked
            .map(drop)
            .map_err(|e| aws_error(&format!("tag `{id}`"), &e))
    }

    /// Whether a group has this very rule.
    ///
    /// Throws `not_found`.
    pub async fn is_open(&self, group: &str, rule: &Ingress) -> Result<bool> {
        let request = self.client.describe_security_groups().group_ids(group);
        let answer = request
            .send()
            .await
            .map_err(|e| aws_error(&format!("look up security group `{group}`"), &e))?;
        let groups = answer.security_groups().iter();
        let mut open = groups.flat_map(SecurityGroup::ip_permissions).filter(|p| {
            p.ip_protocol() == Some(rule.protocol.as_str())
                && p.from_port() == Some(rule.port)
                && p.to_port() == Some(rule.to_port)
        });
        Ok(open.any(|p| {
            let v4 = p.ip_ranges().iter().filter_map(|r| r.cidr_ip());
            let v6 = p.ipv6_ranges().iter().filter_map(|r| r.cidr_ipv6());
            let pairs = p.user_id_group_pairs().iter();
            let groups = pairs.filter_map(|pair| pair.group_id());
            v4.chain(v6).chain(groups).any(|from| from == rule.from)
        }))
    }

    /// Opens a port; true when it was not open before.
    pub async fn open(&self, group: &str, rule: &Ingress) -> Result<bool> {
        let request = self
            .client
            .authorize_security_group_ingress()
            .group_id(group)
            .ip_permissions(permission(rule));
        match request.send().await {
            Ok(_) => Ok(true),
            Err(e) if code(&e) == "InvalidPermission.Duplicate" => Ok(false),
            Err(e) => Err(aws_error(&format!("open a port of `{group}`"), &e)),
        }
    }

    /// Closes a port; true when it was open before.
    pub async fn close(&self, group: &str, rule: &Ingress) -> Result<bool> {
        let request = self
            .client
            .revoke_security_group_ingress()
            .group_id(group)
            .ip_permissions(permission(rule));
        match request.send().await {
            Ok(_) => Ok(true),
            Err(e) if code(&e) == "InvalidPermission.NotFound" => Ok(false),
            Err(e) => Err(aws_error(&format!("close a port of `{group}`"), &e)),
        }
    }

    /// The instance types that the region offers and that match the filters.
    pub async fn types(&self, wanted: &BTreeMap<String, String>) -> Result<Vec<TypeInfo>> {
        let mut request = self.client.describe_instance_types();
        for (name, value) in wanted {
            request = request.filters(filter(name, value));
        }
        let mut pages = request.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| aws_error("look up the instance types", &e))?;
            found.extend(page.instance_types().iter().map(type_info));
        }
        found.sort_by(|a, b| {
            let size = |t: &TypeInfo| (t.vcpus, t.memory);
            size(a)
                .partial_cmp(&size(b))
                .unwrap_or(std::cmp::Ordering::Equal)
                .then_with(|| a.name.cmp(&b.name))
        });
        Ok(found)
    }
}

fn type_info(info: &InstanceTypeInfo) -> TypeInfo {
    let mib = info
        .memory_info()
        .and_then(MemoryInfo::size_in_mib)
        .unwrap_or(0);
    #[expect(clippy::cast_precision_loss, reason = "memory sizes are small numbers")]
    let memory = mib as f64 / 1024.0;
    let architectures = info
        .processor_info()
        .map(ProcessorInfo::supported_architectures);
    TypeInfo {
        name: info
            .instance_type()
            .map_or("", InstanceType::as_str)
            .to_owned(),
        vcpus: info
            .v_cpu_info()
            .and_then(VCpuInfo::default_v_cpus)
            .unwrap_or(0),
        memory,
        architectures: architectures
            .unwrap_or_default()
            .iter()
            .map(|a| a.as_str().to_owned())
            .collect(),
        free_tier: info.free_tier_eligible().unwrap_or(false),
    }
}
