//! Machine images. All of them boot the operating system of the host.

use super::call::Call;
use super::filters::{Filtered, Filters, page};
use super::ids::{is_id, stable_id};
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::xml::Xml;

/// A machine image.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) id: String,
    name: String,
    description: String,
    owner: &'static str,
    pub(super) owner_alias: &'static str,
    pub(super) architecture: &'static str,
    created: &'static str,
    pub(super) platform: &'static str,
}

/// The root device of every image.
pub(super) const ROOT_DEVICE: &str = "/dev/xvda";

/// The size of every image in GiB.
pub(super) const IMAGE_SIZE: u32 = 8;

/// Returns the images of a region: two releases of Amazon Linux, the newest
/// last, for each architecture.
pub(super) fn images(region: &str, system: &str) -> Vec<Image> {
    let releases = [
        ("2023.11.20260825.0-kernel-6.12", "2026-08-25T00:00:00.000Z"),
        ("2023.12.20260930.0-kernel-6.12", "2026-09-30T00:00:00.000Z"),
    ];
    let image = |(release, created): (&str, &'static str), architecture: &'static str| {
        let name = format!("al2023-ami-{release}-{architecture}");
        Image {
            id: stable_id("ami", &[region, &name]),
            description: format!(
                "Amazon Linux 2023 on AWS. Its instances in this local cloud run {system}."
            ),
            name,
            owner: "137112412989",
            owner_alias: "amazon",
            architecture,
            created,
            platform: "Linux/UNIX",
        }
    };
    ["x86_64", "arm64"]
        .into_iter()
        .flat_map(|architecture| releases.map(|release| image(release, architecture)))
        .collect()
}

impl Filtered for Image {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let one = match name {
            "image-id" => self.id.clone(),
            "name" => self.name.clone(),
            "description" => self.description.clone(),
            "owner-id" => self.owner.to_owned(),
            "owner-alias" => self.owner_alias.to_owned(),
            "architecture" => self.architecture.to_owned(),
            "state" => "available".to_owned(),
            "is-public" | "ena-support" | "block-device-mapping.delete-on-termination" => {
                "true".to_owned()
            }
            "image-type" => "machine".to_owned(),
            "virtualization-type" => "hvm".to_owned(),
            "root-device-type" => "ebs".to_owned(),
            "root-device-name" | "block-device-mapping.device-name" => ROOT_DEVICE.to_owned(),
            "hypervisor" => "xen".to_owned(),
            "platform-details" => self.platform.to_owned(),
            "creation-date" => self.created.to_owned(),
            "block-device-mapping.volume-type" => "gp3".to_owned(),
            "imds-support" => "v2.0".to_owned(),
            _ => return None,
        };
        Some(vec![one])
    }
}

impl Image {
    fn write(&self, xml: &mut Xml) {
        xml.text("imageId", &self.id);
        xml.text("imageLocation", format!("amazon/{}", self.name));
        xml.text("imageState", "available");
        xml.text("imageOwnerId", self.owner);
        xml.text("imageOwnerAlias", self.owner_alias);
        xml.text("creationDate", self.created);
        xml.text("isPublic", true);
        xml.text("architecture", self.architecture);
        xml.text("imageType", "machine");
        xml.text("platformDetails", self.platform);
        xml.text("usageOperation", "RunInstances");
        xml.text("name", &self.name);
        xml.text("description", &self.description);
        xml.text("rootDeviceType", "ebs");
        xml.text("rootDeviceName", ROOT_DEVICE);
        xml.list("blockDeviceMapping", [()], |xml, ()| {
            xml.text("deviceName", ROOT_DEVICE);
            xml.node("ebs", |xml| {
                xml.text("snapshotId", stable_id("snap", &[&self.id]));
                xml.text("volumeSize", IMAGE_SIZE);
                xml.text("deleteOnTermination", true);
                xml.text("volumeType", "gp3");
                xml.text("encrypted", false);
            });
        });
        xml.text("virtualizationType", "hvm");
        xml.text("hypervisor", "xen");
        xml.text("enaSupport", true);
        xml.text("bootMode", "uefi-preferred");
        xml.text("imdsSupport", "v2.0");
    }
}

/// Returns the image with this id, or the image to which
/// `resolve:ssm:PARAMETER` resolves.
pub(super) fn resolve_image(region: &str, system: &str, id: &str) -> Result<Image> {
    let images = images(region, system);
    if let Some(parameter) = id.strip_prefix("resolve:ssm:") {
        let architecture = parameter
            .strip_prefix("/aws/service/ami-amazon-linux-latest/al2023-ami-")
            .and_then(|rest| rest.rsplit('-').next());
        return images
            .into_iter()
            .rev()
            .find(|image| Some(image.architecture) == architecture)
            .ok_or_else(|| {
                Refusal::new(
                    "InvalidParameterValue",
                    format!(
                        "Invalid value '{parameter}' for SSM parameter: the local cloud has \
                         parameters for al2023-ami images only"
                    ),
                )
            });
    }
    if !is_id("ami", id) {
        return Err(Refusal::new(
            "InvalidAMIID.Malformed",
            format!("Invalid id: \"{id}\" (expecting \"ami-...\")"),
        ));
    }
    images
        .into_iter()
        .find(|image| image.id == id)
        .ok_or_else(|| {
            Refusal::new(
                "InvalidAMIID.NotFound",
                format!("The image id '[{id}]' does not exist"),
            )
        })
}

pub(super) fn describe_images(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let ids = request.list("ImageId");
    let owners = request.list("Owner");
    request.list("ExecutableBy");
    request.flag("IncludeDeprecated")?;
    request.flag("IncludeDisabled")?;
    for id in &ids {
        resolve_image(call.region_name, &call.facts.system, id)?;
    }
    let wanted = images(call.region_name, &call.facts.system)
        .into_iter()
        .filter(|image| ids.is_empty() || ids.contains(&image.id.as_str()))
        .filter(|image| {
            owners.is_empty()
                || owners.contains(&image.owner)
                || owners.contains(&image.owner_alias)
        });
    let images = Filters::of(request)?.keep(wanted.collect())?;
    let (images, next) = page(request, images, 1)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("imagesSet", images, |xml, image| image.write(xml));
    xml.option("nextToken", next);
    Ok(xml)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ssm_parameter_resolves_to_the_newest_image() {
        let newest = resolve_image(
            "eu-central-1",
            "Debian",
            "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64",
        )
        .unwrap();
        assert!(newest.name.contains("20260930"), "{newest:?}");
        assert_eq!(newest.architecture, "x86_64");
        let again = resolve_image("eu-central-1", "Debian", &newest.id).unwrap();
        assert_eq!(again.name, newest.name);
        assert_ne!(
            resolve_image("us-east-1", "Debian", &newest.id)
                .unwrap_err()
                .code,
            "",
            "an image id is valid in one region only"
        );
    }
}
