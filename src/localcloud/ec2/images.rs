//! Machine images. All of them boot the operating system of the host.

use std::collections::BTreeSet;

use super::block_devices::Mapping;
use super::call::Call;
use super::catalogue::{self, MODELS, Model, Publisher};
use super::filters::{Filtered, Filters, page};
use super::ids::{IMAGE, stable_id};
use super::lent::LentImage;
use super::own_images::own_images;
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::sharing::ALL;
use super::state::{OwnImage, Registered, Saving, Tags};
use super::tags;
use super::xml::Xml;
use crate::clock::iso;

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
    /// What the account's own images have in addition.
    pub(super) own: Option<Own>,
    /// What is known of an image that the user's account lends to a rehearsal.
    lent: Option<LentImage>,
}

/// What an image of the account has in addition.
#[derive(Clone, Debug)]
pub(super) struct Own {
    account: String,
    image: OwnImage,
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
            own: None,
            lent: None,
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
    images(region, system)
        .into_iter()
        .find(|image| image.parameters().any(|parameter| parameter == name))
}

impl Filtered for Image {
    fn tags(&self) -> Option<&Tags> {
        static NONE: Tags = Tags::new();
        let lent = self.lent.as_ref().map_or(&NONE, |lent| &lent.tags);
        Some(self.of_account().map_or(lent, |own| &own.tags))
    }

    fn values(&self, name: &str) -> Option<Vec<String>> {
        let one = match name {
            "image-id" => self.id.clone(),
            "name" => self.name.clone(),
            "description" => self.description.clone(),
            "owner-id" => self.owner().to_owned(),
            "owner-alias" => {
                return Some(self.alias().iter().map(ToString::to_string).collect());
            }
            "architecture" => self.architecture.to_owned(),
            "state" => self.state().to_owned(),
            "is-public" => self.is_public().to_string(),
            "creation-date" => self.created.clone(),
            _ => return None,
        };
        Some(vec![one])
    }
}

impl Image {
    /// Returns an image of the account. It has the properties of the image of the
    /// catalogue from which it descends.
    pub(super) fn of_own(own: OwnImage, account: &str, catalogue: &[Self]) -> Self {
        let origin = catalogue.iter().find(|image| image.id == own.origin);
        // Only a state of another version can contain an unknown image.
        let publisher = origin.map_or(MODELS[0].publisher, |image| image.publisher);
        Self {
            architecture: match own.architecture.as_str() {
                "arm64" => "arm64",
                _ => "x86_64",
            },
            id: own.id.clone(),
            name: own.name.clone(),
            description: own.description.clone(),
            created: iso(own.created),
            deprecated: false,
            publisher,
            own: Some(Own {
                account: account.to_owned(),
                image: own,
            }),
            lent: None,
        }
    }

    /// Returns the part of the state, of an image of the account.
    pub(super) fn of_account(&self) -> Option<&OwnImage> {
        self.own.as_ref().map(|own| &own.image)
    }

    /// Returns what `RegisterImage` chose.
    pub(super) fn registered(&self) -> Option<&Registered> {
        self.of_account()?.registered.as_ref()
    }

    pub(super) fn root_device(&self) -> &str {
        let registered = self.registered();
        registered.map_or(self.publisher.root_device, |of| &of.root_device)
    }

    /// Whether the root volume outlives its instance.
    pub(super) fn keeps_root(&self) -> bool {
        self.registered().is_some_and(|of| of.keeps_root)
    }

    pub(super) fn virtualization(&self) -> &str {
        self.registered().map_or("hvm", |of| &of.virtualization)
    }

    fn ena(&self) -> bool {
        self.registered().is_none_or(|of| of.ena)
    }

