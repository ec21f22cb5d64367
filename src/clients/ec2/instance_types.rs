//! Instance types.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{InstanceType, InstanceTypeInfo, MemoryInfo, ProcessorInfo, VCpuInfo};
use schemars::JsonSchema;
use serde::Serialize;

use super::Ec2;
use super::tags::filter;
use crate::aws_error::aws_error;
use crate::error::{Error, ErrorKind, Result};

/// An instance type as EC2 describes it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TypeInfo {
    /// The name, for example `t3.micro`.
    pub name: String,
    /// The number of virtual CPUs.
    pub vcpus: i32,
    /// Memory in GiB.
    pub memory: f64,
    /// The architectures, for example `x86_64`, `arm64`.
    pub architectures: Vec<String>,
    /// Whether the type is free-tier eligible in this region.
    pub free_tier: bool,
}

impl Ec2<'_> {
    /// Returns the micro type that is free-tier eligible for this account in this
    /// region. For accounts since July 2025, `t2.micro` is not eligible. It is
    /// `t3.micro`, else `t2.micro`, else `t4g.micro`, else the first other
    /// name.
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
                .hint("pass `type`, such as \"t3.micro\"")
            })
    }

    /// Returns the names of all types that are free-tier eligible, for this
    /// account and region.
    pub async fn free_tier_types(&self) -> Result<Vec<String>> {
        let eligible = BTreeMap::from([("free-tier-eligible".to_owned(), "true".to_owned())]);
        let types = self.types(&eligible).await?;
        Ok(types.into_iter().map(|known| known.name).collect())
    }

    /// Returns the instance types of the region that match the filters,
    /// smallest first.
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

/// Returns the architecture that the name of a type suggests: a `g` after the number
/// of the family means AWS's own processors.
#[must_use]
pub fn likely_architecture(name: &str) -> &'static str {
    let family = name.split('.').next().unwrap_or_default();
    let after = family.trim_start_matches(char::is_alphabetic);
    if after.contains('g') {
        "arm64"
    } else {
        "x86_64"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_type_suggests_its_architecture() {
        for (name, expected) in [
            ("t4g.micro", "arm64"),
            ("c7gn.large", "arm64"),
            ("g5.xlarge", "x86_64"),
            ("t3.micro", "x86_64"),
            ("nonsense", "x86_64"),
        ] {
            assert_eq!(likely_architecture(name), expected, "{name}");
        }
    }
}
