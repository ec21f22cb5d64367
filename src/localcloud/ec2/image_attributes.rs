//! Attributes of images of the account, and actions that change how they can be
//! used.

use jiff::Timestamp;

use super::call::Call;
use super::images::resolve_image;
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::sharing::{self, Change};
use super::snapshots::{description, unknown_attribute};
use super::state::{Millis, OwnImage, Protection};
use super::xml::Xml;

/// The longest time until an image becomes deprecated: 10 years.
const LATEST: Millis = 10 * 365 * 24 * 3_600_000;

/// Returns the image of the account that a request names.
pub(super) fn own(call: &mut Call<'_>, request: &Part<'_>) -> Result<OwnImage> {
    let id = request.required("ImageId")?;
    let image = resolve_image(call, id)?;
    let own = call.region().images.get(&image.id).cloned();
    own.ok_or_else(|| {
        Refusal::new("AuthFailure", format!("Not authorized for image:{id}")).status(401)
    })
}

fn store(call: &mut Call<'_>, image: OwnImage) {
    call.region().images.insert(image.id.clone(), image);
}

pub(super) fn describe_image_attribute(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let image = own(call, request)?;
    let attribute = request.required("Attribute")?;
    call.read_all()?;
    let described = resolve_image(call, &image.id)?;
    let mut xml = Xml::default();
    xml.text("imageId", &image.id);
    let value = match attribute {
        "description" => Some(image.description.clone()),
        "launchPermission" => {
            sharing::write(&mut xml, attribute, &image.permissions);
            return Ok(xml);
        }
        "productCodes" => {
            xml.texts(attribute, [] as [&str; 0]);
            return Ok(xml);
        }
        "blockDeviceMapping" => {
            described.write_mappings(&mut xml);
            return Ok(xml);
        }
        "sriovNetSupport" => described.sriov().map(str::to_owned),
        "bootMode" => described.boot_mode().map(str::to_owned),
        "imdsSupport" => described.imds().map(str::to_owned),
        "deregistrationProtection" => Some(image.protection.as_str().to_owned()),
        // As on AWS, an attribute that the image does not have has no value.
        "kernel" | "ramdisk" | "tpmSupport" | "uefiData" | "lastLaunchedTime" => None,
        other => return Err(unknown_attribute(other)),
    };
    xml.node(attribute, |xml| xml.option("value", value));
    Ok(xml)
}

pub(super) fn modify_image_attribute(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let mut image = own(call, request)?;
    request.unsupported(&["ProductCode", "OrganizationArn", "OrganizationalUnitArn"])?;
    let old = request.text("Attribute");
    let value = request.given("Value");
    let mut text = request.part("Description").given("Value");
    match old {
        None | Some("launchPermission") => {}
        Some("description") => text = text.or(value),
        Some(other) => return Err(unknown_attribute(other)),
    }
    if let Some(text) = text {
        description(&request.part("Description"))?;
        if text.chars().count() > 255 {
            return Err(Refusal::value(
                "description",
                text,
                "It has more than 255 characters.",
            ));
        }
        text.clone_into(&mut image.description);
    }
    let imds = request.part("ImdsSupport").text("Value");
    match imds {
        None => {}
        Some("v2.0") => image.tokens_required = true,
        Some(other) => return Err(Refusal::value("imdsSupport", other, "Expected 'v2.0'.")),
    }
    let change = Change::read(request, "LaunchPermission", |kind, value| {
        Refusal::new(
            "InvalidAMIAttributeItemValue",
            format!("Invalid attribute item value \"{value}\" for {kind} item type."),
        )
    })?;
    call.read_all()?;
    if change.is_empty() && text.is_none() && imds.is_none() {
        return Err(Refusal::new(
            "InvalidParameterCombination",
            "No attributes specified.",
        ));
    }
    if change.shares() && image.is_encrypted() {
        return Err(Refusal::new(
            "InvalidParameter",
            "Snapshots encrypted with the AWS Managed CMK can't be shared. Specify another \
             snapshot.",
        ));
    }
    change.apply(&mut image.permissions);
    store(call, image);
    Ok(Xml::done())
}

pub(super) fn reset_image_attribute(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let mut image = own(call, request)?;
    match request.required("Attribute")? {
        "launchPermission" => {}
        other => return Err(unknown_attribute(other)),
    }
    call.read_all()?;
    image.permissions.clear();
    store(call, image);
    Ok(Xml::done())
}

pub(super) fn enable_image_deprecation(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let mut image = own(call, request)?;
    let given = request.required("DeprecateAt")?;
    let wrong = |why: &str| Refusal::value("DeprecateAt", given, why);
    let time: Timestamp = given
        .parse()
        .map_err(|_| wrong("Expected a time in UTC."))?;
    call.read_all()?;
    // AWS rounds to the minute.
    let time = (time.as_millisecond() + 30_000).div_euclid(60_000) * 60_000;
    let time = Millis::try_from(time).unwrap_or_default();
    if time <= call.now {
        return Err(wrong("The date must be in the future."));
    }
    if time > call.now + LATEST {
        return Err(wrong("The date must be within 10 years."));
    }
    image.deprecated = Some(time);
    store(call, image);
    Ok(Xml::done())
}

pub(super) fn disable_image_deprecation(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let mut image = own(call, request)?;
    call.read_all()?;
    image.deprecated = None;
    store(call, image);
    Ok(Xml::done())
}

pub(super) fn disable_image(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let mut image = own(call, request)?;
    call.read_all()?;
    image.disabled = true;
    // As on AWS, a disabled image is private.
    image.permissions.clear();
    store(call, image);
    Ok(Xml::done())
}

pub(super) fn enable_image(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let mut image = own(call, request)?;
    call.read_all()?;
    image.disabled = false;
    store(call, image);
    Ok(Xml::done())
}

pub(super) fn enable_protection(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let mut image = own(call, request)?;
    let cooldown = request.flag("WithCooldown")?.unwrap_or(false);
    call.read_all()?;
    image.protection = if cooldown {
        Protection::WithCooldown
    } else {
        Protection::WithoutCooldown
    };
    let answer = image.protection.as_str();
    store(call, image);
    let mut xml = Xml::default();
    xml.text("return", answer);
    Ok(xml)
}

pub(super) fn disable_protection(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let mut image = own(call, request)?;
    call.read_all()?;
    image.protection = Protection::Disabled;
    store(call, image);
    let mut xml = Xml::default();
    xml.text("return", Protection::Disabled.as_str());
    Ok(xml)
}
