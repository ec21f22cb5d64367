//! Images of the account itself: creates, describes and deregisters them.

use aws_sdk_ec2::types::{self, EbsBlockDevice, Filter, ResourceType};

use super::Ec2;
use super::images::{Image, image};
use super::marked::Marked;
use super::tags::{filter, marks, tag_specification};
use crate::aws_error::{Code, aws_error, code};
use crate::error::Result;
use crate::marks::{Marks, OWNER_TAG, RESOURCE_TAG, Tags};

/// The parameters of `CreateImage`.
#[derive(Clone, Copy, Debug)]
pub struct NewImage<'a> {
    /// The id of the instance.
    pub instance: &'a str,
    /// The name, which no other image of the account has.
    pub name: &'a str,
    /// The description.
    pub description: Option<&'a str>,
    /// Whether EC2 copies the volumes without a reboot.
    pub no_reboot: bool,
    /// The tags of the image and of its snapshots.
    pub tags: &'a Tags,
}

/// How far EC2 is with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageState {
    /// The volumes are being copied.
    Pending,
    /// Instances can be launched from it.
    Available,
    /// The copy failed, or the image can no longer be used.
    Failed,
}

/// An image of the account.
#[derive(Clone, Debug)]
pub struct OwnImage {
    /// The image.
    pub image: Image,
    /// How far EC2 is.
    pub state: ImageState,
    /// Why it failed, if EC2 reports a reason.
    pub reason: Option<String>,
    /// The ids of its snapshots.
    pub snapshots: Vec<String>,
    /// The marks in its tags.
    pub marks: Marks,
}

impl Ec2<'_> {
    /// Starts to create an image of an instance. Returns its id.
    ///
    /// Throws `already_exists`.
    pub async fn create_image(&self, new: NewImage<'_>) -> Result<String> {
        let answer = self
            .client
            .create_image()
            .instance_id(new.instance)
            .name(new.name)
            .set_description(new.description.map(str::to_owned))
            .no_reboot(new.no_reboot)
            .tag_specifications(tag_specification(ResourceType::Image, new.tags))
            .tag_specifications(tag_specification(ResourceType::Snapshot, new.tags))
            .send()
            .await
            .map_err(|e| aws_error(&format!("create image `{}`", new.name), &e))?;
        Ok(answer.image_id().unwrap_or_default().to_owned())
    }

    /// Returns an image with its state, or `None` if it does not exist. It may be
    /// an image of another account.
    pub async fn own_image(&self, id: &str) -> Result<Option<OwnImage>> {
        let found = self.own_images(None, filter("image-id", id)).await?;
        Ok(found.into_iter().next())
    }

    /// Returns the image of the account that has this row as its tag.
    pub async fn image_of(&self, row: &str) -> Result<Option<OwnImage>> {
        let tag = format!("tag:{RESOURCE_TAG}");
        let found = self.own_images(Some("self"), filter(&tag, row)).await?;
        Ok(found.into_iter().next())
    }

    /// Returns the images that belong to any ledger.
    pub async fn owned_images(&self) -> Result<Vec<Marked>> {
        let found = self
            .own_images(Some("self"), filter("tag-key", OWNER_TAG))
            .await?;
        let marked = found.into_iter().map(|own| Marked {
            id: own.image.id,
            name: own.image.name,
            marks: own.marks,
        });
        Ok(marked.collect())
    }

    /// Deregisters an image and deletes its snapshots, except those that another
    /// image uses. Deregistering an image that does not exist is not an error.
    pub async fn deregister_image(&self, id: &str, snapshots: &[String]) -> Result<()> {
        // One request for both: after a crash between two, nothing would name the
        // snapshots.
        let request = self.client.deregister_image().image_id(id);
        match request.delete_associated_snapshots(true).send().await {
            Ok(_) => {}
            Err(e) if is_gone(code(&e)) => {}
            Err(e) => return Err(aws_error(&format!("deregister image `{id}`"), &e)),
        }
        // EC2 deletes as many as it can.
        for snapshot in snapshots {
            let request = self.client.delete_snapshot().snapshot_id(snapshot);
            match request.send().await {
                Ok(_) => {}
                Err(e)
                    if matches!(
                        code(&e),
                        Code::InvalidSnapshotNotFound | Code::InvalidSnapshotInUse
                    ) => {}
                Err(e) => return Err(aws_error(&format!("delete snapshot `{snapshot}`"), &e)),
            }
        }
        Ok(())
    }

    async fn own_images(&self, owner: Option<&str>, wanted: Filter) -> Result<Vec<OwnImage>> {
        let answer = self
            .client
            .describe_images()
            .set_owners(owner.map(|owner| vec![owner.to_owned()]))
            .filters(wanted)
            .send()
            .await
            .map_err(|e| aws_error("look for images", &e))?;
        Ok(answer.images().iter().map(own_image).collect())
    }
}

fn is_gone(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidAmiIdNotFound | Code::InvalidAmiIdUnavailable
    )
}

fn own_image(seen: &types::Image) -> OwnImage {
    let devices = seen.block_device_mappings().iter();
    let snapshots = devices
        .filter_map(types::BlockDeviceMapping::ebs)
        .filter_map(EbsBlockDevice::snapshot_id);
    OwnImage {
        image: image(seen),
        state: match seen.state() {
            Some(types::ImageState::Available) => ImageState::Available,
            Some(types::ImageState::Pending | types::ImageState::Transient) | None => {
                ImageState::Pending
            }
            Some(_) => ImageState::Failed,
        },
        reason: seen
            .state_reason()
            .and_then(|reason| reason.message())
            .map(str::to_owned),
        snapshots: snapshots.map(str::to_owned).collect(),
        marks: marks(seen.tags()),
    }
}
