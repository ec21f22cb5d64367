//! Settings of the account in a region, which cannot be changed: each has the value
//! of an account that never set it.

use super::call::Call;
use super::params::Part;
use super::refusal::Result;
use super::xml::Xml;

pub(super) fn get_serial_console_access_status(call: &mut Call<'_>, _: &Part<'_>) -> Result<Xml> {
    call.read_all()?;
    let mut xml = Xml::default();
    xml.text("serialConsoleAccessEnabled", false);
    xml.text("managedBy", "account");
    Ok(xml)
}

pub(super) fn get_image_block_public_access_state(
    call: &mut Call<'_>,
    _: &Part<'_>,
) -> Result<Xml> {
    call.read_all()?;
    let mut xml = Xml::default();
    // The default of accounts created since October 2023.
    xml.text("imageBlockPublicAccessState", "block-new-sharing");
    xml.text("managedBy", "account");
    Ok(xml)
}

pub(super) fn get_snapshot_block_public_access_state(
    call: &mut Call<'_>,
    _: &Part<'_>,
) -> Result<Xml> {
    call.read_all()?;
    let mut xml = Xml::default();
    xml.text("state", "unblocked");
    xml.text("managedBy", "account");
    Ok(xml)
}

pub(super) fn get_instance_metadata_defaults(call: &mut Call<'_>, _: &Part<'_>) -> Result<Xml> {
    call.read_all()?;
    let mut xml = Xml::default();
    xml.node("accountLevel", |xml| xml.text("managedBy", "account"));
    Ok(xml)
}

pub(super) fn describe_vpc_block_public_access_options(
    call: &mut Call<'_>,
    _: &Part<'_>,
) -> Result<Xml> {
    call.read_all()?;
    let mut xml = Xml::default();
    xml.node("vpcBlockPublicAccessOptions", |xml| {
        xml.text("awsAccountId", &call.facts.account);
        xml.text("awsRegion", call.region_name);
        xml.text("state", "default-state");
        xml.text("internetGatewayBlockMode", "off");
        xml.text("managedBy", "account");
        xml.text("exclusionsAllowed", "allowed");
    });
    Ok(xml)
}
