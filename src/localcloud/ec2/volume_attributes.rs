//! Attributes of volumes.

use super::call::Call;
use super::params::Part;
use super::refusal::Result;
use super::snapshots::unknown_attribute;
use super::volumes::find;
use super::xml::Xml;

pub(super) fn describe_volume_attribute(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let volume = find(call, request.required("VolumeId")?)?;
    let attribute = request.required("Attribute")?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.text("volumeId", &volume.id);
    match attribute {
        "autoEnableIO" => xml.node(attribute, |xml| xml.text("value", volume.auto_enable_io)),
        "productCodes" => xml.texts(attribute, [] as [&str; 0]),
        other => return Err(unknown_attribute(other)),
    }
    Ok(xml)
}

pub(super) fn modify_volume_attribute(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let mut volume = find(call, request.required("VolumeId")?)?;
    let enables = request.part("AutoEnableIO");
    enables.required("Value")?;
    if let Some(value) = enables.flag("Value")? {
        volume.auto_enable_io = value;
    }
    call.read_all()?;
    call.region().volumes.insert(volume.id.clone(), volume);
    Ok(Xml::done())
}

/// Enables I/O after a failed check. No check of the local cloud fails.
pub(super) fn enable_volume_io(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    find(call, request.required("VolumeId")?)?;
    call.read_all()?;
    Ok(Xml::done())
}
