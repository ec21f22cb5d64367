//! The stand-in for `hosting` on systems without Linux namespaces. It has the
//! same interface; buckets and EC2 records work, instances do not.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::network_record::NetworkRecord;
use crate::ec2::{Machines, Store};
use crate::home::Home;

/// One requirement or optional feature of instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// Whether the check succeeded.
    pub ok: bool,
    /// Whether instances are impossible without it.
    pub essential: bool,
    /// One line: what works, or why it does not work and how to fix it.
    pub detail: String,
}

/// Reports what this machine lacks.
///
/// # Errors
/// Never fails here. On Linux it fails if the administrator's settings are
/// unusable.
pub fn checks() -> Result<Vec<Check>, String> {
    Ok(vec![Check {
        name: "namespaces",
        ok: false,
        essential: true,
        detail: "instances are made of Linux namespaces, and this is not Linux".to_owned(),
    }])
}

/// No value: there is no runtime on this system.
pub(super) enum Hosting {}

#[expect(clippy::unused_async, reason = "same signature as in `hosting`")]
pub(super) async fn begin(
    _: &Home,
    _: &NetworkRecord,
    _: u16,
    _: PathBuf,
) -> Result<Option<Hosting>, String> {
    Ok(None)
}

#[expect(clippy::unused_async, reason = "same signature as in `hosting`")]
impl Hosting {
    pub(super) async fn until_ready(&self) -> Result<(), String> {
        match *self {}
    }

    pub(super) fn gateway(&self) -> Ipv4Addr {
        match *self {}
    }

    pub(super) fn subnet(&self) -> Ipv4Net {
        match *self {}
    }

    pub(super) fn system(&self) -> String {
        match *self {}
    }

    pub(super) fn held_packages(&self) -> Option<usize> {
        match *self {}
    }

    pub(super) fn unlimited(&self) -> Vec<&'static str> {
        match *self {}
    }

    pub(super) fn hand_over(self, _: &Arc<Store>) -> Machines {
        match self {}
    }
}
