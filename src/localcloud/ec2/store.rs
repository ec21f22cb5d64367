//! The state in memory and on disk.
//!
//! A changed state is written to disk before it replaces the state in memory.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipnet::Ipv4Net;

use super::addresses::readdress;
use super::call::CloudInfo;
use super::state::{Millis, Phase, Saving, State};
use crate::clock;

/// The state of EC2 and its file.
#[derive(Debug)]
pub(crate) struct Store {
    pub(super) facts: CloudInfo,
    state: Mutex<State>,
    file: PathBuf,
}

impl Store {
    /// Reads the state that an earlier daemon left in `file`. The machines of that
    /// daemon ended with it, so their instances become stopped.
    pub(crate) fn open(facts: CloudInfo, file: PathBuf) -> io::Result<Self> {
        let mut state: State = match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|e| io::Error::other(format!("cannot parse {}: {e}", file.display())))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => State::default(),
            Err(e) => return Err(e),
        };
        settle(&mut state, facts.subnet, clock::millis());
        write(&file, &state)?;
        Ok(Self {
            facts,
            state: Mutex::new(state),
            file,
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // The lock may be poisoned: the state is replaced as a whole, so a panic
        // cannot leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state without a request, for changes that start in a machine.
    #[cfg(target_os = "linux")]
    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        if let Err(e) = write(&self.file, &state) {
            log::error!("cannot write {}: {e}", self.file.display());
        }
    }

    /// Writes the next state to disk, then replaces the current state with it.
    pub(super) fn replace(
        &self,
        mut current: MutexGuard<'_, State>,
        next: State,
    ) -> io::Result<()> {
        write(&self.file, &next).inspect_err(|e| {
            log::error!("cannot write {}: {e}", self.file.display());
        })?;
        *current = next;
        Ok(())
    }
}

/// Moves each instance to the phase that it has when no machine runs. A daemon
/// may end in any way, and its machines always end with it.
fn settle(state: &mut State, subnet: Ipv4Net, now: Millis) {
    let reason = (
        "Server.InternalError",
        "Server.InternalError: the local cloud ended while the instance was running",
    );
    for region in state.regions.values_mut() {
        let ids: Vec<String> = region.instances.keys().cloned().collect();
        for id in ids {
            let Some(instance) = region.instances.get(&id) else {
                continue;
            };
            let phase = match instance.phase {
                Phase::Pending | Phase::Running | Phase::Stopping => Phase::Stopped,
                Phase::ShuttingDown => Phase::Terminated,
                _ => continue,
            };
            region.set_phase(&id, phase, Some(reason), now);
        }
    }
    for region in state.regions.values_mut() {
        let images = region.images.values_mut().map(|image| &mut image.saving);
        let snapshots = region.snapshots.values_mut().map(|own| &mut own.saving);
        for saving in images.chain(snapshots).filter(|s| **s == Saving::Pending) {
            *saving = Saving::Failed;
        }
    }
    // The subnet may differ from the earlier daemon's subnet.
    readdress(state, subnet);
}

/// Replaces the state on disk. It writes a new file and renames it, so that the
/// file is complete whenever the daemon is killed.
fn write(file: &Path, state: &State) -> io::Result<()> {
    let next = file.with_extension("new");
    let text = serde_json::to_vec(state)?;
    let mut out = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&next)?;
    out.write_all(&text)?;
    drop(out);
    fs::rename(next, file)
}
