//! EBS volumes that outlive instances: creates, finds, attaches, detaches and
//! deletes them.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{self, Filter, ResourceType, VolumeType};

use super::Ec2;
use super::marked::Marked;
use super::security_groups::Deletion;
use super::tags::{filter, marks, tag_specification};
use crate::aws_error::{Code, aws_error, code};
use crate::error::{Error, Result};
use crate::marks::{Marks, OWNER_TAG, RESOURCE_TAG, Tags};

/// The parameters of `CreateVolume`.
#[derive(Clone, Copy, Debug)]
pub struct NewVolume<'a> {
    /// The idempotency token: EC2 creates only one volume for the same token.
    pub token: &'a str,
    /// The availability zone.
    pub zone: &'a str,
    /// The size in GiB; the default is that of the snapshot.
    pub size: Option<i32>,
    /// The id of the snapshot with its data.
    pub snapshot: Option<&'a str>,
    /// The volume type.
    pub volume_type: &'a str,
    /// The provisioned IOPS.
    pub iops: Option<i32>,
    /// The tags of the volume.
    pub tags: &'a Tags,
}

/// How far EC2 is with a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeState {
    /// EC2 creates it.
    Creating,
    /// It is not attached.
    Available,
    /// It is being attached to an instance, is attached, or is being detached.
    InUse,
    /// It is being deleted, or is deleted.
    Deleted,
    /// EC2 cannot use it.
    Error,
}

impl VolumeState {
    /// Returns AWS's name of the state.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Available => "available",
            Self::InUse => "in-use",
            Self::Deleted => "deleted",
            Self::Error => "error",
        }
    }
}

/// A volume of the account.
#[derive(Clone, Debug)]
pub struct Volume {
    /// The volume id, for example `vol-0abc`.
    pub id: String,
    /// The size in GiB.
    pub size: i32,
    /// The volume type.
    pub volume_type: String,
    /// The availability zone.
    pub zone: String,
    /// How far EC2 is.
    pub state: VolumeState,
    /// The id of the instance to which it is or is being attached.
    pub instance_id: Option<String>,
    /// The device name at that instance.
    pub device: Option<String>,
    /// Whether that attachment is complete.
    pub attached: bool,
    /// Whether it is deleted when that instance is terminated.
    pub ends_with_instance: bool,
    /// All tags of the volume.
    pub tags: BTreeMap<String, String>,
    /// The marks in its tags.
    pub marks: Marks,
}

/// EC2's response to a request to attach or detach a volume.
#[derive(Debug)]
pub enum Attachment {
    /// EC2 attaches or detaches it.
    Accepted,
    /// EC2 does not know the volume yet, or the state of the volume or of the
    /// instance does not allow it.
    NotNow(Error),
}

