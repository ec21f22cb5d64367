//! Machine images. All of them boot the operating system of the host.

use super::call::Call;
use super::catalogue::{self, MODELS, Model, Publisher};
use super::filters::{Filtered, Filters, page};
use super::ids::{IMAGE, stable_id};
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::xml::Xml;

/// A machine image.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) id: String,
    name: String,
    description: String,
    pub(super) architecture: &'static str,
    created: String,
    deprecated: bool,
    pub(super) publisher: &'static Publisher,
}

/// Returns the images of a region.
pub(super) fn images(region: &str, system: &str) -> Vec<Image> {
    let image = |(at, architecture): (usize, &'static str), model: &Model| {
        let publisher = model.publisher;
        let name = model.name.replace("ARCH", publisher.architectures[at]);
        Image {
            id: stable_id("ami", &[region, &name]),
            description: format!(
                "{} on AWS. Its instances in this local cloud run {system}.",
                publisher.system
            ),
            name,
            architecture,
            created: format!("{}T00:00:00.000Z", model.created),
            deprecated: model.deprecated,
            publisher,
        }
    };
    ["x86_64", "arm64"]
        .into_iter()
        .enumerate()
        .flat_map(|architecture| MODELS.iter().map(move |model| image(architecture, model)))
        .collect()
}

/// Returns the login user of an instance's image.
#[cfg(target_os = "linux")]
pub(super) fn login_user(region: &str, id: &str) -> &'static str {
    let images = images(region, "");
    let known = images.into_iter().find(|image| image.id == id);
    // Only a state of another version can contain an unknown image.
    known.map_or("ec2-user", |image| image.publisher.user)
}

/// Returns the image that a public parameter of Systems Manager names.
pub(super) fn parameter(region: &str, system: &str, name: &str) -> Option<Image> {
    images(region, system).into_iter().find(|image| {
        let word = |text: &str| {
            let [intel, arm] = image.publisher.architectures;
            text.replace(
                "ARCH",
                if image.architecture == "arm64" {
                    arm
                } else {
                    intel
                },
            )
        };
        catalogue::parameters()
            .iter()
            .any(|(parameter, wanted)| word(parameter) == name && word(wanted) == image.name)
    })
}

impl Filtered for Image {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let one = match name {
            "image-id" => self.id.clone(),
            "name" => self.name.clone(),
            "description" => self.description.clone(),
            "owner-id" => self.publisher.owner.to_owned(),
            "owner-alias" => {
                return Some(
                    self.publisher
                        .alias
                        .iter()
                        .map(ToString::to_string)
                        .collect(),
                );
            }
            "architecture" => self.architecture.to_owned(),
            "state" => "available".to_owned(),
            "is-public" | "ena-support" | "block-device-mapping.delete-on-termination" => {
                "true".to_owned()
            }
            "image-type" => "machine".to_owned(),
            "virtualization-type" => "hvm".to_owned(),
            "root-device-type" => "ebs".to_owned(),
            "root-device-name" | "block-device-mapping.device-name" => {
                self.publisher.root_device.to_owned()
            }
            "hypervisor" => "xen".to_owned(),
            "platform-details" => self.publisher.platform.to_owned(),
            "creation-date" => self.created.clone(),
            "block-device-mapping.volume-type" => "gp3".to_owned(),
            "imds-support" if self.publisher.tokens_required => "v2.0".to_owned(),
            "imds-support" => return Some(Vec::new()),
            _ => return None,
        };
        Some(vec![one])
    }
}

impl Image {
    /// Returns the id of the root volume's snapshot.
    pub(super) fn snapshot(&self) -> String {
        stable_id("snap", &[&self.id])
    }

    fn write(&self, xml: &mut Xml) {
        xml.text("imageId", &self.id);
        let publisher = self.publisher;
        let location = publisher.alias.unwrap_or(publisher.owner);
        xml.text("imageLocation", format!("{location}/{}", self.name));
        xml.text("imageState", "available");
        xml.text("imageOwnerId", publisher.owner);
        xml.option("imageOwnerAlias", publisher.alias);
        xml.text("creationDate", &self.created);
        xml.text("isPublic", true);
        xml.text("architecture", self.architecture);
        xml.text("imageType", "machine");
        xml.text("platformDetails", publisher.platform);
        xml.text("usageOperation", publisher.usage_operation);
        xml.text("name", &self.name);
        xml.text("description", &self.description);
        xml.text("rootDeviceType", "ebs");
        xml.text("rootDeviceName", publisher.root_device);
        xml.list("blockDeviceMapping", [()], |xml, ()| {
            xml.text("deviceName", publisher.root_device);
            xml.node("ebs", |xml| {
                xml.text("snapshotId", self.snapshot());
                xml.text("volumeSize", publisher.size);
                xml.text("deleteOnTermination", true);
                xml.text("volumeType", "gp3");
                xml.text("iops", 3000);
                xml.text("throughput", 125);
                xml.text("encrypted", false);
            });
        });
        xml.text("virtualizationType", "hvm");
        xml.text("hypervisor", "xen");
        xml.text("enaSupport", true);
        xml.text("sriovNetSupport", "simple");
        xml.text("bootMode", BOOT_MODE);
        if publisher.tokens_required {
            xml.text("imdsSupport", "v2.0");
        }
        if self.deprecated {
            xml.text("deprecationTime", DEPRECATED_SINCE);
        }
    }
}

/// The boot mode of all images.
pub(super) const BOOT_MODE: &str = "uefi-preferred";

/// When the deprecated images of the catalogue became deprecated.
const DEPRECATED_SINCE: &str = "2025-09-05T00:00:00.000Z";

/// Returns the image with this id, or the image to which
/// `resolve:ssm:PARAMETER` resolves.
pub(super) fn resolve_image(region: &str, system: &str, id: &str) -> Result<Image> {
    if let Some(name) = id.strip_prefix("resolve:ssm:") {
        return parameter(region, system, name).ok_or_else(|| {
            Refusal::new(
                "InvalidParameterValue",
                format!(
                    "Invalid value '{name}' for SSM parameter: the local cloud has only the \
                     public parameters of its images"
                ),
            )
        });
    }
    IMAGE.check(id)?;
    images(region, system)
        .into_iter()
        .find(|image| image.id == id)
        .ok_or_else(|| IMAGE.not_found(&[id]))
}

pub(super) fn describe_images(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let ids = request.list("ImageId");
    let owners = request.list("Owner");
    request.list("ExecutableBy");
    let deprecated = request.flag("IncludeDeprecated")?.unwrap_or(false);
    request.flag("IncludeDisabled")?;
    let images = images(call.region_name, &call.facts.system);
    IMAGE.find_all(&ids, |id| images.iter().any(|image| image.id == id))?;
    let wanted = images
        .into_iter()
        .filter(|image| ids.is_empty() || ids.contains(&image.id.as_str()))
        .filter(|image| {
            owners.is_empty()
                || owners.contains(&image.publisher.owner)
                || image
                    .publisher
                    .alias
                    .is_some_and(|alias| owners.contains(&alias))
        })
        .filter(|image| deprecated || !ids.is_empty() || !image.deprecated);
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
        let name = "al2023-ami-2023.12.20260930.0-kernel-6.18-x86_64";
        assert_eq!(newest.name, name);
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
