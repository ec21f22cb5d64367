//! `GetConsoleOutput`. As on AWS, `Latest` returns the current output of Nitro
//! types; without it the output appears some minutes after a start or stop.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::call::Call;
use super::instance_types::instance_type;
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::state::{Instance, Millis, Phase};
use super::xml::Xml;
use crate::clock::iso;

/// How long after a start AWS posts the console output.
const POSTED_AFTER: Millis = 4 * 60 * 1000;

pub(super) fn get_console_output(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let id = request.required("InstanceId")?;
    let latest = request.flag("Latest")?.unwrap_or(false);
    let instance = call.instances(&[id])?.swap_remove(0);
    call.read_all()?;
    let known = instance_type(&instance.instance_type);
    if latest && known.is_some_and(|known| !known.nitro) {
        return Err(Refusal::new(
            "UnsupportedOperation",
            "This instance type does not support retrieving the latest console logs.",
        ));
    }
    let shown = latest || is_posted(&instance, call.now);
    let output = match call.consoles.filter(|_| shown) {
        Some(consoles) => consoles.console(id),
        None => Vec::new(),
    };
    let mut xml = Xml::default();
    xml.text("instanceId", id);
    xml.text("timestamp", iso(call.now));
    xml.text("output", BASE64_STANDARD.encode(output));
    Ok(xml)
}

fn is_posted(instance: &Instance, now: Millis) -> bool {
    let is_up = matches!(instance.phase, Phase::Pending | Phase::Running);
    !is_up || now.saturating_sub(instance.since) >= POSTED_AFTER
}

/// Returns the password of a Windows instance's administrator. As on AWS, other
/// instances have none, and it is empty.
pub(super) fn get_password_data(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let id = request.required("InstanceId")?;
    let instance = call.instances(&[id])?.swap_remove(0);
    call.read_all()?;
    let mut xml = Xml::default();
    xml.text("instanceId", id);
    xml.text("timestamp", iso(instance.launched));
    xml.text("passwordData", "");
    Ok(xml)
}