    pub(super) fn sriov(&self) -> Option<&'static str> {
        let has = self.registered().is_none_or(|of| of.sriov);
        has.then_some("simple")
    }

    pub(super) fn boot_mode(&self) -> Option<&str> {
        match self.registered() {
            Some(of) => of.boot_mode.as_deref(),
            None => Some(BOOT_MODE),
        }
    }

    /// Returns the version of the metadata service that instances require.
    pub(super) fn imds(&self) -> Option<&'static str> {
        let own = self.of_account();
        let required = own.map_or(self.publisher.tokens_required, |own| own.tokens_required);
        required.then_some("v2.0")
    }

    pub(super) fn is_disabled(&self) -> bool {
        self.of_account().is_some_and(|own| own.disabled)
    }

    /// Whether a user may launch the image, as a value of `ExecutableUsers`: an
    /// account, `self`, or `all`.
    fn allows(&self, user: &str, account: &str) -> bool {
        let user = if user == "self" { account } else { user };
        self.of_account()
            .map_or(user == ALL, |own| own.permissions.contains(user))
    }

    fn is_public(&self) -> bool {
        self.allows(ALL, "")
    }

    /// Returns the public parameters of Systems Manager that name the image.
    pub(super) fn parameters(&self) -> impl Iterator<Item = String> {
        let [intel, arm] = self.publisher.architectures;
        let is_arm = self.architecture == "arm64";
        let word = move |text: &str| text.replace("ARCH", if is_arm { arm } else { intel });
        let name = self.name.clone();
        catalogue::parameters()
            .into_iter()
            .filter(move |(_, wanted)| word(wanted) == name)
            .map(move |(parameter, _)| word(&parameter))
    }

    /// Returns when the image was created, in seconds since 1970.
    pub(super) fn created_seconds(&self) -> i64 {
        let created: Option<jiff::Timestamp> = self.created.parse().ok();
        created.unwrap_or_default().as_second()
    }

    /// Returns the account id of the owner.
    fn owner(&self) -> &str {
        let own = self.own.as_ref().map(|own| own.account.as_str());
        let lent = self.lent.as_ref().map(|lent| lent.owner.as_str());
        own.or(lent).unwrap_or(self.publisher.owner)
    }

    /// Returns the login user, of an image that is not in the catalogue.
    pub(super) fn user(&self) -> Option<String> {
        let lent = self.lent.as_ref().and_then(|lent| lent.user.clone());
        let is_listed = self.own.is_none() && self.lent.is_none();
        lent.or_else(|| (!is_listed).then(|| self.publisher.user.to_owned()))
    }

    /// Whether it is the user's own image, in a rehearsal.
    fn is_lent_own(&self) -> bool {
        self.lent.as_ref().is_some_and(|lent| lent.is_own)
    }

    /// Returns the alias of the owner.
    fn alias(&self) -> Option<&'static str> {
        let is_published = self.own.is_none() && self.owner() == self.publisher.owner;
        self.publisher.alias.filter(|_| is_published)
    }

    /// Returns the progress of the copy that the image is.
    pub(super) fn saving(&self) -> Saving {
        self.of_account().map_or(Saving::Done, |own| own.saving)
    }

    fn state(&self) -> &'static str {
        match self.saving() {
            _ if self.is_disabled() => "disabled",
            Saving::Pending => "pending",
            Saving::Done => "available",
            Saving::Failed => "failed",
        }
    }

    /// Returns the id of the root volume's snapshot.
    pub(super) fn snapshot(&self) -> String {
        match self.of_account() {
            Some(own) => own.snapshot.clone(),
            None => stable_id("snap", &[&self.id]),
        }
    }

    /// Returns the size of the root volume in GiB.
    pub(super) fn size(&self) -> u32 {
        let own = self.of_account();
        own.map_or(self.publisher.size, |own| own.size)
    }

    /// Returns the volumes in addition to the root volume.
    pub(super) fn others(&self) -> &[Mapping] {
        self.of_account().map_or(&[], |own| &own.others)
    }

    /// Returns the type of the root volume.
    pub(super) fn volume_type(&self) -> &str {
        self.of_account().map_or("gp3", |own| own.kind.as_str())
    }

    /// Writes the volumes.
    pub(super) fn write_mappings(&self, xml: &mut Xml) {
        let others = self.others().iter().map(Some);
        xml.list(
            "blockDeviceMapping",
            [None].into_iter().chain(others),
            |xml, other| {
                if let Some(other) = other {
                    return write_other(xml, other);
                }
                xml.text("deviceName", self.root_device());
                xml.node("ebs", |xml| {
                    xml.text("snapshotId", self.snapshot());
                    xml.text("volumeSize", self.size());
                    xml.text("deleteOnTermination", !self.keeps_root());
                    xml.text("volumeType", self.volume_type());
                    if self.volume_type() == "gp3" {
                        xml.text("iops", 3000);
                        xml.text("throughput", 125);
                    }
                    xml.text(
                        "encrypted",
                        self.of_account().is_some_and(|own| own.encrypted),
                    );
                });
            },
        );
    }

    fn write(&self, xml: &mut Xml) {
        xml.text("imageId", &self.id);
        let publisher = self.publisher;
        let location = self.alias().unwrap_or(self.owner());
        xml.text("imageLocation", format!("{location}/{}", self.name));
        xml.text("imageState", self.state());
        xml.text("imageOwnerId", self.owner());
        xml.option("imageOwnerAlias", self.alias());
        xml.text("creationDate", &self.created);
        xml.text("isPublic", self.is_public());
        xml.text("architecture", self.architecture);
        xml.text("imageType", "machine");
        xml.text("platformDetails", publisher.platform);
        xml.text("usageOperation", publisher.usage_operation);
        xml.text("name", &self.name);
        xml.option(
            "description",
            Some(&self.description).filter(|text| !text.is_empty()),
        );
        xml.text("rootDeviceType", "ebs");
        xml.text("rootDeviceName", self.root_device());
        self.write_mappings(xml);
        xml.text("virtualizationType", self.virtualization());
        xml.text("hypervisor", "xen");
        xml.text("enaSupport", self.ena());
        xml.option("sriovNetSupport", self.sriov());
        xml.option("bootMode", self.boot_mode());
        xml.option("imdsSupport", self.imds());
        if self.own.is_none() {
            // Ubuntu Pro has a price of its own.
            let is_free = publisher.free_tier && !self.name.contains("-pro-server-");
            xml.text("freeTierEligible", is_free);
            xml.option("publicSsmParameterName", self.parameters().next());
        }
        if self.deprecated {
            xml.text("deprecationTime", DEPRECATED_SINCE);
        }
        if let Some(lent) = self.lent.as_ref().filter(|lent| !lent.tags.is_empty()) {
            tags::write(xml, &lent.tags);
        }
        if let Some(own) = self.of_account() {
            xml.option("deprecationTime", own.deprecated.map(iso));
            xml.text("deregistrationProtection", own.protection.as_str());
            xml.option("sourceInstanceId", own.instance.as_ref());
            xml.option("sourceImageId", own.source.as_ref());
            xml.option("sourceImageRegion", own.source_region.as_ref());
            if own.saving == Saving::Failed {
                xml.node("stateReason", |xml| {
                    xml.text("code", "Server.InternalError");
                    xml.text("message", "Server.InternalError: the disk cannot be copied");
                });
            }
            if !own.tags.is_empty() {
                tags::write(xml, &own.tags);
            }
        }
    }
}

