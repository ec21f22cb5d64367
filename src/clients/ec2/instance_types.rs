//! Instance types.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{InstanceType, InstanceTypeInfo, MemoryInfo, ProcessorInfo, VCpuInfo};
use serde::Serialize;

use super::Ec2;
use super::tags::filter;
use crate::clients::aws_error::aws_error;
use crate::error::{Error, ErrorKind, Result};

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
    /// The micro type that is free-tier eligible here: `t3.micro`, else
    /// `t2.micro`, else the smallest name AWS offers for the architecture.
    pub async fn free_tier_type(&self, architecture: &str) -> Result<String> {
        let answer = self
            .client
            .describe_instance_types()
            .filters(filter("free-tier-eligible", "true"))
            .filters(filter(
                "processor-info.supported-architecture",
                architecture,
            ))
            .send()
            .await
            .map_err(|e| aws_error("look up the free-tier instance types", &e))?;
        let mut types: Vec<&str> = answer
            .instance_types()
            .iter()
            .filter_map(|t| t.instance_type().map(InstanceType::as_str))
            .collect();
        types.sort_unstable();
        ["t3.micro", "t2.micro", "t4g.micro"]
            .into_iter()
            .find(|preferred| types.contains(preferred))
            .or_else(|| {
                types
                    .iter()
                    .copied()
                    .find(|t| t.split('.').nth(1) == Some("micro"))
            })
            .map(str::to_owned)
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::NotFound,
                    format!("this region offers no free-tier micro type for {architecture}"),
                )
                .hint("pass `type`, as \"t3.micro\"")
            })
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