impl Ec2<'_> {
    /// Creates an encrypted volume. Returns its id.
    ///
    /// Throws `quota_exceeded`.
    pub async fn create_volume(&self, new: NewVolume<'_>) -> Result<String> {
        let answer = self
            .client
            .create_volume()
            .client_token(new.token)
            .availability_zone(new.zone)
            .set_size(new.size)
            .set_snapshot_id(new.snapshot.map(str::to_owned))
            .volume_type(VolumeType::from(new.volume_type))
            .set_iops(new.iops)
            .encrypted(true)
            .tag_specifications(tag_specification(ResourceType::Volume, new.tags))
            .send()
            .await
            .map_err(|e| aws_error(&format!("create a volume in {}", new.zone), &e))?;
        Ok(answer.volume_id().unwrap_or_default().to_owned())
    }

    /// Attaches a volume to an instance.
    pub async fn attach_volume(
        &self,
        id: &str,
        instance: &str,
        device: &str,
    ) -> Result<Attachment> {
        let request = self.client.attach_volume().volume_id(id);
        let request = request.instance_id(instance).device(device);
        match request.send().await {
            Ok(_) => Ok(Attachment::Accepted),
            Err(e) => {
                let error = aws_error(&format!("attach `{id}` to `{instance}`"), &e);
                match code(&e) {
                    // If the request was sent twice, the volume is in use by this
                    // instance.
                    Code::IncorrectState | Code::InvalidVolumeNotFound | Code::VolumeInUse => {
                        Ok(Attachment::NotNow(error))
                    }
                    _ => Err(error),
                }
            }
        }
    }

    /// Detaches a volume from its instance.
    pub async fn detach_volume(&self, id: &str, instance: &str) -> Result<Attachment> {
        let request = self.client.detach_volume().volume_id(id);
        match request.instance_id(instance).send().await {
            Ok(_) => Ok(Attachment::Accepted),
            Err(e) => {
                let error = aws_error(&format!("detach `{id}` from `{instance}`"), &e);
                match code(&e) {
                    Code::IncorrectState | Code::InvalidVolumeNotFound => {
                        Ok(Attachment::NotNow(error))
                    }
                    _ => Err(error),
                }
            }
        }
    }

    /// Deletes a volume, which must not be attached. Deleting one that does not
    /// exist is not an error.
    pub async fn delete_volume(&self, id: &str) -> Result<Deletion> {
        match self.client.delete_volume().volume_id(id).send().await {
            Ok(_) => Ok(Deletion::Done),
            Err(e) => match code(&e) {
                Code::InvalidVolumeNotFound => Ok(Deletion::Done),
                Code::VolumeInUse | Code::IncorrectState => Ok(Deletion::StillUsed),
                _ => Err(aws_error(&format!("delete volume `{id}`"), &e)),
            },
        }
    }

    /// Returns the volume with this id, or `None` if it does not exist.
    pub async fn volume(&self, id: &str) -> Result<Option<Volume>> {
        let found = self.volumes(vec![filter("volume-id", id)]).await?;
        Ok(found.into_iter().next())
    }

    /// Returns the volumes that have one of these rows as their tag, without those
    /// that are deleted with their instance. The root volume of a new instance is
    /// among them until it is attached; its state is `Creating`.
    pub async fn kept_volumes(&self, rows: &[String]) -> Result<Vec<Volume>> {
        let by = Filter::builder()
            .name(format!("tag:{RESOURCE_TAG}"))
            .set_values(Some(rows.to_vec()));
        let mut found = self.volumes(vec![by.build()]).await?;
        found.retain(|volume| !volume.ends_with_instance);
        Ok(found)
    }

    /// Returns the volumes that match every filter: a name and a value.
    pub async fn find_volumes(&self, wanted: &[(String, String)]) -> Result<Vec<Volume>> {
        let filters = wanted.iter().map(|(name, value)| filter(name, value));
        self.volumes(filters.collect()).await
    }

    /// Returns the volumes that belong to any ledger, without those that are
    /// deleted with their instance.
    pub async fn owned_volumes(&self) -> Result<Vec<Marked>> {
        let mut found = self.volumes(vec![filter("tag-key", OWNER_TAG)]).await?;
        found.retain(|volume| !volume.ends_with_instance);
        let marked = found.into_iter().map(|volume| Marked {
            name: volume.tags.get("Name").cloned().unwrap_or_default(),
            id: volume.id,
            marks: volume.marks,
        });
        Ok(marked.collect())
    }

    // Filters, because a missing id would be an error.
    async fn volumes(&self, wanted: Vec<Filter>) -> Result<Vec<Volume>> {
        let request = self.client.describe_volumes().set_filters(Some(wanted));
        let mut pages = request.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| aws_error("look for volumes", &e))?;
            found.extend(page.volumes().iter().map(volume));
        }
        found.retain(|volume| volume.state != VolumeState::Deleted);
        Ok(found)
    }
}

fn volume(seen: &types::Volume) -> Volume {
    let attachment = seen.attachments().first();
    let known = |text: Option<&str>| text.filter(|t| !t.is_empty()).map(str::to_owned);
    let tags = seen.tags().iter();
    Volume {
        id: seen.volume_id().unwrap_or_default().to_owned(),
        size: seen.size().unwrap_or_default(),
        volume_type: seen.volume_type().map_or("", VolumeType::as_str).to_owned(),
        zone: seen.availability_zone().unwrap_or_default().to_owned(),
        state: match seen.state() {
            Some(types::VolumeState::Available) => VolumeState::Available,
            Some(types::VolumeState::InUse) => VolumeState::InUse,
            Some(types::VolumeState::Deleting | types::VolumeState::Deleted) => {
                VolumeState::Deleted
            }
            Some(types::VolumeState::Creating) | None => VolumeState::Creating,
            Some(_) => VolumeState::Error,
        },
        instance_id: attachment.and_then(|a| known(a.instance_id())),
        device: attachment.and_then(|a| known(a.device())),
        attached: attachment.and_then(types::VolumeAttachment::state)
            == Some(&types::VolumeAttachmentState::Attached),
        ends_with_instance: attachment.and_then(types::VolumeAttachment::delete_on_termination)
            == Some(true),
        tags: tags
            .filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())))
            .collect(),
        marks: marks(seen.tags()),
    }
}
