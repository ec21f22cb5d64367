//! Snapshots of volumes: creates, finds and deletes them.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{self, Filter, ResourceType};

use super::marked::Marked;
use super::tags::{filter, marks, tag_specification};
use super::{Ec2, once};
use crate::aws_error::{Code, aws_error, code};
use crate::error::Result;
use crate::marks::{Marks, OWNER_TAG, RESOURCE_TAG, Tags};

/// How far EC2 is with a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotState {
    /// The volume is being copied.
    Pending,
    /// The copy is complete.
    Completed,
    /// The copy failed.
    Failed,
}

/// A snapshot of the account.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The snapshot id, for example `snap-0abc`.
    pub id: String,
    /// The id of the volume.
    pub volume_id: String,
    /// The size of the volume in GiB.
    pub size: i32,
    /// How far EC2 is.
    pub state: SnapshotState,
    /// How much is copied, for example `50%`.
    pub progress: String,
    /// Why it failed, if EC2 reports a reason.
    pub reason: Option<String>,
    /// When it was requested, for example `2026-11-25T22:10:03Z`.
    pub started_at: String,
    /// All tags of the snapshot.
    pub tags: BTreeMap<String, String>,
    /// The marks in its tags.
    pub marks: Marks,
}

impl Ec2<'_> {
    /// Starts to create a snapshot of a volume. Returns its id. Does not repeat the
    /// request.
    pub async fn create_snapshot(
        &self,
        volume: &str,
        description: Option<&str>,
        tags: &Tags,
    ) -> Result<String> {
        let answer = self
            .client
            .create_snapshot()
            .volume_id(volume)
            .set_description(description.map(str::to_owned))
            .tag_specifications(tag_specification(ResourceType::Snapshot, tags))
            .customize()
            .config_override(once())
            .send()
            .await
            .map_err(|e| aws_error(&format!("create a snapshot of `{volume}`"), &e))?;
        Ok(answer.snapshot_id().unwrap_or_default().to_owned())
    }

    /// Deletes a snapshot. Deleting one that does not exist is not an error.
    pub async fn delete_snapshot(&self, id: &str) -> Result<()> {
        match self.client.delete_snapshot().snapshot_id(id).send().await {
            Ok(_) => Ok(()),
            Err(e) if code(&e) == Code::InvalidSnapshotNotFound => Ok(()),
            Err(e) => Err(aws_error(&format!("delete snapshot `{id}`"), &e)),
        }
    }

    /// Returns the snapshot of the account with this id, or `None` if it does not
    /// exist.
    pub async fn snapshot(&self, id: &str) -> Result<Option<Snapshot>> {
        let found = self.snapshots(vec![filter("snapshot-id", id)]).await?;
        Ok(found.into_iter().next())
    }

    /// Returns the snapshot that has this row as its tag.
    pub async fn snapshot_of(&self, row: &str) -> Result<Option<Snapshot>> {
        let tag = format!("tag:{RESOURCE_TAG}");
        let found = self.snapshots(vec![filter(&tag, row)]).await?;
        Ok(found.into_iter().next())
    }

    /// Returns the snapshots of the account that match every filter, oldest first.
    pub async fn find_snapshots(&self, wanted: &[(String, String)]) -> Result<Vec<Snapshot>> {
        let filters = wanted.iter().map(|(name, value)| filter(name, value));
        self.snapshots(filters.collect()).await
    }

    /// Returns the snapshots that belong to any ledger, also those of images.
    pub async fn owned_snapshots(&self) -> Result<Vec<Marked>> {
        let found = self.snapshots(vec![filter("tag-key", OWNER_TAG)]).await?;
        let marked = found.into_iter().map(|snapshot| Marked {
            name: snapshot.tags.get("Name").cloned().unwrap_or_default(),
            id: snapshot.id,
            marks: snapshot.marks,
        });
        Ok(marked.collect())
    }

    // Oldest first. Filters, because a missing id would be an error.
    async fn snapshots(&self, wanted: Vec<Filter>) -> Result<Vec<Snapshot>> {
        let request = self.client.describe_snapshots().owner_ids("self");
        let request = request.set_filters(Some(wanted));
        let mut pages = request.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| aws_error("look for snapshots", &e))?;
            found.extend(page.snapshots.unwrap_or_default());
        }
        let since = |seen: &types::Snapshot| {
            let start = seen.start_time();
            start.map(|time| (time.secs(), time.subsec_nanos()))
        };
        found.sort_by_key(since);
        Ok(found.iter().map(snapshot).collect())
    }
}

fn snapshot(seen: &types::Snapshot) -> Snapshot {
    let tags = seen.tags().iter();
    Snapshot {
        id: seen.snapshot_id().unwrap_or_default().to_owned(),
        volume_id: seen.volume_id().unwrap_or_default().to_owned(),
        size: seen.volume_size().unwrap_or_default(),
        state: match seen.state() {
            Some(types::SnapshotState::Completed) => SnapshotState::Completed,
            Some(types::SnapshotState::Error) => SnapshotState::Failed,
            _ => SnapshotState::Pending,
        },
        progress: seen.progress().unwrap_or_default().to_owned(),
        reason: seen.state_message().map(str::to_owned),
        started_at: seen
            .start_time()
            .map(ToString::to_string)
            .unwrap_or_default(),
        tags: tags
            .filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())))
            .collect(),
        marks: marks(seen.tags()),
    }
}
