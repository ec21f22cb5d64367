//! What an action works on: a copy of the state, which replaces the old one
//! only when the action succeeds.

use ipnet::Ipv4Net;

use super::ids::is_id;
use super::params::Params;
use super::refusal::{Refusal, Result};
use super::state::{Instance, Millis, Region, State};
use crate::faults::Account;

/// For so long after its making a thing may not be found, as on AWS.
pub(super) const CONSISTENCY: Millis = 30;

/// The same as it is announced to clients.
pub(crate) const CONSISTENCY_SECONDS: f64 = 0.03;

/// What does not change while the local cloud runs.
#[derive(Clone, Debug)]
pub(crate) struct CloudInfo {
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

/// What the machines of instances have written to their consoles.
pub(super) trait Consoles {
    /// All that is kept of it; of a machine that has ended, too.
    fn console(&self, id: &str) -> Vec<u8>;
}

/// One call of an action.
pub(super) struct Call<'a> {
    pub(super) region_name: &'a str,
    pub(super) state: &'a mut State,
    pub(super) params: &'a Params,
    pub(super) facts: &'a CloudInfo,
    pub(super) account: &'a Account,
    pub(super) consoles: Option<&'a dyn Consoles>,
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
            if !is_id("i", id) {
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
}
