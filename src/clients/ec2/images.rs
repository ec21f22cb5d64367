//! Machine images (AMIs).

use aws_sdk_ec2::types::EbsBlockDevice;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Ec2;
use super::tags::filter;
use crate::clients::aws_error::aws_error;
use crate::error::{Error, ErrorKind, Result};

/// A machine image.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Image {
    /// The image id, for example `ami-0abc`.
    pub id: String,
    /// The image name, for example
    /// `al2023-ami-2023.9.20260930.0-kernel-6.12-x86_64`.
    pub name: String,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// Name of the root device, for example `/dev/xvda`.
    pub root_device: String,
    /// Size of the root volume in GiB.
    #[serde(default)]
    pub volume_size: Option<i32>,
}

impl Ec2<'_> {
    /// Returns the newest standard Amazon Linux 2023 image of an architecture.
    ///
    /// Considers only Amazon's own images, and orders them by creation date,
    /// then by name.
    pub async fn newest_amazon_linux(&self, architecture: &str) -> Result<Image> {
        let answer = self
            .client
            .describe_images()
            .owners("amazon")
            .filters(filter("name", "al2023-ami-2023.*"))
            .filters(filter("architecture", architecture))
            .filters(filter("state", "available"))
            .send()
            .await
            .map_err(|e| aws_error("look up the Amazon Linux image", &e))?;
        let newest = answer.images().iter().max_by_key(|i| {
            (
                i.creation_date().unwrap_or_default(),
                i.name().unwrap_or_default(),
            )
        });
        newest.map(image).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("this region has no Amazon Linux 2023 image for {architecture}"),
            )
            .hint("pass the id of another image as `image`")
        })
    }

    /// Returns the image with this id.
    pub async fn image(&self, id: &str) -> Result<Image> {
        let answer = self
            .client
            .describe_images()
            .image_ids(id)
            .send()
            .await
            .map_err(|e| aws_error(&format!("look up image `{id}`"), &e))?;
        answer.images().first().map(image).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("image `{id}` does not exist in this region"),
            )
            .hint("an AMI id is valid in one region only: use latest_amazon_linux()")
        })
    }
}

fn image(image: &aws_sdk_ec2::types::Image) -> Image {
    let root_device = image.root_device_name().unwrap_or("/dev/xvda");
    let root = image
        .block_device_mappings()
        .iter()
        .find(|m| m.device_name() == Some(root_device));
    Image {
        volume_size: root
            .and_then(|m| m.ebs())
            .and_then(EbsBlockDevice::volume_size),
        id: image.image_id().unwrap_or_default().to_owned(),
        name: image.name().unwrap_or_default().to_owned(),
        architecture: image
            .architecture()
            .map_or("x86_64", |a| a.as_str())
            .to_owned(),
        root_device: root_device.to_owned(),
    }
}
