//! Whether the holder of a lease is a process of this machine that has ended.
//!
//! A process locks a file with the nonce of its lease before it first writes the lease.
//! The kernel removes the lock when the process ends, whatever ends it. A client that
//! sees the same directory of lock files on the same running kernel, and can lock the
//! file, knows that the holder has ended. What is named alike elsewhere proves nothing:
//! a copy of the directory, the same image in two containers, or a directory on a file
//! server.

use std::os::unix::fs::MetadataExt as _;

use super::lease::Record;
use crate::error::Result;
use crate::ledger::hold::Hold;
use crate::ledger::identity::digest;
use crate::ledger::store::Store;

/// A number that the kernel makes when the machine starts.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// The lock of a client of a lease.
#[derive(Debug)]
pub(super) struct HolderLock {
    store: Store,
    /// Identifies the directory of lock files, if this system allows that.
    directory: Option<String>,
    _hold: Option<Hold>,
}

impl HolderLock {
    /// Locks the file of a client with this nonce.
    pub(super) fn take(store: &Store, nonce: &str) -> Result<Self> {
        let hold = store.hold(&name(nonce))?;
        // Without the lock, no client may conclude anything from it.
        let directory = hold.as_ref().and_then(|_| directory(store));
        Ok(Self {
            store: store.clone(),
            directory,
            _hold: hold,
        })
    }

    /// Returns the directory of lock files, for the record of the client.
    pub(super) fn directory(&self) -> Option<String> {
        self.directory.clone()
    }

    /// Returns whether the writer of a record has certainly ended.
    pub(super) fn has_ended(&self, record: &Record) -> Result<bool> {
        let is_here = record.locks.is_some() && record.locks == self.directory;
        Ok(is_here && !self.store.is_held(&name(&record.nonce))?)
    }
}

fn name(nonce: &str) -> String {
    format!("lease-{nonce}")
}

/// Identifies the directory of lock files among all that exist at the same time.
fn directory(store: &Store) -> Option<String> {
    let boot = std::fs::read_to_string(BOOT).ok()?;
    let about = std::fs::metadata(store.locks()).ok()?;
    let identity = serde_json::json!([boot.trim(), about.dev(), about.ino()]);
    Some(digest(&identity.to_string()))
}
