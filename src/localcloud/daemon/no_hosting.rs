//! Where there are no namespaces there are no machines: the same words as
//! `hosting`, for buckets and the records of EC2 alone.

use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::network_record::NetworkRecord;
use crate::ec2::{Machines, Store};
use crate::home::Home;

/// One thing that instances need or use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// Whether it is as it should be.
    pub ok: bool,
    /// Whether there are no instances without it.
    pub essential: bool,
    /// One line: what works, or why it does not and what to do.
    pub detail: String,
}

/// What this computer lacks.
///
/// # Errors
/// Never; elsewhere when the administrator's settings cannot be used.
pub fn checks() -> Result<Vec<Check>, String> {
    Ok(vec![Check {
        name: "namespaces",
        ok: false,
        essential: true,
        detail: "instances are made of Linux namespaces, and this is not Linux".to_owned(),
    }])
}

/// There is none.
pub(super) enum Hosting {}

#[expect(clippy::unused_async, reason = "as where there are machines")]
pub(super) async fn begin(_: &Home, _: &NetworkRecord, _: u16) -> Result<Option<Hosting>, String> {
    Ok(None)
}

#[expect(clippy::unused_async, reason = "as where there are machines")]
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