/// The boot mode of all images but registered ones.
pub(super) const BOOT_MODE: &str = "uefi-preferred";

/// Writes a volume in addition to the root volume.
fn write_other(xml: &mut Xml, mapping: &Mapping) {
    xml.text("deviceName", &mapping.device);
    xml.node("ebs", |xml| {
        xml.option("snapshotId", mapping.spec.snapshot.as_ref());
        xml.text("volumeSize", mapping.spec.size);
        xml.text("deleteOnTermination", mapping.delete_on_termination);
        xml.text("volumeType", &mapping.spec.kind);
        xml.option("iops", mapping.spec.iops);
        xml.option("throughput", mapping.spec.throughput);
        xml.text("encrypted", mapping.spec.kms_key.is_some());
    });
}

/// The name of the image for unknown ids in a rehearsal, as a parameter.
const STAND_IN: &str = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-";

/// When the deprecated images of the catalogue became deprecated.
const DEPRECATED_SINCE: &str = "2025-09-05T00:00:00.000Z";

/// Returns the image with this id, or the image to which
/// `resolve:ssm:PARAMETER` resolves.
pub(super) fn resolve_image(call: &mut Call<'_>, id: &str) -> Result<Image> {
    resolve_image_for(call, id, "x86_64")
}

/// Like [`resolve_image`], for a type with this architecture. An unknown image in a
/// rehearsal has it too.
pub(super) fn resolve_image_for(
    call: &mut Call<'_>,
    id: &str,
    architecture: &str,
) -> Result<Image> {
    if call.region().deregistered.contains_key(id) {
        return Err(Refusal::new(
            "InvalidAMIID.Unavailable",
            format!("The image ID '{id}' is no longer available"),
        ));
    }
    let own = own_images(call).into_iter().find(|own| own.id == id);
    own.map_or_else(
        || {
            let known = in_catalogue(call.region_name, &call.facts.system, id);
            known.or_else(|refusal| stand_in(call, id, architecture).ok_or(refusal))
        },
        Ok,
    )
}

