//! Machine images (AMIs).

use aws_sdk_ec2::types::EbsBlockDevice;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Ec2;
use super::publishers::{self, AMAZON_LINUX_2023, default_user};
use super::tags::filter;
use crate::aws_error::aws_error;
use crate::error::{Error, ErrorKind, Result};
use crate::marks::USER_TAG;

/// A machine image.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Image {
    /// The image id, for example `ami-0abc`.
    pub id: String,
    /// The image name, for example
    /// `al2023-ami-2023.12.20260930.0-kernel-6.18-x86_64`.
    pub name: String,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// Name of the root device, for example `/dev/xvda`.
    pub root_device: String,
    /// Size of the root volume in GiB.
    #[serde(default)]
    pub volume_size: Option<i32>,
    /// The user that logs in: the one that the publisher of the image
    /// documents, for example `ubuntu`, or `ec2-user` if the publisher is not
    /// known.
    #[serde(default = "default_user")]
    pub user: String,
}

/// The images to look for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The account id of the owner, or `amazon`, `aws-marketplace` or `self`.
    pub owner: &'a str,
    /// The name, in which `*` and `?` are wildcards.
    pub name: &'a str,
    /// `x86_64` or `arm64`.
    pub architecture: &'a str,
}

impl Ec2<'_> {
    /// Returns the images that can be launched, oldest first. Images of the same
    /// time are in the order of their names.
    ///
    /// Deprecated images are left out: their publisher has replaced them.
    pub async fn images(&self, wanted: Wanted<'_>) -> Result<Vec<Image>> {
        let answer = self
            .client
            .describe_images()
            .owners(wanted.owner)
            .filters(filter("name", wanted.name))
            .filters(filter("architecture", wanted.architecture))
            .filters(filter("state", "available"))
            .filters(filter("virtualization-type", "hvm"))
            .send()
            .await
            .map_err(|e| aws_error(&format!("look up the images `{}`", wanted.name), &e))?;
        let now = jiff::Timestamp::now();
        // EC2 lists the deprecated images of the account itself.
        let deprecated = |image: &&aws_sdk_ec2::types::Image| {
            let since = image.deprecation_time().and_then(|time| time.parse().ok());
            since.is_some_and(|since: jiff::Timestamp| since <= now)
        };
        let mut found: Vec<_> = answer.images().iter().collect();
        found.retain(|image| !deprecated(image));
        found.sort_by_key(|i| {
            (
                i.creation_date().unwrap_or_default(),
                i.name().unwrap_or_default(),
            )
        });
        Ok(found.into_iter().map(image).collect())
    }

    /// Returns the images of the newest release of Amazon Linux 2023, one for
    /// each kernel, oldest kernel first. AWS publishes a release on one day, but
    /// not all of its images at the same time.
    pub async fn amazon_linux_release(&self, architecture: &str) -> Result<Vec<Image>> {
        let region = self.region();
        let published = publishers::published(AMAZON_LINUX_2023, architecture, region)
            .map_err(|_| Error::internal("Amazon Linux is in every partition"))?;
        let mut images = self
            .images(Wanted {
                owner: published.owner,
                name: &published.name,
                architecture,
            })
            .await?;
        let newest = images.iter().map(|image| release(&image.name)).max();
        let newest = newest.unwrap_or_default();
        images.retain(|image| release(&image.name) == newest);
        images.sort_by_key(|image| kernel(&image.name));
        Ok(images)
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
            .hint("an AMI id is valid in one region only: use latest_image()")
        })
    }

    /// Returns the login users of images, by image id. An image that does not
    /// exist any more is left out.
    pub async fn login_users(&self, ids: &[String]) -> Result<Vec<(String, String)>> {
        // Unlike `image_ids`, a filter does not fail for a missing image.
        let of_these = aws_sdk_ec2::types::Filter::builder()
            .name("image-id")
            .set_values(Some(ids.to_vec()));
        let answer = self
            .client
            .describe_images()
            .filters(of_these.build())
            .include_deprecated(true)
            .send()
            .await
            .map_err(|e| aws_error("look up the images of the instances", &e))?;
        let users = answer.images().iter().map(|image| {
            let id = image.image_id().unwrap_or_default().to_owned();
            (id, user(image))
        });
        Ok(users.collect())
    }
}

/// Returns the numbers of the release in the name of an Amazon Linux 2023 image.
/// As text, release 2023.9 would be newer than 2023.12.
fn release(name: &str) -> Vec<u64> {
    let release = name.strip_prefix("al2023-ami-").unwrap_or_default();
    numbers(release.split("-kernel-").next().unwrap_or_default())
}

/// Returns the numbers of the kernel in the name of an Amazon Linux 2023 image.
fn kernel(name: &str) -> Vec<u64> {
    let kernel = name.split("-kernel-").nth(1).unwrap_or_default();
    numbers(kernel.split('-').next().unwrap_or_default())
}

fn numbers(version: &str) -> Vec<u64> {
    let parts = version.split('.');
    parts.map(|part| part.parse().unwrap_or(0)).collect()
}

/// Returns the login user: that of the instance of which the image was made, or
/// the one that the publisher documents.
pub(super) fn user(image: &aws_sdk_ec2::types::Image) -> String {
    let mut tags = image.tags().iter();
    if let Some(user) = tags.find(|tag| tag.key() == Some(USER_TAG)) {
        return user.value().unwrap_or_default().to_owned();
    }
    let user = publishers::login_user(
        image.owner_id().unwrap_or_default(),
        image.name().unwrap_or_default(),
    );
    user.to_owned()
}

pub(super) fn image(image: &aws_sdk_ec2::types::Image) -> Image {
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
        user: user(image),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_and_kernels_are_ordered_by_their_numbers() {
        let old = "al2023-ami-2023.9.20260325.0-kernel-6.18-x86_64";
        let new = "al2023-ami-2023.12.20260930.0-kernel-6.1-x86_64";
        assert!(release(old) < release(new));
        assert!(kernel(new) < kernel("al2023-ami-2023.12.20260930.0-kernel-6.12-x86_64"));
        assert!(kernel("al2023-ami-2023.12.20260930.0-kernel-6.9-x86_64") < kernel(old));
    }
}
