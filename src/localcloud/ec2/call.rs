//! What an action works on: a copy of the state, which replaces the old one
//! only when the action succeeds.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::machines::Machines;
use super::params::Params;
use super::refusal::{Refusal, Result};
use super::state::{Instance, Millis, Phase, Region, State};
use crate::faults::Account;

/// For so long after its making a thing may not be found, as on AWS.
pub(super) const CONSISTENCY: Millis = 30;

/// The same as it is announced to clients.
pub(crate) const CONSISTENCY_SECONDS: f64 = 0.03;

/// What does not change while the local cloud runs.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// The account's number.
    pub(crate) account: String,
    /// Where instances have their addresses.
    pub(crate) subnet: Ipv4Net,
    /// What instances run, as `Debian GNU/Linux 12 (bookworm)`.
    pub(crate) system: String,
    /// Why no instance can boot here, and what to do.
    pub(crate) cannot_boot: Option<String>,
}

/// What has to follow once a change is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Boot a new instance, or one that was stopped.
    Boot(String),
    /// Stop the machine, by force or not, keep the disk.
    Stop { id: String, force: bool },
    /// Stop the machine and boot it again.
    Reboot(String),
    /// End the machine, remove the disk.
    Terminate(String),
    /// Security groups or their members have changed.
    Groups,
}

/// One call of an action.
pub(super) struct Call<'a> {
    pub(super) region_name: &'a str,
    pub(super) state: &'a mut State,
    pub(super) params: &'a Params,
    pub(super) facts: &'a Facts,
    pub(super) account: &'a Account,
    pub(super) machines: Option<&'a Machines>,
    /// The run that asks, if it said so.
    pub(super) run: Option<&'a str>,
    pub(super) now: Millis,
    pub(super) effects: Vec<Effect>,
}

impl Call<'_> {
    /// The region asked.
    pub(super) fn region(&mut self) -> &mut Region {
        self.state
            .regions
            .entry(self.region_name.to_owned())
            .or_default()
    }

    /// Refuses parameters that were not read. An action calls it when it has
    /// read its own and before it changes anything.
    pub(super) fn read_all(&self) -> Result<()> {
        self.params.none_left()
    }

    /// Whether what was made then can be found by now.
    pub(super) fn visible(&self, created: Millis) -> bool {
        self.now.saturating_sub(created) >= CONSISTENCY
    }

    /// Instances by their ids, all of which must be there.
    pub(super) fn instances(&mut self, ids: &[&str]) -> Result<Vec<Instance>> {
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for id in ids {
            if !super::catalog::is_id("i", id) {
                return Err(Refusal::new(
                    "InvalidInstanceID.Malformed",
                    format!("Invalid id: \"{id}\""),
                ));
            }
            match self.region().instances.get(*id).cloned() {
                Some(instance) if self.visible(instance.launched) => found.push(instance),
                _ => missing.push(*id),
            }
        }
        match missing[..] {
            [] => Ok(found),
            [id] => Err(Refusal::new(
                "InvalidInstanceID.NotFound",
                format!("The instance ID '{id}' does not exist"),
            )),
            _ => Err(Refusal::new(
                "InvalidInstanceID.NotFound",
                format!("The instance IDs '{}' do not exist", missing.join(", ")),
            )),
        }
    }

    /// A free address of the subnet: the first one is the gateway's.
    pub(super) fn free_address(&mut self) -> Result<Ipv4Addr> {
        let taken: Vec<Ipv4Addr> = self
            .state
            .regions
            .values()
            .flat_map(|region| region.instances.values())
            .filter(|instance| instance.phase != Phase::Terminated)
            .map(|instance| instance.address)
            .collect();
        let all: Vec<Ipv4Addr> = self.facts.subnet.hosts().skip(1).collect();
        let start = self
            .state
            .last_address
            .and_then(|last| all.iter().position(|address| *address == last))
            .map_or(0, |position| position + 1);
        let free = all
            .iter()
            .cycle()
            .skip(start)
            .take(all.len())
            .find(|address| !taken.contains(address));
        let Some(free) = free.copied() else {
            return Err(Refusal::new(
                "InsufficientFreeAddressesInSubnet",
                format!(
                    "The subnet of this local cloud has room for {} instances: terminate some",
                    all.len()
                ),
            ));
        };
        self.state.last_address = Some(free);
        Ok(free)
    }
}

/// A new id, as `i-0123456789abcdef0`.
pub(super) fn new_id(prefix: &str) -> String {
    format!("{prefix}-0{:016x}", rand::random::<u64>())
}

/// An instant as AWS writes it.
pub(super) fn iso(millis: Millis) -> String {
    let time = i64::try_from(millis)
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        .unwrap_or_default();
    format!("{time:.3}")
}

/// The end of an action that has nothing to tell.
pub(super) fn done() -> super::xml::Xml {
    let mut xml = super::xml::Xml::default();
    xml.text("return", true);
    xml
}