/// Returns the image that stands in a rehearsal for one that only the user's account
/// may have. Whether the account has it is another question.
fn stand_in(call: &Call<'_>, id: &str, architecture: &str) -> Option<Image> {
    if !call.facts.is_rehearsal || IMAGE.check(id).is_err() {
        return None;
    }
    let lent = call.known().and_then(|region| region.lent_images.get(id));
    let known = lent.and_then(|lent| lent.architecture.as_deref());
    let architecture = known.unwrap_or(architecture);
    let image = like(call, lent, architecture)?;
    Some(Image {
        id: id.to_owned(),
        name: lent.map_or(image.name, |lent| lent.name.clone()),
        created: lent.map_or(image.created, |lent| lent.created.clone()),
        lent: lent.cloned(),
        ..image
    })
}

/// Returns an image of the catalogue by the publisher of a lent image, else Amazon
/// Linux.
fn like(call: &Call<'_>, lent: Option<&LentImage>, architecture: &str) -> Option<Image> {
    let (region, system) = (call.region_name, &call.facts.system);
    let same = lent.and_then(|lent| {
        let mut published = images(region, system).into_iter();
        published
            .find(|image| image.publisher.owner == lent.owner && image.architecture == architecture)
    });
    same.or_else(|| parameter(region, system, &format!("{STAND_IN}{architecture}")))
}

/// Returns the image of the catalogue with this id or parameter.
fn in_catalogue(region: &str, system: &str, id: &str) -> Result<Image> {
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
    let users = request.list("ExecutableBy");
    let deprecated = request.flag("IncludeDeprecated")?.unwrap_or(false);
    let disabled = request.flag("IncludeDisabled")?.unwrap_or(false);
    let mut images = images(call.region_name, &call.facts.system);
    images.extend(own_images(call));
    let unknown = |id: &&&str| {
        let gone = call
            .known()
            .is_some_and(|region| region.deregistered.contains_key(**id));
        !gone && !images.iter().any(|image| image.id == **id)
    };
    let unknown = ids.iter().filter(unknown);
    let lent = call
        .known()
        .into_iter()
        .flat_map(|region| region.lent_images.keys());
    let stand_ins = unknown.copied().chain(lent.map(String::as_str));
    let stand_ins: BTreeSet<&str> = stand_ins.collect();
    let stand_ins = stand_ins
        .into_iter()
        .filter_map(|id| stand_in(call, id, "x86_64"));
    let stand_ins: Vec<Image> = stand_ins.collect();
    images.extend(stand_ins);
    // An image that was deregistered is left out, and is not an error.
    let gone = &call.region().deregistered;
    IMAGE.find_all(&ids, |id| {
        gone.contains_key(id) || images.iter().any(|image| image.id == id)
    })?;
    let account = call.facts.account.clone();
    let owned = |image: &Image, owner: &str| {
        image.owner() == owner
            || image.alias() == Some(owner)
            || (owner == "self" && (image.owner() == account || image.is_lent_own()))
    };
    let wanted = images
        .into_iter()
        .filter(|image| ids.is_empty() || ids.contains(&image.id.as_str()))
        .filter(|image| owners.is_empty() || owners.iter().any(|owner| owned(image, owner)))
        .filter(|image| users.is_empty() || users.iter().any(|user| image.allows(user, &account)))
        .filter(|image| disabled || !ids.is_empty() || !image.is_disabled())
        .filter(|image| deprecated || !ids.is_empty() || !image.deprecated);
    let images = Filters::of(request)?.keep_as(wanted.collect(), |xml, image| image.write(xml))?;
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
        let newest = in_catalogue(
            "eu-central-1",
            "Debian",
            "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64",
        )
        .unwrap();
        let name = "al2023-ami-2023.12.20260930.0-kernel-6.18-x86_64";
        assert_eq!(newest.name, name);
        assert_eq!(newest.architecture, "x86_64");
        let again = in_catalogue("eu-central-1", "Debian", &newest.id).unwrap();
        assert_eq!(again.name, newest.name);
        assert_ne!(
            in_catalogue("us-east-1", "Debian", &newest.id)
                .unwrap_err()
                .code,
            "",
            "an image id is valid in one region only"
        );
    }
}
