//! Volumes, snapshots and Elastic IP addresses that an account lends, with the
//! instances that have them.

use std::collections::BTreeSet;

use aws_sdk_ec2::types;
use serde_json::{Value, json};

use super::super::Ec2;
use super::{Wanted, all, tags};
use crate::aws_error::aws_error;
use crate::error::Result;

impl Ec2<'_> {
    /// Returns the volumes that match all filters, after their instances.
    pub async fn lendable_volumes(&self, filters: &[Wanted]) -> Result<Vec<Value>> {
        let request = self.client.describe_volumes();
        let mut pages = request
            .set_filters(Some(all(filters)))
            .into_paginator()
            .send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| aws_error("look for volumes", &e))?;
            found.extend(page.volumes.unwrap_or_default());
        }
        let attachments = found.iter().flat_map(types::Volume::attachments);
        let holders = attachments.filter_map(types::VolumeAttachment::instance_id);
        let mut lent = self.holders(holders).await?;
        lent.extend(found.iter().map(volume));
        Ok(lent)
    }

    /// Returns the snapshots of this account that match all filters.
    pub async fn lendable_snapshots(&self, filters: &[Wanted]) -> Result<Vec<Value>> {
        let request = self.client.describe_snapshots().owner_ids("self");
        let mut pages = request
            .set_filters(Some(all(filters)))
            .into_paginator()
            .send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| aws_error("look for snapshots", &e))?;
            found.extend(page.snapshots().iter().map(snapshot));
        }
        Ok(found)
    }

    /// Returns the Elastic IP addresses that match all filters, after their instances.
    pub async fn lendable_addresses(&self, filters: &[Wanted]) -> Result<Vec<Value>> {
        let answer = self
            .client
            .describe_addresses()
            .set_filters(Some(all(filters)))
            .send()
            .await
            .map_err(|e| aws_error("look for Elastic IP addresses", &e))?;
        let found = answer.addresses();
        let holders = found.iter().filter_map(types::Address::instance_id);
        let mut lent = self.holders(holders).await?;
        lent.extend(found.iter().map(address));
        Ok(lent)
    }

    /// Returns the instances with these ids.
    async fn holders(&self, ids: impl Iterator<Item = &str>) -> Result<Vec<Value>> {
        let ids: BTreeSet<&str> = ids.filter(|id| !id.is_empty()).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids = ids.into_iter().map(str::to_owned).collect();
        self.lendable_instances(&[("instance-id".to_owned(), ids)])
            .await
    }
}

fn volume(seen: &types::Volume) -> Value {
    let attachment = seen.attachments().first();
    let ends = attachment.and_then(types::VolumeAttachment::delete_on_termination);
    json!({ "volume": {
        "id": seen.volume_id(),
        "size": seen.size(),
        "type": seen.volume_type().map_or("standard", types::VolumeType::as_str),
        "iops": seen.iops(),
        "throughput": seen.throughput(),
        "kms_key": seen.kms_key_id(),
        "snapshot": seen.snapshot_id().filter(|id| !id.is_empty()),
        "zone": seen.availability_zone(),
        "instance": attachment.and_then(types::VolumeAttachment::instance_id),
        "device": attachment.and_then(types::VolumeAttachment::device),
        "delete_on_termination": ends.unwrap_or_default(),
        "created": seen.create_time().map(ToString::to_string),
        "tags": tags(seen.tags()),
    }})
}

fn snapshot(seen: &types::Snapshot) -> Value {
    json!({ "snapshot": {
        "id": seen.snapshot_id(),
        "volume": seen.volume_id().unwrap_or_default(),
        "size": seen.volume_size(),
        "description": seen.description().unwrap_or_default(),
        "kms_key": seen.kms_key_id(),
        "started": seen.start_time().map(ToString::to_string),
        "tags": tags(seen.tags()),
    }})
}

fn address(seen: &types::Address) -> Value {
    json!({ "elastic_ip": {
        "id": seen.allocation_id(),
        "address": seen.public_ip(),
        "instance": seen.instance_id().filter(|id| !id.is_empty()),
        "association": seen.association_id().filter(|id| !id.is_empty()),
        "tags": tags(seen.tags()),
    }})
}
