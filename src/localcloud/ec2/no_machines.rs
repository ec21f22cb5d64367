//! The replacement for `machines` on systems without Linux namespaces.

use tokio_util::sync::CancellationToken;

use super::call::{Consoles, Effect};
use super::connect::PushedKey;
use super::ssm::{Agent, Finished, Order};
use crate::faults::Plans;

/// A type without values: there are no machines on this system.
#[derive(Clone, Debug)]
pub(crate) enum Machines {}

impl Consoles for Machines {
    fn console(&self, _: &str) -> Vec<u8> {
        match *self {}
    }
}

#[expect(clippy::unused_async, reason = "the same signature as on Linux")]
impl Machines {
    pub(super) fn follow(&self, _: &str, _: Vec<Effect>, _: &Plans, _: Option<&str>) {
        match *self {}
    }

    pub(super) fn agent(&self, _: &str) -> Agent {
        match *self {}
    }

    pub(super) async fn push_key(&self, _: &str, _: PushedKey) -> std::io::Result<()> {
        match *self {}
    }

    pub(super) async fn perform(&self, _: Order, _: &CancellationToken) -> Finished {
        match *self {}
    }

    pub(super) async fn dial(&self, _: &str, _: u16) -> std::io::Result<tokio::net::UnixStream> {
        match *self {}
    }

    pub(super) async fn shut_down(&self, _: bool) {
        match *self {}
    }
}
