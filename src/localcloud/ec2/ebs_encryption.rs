//! Encryption of new volumes by default, a setting of a region.

use super::call::Call;
use super::params::Part;
use super::refusal::Result;
use super::volume_spec::kms_key;
use super::xml::Xml;

fn answer(encrypts: bool) -> Xml {
    let mut xml = Xml::default();
    xml.text("ebsEncryptionByDefault", encrypts);
    xml
}

fn set(call: &mut Call<'_>, encrypts: bool) -> Result<Xml> {
    call.read_all()?;
    *call.region().encrypts_volumes.get_mut() = encrypts;
    Ok(answer(encrypts))
}

pub(super) fn enable(call: &mut Call<'_>, _: &Part<'_>) -> Result<Xml> {
    set(call, true)
}

pub(super) fn disable(call: &mut Call<'_>, _: &Part<'_>) -> Result<Xml> {
    set(call, false)
}

pub(super) fn get(call: &mut Call<'_>, _: &Part<'_>) -> Result<Xml> {
    call.read_all()?;
    let encrypts = *call.region().encrypts_volumes;
    let mut xml = answer(encrypts);
    xml.option("sseType", encrypts.then_some("sse-kms"));
    Ok(xml)
}

fn key(id: impl std::fmt::Display) -> Xml {
    let mut xml = Xml::default();
    xml.text("kmsKeyId", id);
    xml
}

pub(super) fn default_key(call: &mut Call<'_>, _: &Part<'_>) -> Result<Xml> {
    call.read_all()?;
    Ok(key("alias/aws/ebs"))
}

/// Sets the default key, or resets it. The local cloud has one key for volumes only,
/// which AWS manages.
pub(super) fn set_default_key(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let id = kms_key(call, request, true)?;
    call.read_all()?;
    Ok(key(id.unwrap_or_default()))
}
