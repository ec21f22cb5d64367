//! The state, in memory and on disk.
//!
//! Only when a change is on disk does it take the old state's place.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipnet::Ipv4Net;

use super::addresses::readdress;
use super::call::CloudInfo;
use super::state::{Millis, Phase, State};
use crate::clock;

/// What EC2 knows, and the file that it is kept in.
#[derive(Debug)]
pub(crate) struct Store {
    pub(super) facts: CloudInfo,
    state: Mutex<State>,
    file: PathBuf,
}

impl Store {
    /// With the state that an earlier daemon left in `file`. Its machines went
    /// with it, so their instances are stopped now.
    pub(crate) fn open(facts: CloudInfo, file: PathBuf) -> io::Result<Self> {
        let mut state: State = match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|e| io::Error::other(format!("{} cannot be read: {e}", file.display())))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => State::default(),
            Err(e) => return Err(e),
        };
        put_right(&mut state, facts.subnet, clock::millis());
        write(&file, &state)?;
        Ok(Self {
            facts,
            state: Mutex::new(state),
            file,
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // The state is replaced as a whole, so a panic cannot leave half of one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state from inside: what machines do by themselves.
    #[cfg(target_os = "linux")]
    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        if let Err(e) = write(&self.file, &state) {
            log::error!("cannot write {}: {e}", self.file.display());
        }
    }

    /// Puts the next state in the place of the current one, once it is on disk.
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

/// What a daemon that ended in any way has left: no machine runs.
fn put_right(state: &mut State, subnet: Ipv4Net, now: Millis) {
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
            // Another network since: an address of the old one reaches nobody.
            let phase = match instance.phase {
                Phase::Pending | Phase::Running | Phase::Stopping => Phase::Stopped,
                Phase::ShuttingDown => Phase::Terminated,
                _ => continue,
            };
            region.set_phase(&id, phase, Some(reason), now);
        }
    }
    readdress(state, subnet);
}

/// Replaces the state on disk as a whole.
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
