//! The context of one action. The action changes the state, which is as it was
//! before if the action fails.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;

use super::ids::INSTANCE;
use super::params::Params;
use super::refusal::Result;
use super::state::{Instance, Millis, Region, State};
use crate::faults::Account;
use crate::signature::Keys;

/// How long a new resource is not found. It imitates AWS's eventual consistency
/// on a smaller scale, for the kinds of resources whose clients expect it: their
/// waiters in the SDKs retry `NotFound`. That of volumes does not.
pub(super) const CONSISTENCY: Millis = 30;

/// The same time in seconds, as announced to clients.
pub(crate) const CONSISTENCY_SECONDS: f64 = 0.03;

/// Facts that do not change while the local cloud runs.
#[derive(Clone, Debug)]
pub(crate) struct CloudInfo {
    /// The account id.
    pub(crate) account: String,
    /// The owner's access key, from which those of instances are derived.
    pub(crate) keys: Keys,
    /// The subnet of the instances' addresses.
    pub(crate) subnet: Ipv4Net,
    /// The operating system of instances, for example
    /// `Debian GNU/Linux 12 (bookworm)`.
    pub(crate) system: String,
    /// Why instances cannot boot on this host, and what the user can do.
    pub(crate) cannot_boot: Option<String>,
    /// Whether the cloud exists for one rehearsal, whose account stands for another.
    pub(crate) is_rehearsal: bool,
    /// Whether instances exist as records only, in a rehearsal on such a host.
    pub(crate) keeps_records: bool,
}

/// A consequence of a change, applied after the change is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Boot a new or stopped instance.
    Boot(String),
    /// Stop the machine and keep its disk. `force` skips the orderly shutdown.
    Stop { id: String, force: bool },
    /// Stop the machine and boot it again.
    Reboot(String),
    /// Stop the machine and remove its disk.
    Terminate(String),
    /// Copy the disk of an instance to a snapshot. Images may be made of it.
    Save {
        instance: String,
        snapshot: String,
        /// Whether the machine is stopped for the copy and booted again.
        reboots: bool,
    },
    /// Remove the copy of a disk or of a volume.
    RemoveSnapshot(String),
    /// Attach a volume to the machine of an instance.
    Attach { instance: String, volume: String },
    /// Detach a volume from the machine of an instance. `force` unmounts it.
    Detach {
        instance: String,
        volume: String,
        force: bool,
    },
    /// Fill a new volume with the data of a snapshot.
    Fill { volume: String, snapshot: String },
    /// Copy the data of a volume to a snapshot.
    SaveVolume { volume: String, snapshot: String },
    /// Volumes were deleted.
    ForgetVolumes,
    /// Security groups or their members have changed.
    Groups,
}

/// The console output of the instances' machines.
pub(super) trait Consoles {
    /// Returns the output that is kept, also of a machine that has ended.
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
    /// The run that sent the request, if the request names one.
    pub(super) run: Option<&'a str>,
    pub(super) now: Millis,
    pub(super) effects: Vec<Effect>,
}

impl Call<'_> {
    /// Returns the region of the request.
    pub(super) fn region(&mut self) -> &mut Region {
        self.state
            .regions
            .entry(self.region_name.to_owned())
            .or_default()
    }

    /// Returns the region of the request, for reading.
    pub(super) fn known(&self) -> Option<&Region> {
        self.state.regions.get(self.region_name)
    }

    /// Returns the ARN of an EC2 resource of the account.
    pub(super) fn arn(&self, kind: &str, id: &str) -> String {
        let (region, account) = (self.region_name, &self.facts.account);
        format!("arn:aws:ec2:{region}:{account}:{kind}/{id}")
    }

    /// Refuses a request with a parameter that was not read. An action calls
    /// this function after it has read its parameters and before it changes the
    /// state.
    pub(super) fn read_all(&self) -> Result<()> {
        self.params.none_left()
    }

    /// Whether a resource created at this time can be found.
    pub(super) fn visible(&self, created: Millis) -> bool {
        self.now.saturating_sub(created) >= CONSISTENCY
    }

    /// Returns the instances with these ids, each of them once. Fails if one of them
    /// does not exist.
    pub(super) fn instances(&mut self, ids: &[&str]) -> Result<Vec<Instance>> {
        INSTANCE.check_all(ids)?;
        let mut found = Vec::new();
        let mut missing = Vec::new();
        let mut seen = BTreeSet::new();
        for id in ids.iter().filter(|id| seen.insert(**id)) {
            match self.region().instances.get(*id).cloned() {
                Some(instance) if self.visible(instance.created) => found.push(instance),
                _ => missing.push(*id),
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        Err(INSTANCE.not_found(&missing))
    }
}
