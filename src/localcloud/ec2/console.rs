//! `GetConsoleOutput`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::call::{Call, iso};
use super::catalog;
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::xml::Xml;

pub(super) fn get_console_output(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let id = request.required("InstanceId")?;
    let latest = request.flag("Latest")?.unwrap_or(false);
    let instance = call.instances(&[id])?.swap_remove(0);
    call.read_all()?;
    let known = catalog::instance_type(&instance.instance_type);
    if latest && known.is_some_and(|known| !known.nitro) {
        return Err(Refusal::new(
            "UnsupportedOperation",
            "This instance type does not support retrieving the latest console logs.",
        ));
    }
    let output = call.machines.map(|m| m.console(id)).unwrap_or_default();
    let mut xml = Xml::default();
    xml.text("instanceId", id);
    xml.text("timestamp", iso(call.now));
    xml.text("output", BASE64_STANDARD.encode(output));
    Ok(xml)
}
