//! Where there are no namespaces there are no machines.

use super::call::{Consoles, Effect};
use crate::faults::Plans;

/// There are none.
#[derive(Clone, Debug)]
pub(crate) enum Machines {}

impl Consoles for Machines {
    fn console(&self, _: &str) -> Vec<u8> {
        match *self {}
    }
}

#[expect(clippy::unused_async, reason = "as where there are machines")]
impl Machines {
    pub(super) fn follow(&self, _: &str, _: Vec<Effect>, _: &Plans, _: Option<&str>) {
        match *self {}
    }

    pub(super) async fn shut_down(&self) {
        match *self {}
    }
}
